"""A batch system's jobs, their managers and workers, and the provider that asks it."""

from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from actors.endpoint.manager import (
    EXIT_AGAIN,
    Manager,
    MeasureWorkers,
    ReleaseType,
    WorkersMeasured,
)
from actors.endpoint.provider import (
    CancelJobs,
    JobReport,
    JobsPolled,
    JobSubmitted,
    PollJobs,
    Provider,
    SubmitFailed,
    SubmitJob,
)
from actors.logic.item_streams import ALL_ITEMS
from actors.logic.turn import Exit
from actors.logic.workers import (
    AssignTasks,
    EquipWorker,
    KillWorker,
    LookAtOutput,
    RecallTasks,
    StartWorker,
    StopWorker,
    TasksRan,
    TasksRecalled,
    TellWorker,
    WatchWorkers,
    WorkerDied,
    WorkerSaid,
    WorkerStarted,
    WorkerWrote,
)
from actors.messages import (
    BlockId,
    BlockState,
    Call,
    Failure,
    FailureKind,
    HostActor,
    Interrupt,
    Large,
    MoreItems,
    Ran,
    Run,
    Value,
    WorkerId,
    Yielded,
)
from tests.simulation.memory import LOST
from tests.simulation.network import Node, Surroundings

__all__ = [
    "FAILING",
    "ITEMS",
    "Center",
    "FakeWorker",
    "Job",
    "ManagerNode",
    "ProviderNode",
    "item_of",
]

# Arguments of tasks whose function raises begin with it.
FAILING = b"!"
# Items that a generator yields, unless it raises before the last.
ITEMS = 12
# So far ahead of what was taken a generator goes.
ITEMS_AHEAD = 4


class Center(Surroundings, Protocol):
    """What jobs and managers need of their world."""

    nodes_per_block: int
    executions: Counter[bytes]  # {arguments: begun how often}
    walltime: float | None  # of every job
    has_large: bool  # all payloads lie in memory
    jobs: dict[BlockId, "Job"]
    provider_journal: list[Any]

    def note(self, text: str) -> None: ...
    def is_barren(self) -> bool: ...
    def has_trouble(self, chance: float) -> bool: ...
    def job_submitted(self, job: "Job") -> None: ...
    def task_begins(self, arguments: bytes, worker_type: str, job: "Job") -> None: ...
    def add_manager(self, job: "Job", number: int) -> "ManagerNode": ...


@dataclass
class FakeWorker:
    """A process that runs tasks one after another."""

    worker_id: WorkerId
    backlog: deque[Run | Call] = field(default_factory=deque)
    running: int = 0  # seq of what runs; 0: nothing
    task: bytes = b""  # its arguments
    taken: dict[int, int] = field(default_factory=dict)  # {generator: items}
    begun_seq: int = 0
    is_busy: bool = False
    is_alive: bool = True
    is_stopping: bool = False
    become: HostActor | None = None  # the actor whose process it is
    worker_type: str = ""
    last_calls: dict[bytes, int] = field(default_factory=dict)  # {caller: number}

    def note_call(self, arguments: bytes) -> None:
        """Fail unless the calls of one caller come in their order."""
        caller, _, number = arguments.removeprefix(FAILING).rpartition(b"-")
        assert int(number) > self.last_calls.get(caller, -1), (arguments, self)
        self.last_calls[caller] = int(number)


