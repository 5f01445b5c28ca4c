"""Who closes a circle of waits is told so; nobody else is, and no wait that may end."""

import pytest

from actors.logic.turn import LinkClosed
from actors.messages import (
    ActorOptions,
    ActorsStarted,
    ActorWork,
    Deadlocked,
    Finished,
    Incarnation,
    Submit,
    Task,
    TaskId,
    Waits,
)
from tests.endpoint.talk import hello, manager_hello, outcome, sent_to, task
from tests.endpoint.test_interchange import CLIENT, MANAGER, Desk, lost


@pytest.fixture
def desk() -> Desk:
    """Two actors of one call at a time and one of more; a call of each, and a task."""
    desk = Desk()
    desk.admit(hello("client", "c1"))
    desk.admit(manager_hello(slots=4))
    for name, calls in (("a", 1), ("b", 1), ("wide", 4)):
        options = ActorOptions(name.upper(), max_concurrency=calls)
        work = ActorWork(name, "create", options)
        desk.tell(
            Submit([Task(TaskId(f"make-{name}"), b"", b"", 0.0, actor=work)]), CLIENT
        )
        desk.tell(ActorsStarted([Incarnation(name, 1)]), MANAGER)
        call = Task(
            TaskId(f"call-{name}"), b"@m", b"", 0.0, actor=ActorWork(name, "call")
        )
        desk.tell(Submit([call]), CLIENT)
    desk.tell(Submit([task("t1")]), CLIENT)
    return desk


def waits(desk: Desk, waiter: str, *task_ids: str, spare: int = 0) -> list[str]:
    """Let somebody wait; return why it would be for ever."""
    incarnation = 0 if waiter.startswith("t") else 1
    said = Waits(waiter, incarnation, 7, [TaskId(t) for t in task_ids], spare)
    told = sent_to(desk.tell(said, MANAGER), MANAGER, Deadlocked)
    assert all((m.waiter, m.number) == (waiter, 7) for m in told)
    return [message.text for message in told]


def test_who_closes_a_circle_is_told_who_waits_for_whom(desk: Desk) -> None:
    assert not waits(desk, "a", "t1")
    assert not waits(desk, "t1", "call-b")
    (text,) = waits(desk, "b", "call-a")
    assert text == (
        "Waiting would never end: Actor B (b) waits for Actor A (a) waits for Task t1 "
        "waits for Actor B (b)"
    )


def test_who_waits_for_itself_is_told(desk: Desk) -> None:
    assert waits(desk, "a", "call-a")


@pytest.mark.parametrize("end", ["wait", "task", "node"])
def test_a_wait_that_is_over_closes_no_circle(desk: Desk, end: str) -> None:
    waits(desk, "a", "t1")
    waits(desk, "t1", "call-b")
    match end:
        case "wait":
            waits(desk, "t1")
        case "task":
            desk.tell(Finished([outcome("t1")]), MANAGER)
        case "node":
            desk.tell(LinkClosed(MANAGER))
            lost(desk)
            desk.admit(manager_hello())
    assert not waits(desk, "b", "call-a")


def test_one_that_takes_several_calls_is_not_full(desk: Desk) -> None:
    waits(desk, "wide", "call-a")
    assert not waits(desk, "a", "call-wide")


def test_as_long_as_enough_others_may_end_nobody_is_stuck(desk: Desk) -> None:
    waits(desk, "a", "call-b")
    assert not waits(desk, "b", "call-a", "t1", spare=1)
    assert waits(desk, "b", "call-a", "t1", spare=0)


def test_a_wait_for_what_nobody_knows_may_end(desk: Desk) -> None:
    assert not waits(desk, "a", "unknown")
    assert not waits(desk, "nobody", "call-a")
