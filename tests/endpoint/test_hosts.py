"""A manager's actors begin once, and how they ended is kept until acknowledged."""

import random

from actors.endpoint.manager import Manager, ManagerSettings
from actors.logic.turn import LinkClosed, Turn
from actors.logic.workers import (
    AssignTasks,
    ExpectCalls,
    KillWorker,
    StartWorker,
    StopWorker,
    TasksRan,
    TellWorker,
    WorkerDied,
    WorkerSaid,
    WorkerStarted,
)
from actors.messages import (
    AckEnded,
    ActorEnded,
    ActorExits,
    ActorOptions,
    ActorsStarted,
    Adopted,
    BlockId,
    CancelTasks,
    EndActors,
    Failure,
    FailureKind,
    Finished,
    Holding,
    Hosting,
    Incarnation,
    Interrupt,
    Lease,
    LeaseCalls,
    Leased,
    LeasedCall,
    ManagerId,
    Ran,
    Report,
    Returned,
    StartActors,
    TaskId,
    TaskState,
    TaskWaits,
    WorkerId,
)
from tests.endpoint.talk import PYTHON, TOKEN, Talk, all_of, only, sent_to

DOOR = "interchange"
FIRST = Incarnation("a", 1)
HOST = WorkerId("m-a1")


class Floor(Talk):
    """A manager of two workers that an interchange has let in."""

    machine: Manager

    def __init__(self, slots: int = 2) -> None:
        settings = ManagerSettings(
            ManagerId("m"), BlockId("b"), slots, "i", TOKEN, PYTHON, "h", 1
        )
        super().__init__(Manager(settings, random.Random(1), 100.0))
        self.live(0.01)
        self.enter()
        for worker_id in list(self.machine.crew.workers):
            self.tell(WorkerStarted(worker_id, 1))

    def start(self, **options: float) -> Turn:
        hosting = Hosting(FIRST, b"class", b"args", ActorOptions("A", **options))  # type: ignore[arg-type]
        return self.tell(StartActors([hosting]), DOOR)

    def construct(self) -> Turn:
        self.start()
        return self.tell(TasksRan(HOST, [Ran(1, True, b"", 1.0, 2.0)]))

    def call(self, *task_ids: str) -> Turn:
        calls = [LeasedCall(TaskId(t), 1, b"@m", b"", FIRST) for t in task_ids]
        return self.tell(LeaseCalls(calls), DOOR)

    def die(self, begun: int, **how: int | None) -> Turn:
        death = {"exit_code": 3, "signal": None, **how}
        return self.tell(
            WorkerDied(HOST, death["exit_code"], death["signal"], 0, 0.0, begun, "tail")
        )


def finished(turn: Turn) -> dict[str, TaskState]:
    outcomes = [o for f in sent_to(turn, DOOR, Finished) for o in f.outcomes]
    return {o.task_id: o.state for o in outcomes}


def test_an_incarnation_is_begun_once_and_told_when_constructed() -> None:
    floor = Floor()
    turn = floor.start()
    assert only(all_of(turn.effects, StartWorker)).become is not None
    assert [run.seq for run in only(all_of(turn.effects, AssignTasks)).runs] == [1]
    assert not all_of(floor.start().effects, StartWorker)
    turn = floor.tell(TasksRan(HOST, [Ran(1, True, b"", 1.0, 2.0)]))
    assert only(sent_to(turn, DOOR, ActorsStarted)).actors == [FIRST]


def test_calls_are_answered_in_any_order() -> None:
    floor = Floor()
    floor.construct()
    assert [r.seq for r in only(all_of(floor.call("x", "y").effects, AssignTasks)).runs]
    turn = floor.tell(TasksRan(HOST, [Ran(3, True, b"r", 1.0, 2.0)]))
    assert finished(turn) == {"y": TaskState.SUCCESS}
    turn = floor.tell(TasksRan(HOST, [Ran(2, True, b"r", 1.0, 2.0)]))
    assert finished(turn) == {"x": TaskState.SUCCESS}


def test_a_death_fails_what_had_begun_and_hands_the_rest_back() -> None:
    floor = Floor()
    floor.construct()
    floor.call("x", "y", "z")
    turn = floor.die(begun=3)
    ended = only(sent_to(turn, DOOR, ActorEnded))
    assert (ended.reason, ended.last_words) == ("crashed", "tail")
    assert "exited with code 3" in ended.message
    assert finished(turn) == {"x": TaskState.FAILED, "y": TaskState.FAILED}
    assert only(sent_to(turn, DOOR, Returned)).leases == [Holding(TaskId("z"), 1)]
    kinds = [type(m) for _, m in turn.sends]
    assert kinds.index(ActorEnded) < kinds.index(Finished) < kinds.index(Returned)


def test_a_constructors_exception_is_the_end_and_tells_why() -> None:
    floor = Floor()
    floor.start()
    failure = Failure(FailureKind.EXCEPTION, "ValueError: no", "traceback")
    turn = floor.tell(TasksRan(HOST, [Ran(1, False, b"error", 1.0, 2.0, failure)]))
    assert only(all_of(turn.effects, KillWorker)).worker_id == HOST
    ended = only(sent_to(floor.die(1, exit_code=None, signal=9), DOOR, ActorEnded))
    assert (ended.reason, ended.payload) == ("constructor_failed", b"error")
    assert ended.message == "its constructor failed: ValueError: no"