class ManagerNode(Node):
    """A manager with its workers, which run on while the manager is suspended."""

    machine: Manager
    world: Center

    def __init__(self, world: Center, name: str, machine: Manager, job: "Job") -> None:
        super().__init__(world, name, machine)
        self.job = job
        self.workers: dict[WorkerId, FakeWorker] = {}
        self._is_watched = False  # somebody wants to know what workers print

    def do(self, effect: Any) -> None:
        heart, chance = self.world.heart, self.world.chance
        match effect:
            case StartWorker(worker_id, become, worker_type):
                worker = FakeWorker(worker_id, become=become, worker_type=worker_type)
                self.workers[worker_id] = worker
                heart.after(chance.uniform(0, 0.1), lambda: self._started(worker))
            case WatchWorkers(is_wanted):
                self._is_watched = is_wanted
            case LookAtOutput(running):
                for worker_id, seq in running.items():
                    self._look_at(worker_id, seq)
            case EquipWorker():
                free = self.machine.capacity.free()
                assert min(free.values()) >= 0, f"{self.name} has given too much"
            case AssignTasks(worker_id, runs):
                # A dead worker's death has said, or will say, that these never began.
                if worker_id in self.workers:
                    worker = self.workers[worker_id]
                    worker.backlog.extend(map(_as_sent, runs))
                    heart.after(0.0, lambda: self._run_next(worker))
            case RecallTasks(worker_id):
                heart.after(self.world.delay() / 10, lambda: self._recall(worker_id))
            case KillWorker(worker_id):
                heart.after(self.world.delay() / 10, lambda: self.kill(worker_id))
            case StopWorker(worker_id):
                if worker_id in self.workers:
                    self.workers[worker_id].is_stopping = True
                    heart.after(0.0, lambda: self._end_if_done(worker_id))
            case TellWorker(worker_id, MoreItems(seq, count)):
                heart.after(
                    self.world.delay() / 10, lambda: self._go_on(worker_id, seq, count)
                )
            case TellWorker(worker_id, Interrupt(seq)):
                heart.after(
                    self.world.delay() / 10, lambda: self._interrupt(worker_id, seq)
                )
            case ReleaseType():
                pass  # here nothing lives on for a type's sake
            case MeasureWorkers():
                heart.after(0.001, lambda: self.tell(WorkersMeasured({})))
            case Exit(code, reason):
                self.world.note(f"{self.name} exits {code}: {reason}")
                self.end_workers()
                self.is_alive = False
                # What was sent before the exit still arrives.
                heart.after(2.0, self.crash)
                if code == EXIT_AGAIN:
                    heart.after(0.3, lambda: self.job.begin_anew(self))
                else:
                    self.job.node_ended(code)
            case _:
                super().do(effect)

    def _started(self, worker: FakeWorker) -> None:
        if not worker.is_alive:
            return
        if self.world.has_trouble(0.1):
            self.world.note(f"worker {worker.worker_id} never comes up")
            self.kill(worker.worker_id)
        else:
            self.tell(WorkerStarted(worker.worker_id, 1))

    def _run_next(self, worker: FakeWorker) -> None:
        if worker.is_busy or not worker.backlog or not worker.is_alive:
            return
        run = worker.backlog.popleft()
        worker.is_busy = True
        worker.begun_seq = worker.running = run.seq
        arguments = worker.task = self._read(run)
        if arguments == LOST:
            # Nobody waits for it: the manager does not keep what it is to read.
            self._ran(worker, run, self.world.now, is_lost=True)
            return
        # Here a worker has what it has read, as a mapping stays when its file goes.
        run = _with_arguments(run, arguments)
        self.world.executions[arguments] += 1
        if worker.become is None:
            self.world.task_begins(arguments, worker.worker_type, self.job)
        if worker.become is not None and run.seq > 1:
            worker.note_call(arguments)
        began = self.world.now
        if isinstance(run, Call):
            # It may have been told before that nobody wants them.
            taken = max(run.first_item, worker.taken.get(run.seq, 0))
            worker.taken[run.seq] = taken
            self._yield(worker, run, began, run.first_item)
            return
        duration = self.world.chance.choice((0.0001, 0.001, 0.2, 3.0, 8.0))
        self.world.heart.after(duration, lambda: self._ran(worker, run, began))

    def _yield(self, worker: FakeWorker, call: Call, began: float, index: int) -> None:
        """Give the next item, or end."""
        if not worker.is_alive or worker.running != call.seq:
            return
        heart = self.world.heart
        arguments = _arguments_of(call)
        last = ITEMS // 2 if arguments.startswith(FAILING) else ITEMS
        if index >= last:
            self._ran(worker, call, began)
        elif index < worker.taken[call.seq] + ITEMS_AHEAD:
            value = Value(self._written(item_of(arguments, index)))
            if index >= worker.taken[call.seq]:
                said = Yielded(call.seq, index, value)
                self.tell(WorkerSaid(worker.worker_id, said))
            pause = self.world.chance.choice((0.0001, 0.01, 0.5))
            heart.after(pause, lambda: self._yield(worker, call, began, index + 1))
        else:
            heart.after(0.05, lambda: self._yield(worker, call, began, index))

    def _read(self, run: Run | Call) -> bytes:
        return self.world.memory.read(_arguments_of(run))

    def _written(self, payload: bytes) -> bytes:
        """Put what a worker gives where its manager takes it over, if it is large."""
        if not self.world.has_large:
            return payload
        return self.world.memory.write(self, payload)

    def _look_at(self, worker_id: WorkerId, seq: int) -> None:
        worker = self.workers.get(worker_id)
        if worker is None:
            return
        if worker.become is not None:
            words = worker.become.actor_id.encode()
        elif worker.running == seq:
            words = worker.task
        else:
            return
        self.tell(WorkerWrote(worker_id, seq, words + b" goes on\n", 0, False))

    def _print(self, worker: FakeWorker, run: Run | Call) -> None:
        """Let a task that ends say who it is."""
        if not self._is_watched:
            return
        words = _arguments_of(run)
        if worker.become is not None:
            words = worker.become.actor_id.encode()
        said = WorkerWrote(worker.worker_id, run.seq, words + b" ends", 0, True)
        self.tell(said)

    def _go_on(self, worker_id: WorkerId, seq: int, count: int) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None and (seq in worker.taken or count >= ALL_ITEMS):
            worker.taken[seq] = max(worker.taken.get(seq, 0), count)

    def _ran(
        self,
        worker: FakeWorker,
        run: Run | Call,
        began: float,
        *,
        was_interrupted: bool = False,
        is_lost: bool = False,
    ) -> None:
        if not worker.is_alive or worker.running != run.seq:
            return
        worker.is_busy = False
        worker.running = 0
        arguments = payload = _arguments_of(run)
        is_success = not (arguments.startswith(FAILING) or was_interrupted or is_lost)
        failure = None if is_success else Failure(FailureKind.EXCEPTION, "it raised")
        if is_lost:
            failure = Failure(FailureKind.NOT_LOADABLE, "its arguments are gone")
        if isinstance(run, Call) and is_success:
            payload = b"%d" % ITEMS
        elif is_success:
            payload = self._written(payload)
        ran = Ran(run.seq, is_success, payload, began, self.world.now, failure)
        if not was_interrupted:
            self._print(worker, run)
        self.tell(TasksRan(worker.worker_id, [ran]))
        self._run_next(worker)
        self._end_if_done(worker.worker_id)

    def _end_if_done(self, worker_id: WorkerId) -> None:
        worker = self.workers.get(worker_id)
        if worker and worker.is_stopping and not (worker.is_busy or worker.backlog):
            self.kill(worker_id, exit_code=0)

    def _interrupt(self, worker_id: WorkerId, seq: int) -> None:
        """Let a call that has not begun end without having run; or what runs, now."""
        worker = self.workers.get(worker_id)
        if worker is not None and worker.running == seq:
            # Some swallow it.
            if self.world.chance.random() < 0.7:
                nothing = Run(seq, b"", b"")
                self._ran(worker, nothing, self.world.now, was_interrupted=True)
            return
        run = (
            next((r for r in worker.backlog if r.seq == seq), None) if worker else None
        )
        if worker is None or run is None:
            return
        worker.backlog.remove(run)
        failure = Failure(FailureKind.EXCEPTION, "KeyboardInterrupt")
        ran = Ran(seq, False, b"", self.world.now, self.world.now, failure)
        self.tell(TasksRan(worker_id, [ran]))

    def _recall(self, worker_id: WorkerId) -> None:
        worker = self.workers.get(worker_id)
        if worker is not None:
            seqs = [run.seq for run in worker.backlog]
            worker.backlog.clear()
            self.tell(TasksRecalled(worker_id, seqs))

    def kill(self, worker_id: WorkerId, exit_code: int | None = None) -> None:
        """Let a worker die, by a signal unless told; a dead one stays dead."""
        worker = self.workers.pop(worker_id, None)
        if worker is not None:
            worker.is_alive = False
            begun_seq = worker.begun_seq
            number = 9 if exit_code is None else None
            died = WorkerDied(worker_id, exit_code, number, 0, 0.0, begun_seq, "")
            self.tell(died)

    def end_workers(self) -> None:
        for worker in self.workers.values():
            worker.is_alive = False
        self.workers.clear()

    def crash(self) -> None:
        self.end_workers()
        if self.is_alive:
            self.job.node_ended(137)
        super().crash()


