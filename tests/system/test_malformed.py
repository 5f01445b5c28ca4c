"""What makes no sense is refused alone, counted, and harms nobody else.

At every door and on every link of a running endpoint: bytes of any kind, messages of
the wrong direction, introductions that are wrong or forged. Meanwhile a client works,
and all its tasks succeed.
"""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.address import Address
from actors.messages import (
    Accepted,
    AckFinished,
    Adopted,
    Answer,
    BlocksReported,
    CancelTasks,
    ClaimTasks,
    Command,
    Finished,
    FrameRefused,
    Goodbye,
    Heartbeat,
    Hello,
    LaunchBlocks,
    Lease,
    MemberKind,
    MemberRefused,
    Message,
    Outcome,
    Refused,
    Relay,
    Report,
    Results,
    RetireBlocks,
    StopEndpoint,
    Submit,
    Task,
    TaskId,
    TaskState,
    UnknownTasks,
    Welcome,
    encode_frame,
    encode_one,
    provider_to_strategy,
)
from actors.payload import CallDumper
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.peers import (
    Member,
    hello_to,
    knock,
    raw_connection,
)
from tests.system.support import Listener, kill, order, picture

pytestmark = pytest.mark.slow

# The least that an endpoint may be given.
MAX_FRAME_BYTES = 1 << 20
# Deeper than any decoder goes.
DEPTH = 100_000

pack = msgspec.msgpack.encode
submit = encode_frame([Submit([Task(TaskId("a"), b"function", b"arguments", 0.0)])])

