"""A manager tells what a task prints as its own, before its outcome, or not at all."""

import math
from typing import Any

import pytest

from actors.endpoint.manager.printing import (
    BYTES_PER_SECOND,
    IDLE_LOOK_PERIOD,
    LOOK_PERIOD,
    MOST_BYTES,
)
from actors.logic.turn import LinkClosed, Turn
from actors.logic.workers import (
    LookAtOutput,
    TasksRan,
    WatchWorkers,
    WorkerDied,
    WorkerSaid,
    WorkerStarted,
    WorkerWrote,
)
from actors.messages import (
    Adopted,
    CallerKnown,
    Calls,
    ClientId,
    Finished,
    Heartbeat,
    Holding,
    Printed,
    Ran,
    TaskId,
    WatchOutput,
)
from tests.endpoint.talk import all_of, only, sent_to
from tests.endpoint.test_hosts import HOST, Floor
from tests.endpoint.test_manager import DOOR, T1, W1, W2, Node


def watched(slots: int = 1) -> Node:
    node = Node(slots)
    turn = node.tell(WatchOutput(True), DOOR)
    assert turn.effects == [WatchWorkers(True, False)]
    return node


def wrote(seq: int, text: bytes, left_out: int = 0, *, is_end: bool = False) -> Any:
    return WorkerWrote(W1, seq, text, left_out, is_end)


def printed(turn: Turn) -> list[Printed]:
    return sent_to(turn, DOOR, Printed)


def test_nothing_is_read_as_long_as_nobody_wants_it() -> None:
    node = Node()
    node.lease("t1")
    assert node.machine.printing.wake_at == math.inf
    assert not all_of(node.live(5.0).effects, LookAtOutput)
    assert not printed(node.tell(wrote(1, b"told by mistake\n")))


def test_a_wish_that_is_known_changes_nothing() -> None:
    node = watched()
    assert not node.tell(WatchOutput(True), DOOR).effects
    turn = node.tell(WatchOutput(True, True), DOOR)
    assert turn.effects == [WatchWorkers(True, True)]
    assert node.tell(WatchOutput(False), DOOR).effects == [WatchWorkers(False, False)]
    node.lease("t1")
    assert not all_of(node.live(5.0).effects, LookAtOutput)


def test_what_a_task_prints_is_told_as_its_own_before_its_outcome() -> None:
    node = watched()
    node.lease("t1", "t2")
    lines = printed(node.tell(wrote(1, b"one\ntwo", is_end=True)))
    assert lines == [Printed(T1, False, 10, b"one\ntwo\n", 0)]
    assert [o.task_id for o in node.told(node.ran(1))] == ["t1"]
    (line,) = printed(node.tell(wrote(2, b"three\n", is_end=True)))
    assert (line.writer, line.text) == ("t2", b"three\n")


def test_a_line_is_told_once_it_is_whole() -> None:
    node = watched()
    node.lease("t1")
    assert not printed(node.tell(wrote(1, b"begin")))
    (line,) = printed(node.tell(wrote(1, b"ning\nand")))
    assert line.text == b"beginning\n"
    (line,) = printed(node.tell(wrote(1, b"", is_end=True)))
    assert line.text == b"and\n"


@pytest.mark.parametrize("seq", [1, 3])
def test_words_of_a_task_that_does_not_run_are_nobodys(seq: int) -> None:
    node = watched()
    node.lease("t1", "t2", "t3")
    node.ran(1)
    assert not printed(node.tell(wrote(seq, b"whose?\n", is_end=True)))
    assert not printed(node.tell(WorkerWrote(W2, 2, b"who?\n", 0, False)))


def test_the_beginning_of_a_line_is_not_taken_for_the_next_tasks() -> None:
    node = watched()
    node.lease("t1", "t2")
    node.tell(wrote(1, b"secret"))
    node.ran(1)
    (line,) = printed(node.tell(wrote(2, b" line\n")))
    assert line.text == b" line\n"


def test_what_runs_is_looked_at_twice_a_second_and_idle_workers_are_not() -> None:
    node = watched(2)
    assert not all_of(node.live(3.0).effects, LookAtOutput)
    node.lease("t1")
    looks = all_of(node.live_beside(DOOR, 4.0).effects, LookAtOutput)
    assert all(look == LookAtOutput({W1: 1}) for look in looks)
    most = 4.0 / LOOK_PERIOD
    assert most - IDLE_LOOK_PERIOD / LOOK_PERIOD - 1 <= len(looks) <= most + 1
    node.ran(1)
    assert not all_of(node.live(3.0).effects, LookAtOutput)


