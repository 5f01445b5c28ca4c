"""A leased task ends once and its outcome is kept until it is acknowledged."""

import random
from collections import Counter
from typing import Any

import pytest

from actors.endpoint.manager import (
    ABANDONED_AFTER,
    EXIT_AGAIN,
    REPORT_RUNNING_AFTER,
    Manager,
    ManagerSettings,
    MeasureWorkers,
    WorkersMeasured,
    WorkerUsage,
)
from actors.errors import BrokenInvariant
from actors.logic.item_streams import ALL_ITEMS
from actors.logic.patience import INTERRUPT_GRACE, RECALL_AFTER
from actors.logic.turn import Answered, Exit, HangUp, Knock, LinkClosed, Quit, Turn
from actors.logic.workers import (
    AssignTasks,
    KillWorker,
    RecallTasks,
    StartWorker,
    TasksRan,
    TasksRecalled,
    TellWorker,
    WorkerDied,
    WorkerSaid,
    WorkerStarted,
)
from actors.messages import (
    STREAMING,
    AckFinished,
    Adopted,
    BlockId,
    Call,
    CancelTasks,
    Delta,
    Drain,
    Failure,
    FailureKind,
    Finished,
    Goodbye,
    Heartbeat,
    Holding,
    Interrupt,
    ItemsMark,
    ItemsTaken,
    ItemsYielded,
    Lease,
    Leased,
    ManagerId,
    MoreItems,
    Outcome,
    Ran,
    Refused,
    Report,
    Reregister,
    RestartManager,
    Returned,
    Run,
    Stop,
    TaskId,
    TaskState,
    Value,
    WorkerId,
    WorkerReport,
    Yielded,
)
from tests.endpoint.talk import (
    MAX_FRAME_BYTES,
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    only,
    sent_to,
    welcome,
)

DOOR = "interchange"
W1, W2, W3 = WorkerId("m1-w1"), WorkerId("m1-w2"), WorkerId("m1-w3")
T1, T2, T3 = TaskId("t1"), TaskId("t2"), TaskId("t3")


class Node(Talk):
    """A manager to talk with; `slots` workers are started.

    Args:
        slots: of the manager.
        is_in: whether it has been let in.
    """

    machine: Manager

    def __init__(self, slots: int = 1, *, is_in: bool = True) -> None:
        settings = ManagerSettings(
            ManagerId("m1"), BlockId("b1"), slots, "i", TOKEN, PYTHON, "h", 7, 2.0
        )
        super().__init__(Manager(settings, random.Random(0), 100.0))
        started = all_of(self.wait(0.0).effects, StartWorker)
        assert len(started) == slots
        for number, start in enumerate(started):
            self.tell(WorkerStarted(start.worker_id, 10 + number))
        if is_in:
            self.tell(Answered(DOOR, welcome()))
            self.tell(Heartbeat(), DOOR)

    def lease(self, *task_ids: str, attempt: int = 1) -> Turn:
        tasks = [Leased(TaskId(t), attempt, b"f", t.encode()) for t in task_ids]
        return self.tell(Lease(tasks), DOOR)

    def ran(
        self,
        seq: int,
        worker_id: WorkerId = W1,
        *,
        duration: float = 1.0,
        payload: bytes = b"r",
        failure: Failure | None = None,
    ) -> Turn:
        ran = Ran(seq, failure is None, payload, 5.0, 5.0 + duration, failure)
        return self.tell(TasksRan(worker_id, [ran]))

    def died(
        self, begun_seq: int, worker_id: WorkerId = W1, signal: int | None = 9
    ) -> Turn:
        code = None if signal else 3
        return self.tell(
            WorkerDied(worker_id, code, signal, 3 << 20, 0.1, begun_seq, "oops")
        )

    def told(self, turn: Turn) -> list[Outcome]:
        return [o for f in sent_to(turn, DOOR, Finished) for o in f.outcomes]

    def held(self) -> list[tuple[str, int]]:
        """What it would say that it holds."""
        self.tell(LinkClosed(DOOR))
        hello = only(all_of(self.live(1.0).effects, Knock)).hello
        return [(h.task_id, h.attempt) for h in hello.held]

    def come_back(self, adopted: list[tuple[str, int]]) -> Turn:
        """Be let in again and told what to keep; what follows from both."""
        turn = self.tell(Answered(DOOR, welcome()))
        told = [Holding(TaskId(t), attempt) for t, attempt in adopted]
        later = self.tell(Adopted(told), DOOR)
        turn.sends += later.sends
        turn.effects += later.effects
        return turn