# {what is wrong: bytes that nobody may send over a link}
NO_MESSAGES = {
    "no bytes": b"",
    "random bytes": random.Random(1).randbytes(1000),
    "another protocol": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nothing": pack(None),
    "a number": pack(7),
    "a text": pack("Submit"),
    "a map": pack({"type": "Submit"}),
    "a message without its list": pack(["Submit", []]),
    "a message without anything": pack([[]]),
    "a tag that is a number": pack([[7, []]]),
    "an unknown tag": pack([["Explode", 1]]),
    "too few fields": pack([["Submit"]]),
    "a field of a wrong type": pack([["CancelTasks", "all of them"]]),
    "a field of a wrong type further down": pack([["Submit", [["id"]]]]),
    "a good message before a bad one": pack([["Heartbeat"], ["Explode"]]),
    "text that is no text": b"\x91\x92\xa7Goodbye\xa2\xc3\x28",
    "deep nesting": b"\x91" * DEPTH + b"\xc0",
    "deep nesting behind a good message": b"\x91\x92\xa9Heartbeat"
    + b"\x91" * DEPTH
    + b"\xc0",
    "a list longer than the world": b"\xdd\xff\xff\xff\xff",
    "bytes longer than the world": b"\x91\x92\xa7Goodbye\xc6\xff\xff\xff\xff",
    "a cut message": submit[:-1],
    "a message and a half": submit + submit[:-1],
    "a byte too much": submit + b"\xc0",
}
# {who: messages that come from others only}
OTHERS_WORDS: dict[MemberKind, list[Message]] = {
    "client": [
        Results([]),
        Lease([]),
        Finished([]),
        Command("r", "stop"),
        StopEndpoint("forged"),
        RetireBlocks([], "forged", True),
        Hello("client", "c", "i", 1, "3.11", "t"),
        Welcome("link", "epoch", 1.0, 2.0, 1),
    ],
    "manager": [Submit([]), Lease([]), Command("r", "stop"), BlocksReported([])],
    "operator": [StopEndpoint("forged"), Submit([]), Relay([]), Answer("r", True, "")],
    "strategy": [LaunchBlocks("l", 9, "forged"), Command("r", "stop"), Submit([])],
    "provider": [RetireBlocks([], "forged"), Command("r", "stop"), Finished([])],
    "supervisor": [StopEndpoint("forged"), Command("r", "stop"), BlocksReported([])],
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[RunningEndpoint]:
    """Run an endpoint that is attacked again and again."""
    with RunningEndpoint(
        transport={"max_frame_bytes": MAX_FRAME_BYTES},
        heartbeat={"reconnect_grace": 0.3},
        blocks={"max_blocks": 2},
        strategy={"kind": "none"},
    ) as running:
        running.await_workers(2)
        yield running


@pytest.fixture(autouse=True)
def unharmed(endpoint: RunningEndpoint) -> Iterator[None]:
    """Have a client at work all the time, and look after everybody in the end."""
    with work(endpoint):
        yield


@contextmanager
def work(endpoint: RunningEndpoint) -> Iterator[None]:
    """Submit before, expect results after; nobody may have died meanwhile."""
    roles = ("root", "interchange", "strategy", "provider", "manager", "worker")
    before = {role: endpoint.pids(role) for role in roles}
    with endpoint.executor() as executor:
        futures = [
            executor.submit(tasks.noted, os.devnull, n, 0.002) for n in range(99)
        ]
        yield
        futures.append(executor.submit(tasks.noted, os.devnull, 99))
        assert [future.result(20) for future in futures] == list(range(100))
    assert all(psutil.pid_exists(pid) for pids in before.values() for pid in pids)
    eventually(lambda: len(picture(endpoint).services) == 3, what="the services")


def door_of(endpoint: RunningEndpoint, actor: str = "interchange") -> str:
    return Address.parse(f"ipc://{endpoint.paths.sockets}").door(actor)


def expect_answer(member: Member) -> None:
    """Show that an actor still listens to a client's link."""
    member.say(ClaimTasks([TaskId("nobody's")]))
    assert member.hear(UnknownTasks).task_ids == ["nobody's"]


# Doors


@pytest.mark.parametrize("actor", ["interchange", "provider"])
def test_bytes_at_a_door_are_answered_with_a_refusal(
    endpoint: RunningEndpoint, actor: str
) -> None:
    for frame in NO_MESSAGES.values():
        answer = knock(door_of(endpoint, actor), frame)
        assert isinstance(answer, Refused)
        assert "this is no Hello" in answer.reason
        assert len(answer.reason) < 500


def test_bytes_at_the_door_are_counted_and_published_once(
    endpoint: RunningEndpoint,
) -> None:
    before = picture(endpoint).malformed
    with Listener(endpoint) as listener:
        for frame in NO_MESSAGES.values():
            knock(door_of(endpoint), frame)
        assert picture(endpoint).malformed == before + len(NO_MESSAGES)
        told = [e for e in listener.heard() if isinstance(e, FrameRefused)]
        assert len(told) <= 1


@pytest.mark.parametrize("actor", ["interchange", "provider"])
def test_a_knock_that_is_too_large_is_not_answered(
    endpoint: RunningEndpoint, actor: str
) -> None:
    with pytest.raises(AssertionError, match="an answer"):
        knock(door_of(endpoint, actor), bytes(17 << 20), within=0.5)


@pytest.mark.parametrize("actor", ["interchange", "provider"])
def test_connections_without_our_protocol_do_not_block_a_door(
    endpoint: RunningEndpoint, actor: str
) -> None:
    url = door_of(endpoint, actor)
    with ExitStack() as stack:
        for frame in (b"", b"\0", b"\0SP\0", *NO_MESSAGES.values()):
            raw = stack.enter_context(closing(raw_connection(url)))
            with suppress(OSError):  # the other side may have hung up already
                raw.sendall(frame)
        # All of them are still connected, if they were let.
        assert isinstance(knock(url, b""), Refused)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protocol": 0}, "protocol 0 is not"),
        ({"token": "guessed"}, "token"),
        ({"token": "t\u00f6ken"}, "token"),
        ({"token": ""}, "token"),
        ({"python": "2.7"}, "Python 2.7 is not"),
        ({"member_id": ""}, "member_id"),
        ({"member_id": "a:b"}, "member_id"),
        ({"kind": "manager", "slots": 0}, "slots 0"),
        ({"kind": "manager", "slots": -1}, "slots -1"),
        ({"kind": "manager", "python": "2.7"}, "Python 2.7 is not"),
        ({"kind": "operator", "token": "guessed"}, "token"),
    ],
)
def test_a_wrong_introduction_is_refused_alone_with_its_reason(
    endpoint: RunningEndpoint, change: dict[str, Any], reason: str
) -> None:
    hello = msgspec.structs.replace(hello_to(endpoint), **change)
    with Listener(endpoint) as listener:
        answer = knock(door_of(endpoint), encode_one(hello))
        assert isinstance(answer, Refused)
        assert answer.is_final
        assert reason in answer.reason
        eventually(
            lambda: [
                e
                for e in listener.heard()
                if isinstance(e, MemberRefused) and e.reason == answer.reason
            ],
            what="the event",
        )
    assert answer.reason in endpoint.log("interchange")
    assert hello.token not in answer.reason or not hello.token


@pytest.mark.parametrize(
    "change",
    [{"kind": "client"}, {"token": "guessed"}, {"protocol": 0}, {"token": "\u00f6"}],
)
def test_only_the_strategy_enters_at_the_provider(
    endpoint: RunningEndpoint, change: dict[str, Any]
) -> None:
    hello = msgspec.structs.replace(hello_to(endpoint, "strategy"), **change)
    answer = knock(door_of(endpoint, "provider"), encode_one(hello))
    assert isinstance(answer, Refused)


