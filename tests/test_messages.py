"""What one side says is what the other side hears, and nonsense harms nobody."""

import contextlib
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import messages
from actors.errors import MalformedFrame
from actors.messages import (
    Adopted,
    AnyEvent,
    CancelTasks,
    Decoder,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Holding,
    Lease,
    Leased,
    LoadReported,
    Message,
    Outcome,
    Published,
    Refused,
    Results,
    Submit,
    Task,
    TaskId,
    TaskState,
    Welcome,
    encode_events,
    encode_frame,
    encode_one,
    from_member,
    from_worker,
    portions,
    provider_to_strategy,
    strategy_to_provider,
    to_member,
    to_worker,
)
from tests.message_values import values

DIRECTIONS: dict[str, tuple[Any, Decoder[list[Any]]]] = {
    **{
        f"from {kind}": (getattr(messages, f"From{kind.title()}"), decoder)
        for kind, decoder in from_member.items()
    },
    **{
        f"to {kind}": (getattr(messages, f"To{kind.title()}"), decoder)
        for kind, decoder in to_member.items()
    },
    "to worker": (messages.ToWorker, to_worker),
    "from worker": (messages.FromWorker, from_worker),
    "strategy to provider": (messages.ScaleOrder, strategy_to_provider),
    "provider to strategy": (
        messages.BlocksReported | Heartbeat | Goodbye,
        provider_to_strategy,
    ),
}
EVERY_WAY = [
    pytest.param(kind, decoder, id=f"{direction} {kind.__name__}")
    for direction, (union, decoder) in DIRECTIONS.items()
    for kind in typing.get_args(union)
]
# There are many messages, and most have few fields.
FEW = settings(max_examples=max(10, settings().max_examples // 4))
EVERY_MESSAGE = {
    kind for union, _ in DIRECTIONS.values() for kind in typing.get_args(union)
}


# Round trips


@pytest.mark.parametrize(("kind", "decoder"), EVERY_WAY)
def test_every_message_arrives_as_it_was_sent(
    kind: type[Message], decoder: Decoder[list[Any]]
) -> None:
    @FEW
    @given(values(kind))
    def travels(message: Message) -> None:
        frame = encode_frame([message, message])
        assert decoder.decode(frame) == [message, message]

    travels()


@given(values(Hello), values(Welcome), values(Refused))
def test_what_is_said_at_the_door_arrives(
    hello: Hello, welcome: Welcome, refused: Refused
) -> None:
    assert messages.hello.decode(encode_one(hello)) == hello
    assert messages.door_answer.decode(encode_one(welcome)) == welcome
    assert messages.door_answer.decode(encode_one(refused)) == refused


@given(values(AnyEvent), st.integers(0, 2**63))
def test_events_arrive_with_their_place(event: Any, seq: int) -> None:
    told = Published("epoch", seq, 1.5, "interchange", event)
    assert messages.published.decode(encode_events([told])) == [told]


def test_a_frame_of_many_kinds_keeps_its_order() -> None:
    sent = [Heartbeat(), Submit([]), Goodbye("why"), Heartbeat()]
    assert from_member["client"].decode(encode_frame(sent)) == sent


def test_every_way_is_tested() -> None:
    unions = {name for name in dir(messages) if name.startswith(("From", "To"))}
    known = {
        f"{a.title()}{b.title()}" for a, _, b in (d.partition(" ") for d in DIRECTIONS)
    }
    assert unions <= known


# What may not come


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_may_not_come_this_way_is_refused(direction: str) -> None:
    union, decoder = DIRECTIONS[direction]

    @FEW
    @given(st.data())
    def is_refused(data: st.DataObject) -> None:
        foreign = sorted(EVERY_MESSAGE - {*typing.get_args(union)}, key=str)
        message = data.draw(st.sampled_from(foreign).flatmap(values))
        with pytest.raises(MalformedFrame):
            decoder.decode(encode_frame([message]))

    is_refused()


_ALL_DECODERS: list[Decoder[Any]] = [
    *(decoder for _, decoder in DIRECTIONS.values()),
    messages.hello,
    messages.door_answer,
    messages.published,
]
_DEEP = 100_000
_TERABYTE = b"\xdd\xff\xff\xff\xff"  # the head of an array of 4 billion items


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"garbage",
        b"\xc1",  # never used by msgpack
        b"\x93\x01",  # an array that ends too early
        b"\x91" * _DEEP,
        b"\x81\xa1a" * _DEEP,
        _TERABYTE,
        b"\x91" + _TERABYTE,
        b"\x91\x91\xa3\xff\xff\xff",  # a tag that is no UTF-8
        b"\x91\x92\xa6Submit\xc0",  # a wrong type
        b"\x91\x91\xa4Nope",  # an unknown tag
        b"\x91\x91\xa6Submit",  # a field is missing
        b"\x90\x90",  # more than one value
        "[]".encode("utf-16"),
    ],
    ids=repr,
)
def test_garbage_is_refused_by_every_decoder(frame: bytes) -> None:
    for decoder in _ALL_DECODERS:
        with pytest.raises(MalformedFrame, match=f"{len(frame)} bytes refused"):
            decoder.decode(frame)


