"""An item reaches its client once, in order, and is kept until that has read it."""

import pytest

from actors.logic.item_streams import ALL_ITEMS, ITEM_BYTES, STREAM_BYTES
from actors.logic.records import decode_record, encode_record
from actors.logic.turn import LinkClosed, Turn
from actors.messages import (
    AckResults,
    Finished,
    Goodbye,
    Item,
    ItemsMark,
    ItemsTaken,
    ItemsYielded,
    Lease,
    Submit,
    Task,
    TaskId,
    TaskState,
)
from tests.endpoint.talk import hello, manager_hello, only, outcome, sent_to
from tests.endpoint.test_interchange import CLIENT, DIED, MANAGER, Desk, lost

T1 = TaskId("t1")


def generator(retries: int = 3) -> Submit:
    return Submit([Task(T1, b"f", b"", 0.0, retries, streams_from=0)])


@pytest.fixture
def desk() -> Desk:
    """An interchange whose client's generator is leased to a manager."""
    desk = Desk()
    desk.admit(hello("client", "c1"))
    desk.admit(manager_hello())
    (leased,) = only(sent_to(desk.tell(generator(), CLIENT), MANAGER, Lease)).tasks
    assert leased.streams_from == 0
    return desk


def give(desk: Desk, *indexes: int, item: bytes = b"i", by: str = MANAGER) -> Turn:
    return desk.tell(ItemsYielded([Item(T1, n, item) for n in indexes]), by)


def read(desk: Desk, count: int) -> Turn:
    return desk.tell(ItemsTaken([ItemsMark(T1, count)]), CLIENT)


def got(turn: Turn) -> list[int]:
    return [i.index for m in sent_to(turn, CLIENT, ItemsYielded) for i in m.items]


def taken(turn: Turn) -> int:
    """Up to where the manager may forget; 0: it was told nothing."""
    marks = [
        m for x in turn.promises if isinstance(x[1], ItemsTaken) for m in x[1].marks
    ]
    return max((mark.count for mark in marks), default=0)


def heir_of(desk: Desk, turns: list[Turn]) -> Desk:
    """Let another interchange take over from the records."""
    heir = Desk()
    records = [encode_record(r) for turn in turns for r in turn.records]
    heir.machine.restore(map(decode_record, records), heir.now)
    heir.machine.check()
    return heir


def test_items_go_to_the_client_at_once_and_are_taken_from_the_manager(
    desk: Desk,
) -> None:
    turn = give(desk, 0, 1)
    assert (got(turn), taken(turn)) == ([0, 1], 2)
    assert only(turn.records).payloads == [b"i", b"i"]


def test_an_item_that_is_told_again_is_taken_again_and_not_delivered_twice(
    desk: Desk,
) -> None:
    give(desk, 0, 1)
    turn = give(desk, 0, 1, 2)
    assert (got(turn), taken(turn)) == ([2], 3)


def test_what_was_not_read_comes_again_with_the_client(desk: Desk) -> None:
    give(desk, 0, 1, 2)
    assert only(read(desk, 1).records).count == 1
    desk.tell(LinkClosed(CLIENT))
    assert got(give(desk, 3)) == []
    assert got(desk.admit(hello("client", "c1"))) == [1, 2, 3]


def test_unread_items_outlive_their_task_and_its_result(desk: Desk) -> None:
    give(desk, 0, 1)
    desk.tell(Finished([outcome("t1")]), MANAGER)
    desk.tell(AckResults([T1]), CLIENT)
    assert desk.machine.streams
    read(desk, 2)
    assert not desk.machine.streams


def test_a_new_try_begins_with_the_first_item_that_is_not_known(desk: Desk) -> None:
    give(desk, 0, 1)
    lost(desk)
    turn = desk.admit(manager_hello("m2", "block-2"))
    # Once that is safe: what was forgotten would be yielded by nobody.
    assert not sent_to(turn, "manager:m2", Lease) or not turn.eager
    leases = [m for peer, m in turn.promises if isinstance(m, Lease)]
    assert only(only(leases).tasks).streams_from == 2
    assert got(give(desk, 2, by="manager:m2")) == [2]
    # The first one comes back with what it had.
    assert got(give(desk, 1, 2, by="manager:m2")) == []


def test_a_generator_waits_for_a_client_that_does_not_read(desk: Desk) -> None:
    half = bytes(STREAM_BYTES // 2 - ITEM_BYTES)
    assert taken(give(desk, 0, item=half)) == 1
    assert taken(give(desk, 1, item=half)) == 0
    assert taken(read(desk, 1)) == 2


def test_who_wants_no_more_items_gets_none_and_holds_up_nobody(desk: Desk) -> None:
    give(desk, 0)
    read(desk, ALL_ITEMS)
    turn = give(desk, 1)
    assert (got(turn), taken(turn), turn.records) == ([], ALL_ITEMS, [])
    desk.tell(Finished([outcome("t1")]), MANAGER)
    assert not desk.machine.streams


def test_what_a_client_leaves_behind_is_forgotten(desk: Desk) -> None:
    half = bytes(STREAM_BYTES // 2)
    give(desk, 0, 1, item=half)
    # It would wait for its reader for ever.
    assert taken(desk.tell(Goodbye("done"), CLIENT)) == ALL_ITEMS
    assert not desk.machine.streams
    assert taken(give(desk, 2)) == ALL_ITEMS


def test_items_of_nobodys_task_are_taken(desk: Desk) -> None:
    turn = desk.tell(ItemsYielded([Item(TaskId("x"), 7, b"i")]), MANAGER)
    assert taken(turn) == ALL_ITEMS


def test_a_successor_knows_what_was_read_and_what_was_not() -> None:
    desk = Desk()
    turns = [
        desk.admit(hello("client", "c1")),
        desk.admit(manager_hello()),
        desk.tell(generator(), CLIENT),
        give(desk, 0, 1, 2),
        read(desk, 1),
    ]
    heir = heir_of(desk, turns)
    again = heir.admit(hello("client", "c1"))
    assert got(again) == [1, 2]
    heir.admit(manager_hello())
    assert got(give(heir, 1, 2, 3)) == [3]
    # The same from a snapshot.
    snapshot = Turn(records=[r for part in desk.machine.snapshot() for r in part])
    assert got(heir_of(desk, [snapshot]).admit(hello("client", "c1"))) == [1, 2]


def test_a_death_in_the_middle_costs_no_item(desk: Desk) -> None:
    give(desk, 0)
    give(desk, 1)
    turn = desk.tell(Finished([outcome("t1", 1, TaskState.FAILED, DIED)]), MANAGER)
    (leased,) = only([m for _, m in turn.promises if isinstance(m, Lease)]).tasks
    assert (leased.attempt, leased.streams_from) == (2, 2)