@pytest.mark.parametrize("kind", ["client", "manager", "operator"])
def test_another_instance_of_a_member_is_refused_while_that_is_connected(
    endpoint: RunningEndpoint, kind: MemberKind
) -> None:
    with Member(endpoint, kind) as member:
        rival = msgspec.structs.replace(member.hello, instance="another")
        answer = knock(door_of(endpoint), encode_one(rival))
        assert isinstance(answer, Refused)
        assert not answer.is_final
        assert f"connected already, from pid {os.getpid()}" in answer.reason
        assert not member.is_down
        if kind == "client":
            expect_answer(member)
        member.say(Goodbye("done"))
        eventually(lambda: member.is_down, what="the end of the link")


def test_a_repeated_introduction_replaces_the_link_and_keeps_the_tasks(
    endpoint: RunningEndpoint,
) -> None:
    with Member(endpoint, "client") as member:
        task = call(square_of=7)
        member.say(Submit([task]))
        member.hear(Accepted)
        with Member(endpoint, "client", member.hello) as again:
            eventually(lambda: member.is_down, what="the end of the first link")
            (outcome,) = again.hear(Results).outcomes
            assert outcome.task_id == task.task_id
            assert outcome.state is TaskState.SUCCESS
            again.say(Goodbye("done"))


def call(square_of: int) -> Task:
    """Make a task as a client would."""
    function, arguments = CallDumper().dump(tasks.square, (square_of,), {})
    return Task(TaskId(f"forged-{os.urandom(4).hex()}"), function, arguments, 0.0)


# Links


@pytest.mark.parametrize("kind", ["client", "operator", "manager"])
def test_bytes_on_a_link_are_counted_and_the_link_goes_on(
    endpoint: RunningEndpoint, kind: MemberKind
) -> None:
    before = picture(endpoint).malformed
    bad = [*NO_MESSAGES.values(), *(encode_frame([m]) for m in OTHERS_WORDS[kind])]
    with Listener(endpoint) as listener, Member(endpoint, kind) as member:
        for frame in bad:
            member.send(frame)
            listener.heard()
        match kind:
            case "client":
                task = call(square_of=3)
                member.say(Submit([task]))
                assert member.hear(Accepted).task_ids == [task.task_id]
                assert member.hear(Results).outcomes[0].state is TaskState.SUCCESS
            case "operator":
                member.say(Command("mine", "status"))
                assert member.hear(Answer).request_id == "mine"
            case _:
                member.say(Finished([finished("unknown")]))
                acked = member.hear(AckFinished)
                assert acked == AckFinished([TaskId("unknown")])
        assert picture(endpoint).malformed == before + len(bad)
        peer = f"{kind}:{member.hello.member_id}"
        assert endpoint.log("interchange").count(f"{peer} sent what is no message") == 1
        # Who is slow misses events, as a busy machine may make us.
        told = [e for e in listener.heard() if isinstance(e, FrameRefused)]
        assert [e.sender for e in told] in ([peer], [])
        member.say(Goodbye("done"))


def finished(task_id: str) -> Outcome:
    return Outcome(TaskId(task_id), 1, TaskState.SUCCESS, b"")


@pytest.mark.parametrize("kind", ["strategy", "provider", "supervisor"])
def test_bytes_from_a_false_service_are_counted_and_the_true_one_comes_back(
    endpoint: RunningEndpoint, kind: MemberKind
) -> None:
    """The true one is stopped meanwhile; else it would take its place back at once."""
    before = picture(endpoint).malformed
    bad = [*NO_MESSAGES.values(), *(encode_frame([m]) for m in OTHERS_WORDS[kind])]
    pid = endpoint.pid("root" if kind == "supervisor" else kind)
    hello = msgspec.structs.replace(hello_to(endpoint, kind), member_id=kind)
    with stopped(pid), Member(endpoint, kind, hello) as member:
        for frame in bad:
            member.send(frame)
        eventually(
            lambda: picture(endpoint).malformed == before + len(bad),
            what="all to be counted",
        )
        assert not member.is_down


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(pid, signal.SIGCONT)


def test_bytes_from_a_false_strategy_do_not_harm_the_provider(
    endpoint: RunningEndpoint,
) -> None:
    bad = [*NO_MESSAGES.values(), encode_frame([BlocksReported([])]), submit]
    hello = hello_to(endpoint, "strategy")
    with (
        stopped(endpoint.pid("strategy")),
        Member(endpoint, "strategy", hello, "provider", provider_to_strategy) as member,
    ):
        for frame in bad:
            member.send(frame)
        # Orders for nothing, and for blocks that there are not.
        member.say(LaunchBlocks("forged", 0, "nothing"), CancelTasks([]))
        member.say(LaunchBlocks("nothing", 0, "nothing"))
        eventually(
            lambda: "nothing" in member.hear(BlocksReported).launch_ids,
            what="the answer to the last order",
        )
    assert endpoint.log("provider").count("strategy sent what is no message") == 1
    # The true one gives orders again.
    order(endpoint, "scale", number=2)
    eventually(lambda: len(picture(endpoint).managers) == 2, what="another block")
    order(endpoint, "drain", "block-2")
    eventually(lambda: len(endpoint.pids("manager")) == 1, what="the end of a block")


