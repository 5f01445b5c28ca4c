"""What a task asks for it gets before it runs, or its caller hears why it never can.

Both sides of the link: the interchange, which places by what managers have, and a
manager, which runs nothing before what it asks for is free.
"""

import random
from typing import Any

import pytest

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.manager import Manager, ManagerSettings
from actors.logic.turn import Answered, LinkClosed, Turn
from actors.logic.workers import (
    AssignTasks,
    EquipWorker,
    StartWorker,
    TasksRan,
    WorkerDied,
    WorkerSaid,
    WorkerStarted,
)
from actors.messages import (
    ActorOptions,
    ActorWork,
    Amount,
    BlockId,
    CancelTasks,
    Drain,
    FailureKind,
    Finished,
    Heartbeat,
    Hello,
    Holding,
    Hosting,
    Incarnation,
    Lease,
    Leased,
    LoadReported,
    ManagerId,
    Needs,
    Notice,
    Outcome,
    Ran,
    Report,
    Results,
    Returned,
    Run,
    StartActors,
    Submit,
    Task,
    TaskId,
    TaskState,
    TaskWaits,
    WorkerId,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    hello,
    only,
    sent_to,
    welcome,
)

CLIENT, MANAGER, DOOR = "client:c1", "manager:m1", "interchange"
TWO_CPUS = Needs(amounts=(Amount("CPU", 2),))
ONE_GPU = Needs(amounts=(Amount("CPU", 1), Amount("GPU", 1)))
ONLY_GPU = Needs(amounts=(Amount("GPU", 1),))


class Desk(Talk):
    """An interchange with one client, whose nodes have two processors and a GPU."""

    machine: Interchange

    def __init__(self) -> None:
        node = {"CPU": 2.0, "GPU": 1.0}
        settings = InterchangeSettings("n", "e", TOKEN, PYTHON, node=node)
        super().__init__(Interchange(settings, 100.0))
        self.admit(hello("client", "c1"))

    def join(self, name: str = "m1", slots: int = 2) -> Turn:
        return self.admit(newcomer(name, slots))

    def submit(self, *task_ids: str, needs: Needs | None, **fields: Any) -> Turn:
        tasks = [
            Task(TaskId(t), b"f", b"a", 1.0, needs=needs, **fields) for t in task_ids
        ]
        return self.tell(Submit(tasks), CLIENT)


def newcomer(name: str, slots: int, **fields: Any) -> Hello:
    block_id, gpu = BlockId("b1"), [Amount("GPU", 1)]
    return hello(
        "manager", name, slots=slots, block_id=block_id, resources=gpu, **fields
    )


def leased(turn: Turn, peer: str = MANAGER) -> list[str]:
    return [
        task.task_id for lease in sent_to(turn, peer, Lease) for task in lease.tasks
    ]


def ended(desk: Desk, task_id: str) -> Turn:
    outcome = Outcome(TaskId(task_id), 1, TaskState.SUCCESS, b"r")
    return desk.tell(Finished([outcome]), MANAGER)


def failures(turn: Turn) -> list[str]:
    results = sent_to(turn, CLIENT, Results)
    failed = [o.failure for r in results for o in r.outcomes if o.failure]
    assert all(failure.kind is FailureKind.IMPOSSIBLE for failure in failed)
    return [failure.message for failure in failed]


def test_a_task_that_no_node_can_ever_run_fails_at_once_and_says_why() -> None:
    desk = Desk()
    turn = desk.submit("t1", needs=Needs(amounts=(Amount("GPU", 2),)), name="train")
    (text,) = failures(turn)
    assert "train needs 2 GPU, but a node of this endpoint has 1 GPU" in text
    assert failures(desk.submit("t2", needs=Needs(amounts=(Amount("license", 1),))))
    assert not failures(desk.submit("t3", needs=TWO_CPUS))
    assert desk.machine.ledger.waiting == 1


def test_a_manager_that_has_more_than_its_endpoint_says_makes_it_possible() -> None:
    desk = Desk()
    desk.join("large", slots=8)
    turn = desk.submit("t1", needs=Needs(amounts=(Amount("CPU", 6),)))
    assert not failures(turn)
    assert leased(turn, "manager:large") == ["t1"]


def test_an_actor_that_no_node_can_ever_hold_is_refused() -> None:
    desk = Desk()
    work = ActorWork("a1", "create", ActorOptions("Model", num_gpus=4))
    turn = desk.submit("t1", needs=None, actor=work)
    (text,) = failures(turn)
    assert "Model needs 4 GPU" in text
    assert not desk.machine.roster.actors


def test_gpus_are_given_to_one_at_a_time_and_a_wait_is_told_once() -> None:
    desk = Desk()
    desk.join()
    turn = desk.submit("t1", "t2", "t3", needs=ONE_GPU, name="train")
    assert leased(turn) == ["t1"]
    notice = only(all_of(turn.events, Notice))
    assert notice.text == (
        "train waits for 1 CPU, 1 GPU: manager m1 has 1 of 2 CPU free, 0 of 1 GPU free"
    )
    turn = ended(desk, "t1")
    assert leased(turn) == ["t2"]
    assert not all_of(turn.events, Notice)