@pytest.fixture
def node() -> Node:
    """A manager with one worker."""
    return Node()


@pytest.fixture
def quick() -> Node:
    """A manager with one worker, which has learnt that its tasks are short."""
    node = Node()
    node.lease("t0")
    node.ran(1, duration=0.0)
    node.tell(AckFinished([TaskId("t0")]), DOOR)
    return node


@pytest.fixture
def prefetched(quick: Node) -> Node:
    """A manager whose worker runs t1 and has t2 waiting behind."""
    turn = quick.lease("t1", "t2")
    assert [r.seq for r in only(all_of(turn.effects, AssignTasks)).runs] == [2, 3]
    return quick


# Joining


def test_workers_start_with_the_manager_not_with_its_membership() -> None:
    assert Node(2, is_in=False).machine.crew.workers.keys() == {W1, W2}


def test_it_introduces_itself_with_slots_and_block() -> None:
    hello = only(all_of(Node(2, is_in=False).live(6.0).effects, Knock)).hello
    assert (hello.kind, hello.member_id, hello.block_id, hello.slots) == (
        "manager",
        "m1",
        "b1",
        2,
    )
    assert (hello.pid, hello.host, hello.held) == (7, "h", [])


def test_a_final_refusal_ends_it() -> None:
    node = Node(is_in=False)
    turn = node.tell(Answered(DOOR, Refused("wrong token")))
    assert turn.effects == [Exit(3, "wrong token")]
    assert not node.tell(Answered(DOOR, Refused("wrong token"))).effects, "once"


def test_a_refusal_for_now_is_followed_by_another_knock() -> None:
    node = Node(is_in=False)
    assert not node.tell(Answered(DOOR, Refused("a rival", is_final=False))).effects
    assert all_of(node.live(1.0).effects, Knock)


def test_a_manager_that_nobody_wants_ends_itself() -> None:
    node = Node(is_in=False)
    node.now += ABANDONED_AFTER + 1.0
    assert all_of(node.wait(0.0).effects, Exit) == [
        Exit(4, "no interchange for 3600 s")
    ]


def test_an_interchange_that_falls_silent_is_waited_for_as_long(node: Node) -> None:
    node.live_beside(DOOR, ABANDONED_AFTER)
    turn = node.live(60.0)
    assert all_of(turn.effects, HangUp) == [HangUp(DOOR)]
    assert not all_of(turn.effects, Exit)
    assert all_of(node.live(ABANDONED_AFTER).effects, Exit)


def test_it_refuses_everybody_at_its_door(node: Node) -> None:
    admission, turn = node.ask(
        only(all_of(Node(is_in=False).live(6).effects, Knock)).hello
    )
    assert not admission.peer
    assert turn == Turn()


# Running


def test_a_lease_goes_to_an_idle_worker_at_once(node: Node) -> None:
    turn = node.lease("t1")
    assert turn.effects == [AssignTasks(W1, [Run(1, b"f", b"t1")])]


def test_nothing_waits_behind_a_task_of_unknown_length(node: Node) -> None:
    node.lease("t1", "t2")
    assert [t.task_id for t in node.machine.queues.plain] == ["t2"]
    turn = node.ran(1)
    assert only(all_of(turn.effects, AssignTasks)).runs == [Run(2, b"f", b"t2")]


def test_every_idle_worker_gets_a_share_of_what_may_be_prefetched() -> None:
    node = Node(2)
    assert [a.worker_id for a in node.lease("ta", "tb").effects] == [W1, W2]  # type: ignore[attr-defined]
    node.ran(1, duration=0.0)
    node.ran(1, W2, duration=0.0)
    turn = node.lease("t1", "t2", "t3", "t4")
    runs: Counter[WorkerId] = Counter()
    for assigned in all_of(turn.effects, AssignTasks):
        runs[assigned.worker_id] += len(assigned.runs)
    assert runs.keys() == {W1, W2}
    assert runs.total() == 4


def test_an_outcome_is_told_at_once_with_its_steps(node: Node) -> None:
    node.lease("t1")
    told = only(node.told(node.ran(1)))
    assert (told.task_id, told.attempt, told.state) == ("t1", 1, TaskState.SUCCESS)
    assert [(s.state, s.at, s.place) for s in told.steps] == [
        (TaskState.RUNNING, 5.0, W1),
        (TaskState.SUCCESS, 6.0, ""),
    ]