def _arguments_of(run: Run | Call) -> bytes:
    return run.arguments if isinstance(run, Run) else run.arguments.payload


def _with_arguments(run: Run | Call, arguments: bytes) -> Run | Call:
    if isinstance(run, Run):
        return replace(run, arguments=arguments)
    return replace(run, arguments=Value(arguments))


def _as_sent(run: Run | Call) -> Run | Call:
    """Be what a worker gets: a reference, and nothing that keeps what it refers to."""
    arguments = _arguments_of(run)
    if isinstance(arguments, Large):
        return _with_arguments(run, arguments.reference)
    return run


def item_of(arguments: bytes, index: int) -> bytes:
    """Return what a generator yields."""
    return b"%s/%d" % (arguments, index)


class Job:
    """A job of the batch system: a manager per node."""

    def __init__(self, world: Center, block_id: BlockId, worker_type: str) -> None:
        self.world = world
        self.block_id = block_id
        self.worker_type = worker_type
        self.ends_at: float | None = None
        self.state = BlockState.PENDING
        self.exit_codes: list[int] = []
        self.managers: list[ManagerNode] = []
        world.heart.after(world.chance.uniform(0.01, 1.0), self._start)

    def _start(self) -> None:
        if self.state is BlockState.PENDING:
            self.state = BlockState.RUNNING
            if self.world.walltime is not None:
                self.ends_at = self.world.now + self.world.walltime
                end = partial(self.end, BlockState.TIMEOUT)
                self.world.heart.after(self.world.walltime, end)
            if self.world.is_barren():
                self.world.note(f"{self.block_id} runs, and no manager of it will")
                return
            for node in range(self.world.nodes_per_block):
                self.managers.append(self.world.add_manager(self, node))

    def begin_anew(self, manager: ManagerNode) -> None:
        """Put another manager in the place of one that has made room for it."""
        if self.state is BlockState.RUNNING:
            node = self.managers.index(manager)
            self.managers[node] = self.world.add_manager(self, node)

    def node_ended(self, code: int) -> None:
        self.exit_codes.append(code)
        is_over = len(self.exit_codes) == self.world.nodes_per_block
        if is_over and self.state is BlockState.RUNNING:
            good = not any(self.exit_codes)
            self.state = BlockState.COMPLETED if good else BlockState.FAILED

    def end(self, state: BlockState) -> None:
        """End it from outside: its processes are killed."""
        if self.state.is_active:
            self.state = state
            for manager in self.managers:
                if manager.is_alive:
                    manager.crash()

    def report(self) -> JobReport:
        if self.world.has_trouble(0.05):
            return JobReport(BlockState.UNKNOWN)
        code = max(self.exit_codes, default=None)
        return JobReport(self.state, code if not self.state.is_active else None)


