"""A manager ends, replaces and limits its workers as it was told, and loses no task."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.endpoint.manager import (
    MEASURE_PERIOD,
    Manager,
    ManagerSettings,
    MeasureWorkers,
    RemoveWorkDirs,
    WorkersMeasured,
    WorkerUsage,
)
from actors.logic.care import EXIT_OVER_LIMIT, CareSettings, Place, over_work_dir
from actors.logic.turn import Answered, Exit, Quit, Turn
from actors.logic.workers import (
    AssignTasks,
    KillWorker,
    RecallTasks,
    StartWorker,
    StopWorker,
    TasksRan,
    TasksRecalled,
    TerminateWorker,
    WorkerDied,
    WorkerStarted,
)
from actors.messages import (
    AckFinished,
    BlockId,
    Drain,
    Failure,
    FailureKind,
    Finished,
    Goodbye,
    Heartbeat,
    Lease,
    Leased,
    ManagerId,
    Outcome,
    Ran,
    Report,
    Returned,
    Stop,
    TaskId,
    TaskState,
    WorkerId,
)
from tests.endpoint.talk import PYTHON, TOKEN, Talk, all_of, only, sent_to, welcome

DOOR = "interchange"
W1, W2 = WorkerId("m1-w1"), WorkerId("m1-w2")
MIB = 2**20


class Node(Talk):
    """A manager that is let in and whose workers are up."""

    machine: Manager

    def __init__(self, slots: int = 1, **care: Any) -> None:
        ours = ManagerSettings(
            ManagerId("m1"),
            BlockId("b1"),
            slots,
            "i",
            TOKEN,
            PYTHON,
            "h",
            7,
            2.0,
            care=CareSettings(**care),
        )
        super().__init__(Manager(ours, random.Random(0), 100.0))
        self.assigned: dict[WorkerId, list[int]] = {}
        self.started: list[StartWorker] = []
        self.note(self.wait(0.0))
        for start in list(self.started):
            self.up(start.worker_id)
        self.tell(Answered(DOOR, welcome()))
        self.tell(Heartbeat(), DOOR)

    def note(self, turn: Turn) -> Turn:
        for effect in turn.effects:
            match effect:
                case StartWorker():
                    self.started.append(effect)
                case AssignTasks(worker_id, runs):
                    some = self.assigned.setdefault(worker_id, [])
                    some += [run.seq for run in runs]
        return turn

    def up(self, worker_id: WorkerId) -> Turn:
        return self.note(self.tell(WorkerStarted(worker_id, 7)))

    def spend(self, seconds: float) -> Turn:
        return self.note(self.live_beside(DOOR, seconds))

    def lease(self, *task_ids: str) -> Turn:
        tasks = [Leased(TaskId(name), 1, b"f", b"a") for name in task_ids]
        return self.note(self.tell(Lease(tasks), DOOR))

    def ran(self, worker_id: WorkerId = W1, failure: Failure | None = None) -> Turn:
        seq = self.assigned[worker_id].pop(0)
        ran = Ran(seq, failure is None, b"r", 5.0, 6.0, failure)
        return self.note(self.tell(TasksRan(worker_id, [ran])))

    def died(self, worker_id: WorkerId = W1, **how: Any) -> Turn:
        begun = self.assigned.pop(worker_id, [])
        death = {
            "exit_code": None,
            "signal": 9,
            "peak_rss_bytes": 3 * MIB,
            "cpu_seconds": 0.0,
            "begun_seq": begun[0] if begun else 0,
            "stderr_tail": "oops",
        }
        return self.note(self.tell(WorkerDied(worker_id, **{**death, **how})))

    def measured(self, **rss_bytes: int) -> Turn:
        usage = {
            WorkerId(f"m1-{name}"): WorkerUsage(7, size, 0.0)
            for name, size in rss_bytes.items()
        }
        return self.note(self.tell(WorkersMeasured(usage)))

    def outcomes(self, turn: Turn) -> list[Outcome]:
        return [o for f in sent_to(turn, DOOR, Finished) for o in f.outcomes]

    def failure(self, turn: Turn) -> Failure:
        failure = only(self.outcomes(turn)).failure
        assert failure is not None
        return failure


def leaves(turn: Turn) -> bool:
    """Tell whether the interchange hears that the manager wants nothing more."""
    return any(report.is_draining for report in sent_to(turn, DOOR, Report))


# The manager's own end


def test_who_is_idle_for_long_drains_and_ends_well() -> None:
    node = Node(idle_timeout=10.0)
    assert not leaves(node.spend(9.0))
    assert leaves(node.spend(2.0))
    turn = node.tell(Stop("drained"), DOOR)
    assert only(all_of(turn.effects, Exit)).code == 0
    assert "idle for 10 s" in only(sent_to(turn, DOOR, Goodbye)).reason


def test_work_keeps_it_alive_and_its_end_starts_the_clock_anew() -> None:
    node = Node(idle_timeout=10.0)
    node.spend(8.0)
    node.lease("t1")
    assert not leaves(node.spend(20.0))
    node.ran()
    node.tell(AckFinished([TaskId("t1")]), DOOR)
    assert not leaves(node.spend(9.0))
    assert leaves(node.spend(2.0))


def test_after_so_many_tasks_it_ends_and_hands_back_the_rest() -> None:
    node = Node(2, max_tasks=3)
    node.lease("t1", "t2", "t3", "t4", "t5")
    assert sum(map(len, node.assigned.values())) <= 3
    told: list[Turn] = []
    while any(node.assigned.values()):
        worker_id = next(w for w, seqs in node.assigned.items() if seqs)
        told.append(node.ran(worker_id))
    assert sum(len(node.outcomes(turn)) for turn in told) == 3
    assert [leaves(turn) for turn in told] == [False, False, True]
    back = [h for r in sent_to(told[-1], DOOR, Returned) for h in r.leases]
    assert len(back) == 2


def test_a_task_that_was_taken_back_does_not_count() -> None:
    node = Node(max_tasks=2)
    node.machine.dealer._depth.observed(0.0, 1000)
    node.lease("t1", "t2", "t3")
    assert node.assigned[W1] == [1, 2]
    node.tell(Drain(), DOOR)
    node.tell(TasksRecalled(W1, [2]))
    assert node.machine.care.given == 1


def test_it_ends_after_an_exception_if_it_shall_and_not_after_other_failures() -> None:
    node = Node(exit_on_exception=True)
    node.lease("t1")
    large = Failure(FailureKind.TOO_LARGE, "large")
    assert not leaves(node.ran(failure=large))
    node.lease("t2")
    assert leaves(node.ran(failure=Failure(FailureKind.EXCEPTION, "ValueError")))
    tame = Node()
    tame.lease("t1")
    assert not leaves(tame.ran(failure=Failure(FailureKind.EXCEPTION, "ValueError")))


def test_asked_to_end_it_asks_its_tasks_and_waits_for_them() -> None:
    node = Node(2, termination_grace=5.0)
    node.lease("t1", "t2")
    turn = node.tell(Quit("SIGTERM"))
    asked = {effect.worker_id for effect in all_of(turn.effects, TerminateWorker)}
    assert asked == {W1, W2}
    node.tell(Drain(), DOOR)
    # One ends well, one does not: that is no word of its own.
    well = only(node.outcomes(node.ran(W1)))
    assert well.state is TaskState.SUCCESS
    failed = node.ran(W2, Failure(FailureKind.EXCEPTION, "SystemExit"))
    failure = node.failure(failed)
    assert failure.kind is FailureKind.WORKER_DIED
    assert "was asked to end while it ran the task: SIGTERM" in failure.message
    acks = [TaskId(name) for name in ("t1", "t2")]
    turn = node.tell(AckFinished(acks), DOOR)
    assert only(all_of(turn.effects, Exit)).code == 0


def test_who_does_not_end_in_time_is_left() -> None:
    node = Node(termination_grace=5.0)
    node.lease("t1")
    node.tell(Quit("SIGTERM"))
    node.tell(Drain(), DOOR)
    assert not all_of(node.spend(4.0).effects, Exit)
    assert all_of(node.spend(1.5).effects, Exit)


def test_without_a_grace_tasks_are_not_asked() -> None:
    node = Node()
    node.lease("t1")
    assert not all_of(node.tell(Quit("SIGTERM")).effects, TerminateWorker)


# Its workers


def test_after_so_many_tasks_another_worker_is_there_at_once() -> None:
    node = Node(max_tasks_per_worker=2)
    node.lease("t1", "t2", "t3")
    node.ran()
    # It runs its last task: who follows it starts, and waits.
    assert [start.worker_id for start in node.started] == [W1, W2]
    node.up(W2)
    assert W2 not in node.assigned
    turn = node.ran()
    assert only(all_of(turn.effects, StopWorker)).worker_id == W1
    assert node.assigned[W2] == [1]
    assert not all_of(node.died(W1, begun_seq=2).effects, StartWorker)


def test_a_worker_that_grows_goes_once_its_successor_is_up() -> None:
    node = Node(max_worker_growth_bytes=10 * MIB)
    node.measured(w1=20 * MIB)
    assert not all_of(node.measured(w1=29 * MIB).effects, StartWorker)
    assert all_of(node.measured(w1=31 * MIB).effects, StartWorker)
    # It goes on meanwhile, and is replaced once.
    assert not all_of(node.measured(w1=40 * MIB).effects, StartWorker)
    node.lease("t1")
    assert node.assigned[W1] == [1]
    assert not all_of(node.up(W2).effects, StopWorker)
    node.lease("t2")
    assert W2 not in node.assigned
    assert only(all_of(node.ran().effects, StopWorker)).worker_id == W1
    assert node.assigned[W2] == [1]


def test_a_worker_is_measured_before_its_first_task_can_make_it_grow() -> None:
    node = Node(max_worker_growth_bytes=10 * MIB)
    node.died()
    node.lease("t1")
    node.spend(0.1)
    assert not node.assigned
    # While it comes up it takes less than when it is there.
    node.measured(w2=MIB)
    effects = node.up(W2).effects
    kinds = [type(e) for e in effects if isinstance(e, MeasureWorkers | AssignTasks)]
    assert kinds == [MeasureWorkers, AssignTasks]
    node.measured(w2=20 * MIB)
    assert not all_of(node.measured(w2=30 * MIB).effects, StartWorker)
    assert all_of(node.measured(w2=31 * MIB).effects, StartWorker)


def test_workers_are_measured_only_where_that_is_of_use() -> None:
    node = Node(memory_limit_bytes=MIB)
    looks = all_of(node.spend(1.9).effects, MeasureWorkers)
    assert len(looks) >= 1.9 / MEASURE_PERIOD - 1
    assert len(all_of(Node().spend(1.9).effects, MeasureWorkers)) <= 1


def test_who_takes_too_much_memory_is_killed_with_both_numbers_told() -> None:
    node = Node(2, memory_limit_bytes=100 * MIB)
    node.lease("t1")
    assert not all_of(node.measured(w1=100 * MIB, w2=MIB).effects, KillWorker)
    turn = node.measured(w1=150 * MIB, w2=MIB)
    assert only(all_of(turn.effects, KillWorker)).worker_id == W1
    failure = node.failure(node.died(peak_rss_bytes=160 * MIB))
    assert failure.kind is FailureKind.MEMORY_LIMIT
    assert "it took 160 MiB of memory at its peak" in failure.message
    assert f"memory_limit_bytes is {100 * MIB} (100 MiB)" in failure.message


def test_what_the_kernel_says_of_memory_is_told() -> None:
    node = Node()
    node.lease("t1")
    failure = node.failure(node.died(has_memory_run_out=True))
    assert failure.kind is FailureKind.OUT_OF_MEMORY
    assert "peak memory 3 MiB; the kernel killed a process" in failure.message


def test_each_worker_gets_what_belongs_to_its_place_and_so_does_its_successor() -> None:
    places = (Place((0,), {"A": "0"}), Place((1,), {"A": "1"}))
    node = Node(2, places=places)
    assert [start.place for start in node.started] == list(places)
    node.died(W1)
    node.spend(0.1)
    assert node.started[-1].place == places[0]


def test_a_task_that_wrote_too_much_is_told_and_its_folder_removed() -> None:
    node = Node(has_work_dirs=True)
    node.lease("t1")
    last = over_work_dir(2000, 1000).message
    turn = node.died(exit_code=EXIT_OVER_LIMIT, signal=None, stderr_tail=f"a\n{last}\n")
    failure = node.failure(turn)
    assert failure.kind is FailureKind.WORK_DIR_LIMIT
    assert "held 2000 bytes, and its work_dir_limit_bytes is 1000" in failure.message
    assert only(all_of(turn.effects, RemoveWorkDirs)).worker_id == W1


@given(
    slots=st.integers(1, 3),
    limit=st.integers(1, 4),
    steps=st.lists(
        st.sampled_from(["lease", "ran", "up", "die", "recall"]), max_size=60
    ),
)
@settings(max_examples=80, deadline=None)
def test_recycling_loses_no_task_and_runs_no_more_at_a_time_than_it_may(
    slots: int, limit: int, steps: list[str]
) -> None:
    """The machine's own `check` looks after each step that no task is in two places."""
    node = Node(slots, max_tasks_per_worker=limit)
    node.machine.dealer._depth.observed(0.0, 1000)
    leased, ended = 0, 0

    def note(turn: Turn) -> None:
        nonlocal ended
        ended += len(node.outcomes(turn))
        for recall in all_of(turn.effects, RecallTasks):
            seqs = node.assigned.get(recall.worker_id, [])
            back, seqs[1:] = seqs[1:], []
            note(node.note(node.tell(TasksRecalled(recall.worker_id, back))))
        for stop in all_of(turn.effects, StopWorker):
            note(node.died(stop.worker_id, exit_code=0, signal=None))

    def step(name: str) -> None:
        nonlocal leased
        busy = [w for w, seqs in node.assigned.items() if seqs]
        starting = [w for w in node.machine.crew.workers.values() if not w.is_started]
        match name:
            case "lease":
                leased += 1
                note(node.lease(f"t{leased}"))
            case "ran" if busy:
                note(node.ran(busy[0]))
            case "up" if starting:
                note(node.up(starting[0].worker_id))
            case "die" if busy:
                note(node.died(busy[-1]))
            case "recall":
                note(node.spend(0.1))
        running = [w for w in node.machine.crew.workers.values() if w.backlog]
        assert len(running) <= slots
        assert all(w.ran + len(w.backlog) <= limit for w in running)

    for name in steps:
        step(name)
    for _ in range(4 * leased + 4):
        step("up")
        step("ran")
        step("recall")
    assert ended == leased