def test_a_users_failure_is_told_with_its_payload(node: Node) -> None:
    node.lease("t1")
    failure = Failure(FailureKind.EXCEPTION, "ValueError", "traceback")
    told = only(node.told(node.ran(1, payload=b"e", failure=failure)))
    assert (told.state, told.payload, told.failure) == (TaskState.FAILED, b"e", failure)


def test_a_result_that_fits_no_frame_fails_and_says_what_to_do() -> None:
    node = Node(is_in=False)
    node.tell(Answered(DOOR, welcome(max_frame_bytes=5000)))
    node.lease("t1")
    told = only(node.told(node.ran(1, payload=bytes(2000))))
    assert told.failure is not None
    assert told.failure.kind is FailureKind.TOO_LARGE
    assert "result of 2000 bytes" in told.failure.message
    assert "max_frame_bytes 5000" in told.failure.message
    assert told.payload == b""


def test_answers_out_of_order_are_our_own_fault(node: Node) -> None:
    node.lease("t1")
    with pytest.raises(BrokenInvariant, match="answered 2"):
        node.ran(2)


# The outbox


def test_an_outcome_is_kept_until_its_very_attempt_is_acknowledged(
    node: Node,
) -> None:
    node.lease("t1", attempt=2)
    node.ran(1)
    node.tell(AckFinished([T1, T2]), DOOR)
    assert node.machine.outbox.keys() == {T1}
    node.tell(AckFinished([T1], 2), DOOR)
    assert not node.machine.outbox
    node.tell(AckFinished([T1], 2), DOOR)


def test_what_is_unacknowledged_is_told_again_to_who_lets_it_in(node: Node) -> None:
    node.lease("t1")
    node.tell(LinkClosed(DOOR))
    assert not node.ran(1).sends, "nobody is there"
    assert node.held() == [("t1", 1)]
    assert only(node.told(node.tell(Answered(DOOR, welcome())))).task_id == "t1"


def test_workers_go_on_while_nobody_is_there(node: Node) -> None:
    node.lease("t1", "t2")
    node.tell(LinkClosed(DOOR))
    assert all_of(node.ran(1).effects, AssignTasks)


@pytest.mark.parametrize("message", [Reregister("who?"), Goodbye("restarting")])
def test_who_is_sent_away_comes_again(node: Node, message: Any) -> None:
    turn = node.tell(message, DOOR)
    assert turn.effects == [HangUp(DOOR)]
    assert all_of(node.live(6.0).effects, Knock)


def test_it_says_what_it_holds_wherever_it_is(prefetched: Node) -> None:
    prefetched.lease("t3")
    prefetched.machine.queues.plain.append(Leased(TaskId("t4"), 3, b"f", b""))
    prefetched.ran(2)
    assert sorted(prefetched.held()) == [("t1", 1), ("t2", 1), ("t3", 1), ("t4", 3)]


# Adoption


def test_what_is_adopted_goes_on_under_its_new_attempt(prefetched: Node) -> None:
    node = prefetched
    node.held()
    turn = node.come_back([("t1", 2), ("t2", 2)])
    assert not all_of(turn.effects, KillWorker)
    assert node.held() == [("t1", 2), ("t2", 2)]
    node.come_back([("t1", 2), ("t2", 2)])
    assert only(node.told(node.ran(2))).attempt == 2


def test_a_running_task_under_a_new_attempt_is_reported_again(node: Node) -> None:
    node.lease("t1")
    node.held()
    node.come_back([("t1", 2)])
    deltas = [d for r in sent_to(node.live(2.5), DOOR, Report) for d in r.deltas]
    assert [(d.attempt, d.state) for d in deltas] == [(2, TaskState.RUNNING)]


def test_what_is_not_adopted_is_dropped_without_a_word(prefetched: Node) -> None:
    node = prefetched
    node.held()
    turn = node.come_back([])
    assert all_of(turn.effects, KillWorker) == [KillWorker(W1)]
    turn = node.died(2)
    assert not node.told(turn)
    assert not node.machine.queues.plain
    assert not node.held()


def test_a_follower_that_is_not_adopted_is_recalled(prefetched: Node) -> None:
    node = prefetched
    node.held()
    turn = node.come_back([("t1", 1)])
    assert turn.effects[-1] == RecallTasks(W1)
    turn = node.tell(TasksRecalled(W1, [3]))
    assert not turn.sends
    assert not node.machine.queues.plain