class ProviderNode(Node):
    """The provider; its journal and its jobs outlive it."""

    machine: Provider
    world: Center

    def save(self, records: list[Any]) -> None:
        self.world.provider_journal.extend(records)

    def do(self, effect: Any) -> None:
        world = self.world
        match effect:
            case SubmitJob():
                world.heart.after(world.delay(), lambda: self._submit(effect))
            case PollJobs(jobs):
                reports = {b: world.jobs[b].report() for b in jobs}
                world.heart.after(world.delay(), lambda: self.tell(JobsPolled(reports)))
            case CancelJobs(jobs):
                for block_id in jobs:
                    world.jobs[block_id].end(BlockState.CANCELLED)
            case _:
                super().do(effect)

    def _submit(self, order: SubmitJob) -> None:
        if not self.is_alive:
            return
        block_id = order.block_id
        if block_id in self.world.jobs:
            assert order.may_exist, f"{block_id} was submitted twice"
        elif self.world.has_trouble(0.05):
            self.tell(SubmitFailed(block_id, "the queue is full"))
            return
        else:
            job = Job(self.world, block_id, order.worker_type)
            self.world.job_submitted(job)
            self.world.jobs[block_id] = job
        if not self.world.crashes_now(self):
            self.tell(JobSubmitted(block_id, f"job-{block_id}"))