def test_a_deep_nest_inside_an_unknown_field_is_refused_or_skipped() -> None:
    frame = b"\x91\x92\xa9Heartbeat" + b"\x91" * _DEEP + b"\x00"
    with contextlib.suppress(MalformedFrame):
        assert from_member["client"].decode(frame) == [Heartbeat()]


@given(st.binary(max_size=60))
def test_no_bytes_do_anything_but_decode_or_be_refused(frame: bytes) -> None:
    for decoder in _ALL_DECODERS:
        with contextlib.suppress(MalformedFrame):
            decoder.decode(frame)


@pytest.mark.parametrize(("kind", "decoder"), EVERY_WAY)
def test_a_flipped_byte_does_no_more_than_change_or_refuse_a_frame(
    kind: type[Message], decoder: Decoder[list[Any]]
) -> None:
    @FEW
    @given(values(kind), st.data())
    def is_survived(message: Message, data: st.DataObject) -> None:
        frame = bytearray(encode_frame([message]))
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place] ^= data.draw(st.integers(1, 255))
        with contextlib.suppress(MalformedFrame):
            decoder.decode(bytes(frame))

    is_survived()


# Other versions


@pytest.mark.parametrize(("kind", "decoder"), EVERY_WAY)
def test_a_field_that_a_later_version_adds_is_tolerated(
    kind: type[Message], decoder: Decoder[list[Any]]
) -> None:
    @FEW
    @given(values(kind))
    def is_tolerated(message: Message) -> None:
        raw = msgspec.msgpack.decode(encode_frame([message]))
        raw[0] += ["new", {"a": [1, None]}]
        assert decoder.decode(msgspec.msgpack.encode(raw)) == [message]

    is_tolerated()


def test_a_field_with_a_default_may_be_missing() -> None:
    raw = [["CancelTasks", ["t1"]]]
    frame = msgspec.msgpack.encode(raw)
    assert from_member["client"].decode(frame) == [CancelTasks([TaskId("t1")], True)]
    hello = Hello("client", "c", "i", 1, "3.11", "t")
    raw = msgspec.msgpack.decode(encode_one(hello))
    assert messages.hello.decode(msgspec.msgpack.encode(raw[:7])) == hello


# Portions


def tasks(*sizes: int) -> list[Task]:
    return [
        Task(TaskId(f"t{n}"), b"", bytes(size), 0.0) for n, size in enumerate(sizes)
    ]


def test_a_small_message_stays_whole() -> None:
    message = Submit(tasks(10, 10))
    assert [part for part, _ in portions(message, 1000)] == [message]


def test_a_long_list_of_ids_is_cut_and_keeps_its_other_fields() -> None:
    ids = [TaskId(f"t{n}") for n in range(5000)]
    whole = CancelTasks(ids, if_running=False)
    found: list[TaskId] = []
    for part, size in portions(whole, 1 << 16):
        assert isinstance(part, CancelTasks)
        assert not part.if_running
        assert len(part.task_ids) < len(ids)
        assert len(encode_frame([part])) <= size
        found += part.task_ids
    assert found == ids