def test_an_outcome_that_is_not_adopted_is_dropped(node: Node) -> None:
    node.lease("t1")
    node.ran(1)
    node.held()
    node.come_back([])
    assert not node.machine.outbox


def test_a_dropped_task_that_ends_before_the_kill_is_dropped_still(
    node: Node,
) -> None:
    node.lease("t1")
    node.held()
    node.come_back([])
    assert not node.told(node.ran(1))


def test_what_is_dropped_is_not_held_any_more(node: Node) -> None:
    """Otherwise it would be adopted, and nobody would ever end it."""
    node.lease("t1")
    node.held()
    node.come_back([])
    assert node.held() == []


def test_a_task_may_come_back_while_its_old_attempt_is_dying(node: Node) -> None:
    node.lease("t1")
    node.held()
    node.come_back([])
    node.lease("t1", attempt=2)
    turn = node.died(1)
    assert not node.told(turn)
    node.live(0.1)
    turn = node.tell(WorkerStarted(W2, 11))
    assert only(all_of(turn.effects, AssignTasks)).runs == [Run(1, b"f", b"t1")]


def test_a_cancelled_follower_that_is_adopted_still_ends_as_cancelled(
    prefetched: Node,
) -> None:
    node = prefetched
    node.tell(CancelTasks([T2], if_running=False), DOOR)
    node.held()
    node.come_back([("t1", 2), ("t2", 2)])
    told = only(node.told(node.tell(TasksRecalled(W1, [3]))))
    assert (told.task_id, told.attempt, told.state) == ("t2", 2, TaskState.CANCELLED)


def test_a_cancelled_task_that_began_and_died_still_has_an_outcome(
    prefetched: Node,
) -> None:
    node = prefetched
    node.tell(CancelTasks([T2], if_running=False), DOOR)
    node.held()
    node.come_back([("t1", 1), ("t2", 1)])
    node.ran(2)
    told = only(node.told(node.died(3)))
    assert (told.task_id, told.state) == ("t2", TaskState.CANCELLED)


# Cancelling


def test_a_queued_task_is_cancelled_at_once(node: Node) -> None:
    node.lease("t1", "t2")
    turn = node.tell(CancelTasks([T2, T3]), DOOR)
    assert only(node.told(turn)).state is TaskState.CANCELLED
    assert not turn.effects


def test_a_running_task_is_cancelled_with_its_worker(node: Node) -> None:
    node.lease("t1")
    turn = node.tell(CancelTasks([T1]), DOOR)
    assert turn.effects == [KillWorker(W1)]
    assert not node.tell(CancelTasks([T1]), DOOR).effects, "once"
    turn = node.died(1)
    told = only(node.told(turn))
    assert (told.state, told.failure) == (TaskState.CANCELLED, None)
    assert all_of(node.live(0.1).effects, StartWorker) == [StartWorker(W2)]


def test_a_running_task_goes_on_if_only_waiting_ones_are_cancelled(
    node: Node,
) -> None:
    node.lease("t1")
    assert not node.tell(CancelTasks([T1], if_running=False), DOOR).effects
    assert only(node.told(node.ran(1))).state is TaskState.SUCCESS


def test_a_result_that_overtakes_the_kill_counts(node: Node) -> None:
    node.lease("t1")
    node.tell(CancelTasks([T1]), DOOR)
    assert only(node.told(node.ran(1))).state is TaskState.SUCCESS
    assert not node.told(node.died(1))


def test_a_task_killed_before_it_began_is_cancelled_all_the_same(node: Node) -> None:
    node.lease("t1")
    node.tell(CancelTasks([T1]), DOOR)
    assert only(node.told(node.died(0))).state is TaskState.CANCELLED


def test_a_prefetched_task_is_recalled_and_cancelled(prefetched: Node) -> None:
    turn = prefetched.tell(CancelTasks([T2]), DOOR)
    assert turn.effects == [RecallTasks(W1)]
    turn = prefetched.tell(TasksRecalled(W1, [3]))
    assert only(prefetched.told(turn)).state is TaskState.CANCELLED


def test_a_prefetched_task_that_began_meanwhile_is_killed(prefetched: Node) -> None:
    prefetched.tell(CancelTasks([T2]), DOOR)
    assert all_of(prefetched.ran(2).effects, KillWorker) == [KillWorker(W1)]
    assert only(prefetched.told(prefetched.died(3))).state is TaskState.CANCELLED


