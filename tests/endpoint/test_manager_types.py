"""A task runs in a worker of the type it asks for, or fails with the reason."""

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors.endpoint.manager import (
    TYPE_IDLE_PERIOD,
    AbandonType,
    Manager,
    ManagerSettings,
    ReleaseType,
)
from actors.logic.turn import Answered, Turn
from actors.logic.workers import (
    AssignTasks,
    StartWorker,
    StopWorker,
    TasksRan,
    WorkerDied,
    WorkerStarted,
)
from actors.messages import (
    BlockId,
    Failure,
    FailureKind,
    Finished,
    Heartbeat,
    Lease,
    Leased,
    ManagerId,
    Outcome,
    Ran,
    TaskId,
    WorkerId,
)
from tests.endpoint.talk import PYTHON, TOKEN, Talk, all_of, only, sent_to, welcome

DOOR = "interchange"
START_TIMEOUT = 30.0


class Node(Talk):
    """A manager that knows the types `sim` and `gpu`; `slots` plain workers are up."""

    machine: Manager

    def __init__(self, slots: int = 1) -> None:
        ours = ManagerSettings(
            ManagerId("m1"),
            BlockId("b1"),
            slots,
            "i",
            TOKEN,
            PYTHON,
            "h",
            7,
            3600.0,
            start_timeouts={"sim": START_TIMEOUT, "gpu": START_TIMEOUT},
        )
        super().__init__(Manager(ours, random.Random(0), 100.0))
        self.types: dict[WorkerId, str] = {}
        self.assigned: dict[WorkerId, list[int]] = {}
        self.note(self.wait(0.0))
        for worker_id in self.types:
            self.up(worker_id)
        self.tell(Answered(DOOR, welcome()))
        self.tell(Heartbeat(), DOOR)

    def spend(self, seconds: float) -> Turn:
        return self.note(self.live_beside(DOOR, seconds))

    def note(self, turn: Turn) -> Turn:
        for effect in turn.effects:
            match effect:
                case StartWorker(worker_id, _, worker_type):
                    self.types[worker_id] = worker_type
                case AssignTasks(worker_id, runs):
                    some = self.assigned.setdefault(worker_id, [])
                    some += [run.seq for run in runs]
        return turn

    def up(self, worker_id: WorkerId) -> Turn:
        return self.note(self.tell(WorkerStarted(worker_id, 7)))

    def lease(self, **types: str) -> Turn:
        tasks = [
            Leased(TaskId(task_id), 1, b"f", b"a", worker_type=worker_type)
            for task_id, worker_type in types.items()
        ]
        return self.note(self.tell(Lease(tasks), DOOR))

    def ran(self, worker_id: WorkerId) -> Turn:
        seq = self.assigned[worker_id].pop(0)
        ran = Ran(seq, True, b"r", 5.0, 6.0)
        return self.note(self.tell(TasksRan(worker_id, [ran])))

    def died(self, worker_id: WorkerId, why: str = "", **more: Any) -> Turn:
        self.assigned.pop(worker_id, None)
        death = WorkerDied(worker_id, 1, None, 0, 0.0, 0, why, **more)
        return self.note(self.tell(death))

    def newest(self) -> WorkerId:
        return next(reversed(self.types))

    def told(self, turn: Turn) -> list[Outcome]:
        return [o for f in sent_to(turn, DOOR, Finished) for o in f.outcomes]

    def failure(self, turn: Turn) -> Failure:
        failure = only(self.told(turn)).failure
        assert failure is not None
        return failure


def test_an_idle_worker_makes_room_for_one_of_another_type() -> None:
    node = Node()
    turn = node.lease(t1="sim")
    assert only(all_of(turn.effects, StopWorker)).worker_id == WorkerId("m1-w1")
    assert only(all_of(turn.effects, StartWorker)).worker_type == "sim"
    sim = node.newest()
    assert not node.assigned
    node.up(sim)
    assert node.assigned == {sim: [1]}


def test_a_busy_worker_is_left_alone_until_its_task_has_ended() -> None:
    node = Node()
    node.lease(t1="")
    assert not all_of(node.lease(t2="sim").effects, StopWorker)
    turn = node.ran(WorkerId("m1-w1"))
    assert only(all_of(turn.effects, StartWorker)).worker_type == "sim"


def test_a_type_that_is_up_serves_the_next_task_of_it_at_once() -> None:
    node = Node()
    node.lease(t1="sim")
    sim = node.newest()
    node.up(sim)
    node.ran(sim)
    assert not all_of(node.lease(t2="sim").effects, StartWorker)
    assert node.assigned[sim] == [2]


def test_places_are_shared_in_proportion_to_what_waits() -> None:
    node = Node(4)
    node.lease(**{f"p{n}": "" for n in range(2)}, **{f"s{n}": "sim" for n in range(2)})
    assert sorted(node.types.values()) == ["", "", "", "", "sim", "sim"]