def test_what_a_manager_may_keep_is_never_cut() -> None:
    """It drops what is not listed: half a list would cost it the other half."""
    message = Adopted([Holding(TaskId(f"t{n}"), 1) for n in range(1000)])
    assert [part for part, _ in portions(message, 10)] == [message]


def test_an_id_longer_than_ours_is_refused() -> None:
    task = Task(TaskId("t" * 201), b"", b"", 0.0)
    with pytest.raises(MalformedFrame):
        from_member["client"].decode(encode_frame([Submit([task])]))


def test_one_payload_alone_may_exceed_the_limit() -> None:
    first, second, third = tasks(10, 5000, 10)
    parts = [part for part, _ in portions(Submit([first, second, third]), 1000)]
    assert parts == [Submit([first]), Submit([second]), Submit([third])]


def test_an_empty_message_is_sent_all_the_same() -> None:
    assert [part for part, _ in portions(Submit([]), 0)] == [Submit([])]


def _outcome(task_id: str, size: int) -> Outcome:
    return Outcome(TaskId(task_id), 1, TaskState.SUCCESS, bytes(size))


@given(st.lists(st.integers(0, 3000), max_size=20), st.integers(0, 4000))
def test_portions_keep_all_items_in_order_within_the_limit(
    sizes: list[int], limit: int
) -> None:
    submitted = tasks(*sizes)
    leased = [Leased(t.task_id, 1, t.function, t.arguments) for t in submitted]
    outcomes = [_outcome(t.task_id, len(t.arguments)) for t in submitted]
    for whole in (
        Submit(submitted),
        Lease(leased),
        Finished(outcomes),
        Results(outcomes),
    ):
        items: list[Any] = []
        for part, size in portions(whole, limit):
            assert type(part) is type(whole)
            (inside,) = msgspec.structs.astuple(part)
            items += inside
            assert inside or not sizes
            assert size <= limit or len(inside) <= 1
            assert len(encode_frame([part])) <= size + 96
        assert type(whole)(items) == whole


def test_a_snapshot_of_every_tag_keeps_old_and_new_versions_talking() -> None:
    """A tag is the class's name: whoever renames one breaks the wire."""
    assert sorted(kind.__name__ for kind in EVERY_MESSAGE) == [
        "Abandon",
        "Accepted",
        "AckEnded",
        "AckFinished",
        "AckResults",
        "ActorEnded",
        "ActorExits",
        "ActorsStarted",
        "AdoptCall",
        "Adopted",
        "Answer",
        "Answered",
        "AwaitRefs",
        "Began",
        "BlocksHeld",
        "BlocksReported",
        "Call",
        "CallActor",
        "CallerKnown",
        "Calls",
        "CancelBlocks",
        "CancelRef",
        "CancelTasks",
        "ClaimTasks",
        "Command",
        "CreateActor",
        "Deadlocked",
        "Define",
        "Drain",
        "EndActors",
        "Equip",
        "FindActor",
        "Finished",
        "Gave",
        "GetValues",
        "Goodbye",
        "HandBack",
        "Heartbeat",
        "HostActor",
        "Interrupt",
        "Introduce",
        "ItemsTaken",
        "ItemsYielded",
        "KillActor",
        "LaunchBlocks",
        "Lease",
        "LeaseCalls",
        "ListTasks",
        "MoreItems",
        "NextItem",
        "OfferLine",
        "OpenLines",
        "Output",
        "Printed",
        "PutValue",
        "Quiesce",
        "Ran",
        "ReadyRefs",
        "Recall",
        "Recalled",
        "Relay",
        "ReleaseRefs",
        "ReleaseStored",
        "Report",
        "Reregister",
        "ReserveCall",
        "RestartActor",
        "RestartManager",
        "Results",
        "RetireBlocks",
        "Returned",
        "Run",
        "ScaleTo",
        "StartActors",
        "StatesChanged",
        "Stop",
        "StopEndpoint",
        "StopGroup",
        "Submit",
        "SubmitTask",
        "Supervise",
        "TaskWaits",
        "TasksListed",
        "UnknownTasks",
        "Values",
        "Waits",
        "WaitsLong",
        "WatchActor",
        "WatchOutput",
        "Wrote",
        "Yielded",
    ]
    assert LoadReported.__struct_config__.tag == "load_reported"