def test_plain_tasks_leave_room_for_those_that_came_before_them() -> None:
    desk = Desk()
    desk.submit("wide", needs=TWO_CPUS)
    desk.submit("p1", "p2", needs=None)
    # What else it gets has to wait there, until it has said so.
    assert leased(desk.join())[0] == "wide"
    desk.submit("p3", needs=None)
    desk.tell(Report(1, []), MANAGER)
    assert len(desk.machine.ledger.backlog) == 2
    assert leased(ended(desk, "wide")) == ["p2"]


def test_tasks_beside_those_that_need_no_processor_have_all_of_them() -> None:
    """Also while some of them ask for time, and so are not simple to place."""
    desk = Desk()
    desk.join()
    part = Needs(amounts=(Amount("GPU", 0.25),))
    assert leased(desk.submit("g1", "g2", "g3", needs=part)) == ["g1", "g2", "g3"]
    timed = Task(TaskId("t1"), b"f", b"a", 1.0, needs=Needs(walltime=5.0))
    plain = [Task(TaskId(name), b"f", b"a", 1.0) for name in ("p1", "p2")]
    assert sorted(leased(desk.tell(Submit([timed, *plain]), CLIENT))) == ["p1", "t1"]


def test_an_actor_waits_aloud_for_what_a_task_has() -> None:
    desk = Desk()
    desk.join()
    desk.submit("t1", needs=TWO_CPUS)
    work = ActorWork("a1", "create", ActorOptions("Model", num_cpus=2))
    turn = desk.submit("t2", needs=None, actor=work)
    assert "Model (a1) waits for 2 CPU" in only(all_of(turn.events, Notice)).text
    turn = ended(desk, "t1")
    assert only(sent_to(turn, MANAGER, StartActors)).actors[0].of.actor_id == "a1"


def test_what_asks_for_a_nodes_only_gpu_is_a_demand_for_a_whole_node() -> None:
    desk = Desk()
    desk.join()
    desk.submit("t1", "t2", "t3", needs=ONE_GPU)
    load = only(all_of(desk.wait(2.0).events, LoadReported))
    # One has the GPU; each of the others is worth the two places of a node.
    assert (load.waiting, load.leased) == (4, 1)


def test_a_task_whose_manager_is_lost_gives_its_gpu_back_and_waits_again() -> None:
    desk = Desk()
    desk.join()
    desk.submit("t1", needs=ONE_GPU)
    desk.tell(LinkClosed(MANAGER))
    desk.wait(200.0)
    assert leased(desk.join("m2"), "manager:m2") == ["t1"]


def test_what_comes_back_with_its_manager_keeps_what_it_has() -> None:
    desk = Desk()
    desk.join()
    desk.submit("t1", needs=ONE_GPU)
    desk.tell(LinkClosed(MANAGER))
    turn = desk.admit(newcomer("m1", 2, held=[Holding(TaskId("t1"), 1)]))
    assert not leased(turn)
    assert not leased(desk.submit("t2", needs=ONE_GPU))
    assert leased(ended(desk, "t1")) == ["t2"]


# The manager


class Node(Talk):
    """A manager with two processors and two GPUs, whose workers are started."""

    machine: Manager

    def __init__(self) -> None:
        settings = ManagerSettings(
            ManagerId("m1"),
            BlockId("b1"),
            2,
            "i",
            TOKEN,
            PYTHON,
            "h",
            7,
            2.0,
            resources=(Amount("GPU", 2),),
            gpu_names=("GPU-a", "GPU-b"),
        )
        super().__init__(Manager(settings, random.Random(0), 100.0))
        self.begin(self.wait(0.0))
        self.tell(Answered(DOOR, welcome()))
        self.tell(Heartbeat(), DOOR)

    def begin(self, turn: Turn) -> Turn:
        """Let the workers start that a turn wants."""
        for start in all_of(turn.effects, StartWorker):
            turn = self.tell(WorkerStarted(start.worker_id, 10))
        return turn

    def lease(self, *task_ids: str, needs: Needs = Needs()) -> Turn:
        amounts = needs.amounts
        tasks = [
            Leased(TaskId(t), 1, b"f", t.encode(), amounts=amounts) for t in task_ids
        ]
        return self.tell(Lease(tasks), DOOR)

    def ran(self, worker_id: str, seq: int = 1) -> Turn:
        return self.tell(
            TasksRan(WorkerId(worker_id), [Ran(seq, True, b"r", 5.0, 6.0)])
        )


def given(turn: Turn) -> dict[str, str]:
    """Return which tasks were given to which workers."""
    return {
        run.arguments.decode(): assigned.worker_id
        for assigned in all_of(turn.effects, AssignTasks)
        for run in assigned.runs
        if isinstance(run, Run)
    }


@pytest.fixture
def node() -> Node:
    return Node()