def test_an_actor_that_leaves_or_is_let_go_has_exited() -> None:
    for message, sender in (
        (WorkerSaid(HOST, ActorExits(2)), ""),
        (EndActors([FIRST], False), DOOR),
    ):
        floor = Floor()
        floor.construct()
        turn = floor.tell(message, sender)
        assert only(all_of(turn.effects, StopWorker)).worker_id == HOST
        # What comes now has not begun, and never will.
        assert only(sent_to(floor.call("late"), DOOR, Returned)).leases
        ended = only(sent_to(floor.die(0, exit_code=0), DOOR, ActorEnded))
        assert ended.reason == "exited"


def test_an_end_is_told_at_each_registration_until_acknowledged() -> None:
    floor = Floor()
    floor.construct()
    floor.die(begun=1)
    floor.tell(LinkClosed(DOOR))
    assert floor.machine.membership._hello().actors == [FIRST]
    assert only(sent_to(floor.enter(), DOOR, ActorEnded)).of == FIRST
    floor.tell(Adopted([], [FIRST]), DOOR)
    floor.tell(AckEnded([FIRST]), DOOR)
    assert floor.machine.membership._hello().actors == []


def test_calls_of_an_actor_that_died_between_knock_and_answer_are_handed_back() -> None:
    floor = Floor()
    floor.construct()
    floor.call("x", "y")
    floor.tell(LinkClosed(DOOR))
    floor.live(1.0)
    floor.die(begun=2)
    floor.enter()
    held = [Holding(TaskId(t), 1) for t in ("x", "y")]
    turn = floor.tell(Adopted(held, [FIRST]), DOOR)
    # What had begun is in the outbox.
    assert only(sent_to(turn, DOOR, Returned)).leases == [Holding(TaskId("y"), 1)]


def test_what_is_not_adopted_is_killed_and_its_calls_are_forgotten() -> None:
    floor = Floor()
    floor.construct()
    floor.call("x")
    floor.tell(LinkClosed(DOOR))
    assert floor.machine.membership._hello().held == [Holding(TaskId("x"), 1)]
    assert only(sent_to(floor.enter(), DOOR, ActorsStarted)).actors == [FIRST]
    turn = floor.tell(Adopted([], []), DOOR)
    assert only(all_of(turn.effects, KillWorker)).worker_id == HOST
    assert not finished(floor.die(begun=2))


def test_a_cancelled_call_is_interrupted_and_ends_as_cancelled() -> None:
    floor = Floor()
    floor.construct()
    floor.call("x")
    turn = floor.tell(CancelTasks([TaskId("x")], True), DOOR)
    assert only(all_of(turn.effects, TellWorker)) == TellWorker(HOST, Interrupt(2))
    failure = Failure(FailureKind.EXCEPTION, "KeyboardInterrupt")
    turn = floor.tell(TasksRan(HOST, [Ran(2, False, b"", 1.0, 2.0, failure)]))
    assert finished(turn) == {"x": TaskState.CANCELLED}


def test_an_actor_that_takes_processors_leaves_fewer_places_for_tasks() -> None:
    floor = Floor(slots=2)
    turn = floor.start(num_cpus=1.5)
    assert only(sent_to(turn, DOOR, Report)).window == 0
    lease = Lease([Leased(TaskId("t"), 1, b"f", b"")])
    assert not all_of(floor.tell(lease, DOOR).effects, AssignTasks)
    assert all_of(floor.die(0).effects, AssignTasks), "its places are free again"


def test_the_place_of_a_task_that_waits_is_anothers() -> None:
    floor = Floor(slots=1)
    worker_id = next(iter(floor.machine.crew.workers))
    leases = [Leased(TaskId(t), 1, b"f", b"") for t in ("parent", "child")]
    floor.tell(Lease(leases[:1]), DOOR)
    turn = floor.tell(WorkerSaid(worker_id, TaskWaits(True)))
    assert [type(effect) for effect in turn.effects][:2] == [ExpectCalls, StartWorker]
    spare = only(all_of(turn.effects, StartWorker)).worker_id
    assert only(sent_to(turn, DOOR, Report)).window == 2
    floor.tell(WorkerStarted(spare, 2))
    turn = floor.tell(Lease(leases[1:]), DOOR)
    assert only(all_of(turn.effects, AssignTasks)).worker_id == spare
    floor.tell(TasksRan(spare, [Ran(1, True, b"", 1.0, 2.0)]))
    floor.tell(WorkerSaid(worker_id, TaskWaits(False)))
    # For a while it is kept: the next call may come soon.
    assert only(all_of(floor.live(2.0).effects, StopWorker)).worker_id == spare
    turn = floor.tell(WorkerDied(spare, 0, None, 0, 0.0, 1, ""))
    assert not all_of(floor.live(1.0).effects, StartWorker)