def test_a_prefetched_task_that_began_meanwhile_goes_on_if_it_may(
    prefetched: Node,
) -> None:
    prefetched.tell(CancelTasks([T2], if_running=False), DOOR)
    assert not all_of(prefetched.ran(2).effects, KillWorker)
    assert not prefetched.tell(TasksRecalled(W1, [])).effects
    assert only(prefetched.told(prefetched.ran(3))).state is TaskState.SUCCESS


def test_a_second_cancellation_may_be_sterner(prefetched: Node) -> None:
    prefetched.tell(CancelTasks([T2], if_running=False), DOOR)
    prefetched.tell(CancelTasks([T2]), DOOR)
    assert all_of(prefetched.ran(2).effects, KillWorker)


def test_a_recall_that_came_too_early_is_said_again(quick: Node) -> None:
    """The worker answers an older recall, sent before it had the task."""
    quick.lease("t1", "t2")
    quick.tell(CancelTasks([T2]), DOOR)
    turn = quick.tell(TasksRecalled(W1, []))
    assert turn.effects == [RecallTasks(W1)]


def test_the_worker_of_a_recalled_task_that_is_wanted_runs_it_later(
    prefetched: Node,
) -> None:
    prefetched.lease("t3")
    prefetched.tell(CancelTasks([T3]), DOOR)
    turn = prefetched.tell(TasksRecalled(W1, [3, 4]))
    assert only(prefetched.told(turn)).task_id == "t3"
    assert [r.arguments for r in only(all_of(turn.effects, AssignTasks)).runs] == [
        b"t2"
    ]


# Stuck heads


def test_followers_of_a_long_task_are_recalled_for_an_idle_worker() -> None:
    node = Node(2)
    node.lease("t0")
    node.ran(1, duration=0.0)
    node.lease("t1", "t2", "t3")
    assert not all_of(node.live(2 * RECALL_AFTER).effects, RecallTasks), (
        "nobody is idle"
    )
    node.ran(1, W2, duration=0.0)
    turn = node.live(2 * RECALL_AFTER)
    assert all_of(turn.effects, RecallTasks) == [RecallTasks(W1)]
    assert not all_of(node.live(1.0).effects, RecallTasks), "one at a time"
    turn = node.tell(TasksRecalled(W1, [3]))
    assert only(all_of(turn.effects, AssignTasks)).worker_id == W2


# Workers' deaths


def test_what_had_begun_failed_and_what_had_not_runs_elsewhere() -> None:
    node = Node(2)
    node.lease("t0")
    node.ran(1, duration=0.0)
    node.lease("t1", "t2", "t3", "t4")
    turn = node.died(2)
    told = only(node.told(turn))
    assert told.task_id == "t1"
    assert told.failure is not None
    assert told.failure.kind is FailureKind.WORKER_DIED
    assert told.failure.message == (
        "worker m1-w1 (pid 10 on h) died by signal 9 (SIGKILL) while it ran the task; "
        "peak memory 3 MiB"
    )
    assert told.failure.detail == "oops"
    assert [r.arguments for r in only(all_of(turn.effects, AssignTasks)).runs] == [
        b"t2",
        b"t4",
    ]


def test_a_worker_that_died_idle_costs_nothing(node: Node) -> None:
    assert not node.told(node.died(0))
    assert all_of(node.live(0.1).effects, StartWorker) == [StartWorker(W2)]


@pytest.mark.parametrize(
    ("exit_code", "signal", "how"),
    [
        (3, None, "exited with code 3"),
        (None, 11, "died by signal 11 (SIGSEGV)"),
        (None, 99, "died by signal 99 (an unnamed one)"),
        (None, None, "ended, nobody knows how,"),
    ],
)
def test_a_death_is_told_in_words(
    node: Node, exit_code: int | None, signal: int | None, how: str
) -> None:
    node.lease("t1")
    turn = node.tell(WorkerDied(W1, exit_code, signal, 0, 0.0, 1, ""))
    failure = only(node.told(turn)).failure
    assert failure is not None
    assert how in failure.message


def test_workers_that_never_come_up_are_started_ever_more_slowly() -> None:
    node = Node(is_in=False)
    waits = []
    worker_id = W1
    node.died(0)
    for _ in range(4):
        before = node.now
        while not (started := all_of(node.wait(0.01).effects, StartWorker)):
            pass
        waits.append(node.now - before)
        worker_id = only(started).worker_id
        node.tell(WorkerDied(worker_id, 1, None, 0, 0.0, 0, "ImportError"))
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[1]