@pytest.mark.parametrize("kind", ["client", "manager", "operator"])
def test_a_frame_that_is_too_large_ends_its_link_and_the_member_may_come_back(
    endpoint: RunningEndpoint, kind: MemberKind
) -> None:
    with Member(endpoint, kind) as member:
        member.say(Heartbeat())
        member.send(bytes(MAX_FRAME_BYTES + 1))
        eventually(lambda: member.is_down, what="the end of the link")
        member.enter_again()
        member.say(Goodbye("done"))
        eventually(lambda: member.is_down, what="the end of the link")


def test_a_frame_as_large_as_allowed_is_read(endpoint: RunningEndpoint) -> None:
    before = picture(endpoint).malformed
    with Member(endpoint, "client") as member:
        member.send(bytes(MAX_FRAME_BYTES))
        expect_answer(member)
    assert picture(endpoint).malformed == before + 1


def test_nobody_else_gets_into_a_link(endpoint: RunningEndpoint) -> None:
    with Member(endpoint, "client") as member:
        for frame in (b"", b"\0SP\0\0\x10\0\0", submit):
            with closing(raw_connection(member.link.url)) as raw:
                raw.sendall(frame)
            expect_answer(member)


def test_a_client_cannot_touch_the_tasks_of_another(
    endpoint: RunningEndpoint, tmp_path: Path
) -> None:
    notes, go = tmp_path / "notes", tmp_path / "go"
    executor = endpoint.executor()
    future = executor.submit(tasks.hold, str(notes), str(go))
    # It is known by then: of two who submit one task the first has it.
    eventually(notes.exists, 60, "the task to begin")
    with Member(endpoint, "client") as member:
        theirs = TaskId(future.task_id)
        member.say(CancelTasks([theirs]), Submit([Task(theirs, b"", b"", 0.0)]))
        expect_answer(member)
    go.touch()
    assert isinstance(future.result(20), int)


def test_values_that_make_no_sense_do_no_harm(endpoint: RunningEndpoint) -> None:
    """Messages whose types are right; what they say is not."""
    far = 2**62
    with Member(endpoint, "client") as member:
        odd = Task(TaskId(""), b"", b"", float("nan"), -far, far, "\0" * 1000)
        member.say(Submit([odd, odd]), Submit([]), CancelTasks([TaskId("\ud7ff")]))
        member.hear(Results)
        expect_answer(member)
        member.say(Goodbye("x" * 100_000), Submit([odd]), Heartbeat())
        eventually(lambda: member.is_down, what="the end of the link")
    hello = msgspec.structs.replace(hello_to(endpoint, "manager"), slots=1)
    with Member(endpoint, "manager", hello) as manager:
        manager.hear(Adopted)
        manager.say(Report(-far, []), Report(0, []))
        manager.say(Finished([finished("x"), finished("x")]))
        manager.hear(AckFinished)
        manager.say(Goodbye("done"))


# Any bytes

valid_frames = st.sampled_from(
    [
        submit,
        encode_frame([ClaimTasks([TaskId("x")]), CancelTasks([TaskId("y")], False)]),
        encode_frame([Heartbeat(), Heartbeat()]),
    ]
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text()
    | st.binary(max_size=20)
    | st.sampled_from(["Submit", "Goodbye", "Hello", "client"]),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=20,
)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Change some bytes of a good frame, or cut it."""
    frame = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))])


@settings(
    max_examples=100,
    deadline=None,
    # One endpoint bears all examples: that is the point.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(frame=st.binary(max_size=64) | damaged(valid_frames) | anything.map(pack))
def test_any_bytes_on_a_link_leave_the_interchange_well(
    endpoint: RunningEndpoint, member: Member, frame: bytes
) -> None:
    member.send(frame)
    # Some bytes are a Goodbye.
    eventually(lambda: answers(member) or member.is_down, what="an answer or the end")
    if member.is_down:
        member.enter_again()


@pytest.fixture(scope="module")
def member(endpoint: RunningEndpoint) -> Iterator[Member]:
    with Member(endpoint, "client") as entered:
        yield entered


def answers(member: Member) -> bool:
    member.say(ClaimTasks([TaskId("nobody's")]))
    try:
        return bool(member.hear(UnknownTasks, within=1))
    except AssertionError:
        return False


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_bytes_at_a_door_are_answered(
    endpoint: RunningEndpoint, data: st.DataObject
) -> None:
    hello = encode_one(hello_to(endpoint))
    frames = st.binary(max_size=64) | damaged(st.just(hello)) | anything.map(pack)
    answer = knock(door_of(endpoint), data.draw(frames))
    assert isinstance(answer, Refused | Welcome)
