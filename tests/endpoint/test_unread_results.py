"""Who does not read gets nothing more done, loses nothing, and holds up nobody else."""

import pytest

from actors.logic.clients import OUTCOME_BYTES
from actors.logic.turn import LinkClosed, Turn
from actors.messages import (
    Accepted,
    AckResults,
    CancelTasks,
    ClientId,
    Delta,
    Finished,
    Goodbye,
    HandBack,
    Holding,
    Lease,
    Notice,
    Report,
    Reregister,
    Returned,
    Submit,
    TaskId,
    TaskState,
)
from tests.endpoint.talk import (
    all_of,
    hello,
    manager_hello,
    only,
    outcome,
    sent_to,
    task,
)
from tests.endpoint.test_interchange import CLIENT, MANAGER, Desk, lost

C1 = ClientId("c1")
T4, T5 = TaskId("t4"), TaskId("t5")
# Of results with one byte: the third is too much.
TWO_RESULTS = 2 * (OUTCOME_BYTES + 1)


@pytest.fixture
def desk() -> Desk:
    """An interchange that gives clients two results, a client, and one slot."""
    desk = Desk(max_unread_bytes=TWO_RESULTS)
    desk.admit(hello("client", "c1"))
    desk.admit(manager_hello())
    return desk


def leased(turn: Turn) -> list[str]:
    return [t.task_id for m in sent_to(turn, MANAGER, Lease) for t in m.tasks]


@pytest.fixture
def stuck(desk: Desk) -> Desk:
    """The client has three results that it did not read; t4 and t5 wait."""
    desk.submit("t1", "t2", "t3", "t4", "t5")
    assert leased(desk.tell(Finished([outcome("t1")]), MANAGER)) == ["t2"]
    assert leased(desk.tell(Finished([outcome("t2")]), MANAGER)) == ["t3"]
    turn = desk.tell(Finished([outcome("t3")]), MANAGER)
    assert leased(turn) == []
    assert "c1 has left 3003 bytes of results unread" in only(
        [e.text for e in all_of(turn.events, Notice)]
    )
    return desk


def read(desk: Desk, *task_ids: str) -> Turn:
    return desk.tell(AckResults([TaskId(t) for t in task_ids]), CLIENT)


def test_no_task_is_started_for_who_does_not_read_until_it_has_read_half(
    stuck: Desk,
) -> None:
    assert stuck.machine.ledger.waiting == 0, "no node can help"
    assert leased(read(stuck, "t1")) == []
    assert leased(read(stuck, "t2")) == ["t4"]
    assert leased(stuck.tell(Finished([outcome("t4")]), MANAGER)) == ["t5"]


def test_the_tasks_of_others_go_on(stuck: Desk) -> None:
    stuck.admit(hello("client", "c2"))
    turn = stuck.tell(Submit([task("u1")]), "client:c2")
    assert leased(turn) == ["u1"]


def test_new_tasks_stay_with_the_client_which_is_called_back(stuck: Desk) -> None:
    turn = stuck.submit("t5", "t6")
    assert only(sent_to(turn, CLIENT, Accepted)).task_ids == ["t5"], "t5 is known"
    assert TaskId("t6") not in stuck.machine.ledger.entries
    assert not sent_to(read(stuck, "t1"), CLIENT, Reregister)
    turn = read(stuck, "t2", "t3")
    assert len(sent_to(turn, CLIENT, Reregister)) == 1
    assert only(sent_to(stuck.submit("t6"), CLIENT, Accepted)).task_ids == ["t6"]


def test_who_comes_back_is_told_all_of_its_results(stuck: Desk) -> None:
    stuck.tell(LinkClosed(CLIENT))
    turn = stuck.admit(hello("client", "c1"))
    assert [o.task_id for o in stuck.results(turn)] == ["t1", "t2", "t3"]
    assert leased(read(stuck, "t1", "t2", "t3")) == ["t4"]


def test_results_for_who_is_away_count_too(desk: Desk) -> None:
    desk.submit("t1", "t2", "t3", "t4")
    desk.tell(LinkClosed(CLIENT))
    for number in (1, 2, 3):
        desk.tell(Finished([outcome(f"t{number}")]), MANAGER)
    assert desk.machine.ledger.held_back[C1]
    desk.admit(hello("client", "c1"))
    assert leased(read(desk, "t1", "t2", "t3")) == ["t4"]