# Draining


def test_draining_hands_back_what_has_not_begun(prefetched: Node) -> None:
    node = prefetched
    node.machine.queues.plain.append(Leased(T3, 1, b"f", b""))
    turn = node.tell(Drain(), DOOR)
    assert sent_to(turn, DOOR, Returned) == [Returned([Holding(T3, 1)])]
    assert turn.effects == [RecallTasks(W1)]
    turn = node.tell(TasksRecalled(W1, [3]))
    assert sent_to(turn, DOOR, Returned) == [Returned([Holding(T2, 1)])]
    turn = node.ran(2)
    assert only(node.told(turn)).task_id == "t1"


def test_a_lease_that_crosses_the_drain_is_handed_back(node: Node) -> None:
    node.tell(Drain(), DOOR)
    turn = node.lease("t1")
    assert turn.sends == [(DOOR, Returned([Holding(T1, 1)]))]


def test_a_draining_manager_whose_worker_dies_hands_the_rest_back(
    prefetched: Node,
) -> None:
    prefetched.tell(Drain(), DOOR)
    turn = prefetched.died(2)
    assert only(prefetched.told(turn)).task_id == "t1"
    assert sent_to(turn, DOOR, Returned) == [Returned([Holding(T2, 1)])]


def test_a_draining_manager_wants_nothing(node: Node) -> None:
    node.tell(Drain(), DOOR)
    assert [r.window for r in sent_to(node.live(2.1), DOOR, Report)] == [0]


@pytest.mark.parametrize(("message", "sender"), [(Stop("x"), DOOR), (Quit("x"), "")])
def test_it_says_goodbye_and_ends_in_order(
    node: Node, message: Any, sender: str
) -> None:
    turn = node.tell(message, sender)
    assert turn.sends == [(DOOR, Goodbye("x"))]
    assert turn.effects == [Exit(0, "x")]


def test_a_restart_hands_back_what_has_not_begun_and_begins_anew(
    prefetched: Node,
) -> None:
    node = prefetched
    turn = node.tell(RestartManager("an operator"), DOOR)
    assert turn.effects[:1] == [RecallTasks(W1)]
    assert only(sent_to(turn, DOOR, Report)).is_draining
    node.tell(Drain(), DOOR)
    turn = node.tell(TasksRecalled(W1, [3]))
    assert sent_to(turn, DOOR, Returned) == [Returned([Holding(T2, 1)])]
    assert turn.sends[-1] == (DOOR, Goodbye("an operator"))
    assert turn.effects == [Exit(EXIT_AGAIN, "an operator")]


def test_an_idle_manager_that_restarts_refuses_what_is_under_way(node: Node) -> None:
    turn = node.tell(RestartManager("x"), DOOR)
    assert not all_of(turn.effects, Exit)
    turn = node.lease("t1")
    assert sent_to(turn, DOOR, Returned) == [Returned([Holding(T1, 1)])]
    assert node.tell(Drain(), DOOR).effects == [Exit(EXIT_AGAIN, "x")]


@pytest.mark.parametrize("stop", [Stop("drained"), RestartManager("again")])
def test_whoever_restarts_does_so_whatever_it_is_told_next(
    node: Node, stop: Any
) -> None:
    node.tell(RestartManager("x"), DOOR)
    ends = all_of(node.tell(stop, DOOR).effects, Exit)
    ends += all_of(node.tell(Drain(), DOOR).effects, Exit)
    assert [end.code for end in ends] == [EXIT_AGAIN]


def test_a_signal_ends_a_manager_that_was_about_to_restart(node: Node) -> None:
    node.tell(RestartManager("x"), DOOR)
    node.tell(Quit("y"))
    ends = all_of(node.tell(Drain(), DOOR).effects, Exit)
    assert all(end.code == 0 for end in ends)


# Reports


def test_a_report_comes_each_period_whatever_happens(node: Node) -> None:
    node.live(2.1)
    turn = node.live(2.0)
    report = only(sent_to(turn, DOOR, Report))
    assert report == Report(1, [], [WorkerReport(W1, 10, TaskId(""), 0, 0.0)])
    assert MeasureWorkers() in turn.effects


def test_what_workers_use_is_reported_once_it_is_known(node: Node) -> None:
    node.tell(WorkersMeasured({W1: WorkerUsage(10, 5 << 20, 1.5)}))
    report = sent_to(node.live(2.1), DOOR, Report)[-1]
    assert only(report.workers) == WorkerReport(W1, 10, TaskId(""), 5 << 20, 1.5)


