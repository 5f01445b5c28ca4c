"""A manager asked for tasks hands back those that have not begun, each once; no other.

What has begun, or does before its worker hears of it, ends as if nobody had asked.
"""

import pytest

from actors.logic.turn import Turn
from actors.logic.workers import AssignTasks, RecallTasks, TasksRecalled
from actors.messages import (
    AckFinished,
    CancelTasks,
    HandBack,
    Holding,
    Returned,
    TaskId,
    TaskState,
)
from tests.endpoint.talk import all_of, only, sent_to
from tests.endpoint.test_manager import DOOR, T1, T2, T3, W1, Node


@pytest.fixture
def node() -> Node:
    """A manager whose worker runs t1; t2 and t3 wait behind it there."""
    node = Node()
    node.lease("t0")
    node.ran(1, duration=0.0)
    node.tell(AckFinished([TaskId("t0")]), DOOR)
    turn = node.lease("t1", "t2", "t3")
    assert [r.seq for r in only(all_of(turn.effects, AssignTasks)).runs] == [2, 3, 4]
    return node


def returned(turn: Turn) -> list[str]:
    return [h.task_id for m in sent_to(turn, DOOR, Returned) for h in m.leases]


def test_what_waits_at_the_manager_goes_back_at_once() -> None:
    node = Node()
    node.lease("t1", "t2", "t3")
    turn = node.tell(HandBack([T1, T3, TaskId("unknown")]), DOOR)
    assert returned(turn) == ["t3"]
    assert not turn.effects
    assert only(node.told(node.ran(1))).task_id == "t1"
    assert node.held() == [("t2", 1), ("t1", 1)]


def test_what_waits_at_a_worker_is_recalled_first(node: Node) -> None:
    turn = node.tell(HandBack([T1, T3]), DOOR)
    assert (returned(turn), turn.effects) == ([], [RecallTasks(W1)])
    turn = node.tell(TasksRecalled(W1, [3, 4]))
    assert returned(turn) == ["t3"]
    assert [r.arguments for r in only(all_of(turn.effects, AssignTasks)).runs] == [
        b"t2"
    ]


def test_what_began_before_its_worker_heard_of_it_ends_as_ever(node: Node) -> None:
    node.tell(HandBack([T2, T3]), DOOR)
    node.ran(2)
    assert returned(node.tell(TasksRecalled(W1, [4]))) == ["t3"]
    assert only(node.told(node.ran(3))).state is TaskState.SUCCESS


def test_a_recall_that_came_too_early_is_said_again() -> None:
    node = Node()
    node.lease("t0")
    node.ran(1, duration=0.0)
    node.lease("t1", "t2")
    node.tell(HandBack([T2]), DOOR)
    assert node.tell(TasksRecalled(W1, [])).effects == [RecallTasks(W1)]
    assert returned(node.tell(TasksRecalled(W1, [3]))) == ["t2"]


def test_who_dies_with_it_had_not_begun_it(node: Node) -> None:
    node.tell(HandBack([T2, T3]), DOOR)
    turn = node.died(2)
    assert only(node.told(turn)).task_id == "t1"
    assert returned(turn) == ["t2", "t3"]


def test_a_task_that_is_cancelled_meanwhile_ends(node: Node) -> None:
    node.tell(HandBack([T2]), DOOR)
    node.tell(CancelTasks([T2]), DOOR)
    turn = node.tell(TasksRecalled(W1, [3, 4]))
    assert only(node.told(turn)).state is TaskState.CANCELLED
    assert not returned(turn)


def test_it_is_still_asked_for_after_a_new_registration(node: Node) -> None:
    node.tell(HandBack([T2]), DOOR)
    node.held()
    node.come_back([("t1", 1), ("t2", 2), ("t3", 1)])
    turn = node.tell(TasksRecalled(W1, [3, 4]))
    assert only(sent_to(turn, DOOR, Returned)).leases == [Holding(T2, 2)]