def test_tasks_that_were_held_back_can_be_cancelled(stuck: Desk) -> None:
    turn = stuck.tell(CancelTasks([TaskId("t4")]), CLIENT)
    assert [o.task_id for o in stuck.results(turn)] == ["t4"]
    assert leased(read(stuck, "t1", "t2", "t3", "t4")) == ["t5"]


def test_nothing_is_left_of_a_client_that_leaves(stuck: Desk) -> None:
    stuck.tell(Goodbye("done"), CLIENT)
    assert not stuck.machine.ledger.entries
    assert not stuck.machine.ledger.held_back
    assert not stuck.machine.clients


def test_a_lost_task_waits_again_and_is_counted_once(desk: Desk) -> None:
    desk.submit("t1", "t2", "t3", "t4")
    for number in (1, 2, 3):
        desk.tell(Finished([outcome(f"t{number}")]), MANAGER)
    read(desk, "t1", "t2", "t3")
    lost(desk)
    assert desk.machine.ledger.waiting == 1
    assert leased(desk.admit(manager_hello())) == ["t4"]


def far_ahead(desk: Desk) -> None:
    """Let the manager have all seven tasks, of which t1 to t3 have ended unread."""
    desk.tell(Report(10, []), MANAGER)
    desk.submit(*(f"t{number}" for number in range(1, 8)))
    desk.tell(Report(10, [Delta(T4, 1, TaskState.RUNNING, 1.0)]), MANAGER)
    desk.tell(Finished([outcome("t1"), outcome("t2")]), MANAGER)


def test_what_managers_have_not_begun_is_called_back(desk: Desk) -> None:
    far_ahead(desk)
    turn = desk.tell(Finished([outcome("t3")]), MANAGER)
    asked = only(sent_to(turn, MANAGER, HandBack))
    assert asked.task_ids == ["t5", "t6", "t7"], "t4 runs"
    back = [Holding(task_id, 1) for task_id in asked.task_ids]
    assert leased(desk.tell(Returned(back), MANAGER)) == []
    assert leased(desk.tell(Report(10, []), MANAGER)) == []
    assert list(desk.leases()) == ["t4"]
    # They wait in their order for who reads, before those that came later.
    assert leased(read(desk, "t1", "t2")) == ["t5", "t6", "t7"]


def test_what_others_want_of_managers_is_not_called_back(desk: Desk) -> None:
    desk.admit(hello("client", "c2"))
    far_ahead(desk)
    desk.tell(Submit([task("u1")]), "client:c2")
    assert "u1" in desk.leases()
    turn = desk.tell(Finished([outcome("t3")]), MANAGER)
    assert "u1" not in only(sent_to(turn, MANAGER, HandBack)).task_ids


def test_what_comes_back_after_its_client_was_let_go_goes_on(desk: Desk) -> None:
    far_ahead(desk)
    desk.tell(Finished([outcome("t3")]), MANAGER)
    read(desk, "t1", "t2", "t3")
    turn = desk.tell(Returned([Holding(T5, 1)]), MANAGER)
    assert leased(turn) == ["t5"]


def test_what_is_lost_of_who_does_not_read_waits_for_it(desk: Desk) -> None:
    far_ahead(desk)
    desk.tell(Finished([outcome("t3")]), MANAGER)
    lost(desk)
    assert leased(desk.admit(manager_hello(instance="i2"))) == []
    assert leased(read(desk, "t1", "t2", "t3")) == ["t4"]


def test_a_successor_holds_back_what_its_predecessor_did(stuck: Desk) -> None:
    heir = Desk(max_unread_bytes=TWO_RESULTS)
    records = [record for some in stuck.machine.snapshot() for record in some]
    heir.machine.restore(records, heir.now)
    heir.machine.check()
    assert [e.task.task_id for e in heir.machine.ledger.held_back[C1]] == ["t4", "t5"]
    heir.admit(hello("client", "c1"))
    heir.admit(manager_hello())
    assert leased(read(heir, "t1", "t2")) == ["t4"]