def test_a_flood_is_cut_and_told_how_much_is_missing() -> None:
    node = watched()
    node.lease("t1")
    line, count = b"x" * 99 + b"\n", (MOST_BYTES + (1 << 18)) // 100
    told = printed(node.tell(wrote(1, line * count, left_out=500)))
    text = b"".join(each.text for each in told)
    left_out = sum(each.left_out_bytes for each in told)
    assert len(text) <= MOST_BYTES
    assert len(text) + left_out == 100 * count + 500
    assert text == line * (len(text) // 100)
    node.wait(1.0)
    (more,) = printed(node.tell(wrote(1, line * 3)))
    assert more.text == line * 3
    assert BYTES_PER_SECOND > 300


def test_another_worker_has_an_allowance_of_its_own() -> None:
    node = watched(2)
    node.lease("t1")
    node.lease("t2")
    node.tell(wrote(1, b"x\n" * MOST_BYTES))
    (line,) = printed(node.tell(WorkerWrote(W2, 1, b"y\n", 0, False)))
    assert (line.writer, line.text, line.pid) == ("t2", b"y\n", 11)


def test_the_last_words_of_a_worker_come_before_the_word_of_its_death() -> None:
    node = watched()
    node.lease("t1")
    (line,) = printed(node.tell(wrote(1, b"Fatal error", is_end=True)))
    assert line.text == b"Fatal error\n"
    assert sent_to(node.died(1), DOOR, Finished)
    assert not printed(node.tell(wrote(1, b"late\n")))


def test_who_lets_us_in_again_says_again_whether_output_is_wanted() -> None:
    node = watched()
    node.lease("t1")
    node.tell(LinkClosed(DOOR))
    turn = node.enter()
    assert WatchWorkers(False, False) in turn.effects
    node.tell(Heartbeat(), DOOR)
    node.tell(Adopted([Holding(TaskId("t1"), 1)]), DOOR)
    assert not printed(node.tell(wrote(1, b"unheard\n")))
    assert node.tell(WatchOutput(True), DOOR).effects == [WatchWorkers(True, False)]
    (line,) = printed(node.tell(wrote(1, b"heard\n")))
    assert line.writer == "t1"


def test_all_that_an_actors_process_prints_is_its_actors() -> None:
    floor = Floor()
    floor.tell(WatchOutput(True), DOOR)
    floor.start()
    floor.tell(WorkerStarted(HOST, 77))
    (line,) = printed(floor.tell(WorkerWrote(HOST, 0, b"in __init__\n", 0, False)))
    assert line == Printed("a", True, 77, b"in __init__\n", 0)
    floor.tell(TasksRan(HOST, [Ran(1, True, b"", 1.0, 2.0)]))
    looks = all_of(floor.live(IDLE_LOOK_PERIOD).effects, LookAtOutput)
    assert looks
    assert all(look == LookAtOutput({HOST: 0}) for look in looks)
    assert not printed(floor.tell(WorkerWrote(HOST, 0, b"between", 0, False)))
    (line,) = printed(floor.tell(WorkerWrote(HOST, 9, b" calls", 0, True)))
    assert line.text == b"between calls\n"
    floor.tell(WorkerDied(HOST, 3, None, 0, 0.0, 1, "tail"))
    assert not printed(floor.tell(WorkerWrote(HOST, 0, b"late\n", 0, False)))


def test_only_one_word_is_said_of_a_flood_that_is_not_shown_at_all() -> None:
    node = watched()
    node.lease("t1")
    node.tell(wrote(1, b"x\n" * MOST_BYTES))
    (line,) = map(only, [printed(node.tell(wrote(1, b"y\n" * 10)))])
    assert (line.text, line.left_out_bytes) == (b"", 20)


def test_it_tells_which_task_or_actor_asks_for_tasks_of_its_own() -> None:
    node = Node()
    node.lease("t1", "t2")
    asks = WorkerSaid(W1, Calls(1, ClientId("w")))
    known = CallerKnown(ClientId("w"), 1, "t1", False)
    assert sent_to(node.tell(asks), DOOR, CallerKnown) == [known]
    node.ran(1)
    assert not sent_to(node.tell(asks), DOOR, CallerKnown)
    floor = Floor()
    floor.construct()
    known = CallerKnown(ClientId("h"), 0, "a", True)
    asks = WorkerSaid(HOST, Calls(0, ClientId("h")))
    assert sent_to(floor.tell(asks), DOOR, CallerKnown) == [known]