def test_what_the_manager_uses_itself_is_reported_too(node: Node) -> None:
    node.tell(WorkersMeasured({}, WorkerUsage(9, 30 << 20, 2.5)))
    report = sent_to(node.live(2.1), DOOR, Report)[-1]
    assert (report.rss_bytes, report.cpu_seconds) == (30 << 20, 2.5)


def test_a_task_that_runs_long_is_reported_once_and_soon(node: Node) -> None:
    node.live(2.1)
    node.lease("t1")
    turn = node.live(REPORT_RUNNING_AFTER + 0.1)
    deltas = [d for r in sent_to(turn, DOOR, Report) for d in r.deltas]
    at = node.machine.crew.workers[W1].head_since
    assert deltas == [Delta(T1, 1, TaskState.RUNNING, at, W1)]
    turn = node.live(5.0)
    assert not [d for r in sent_to(turn, DOOR, Report) for d in r.deltas]


def test_a_short_task_is_never_reported_as_running(node: Node) -> None:
    node.live(2.1)
    node.lease("t1")
    node.ran(1)
    assert not [d for r in sent_to(node.live(5.0), DOOR, Report) for d in r.deltas]


def test_short_tasks_widen_the_window_at_once(node: Node) -> None:
    node.lease("t1")
    turn = node.ran(1, duration=0.0001)
    assert only(sent_to(turn, DOOR, Report)).window > 2


def test_a_report_opens_each_membership(node: Node) -> None:
    node.lease("t1")
    node.live(2.1)
    node.held()
    report = only(sent_to(node.tell(Answered(DOOR, welcome())), DOOR, Report))
    assert only(report.deltas).task_id == "t1"


# Timeouts


def test_a_task_that_runs_too_long_is_interrupted(node: Node) -> None:
    lease = Lease([Leased(TaskId("t1"), 1, b"f", b"", 5.0)])
    effects = all_of(node.tell(lease, "interchange").effects, AssignTasks)
    worker_id = only(effects).worker_id
    assert not all_of(node.live(4.9).effects, TellWorker)
    told = only(all_of(node.live(0.2).effects, TellWorker))
    assert told == TellWorker(worker_id, Interrupt(1))
    raised = Failure(FailureKind.EXCEPTION, "KeyboardInterrupt")
    (ended,) = node.told(node.ran(1, payload=b"e", failure=raised))
    assert ended.failure is not None
    assert (ended.failure.kind, ended.payload) == (FailureKind.TIMED_OUT, b"")
    assert not all_of(node.live(60.0).effects, KillWorker)


def test_a_task_that_goes_on_beyond_its_timeout_is_ended_with_its_worker(
    node: Node,
) -> None:
    lease = Lease([Leased(TaskId("t1"), 1, b"f", b"", 5.0)])
    effects = all_of(node.tell(lease, "interchange").effects, AssignTasks)
    worker_id = only(effects).worker_id
    assert not all_of(node.live(5.0 + INTERRUPT_GRACE - 0.1).effects, KillWorker)
    assert only(all_of(node.live(0.2).effects, KillWorker)).worker_id == worker_id
    turn = node.tell(WorkerDied(worker_id, None, 9, 0, 0.0, 1, "tail"))
    (finished,) = sent_to(turn, "interchange", Finished)
    failure = finished.outcomes[0].failure
    assert failure is not None
    assert failure.kind is FailureKind.TIMED_OUT
    assert "timeout of 5 s" in failure.message


# Cancelling what runs


def cancel(grace: float | None) -> CancelTasks:
    return CancelTasks([T1], grace=grace, is_recursive=True)


RAISED = Failure(FailureKind.EXCEPTION, "KeyboardInterrupt")


def test_a_cancelled_task_is_interrupted_once_and_killed_after_its_grace(
    node: Node,
) -> None:
    node.lease("t1")
    told = only(all_of(node.tell(cancel(3.0), DOOR).effects, TellWorker))
    assert told == TellWorker(W1, Interrupt(1, True))
    # Asked again, as after a new registration.
    assert not all_of(node.tell(cancel(3.0), DOOR).effects, TellWorker)
    assert not all_of(node.live(2.9).effects, KillWorker)
    assert only(all_of(node.live(0.2).effects, KillWorker)).worker_id == W1