def test_types_take_turns_where_there_are_fewer_places() -> None:
    node = Node()
    node.lease(s1="sim", s2="sim", g1="gpu", g2="gpu")
    order = []
    for _ in range(4):
        worker_id = node.newest()
        if not node.assigned.get(worker_id):
            node.up(worker_id)
        order.append(node.types[worker_id])
        node.ran(worker_id)
    assert sorted(order) == ["gpu", "gpu", "sim", "sim"]
    assert not node.machine.queues.typed


def test_a_type_that_cannot_be_started_fails_all_tasks_that_wait_for_it() -> None:
    node = Node(2)
    node.lease(t1="sim", t2="sim", t3="gpu")
    turn = node.died(
        next(w for w, t in node.types.items() if t == "sim"),
        "pulling...\nno such image\n",
        is_impossible=True,
    )
    outcomes = node.told(turn)
    assert {o.task_id for o in outcomes} == {"t1", "t2"}
    failure = outcomes[0].failure
    assert failure is not None
    assert failure.kind is FailureKind.WORKER_TYPE
    assert failure.message == (
        "no worker of type 'sim' could be started by m1 on h: no such image"
    )


def test_a_start_that_fails_for_a_moment_is_tried_again_later() -> None:
    node = Node()
    node.lease(t1="sim")
    turn = node.died(node.newest(), "Cannot fork")
    assert not node.told(turn)
    started = all_of(node.spend(1.0).effects, StartWorker)
    assert "sim" in {start.worker_type for start in started}


def test_a_type_that_does_not_come_up_in_time_is_given_up() -> None:
    node = Node()
    node.lease(t1="sim")
    turn = node.spend(START_TIMEOUT + 1)
    abandoned = only(all_of(turn.effects, AbandonType))
    assert abandoned.worker_type == "sim"
    assert "start_timeout of 30 s" in abandoned.why


def test_a_type_that_is_unknown_here_fails_its_task() -> None:
    failure = Node().failure(Node().lease(t1="other"))
    assert failure.kind is FailureKind.WORKER_TYPE
    assert "which has gpu, sim" in failure.message


def test_what_is_idle_for_long_makes_room_and_is_let_go() -> None:
    node = Node()
    node.lease(t1="sim")
    sim = node.newest()
    node.up(sim)
    node.ran(sim)
    turn = node.spend(TYPE_IDLE_PERIOD + 1)
    assert only(all_of(turn.effects, StopWorker)).worker_id == sim
    assert only(all_of(turn.effects, StartWorker)).worker_type == ""
    node.died(sim)
    later = node.spend(TYPE_IDLE_PERIOD + 1)
    assert only(all_of(later.effects, ReleaseType)).worker_type == "sim"


class Life(RuleBasedStateMachine):
    """Any order of leases, starts, results and deaths."""

    @initialize(slots=st.integers(1, 4))
    def begin(self, slots: int) -> None:
        self.node = Node(slots)
        self.count = 0
        self.ended: set[str] = set()
        self.starting: list[WorkerId] = []
        self.started = set(self.node.types)
        self.dead: set[WorkerId] = set()
        self.stopping: set[WorkerId] = set()

    def note(self, turn: Turn) -> None:
        self.starting += [s.worker_id for s in all_of(turn.effects, StartWorker)]
        self.stopping |= {s.worker_id for s in all_of(turn.effects, StopWorker)}
        for outcome in self.node.told(turn):
            assert outcome.task_id not in self.ended
            self.ended.add(outcome.task_id)

    @rule(types=st.lists(st.sampled_from(["", "sim", "gpu"]), min_size=1, max_size=5))
    def lease(self, types: list[str]) -> None:
        names = {f"t{self.count + n}": name for n, name in enumerate(types)}
        self.count += len(types)
        self.note(self.node.lease(**names))

    @precondition(lambda self: self.starting)
    @rule(is_impossible=st.booleans(), fails=st.booleans())
    def start(self, *, is_impossible: bool, fails: bool) -> None:
        worker_id = self.starting.pop(0)
        is_plain = not self.node.types[worker_id]
        if fails and not is_plain:
            self.note(self.node.died(worker_id, "no", is_impossible=is_impossible))
        else:
            self.note(self.node.up(worker_id))

    @rule()
    def finish_all(self) -> None:
        for worker_id in list(self.node.assigned):
            while self.node.assigned.get(worker_id):
                self.note(self.node.ran(worker_id))

    @rule()
    def end_the_stopping(self) -> None:
        for worker_id in sorted(self.stopping - set(self.starting)):
            self.stopping.discard(worker_id)
            self.note(self.node.died(worker_id))

    @rule(seconds=st.floats(0.1, 100.0))
    def pass_time(self, seconds: float) -> None:
        self.note(self.node.spend(seconds))

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        for _ in range(200):
            if len(self.ended) == self.count:
                break
            while self.starting:
                self.note(self.node.up(self.starting.pop(0)))
            self.finish_all()
            self.end_the_stopping()
            self.pass_time(1.0)
        assert len(self.ended) == self.count, "a task starved"


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