def test_gpus_are_told_by_the_names_that_the_manager_was_given(node: Node) -> None:
    turn = node.lease("t1", "t2", "t3", needs=ONLY_GPU)
    workers = given(turn)
    told = {e.worker_id: e.environment for e in all_of(turn.effects, EquipWorker)}
    assert workers.keys() == {"t1", "t2"}
    assert {told[WorkerId(workers[t])]["CUDA_VISIBLE_DEVICES"] for t in workers} == {
        "GPU-a",
        "GPU-b",
    }
    worker = workers["t1"]
    turn = node.ran(worker)
    assert given(turn) == {"t3": worker}
    turn = node.ran(worker, 2)
    # The next one has asked for none.
    turn = node.lease("p1")
    assert given(turn) == {"p1": worker}
    (equipped,) = all_of(turn.effects, EquipWorker)
    assert (equipped.worker_id, equipped.environment) == (worker, {})


def test_what_is_left_for_plain_tasks_is_told_at_once(node: Node) -> None:
    report = sent_to(node.lease("wide", needs=TWO_CPUS), DOOR, Report)[-1]
    assert report.window == 1
    turn = node.ran("m1-w2")
    assert sent_to(turn, DOOR, Report)[-1].window == 2


def test_a_wide_task_begins_when_others_have_made_way(node: Node) -> None:
    first = given(node.lease("p1", "p2", "p3"))
    assert not given(node.lease("wide", needs=TWO_CPUS))
    assert not given(node.ran(first["p1"])), "a plain task took what is waited for"
    turn = node.ran(first["p2"])
    assert given(turn).keys() == {"wide"}
    turn = node.ran(given(turn)["wide"], 2)
    assert given(turn).keys() == {"p3"}


def test_tasks_of_half_a_processor_get_more_workers_than_processors(
    node: Node,
) -> None:
    half = Needs(amounts=(Amount("CPU", 0.5),))
    turn = node.lease("t1", "t2", "t3", "t4", needs=half)
    assert len(given(turn)) == 2
    starts = all_of(turn.effects, StartWorker)
    assert len(starts) == 2
    for start in starts:
        assert len(given(node.tell(WorkerStarted(start.worker_id, 20)))) == 1
    for number, worker in enumerate(list(node.machine.crew.workers)):
        node.ran(worker, 1)
        assert len(node.machine.capacity.free()) == 2, number
    node.wait(2.0)
    left = [w for w in node.machine.crew.workers.values() if not w.is_killed]
    assert len(left) == 2, "workers that nobody needs stay"


def test_a_task_that_waits_lends_its_processors_and_says_so(node: Node) -> None:
    worker = given(node.lease("outer", needs=TWO_CPUS))["outer"]
    turn = node.tell(WorkerSaid(WorkerId(worker), TaskWaits(True)))
    report = sent_to(turn, DOOR, Report)[-1]
    assert report.resting == ["outer"]
    assert given(node.lease("inner", needs=TWO_CPUS)).keys() == {"inner"}
    node.tell(WorkerSaid(WorkerId(worker), TaskWaits(False)))
    turn = node.live(1.0)
    assert sent_to(turn, DOOR, Report)[-1].resting == []


def test_what_a_dead_worker_had_goes_back(node: Node) -> None:
    worker = given(node.lease("t1", needs=TWO_CPUS))["t1"]
    node.tell(WorkerDied(WorkerId(worker), None, 9, 0, 0.0, 1, ""))
    assert given(node.lease("t2", needs=TWO_CPUS)).keys() == {"t2"}


def test_what_was_assigned_and_never_began_waits_again(node: Node) -> None:
    worker = given(node.lease("t1", needs=ONLY_GPU))["t1"]
    turn = node.tell(WorkerDied(WorkerId(worker), None, 9, 0, 0.0, 0, ""))
    assert given(turn).keys() == {"t1"}


@pytest.mark.parametrize("message", [Drain(), CancelTasks([TaskId("wide")])])
def test_what_waits_and_is_not_wanted_here_any_more_takes_nothing(
    node: Node, message: Any
) -> None:
    node.lease("p1", "p2")
    node.lease("wide", needs=TWO_CPUS)
    turn = node.tell(message, DOOR)
    if isinstance(message, Drain):
        back = only(sent_to(turn, DOOR, Returned))
        assert back.leases == [Holding(TaskId("wide"), 1)]
    else:
        finished = only(sent_to(turn, DOOR, Finished))
        assert finished.outcomes[0].state is TaskState.CANCELLED
    assert node.machine.capacity.free()["CPU"] == 2.0


def test_an_actor_finds_its_gpus_and_gives_them_back(node: Node) -> None:
    options = ActorOptions("Model", num_gpus=2)
    hosting = Hosting(Incarnation("a", 1), b"c", b"", options)
    turn = node.tell(StartActors([hosting]), DOOR)
    start = only(all_of(turn.effects, StartWorker))
    assert start.become is not None
    assert start.become.environment == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    assert not given(node.lease("t1", needs=ONLY_GPU))
    turn = node.tell(WorkerDied(start.worker_id, 1, None, 0, 0.0, 0, ""))
    assert given(turn).keys() == {"t1"}