def test_a_cancelled_task_that_may_go_on_is_never_killed_and_what_it_returns_counts(
    node: Node,
) -> None:
    node.lease("t1")
    node.tell(cancel(-1.0), DOOR)
    assert not all_of(node.live(5.0).effects, KillWorker)
    (ended,) = node.told(node.ran(1))
    assert ended.state is TaskState.SUCCESS


def test_a_task_that_fails_when_it_is_interrupted_is_cancelled(node: Node) -> None:
    node.lease("t1")
    node.tell(cancel(-1.0), DOOR)
    (ended,) = node.told(node.ran(1, payload=b"e", failure=RAISED))
    assert ended.state is TaskState.CANCELLED


def test_a_harsher_wish_overtakes_a_gentle_one(node: Node) -> None:
    node.lease("t1")
    node.tell(cancel(-1.0), DOOR)
    assert all_of(node.tell(cancel(0.0), DOOR).effects, KillWorker)


# Generators


def lease_generator(node: Node, first: int = 0) -> None:
    task = Leased(T1, 1, b"f", b"a", streams_from=first)
    effects = all_of(node.tell(Lease([task]), DOOR).effects, AssignTasks)
    (call,) = only(effects).runs
    assert isinstance(call, Call)
    assert (call.options.num_returns, call.first_item) == (STREAMING, first)


def give(node: Node, index: int, item: bytes = b"i") -> Turn:
    return node.tell(WorkerSaid(W1, Yielded(1, index, Value(item))))


def items(turn: Turn) -> list[int]:
    return [i.index for m in sent_to(turn, DOOR, ItemsYielded) for i in m.items]


def test_items_are_told_at_once_and_again_until_they_are_taken(node: Node) -> None:
    lease_generator(node, 5)
    assert [items(give(node, index)) for index in (5, 6, 7)] == [[5], [6], [7]]
    taken = ItemsTaken([ItemsMark(T1, 7)])
    told = only(all_of(node.tell(taken, DOOR).effects, TellWorker))
    assert told == TellWorker(W1, MoreItems(1, 7))
    node.tell(LinkClosed(DOOR))
    assert items(node.come_back([("t1", 1)])) == [7]


def test_items_outlive_their_worker_and_are_forgotten_with_the_task(
    node: Node,
) -> None:
    lease_generator(node)
    give(node, 0)
    node.died(1)
    assert [item.index for item in node.machine.outflow.untaken()] == [0]
    node.tell(AckFinished([T1]), DOOR)
    assert not node.machine.outflow


def test_a_generator_that_nobody_wants_any_more_waits_for_nobody(node: Node) -> None:
    lease_generator(node)
    give(node, 0)
    node.tell(LinkClosed(DOOR))
    told = all_of(node.come_back([]).effects, TellWorker)
    assert TellWorker(W1, MoreItems(1, ALL_ITEMS)) in told


def test_an_item_that_does_not_fit_fails_its_generator(node: Node) -> None:
    lease_generator(node)
    turn = give(node, 0, bytes(MAX_FRAME_BYTES))
    assert items(turn) == []
    # Nor does it wait for ever with its next item.
    told = [effect.message for effect in all_of(turn.effects, TellWorker)]
    assert told == [Interrupt(1), MoreItems(1, 1)]
    assert items(give(node, 1)) == []
    (ended,) = node.told(node.ran(1, payload=b"e", failure=RAISED))
    assert ended.failure is not None
    assert ended.failure.kind is FailureKind.TOO_LARGE


def test_a_result_that_comes_before_the_kill_counts(node: Node) -> None:
    lease = Lease([Leased(TaskId("t1"), 1, b"f", b"", 5.0)])
    worker_id = only(
        all_of(node.tell(lease, "interchange").effects, AssignTasks)
    ).worker_id
    node.live(5.1)
    turn = node.tell(TasksRan(worker_id, [Ran(1, True, b"r", 1.0, 2.0)]))
    (finished,) = sent_to(turn, "interchange", Finished)
    assert finished.outcomes[0].state is TaskState.SUCCESS


def test_one_that_is_late_and_not_wanted_may_still_end_by_itself(node: Node) -> None:
    lease = Lease([Leased(TaskId("t1"), 1, b"f", b"", 5.0)])
    effects = all_of(node.tell(lease, DOOR).effects, AssignTasks)
    node.live(5.1)
    node.tell(LinkClosed(DOOR))
    node.come_back([])
    turn = node.tell(TasksRan(only(effects).worker_id, [Ran(1, True, b"r", 1.0, 2.0)]))
    assert not sent_to(turn, DOOR, Finished)
