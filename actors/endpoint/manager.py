"""Manager: drives the worker processes of one node. Pure.

    Lease ─► queue ─AssignTasks─► a worker's backlog ─TasksRan─► outbox ─Ack─► gone
               ▲                         │
               └───── recalled, or unstarted when its worker died

The head of a worker's backlog is what it runs; what stands behind it is prefetched, so
that short tasks follow each other without a pause. A worker that is stuck on a long
head has its prefetched tasks recalled as soon as another worker is idle.

Outcomes stay in the outbox until the interchange acknowledges them, whatever happens to
the link; meanwhile the workers go on.
"""

import enum
import math
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from actors.endpoint.hosts import INTERRUPT_GRACE, Host, Hosts
from actors.endpoint.outflow import Outflow, call_of
from actors.errors import BrokenInvariant
from actors.logic.apportion import apportion
from actors.logic.backoff import Backoff
from actors.logic.care import EXIT_OVER_LIMIT, CareSettings, Place, over_memory
from actors.logic.membership import Membership, MembershipState
from actors.logic.prefetch import Prefetch
from actors.logic.resources import CPU, GPU_VARIABLE, Capacity, Need, name_gpus
from actors.logic.turn import Admission, Effect, Exit, Quit, Turn
from actors.logic.worker_types import no_such_type, not_to_be_had
from actors.logic.workers import (
    AssignTasks,
    EquipWorker,
    ExpectCalls,
    KillWorker,
    RecallTasks,
    StartWorker,
    StopWorker,
    TasksRan,
    TasksRecalled,
    TellWorker,
    TerminateWorker,
    WorkerDied,
    WorkerSaid,
    WorkerStarted,
    how_it_died,
)
from actors.messages import (
    PROTOCOL,
    AckEnded,
    AckFinished,
    ActorExits,
    ActorReport,
    ActorsStarted,
    Adopted,
    Amount,
    Began,
    BlockId,
    Call,
    CancelTasks,
    Deadlocked,
    Delta,
    Drain,
    EndActors,
    Failure,
    FailureKind,
    Finished,
    Goodbye,
    Hello,
    Holding,
    Interrupt,
    ItemsTaken,
    ItemsYielded,
    Lease,
    LeaseCalls,
    Leased,
    LeasedCall,
    ManagerId,
    Outcome,
    Ran,
    Report,
    RestartManager,
    Returned,
    Run,
    StartActors,
    Stop,
    TaskId,
    TaskState,
    TaskWaits,
    TypeSlots,
    Waits,
    WaitsLong,
    WorkerId,
    WorkerReport,
    Yielded,
)

__all__ = [
    "EXIT_AGAIN",
    "TYPE_IDLE_PERIOD",
    "AbandonType",
    "Manager",
    "ManagerSettings",
    "MeasureWorkers",
    "ReleaseType",
    "RemoveWorkDirs",
    "WorkerUsage",
    "WorkersMeasured",
]

DOOR = "interchange"
# The exit code that says: begin anew, in the same process. (EX_TEMPFAIL of sysexits.h)
EXIT_AGAIN = 75

# Work that waits at a worker, and work that waits at the manager for its workers: in
# seconds, and in tasks at most. Measured by tests/bench: a quarter of the limits leaves
# frames so small that a task takes a fifth more of the processors; more gains nothing.
WORKER_AHEAD, WORKER_AHEAD_LIMIT = 0.002, 256
WINDOW_AHEAD, WINDOW_AHEAD_LIMIT = 0.02, 2048
# A head that runs longer than this has its followers recalled. Chosen: well above what
# a batch of short tasks takes, well below what a person notices.
RECALL_AFTER = 0.005
# A task that runs for so long is reported at once, not with the next heartbeat.
REPORT_RUNNING_AFTER = 1.0
# New workers are reported so soon. Chosen: those of one start come in one report, and
# operators see them at once.
REPORT_WORKERS_AFTER = 0.1
# A manager that no interchange wants ends itself. Chosen: longer than an operator needs
# to restart an endpoint, shorter than an allocation that nobody uses.
ABANDONED_AFTER = 3600.0
# How long a manager that was asked to end may take to hand back what has not begun.
# Chosen: far more than the interchange and the workers need to answer, less than any
# batch system leaves between SIGTERM and SIGKILL.
QUIT_PATIENCE = 1.0
# While tasks wait for others there may be so many workers. Each takes some 10 MB of its
# own. Chosen: what a large machine bears.
MAX_WORKERS = 512
# A worker beyond the usual number is stopped when it was idle for so long. Chosen: the
# next call of a task that nests calls comes sooner.
SPARE_PERIOD = 1.0
# A worker that is not plain makes room for a plain one when it was idle for so long,
# and when nobody of its type is left, its environment is released. As in funcX.
TYPE_IDLE_PERIOD = 60.0
# Memory is measured so often where it is limited. Chosen: a task that takes ten
# gigabytes a second is ended five above its limit; a look costs some 50 µs per worker.
MEASURE_PERIOD = 0.5
# Room for the other fields of a frame that carries one result.
FRAME_OVERHEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class MeasureWorkers(Effect):
    """Measure memory and CPU time; answered with `WorkersMeasured`."""

    of_all: bool = False  # with the memory of what workers have started


@dataclass(frozen=True, slots=True)
class RemoveWorkDirs(Effect):
    """Remove what a dead worker has left of its work folders."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class AbandonType(Effect):
    """End what starts workers of a type, and so all of them."""

    worker_type: str
    why: str


@dataclass(frozen=True, slots=True)
class ReleaseType(Effect):
    """There is no worker of a type, nor need for one: let go what starts them."""

    worker_type: str


@dataclass(frozen=True, slots=True)
class WorkerUsage:
    """What one worker uses now."""

    pid: int
    rss_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class WorkersMeasured:
    usage: dict[WorkerId, WorkerUsage]


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """What a manager needs to know of itself.

    Args:
        manager_id: unique in the endpoint: block and node.
        block_id: the block that it runs in.
        slots: worker processes, at least 1.
        instance: random per process.
        token: to show at the door.
        python: "3.11".
        host: its node's name.
        pid: its own.
        heartbeat_period: seconds between reports.
        wall_offset: seconds since 1970 = now + wall_offset.
        start_timeouts: {type of worker, besides plain ones: seconds that the first one
            of them has to start}.
        care: of the workers, and of the manager itself.
        resources: what its node has besides processors.
        gpu_names: what CUDA_VISIBLE_DEVICES calls the GPUs; missing ones have numbers.
        ends_at: monotonic seconds of the block's end; None: nobody knows.
        worker_type: the only one of the block's workers, or PLAIN_TYPE; "": any.
        tag: that tasks may ask for; "": none.
        is_exclusive: it takes those that do, only.
    """

    manager_id: ManagerId
    block_id: BlockId
    slots: int
    instance: str
    token: str
    python: str
    host: str
    pid: int
    heartbeat_period: float = 30.0
    wall_offset: float = 0.0
    start_timeouts: Mapping[str, float] = field(default_factory=dict)
    care: CareSettings = CareSettings()
    resources: tuple[Amount, ...] = ()
    gpu_names: tuple[str, ...] = ()
    ends_at: float | None = None
    worker_type: str = ""
    tag: str = ""
    is_exclusive: bool = False


_LeaseKey = tuple[TaskId, int]


class _Ending(enum.IntEnum):
    """How a task that is given up shall end; a higher one is the harsher one."""

    IF_UNBEGUN = 0  # one that has begun goes on
    INTERRUPT = 1
    KILL = 2


@dataclass(frozen=True, slots=True)
class _Wish:
    """That a task shall end."""

    how: _Ending
    grace: float = -1.0  # seconds until it is killed after all; < 0: never
    is_recursive: bool = False

    @staticmethod
    def of(order: CancelTasks) -> "_Wish":
        if not order.if_running:
            return _Wish(_Ending.IF_UNBEGUN)
        if order.grace is None or order.grace == 0:
            return _Wish(_Ending.KILL)
        return _Wish(_Ending.INTERRUPT, order.grace, order.is_recursive)


class _Worker:
    """One worker process, from its start until its death."""

    __slots__ = (
        "backlog",
        "environment",
        "first_rss_bytes",
        "gpus",
        "head_since",
        "idle_since",
        "interrupted",
        "is_killed",
        "is_open",
        "is_recalled",
        "is_retiring",
        "is_started",
        "is_terminated",
        "is_waiting",
        "need",
        "next_seq",
        "over_bytes",
        "pid",
        "place",
        "ran",
        "replaces",
        "reported",
        "start_by",
        "worker_id",
        "worker_type",
    )

    def __init__(self, worker_id: WorkerId, worker_type: str) -> None:
        self.worker_id = worker_id
        self.worker_type = worker_type  # "": plain
        self.start_by = math.inf  # if not, its type cannot be had
        self.idle_since = 0.0  # unless it has a head
        self.pid = 0
        self.is_started = False
        self.is_killed = False  # or told to end
        self.is_open = False  # it may be given tasks
        self.is_retiring = False  # it has been given its last task
        self.is_terminated = False  # its task was asked to end in order
        self.place = 0  # among the node's workers
        self.ran = 0  # tasks that have ended there
        self.first_rss_bytes = 0  # what it took when it was measured first
        self.replaces: WorkerId | None = None  # who shall end once this one is up
        self.over_bytes = 0  # of memory, for which it is killed; 0: it is not
        self.is_recalled = False  # a recall is under way
        self.is_waiting = False  # its head waits for other tasks
        self.need: Need | None = None  # what its head, which has asked for it, has
        self.gpus: list[int] = []  # and which GPUs
        self.environment: dict[str, str] = {}  # variables set for what it runs
        self.backlog: deque[tuple[int, Leased]] = deque()
        self.next_seq = 1
        self.head_since = math.inf  # when the head became the head
        self.interrupted = 0  # seq of what was interrupted last
        self.reported: TaskId | None = None  # the head that was told as running

    @property
    def head(self) -> Leased | None:
        return self.backlog[0][1] if self.backlog else None


class Manager:
    """The machine; see the module's docstring."""

    def __init__(
        self, settings: ManagerSettings, chance: random.Random, now: float
    ) -> None:
        self.settings = settings
        self.membership = Membership(DOOR, self._hello, chance)
        self.queue: deque[Leased] = deque()
        self.typed: dict[str, deque[Leased]] = {}  # {type of worker: tasks that wait}
        self._typed_workers = 0  # that are not plain
        self._has_types = False  # there is something to look after
        self._retry_types: dict[str, float] = {}  # {type: when to start one again}
        # {type without workers: when to let its environment go}
        self._release_types: dict[str, float] = {}
        self._served: dict[str, int] = {}  # {type: when a task of it was given last}
        self._services = 0
        self.outbox: dict[TaskId, Outcome] = {}
        self.workers: dict[WorkerId, _Worker] = {}
        # Tasks that ask for something; they never wait at a worker.
        self.asking: deque[Leased] = deque()
        there = {each.name: each.amount for each in settings.resources}
        self.capacity = Capacity(there | {CPU: settings.slots})
        # {task of `asking`: what it has taken already, and which GPUs}
        self._claims: dict[TaskId, tuple[Need, list[int]]] = {}
        self.hosts = Hosts(settings.manager_id, self.capacity, settings.gpu_names)
        self.is_draining = False
        # Leases by (task_id, attempt): the same task may come back as a new attempt
        # while the worker of the old one is still dying.
        # To be ended, not handed back: {lease: how, if it has begun}.
        self._cancelled: dict[_LeaseKey, _Wish] = {}
        self._dropped: set[_LeaseKey] = set()  # to be ended without an outcome
        self._timed_out: set[_LeaseKey] = set()  # they were told to end
        # {lease: when its worker is killed if it goes on}
        self._kill_at: dict[_LeaseKey, float] = {}
        self.outflow = Outflow()
        self._long_waits: dict[WorkerId, WaitsLong] = {}  # that are under way
        self._has_timeouts = False  # some task here may run for so long only
        self._depth = Prefetch(WORKER_AHEAD, WORKER_AHEAD_LIMIT)
        self._ahead = Prefetch(WINDOW_AHEAD, WINDOW_AHEAD_LIMIT)
        self._started_workers = 0
        self._starts_due: list[float] = [now] * settings.slots
        self._start_backoff = Backoff(chance, first=0.05, limit=30.0)
        self._reported_at = -math.inf
        self._reported_window = 0
        self._reported_places = settings.slots
        self._report_by = math.inf  # workers came or went
        self._usage: dict[WorkerId, WorkerUsage] = {}
        self._alone_since = now
        self._quit_reason = ""
        self._exit_code = 0  # of an end that was asked for
        self._quit_by = math.inf  # we were asked to end, and do so by then
        self._has_nested = False  # a task here has waited for another one
        self._spares_at = math.inf  # when to look for workers that nobody needs
        self._is_drain_told = False  # the interchange leases us no more
        self._is_over = False
        self._measure_at = now if settings.care.measures else math.inf
        # Looked up for each frame.
        self._counts = settings.care.counts
        self._limits_itself = settings.care.limits_itself
        self._given = 0  # tasks that were given to workers, and not taken back
        self._retiring = 0  # workers that run their last tasks
        self._busy_at = now  # when there was something to do last
        self._idle_at = now + (settings.care.idle_timeout or math.inf)
        self._leaves = ""  # why we drain by ourselves
        self._now = now  # of the last tick, for what is said at the door

    # The loop's calls

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: a manager has no door."""
        return Admission("", "a manager admits nobody"), Turn()

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take a message from the interchange, the pool or the loop."""
        turn = Turn()
        was_in = self.membership.is_in
        is_done = self.membership.take(message, sender, now, turn)
        if self.membership.is_in and not was_in:
            self._rejoin(now, turn)
        elif was_in and not self.membership.is_in:
            self._alone_since = now
        if self.membership.state is MembershipState.BARRED:
            self._exit(3, self.membership.refusal, turn)
        if is_done:
            return turn
        match message:
            case Lease(tasks):
                self._lease(tasks, now, turn)
            case StartActors(actors):
                self.hosts.start(actors, turn.effects)
                self._report(now, turn)
            case LeaseCalls(calls):
                strays = self.hosts.call(calls, self.outflow, turn.effects)
                if strays:
                    self.membership.send(Returned(strays), now, turn)
            case EndActors(actors, is_killed):
                self.hosts.end(actors, turn.effects, is_killed=is_killed)
            case AckEnded(actors):
                self.hosts.acknowledged(actors)
            case AckFinished(outcomes):
                outbox, streams = self.outbox, bool(self.outflow)
                for ack in outcomes:
                    kept = outbox.get(ack.task_id)
                    if kept is not None and kept.attempt == ack.attempt:
                        del outbox[ack.task_id]
                        if streams:
                            self.outflow.end(ack.task_id, ack.attempt)
            case ItemsTaken(marks):
                self.outflow.taken(marks, turn.effects)
            case CancelTasks():
                self._cancel(message, now, turn)
            case Adopted(leases, actors):
                attempts = {lease.task_id: lease.attempt for lease in leases}
                self.outflow.keep_only(attempts, turn.effects)
                self._adopted(attempts, turn)
                self.hosts.adopted(actors, attempts, self.outflow, turn.effects)
                # An actor that died between our knock and the answer has left calls.
                here = {holding.task_id for holding in self._held()}
                gone = [lease for lease in leases if lease.task_id not in here]
                if gone:
                    self.membership.send(Returned(gone), now, turn)
            case Drain():
                self._is_drain_told = True
                self._drain(now, turn)
            case Stop(reason):
                reason = self._leaves or reason
                self.membership.send(Goodbye(reason), now, turn)
                self._exit(self._exit_code, reason, turn)
            case RestartManager(reason):
                self._exit_code = EXIT_AGAIN
                self._quit(reason, now, turn)
            case Quit(reason):
                self._exit_code = 0
                self._quit(reason, now, turn)
            case TasksRan(worker_id, results):
                worker = self.workers.get(worker_id)
                if worker is None:
                    host = self.hosts.by_worker[worker_id]
                    self._actor_ran(host, results, now, turn)
                else:
                    self._ran(worker, results, now, turn)
            case TasksRecalled(worker_id, seqs):
                self._recalled(self.workers[worker_id], seqs, now, turn)
            case WorkerSaid(worker_id, TaskWaits(is_waiting)):
                if worker_id in self.workers:
                    self._waits(worker_id, now, turn, is_waiting=is_waiting)
            case WorkerSaid(worker_id, WaitsLong() as said):
                self._waits_long(worker_id, said, now, turn)
            case Deadlocked():
                self._deadlocked(message, turn)
            case WorkerSaid(worker_id, Yielded() as said):
                self._yielded(worker_id, said, now, turn)
            case WorkerSaid(worker_id, Began(seq)):
                self.hosts.began(self.hosts.by_worker[worker_id], seq, now)
            case WorkerSaid(worker_id, ActorExits()):
                self.hosts.exits(self.hosts.by_worker[worker_id], turn.effects)
            case WorkerStarted(worker_id, pid) if worker_id in self.hosts.by_worker:
                self.hosts.by_worker[worker_id].pid = pid
                self._report_by = min(self._report_by, now + REPORT_WORKERS_AFTER)
            case WorkerStarted(worker_id, pid):
                worker = self.workers[worker_id]
                worker.is_started, worker.pid = True, pid
                worker.is_open = not worker.is_killed
                if worker.replaces is not None:
                    self._retire_replaced(worker, turn)
                self._start_backoff.reset()
                self._report_by = min(self._report_by, now + REPORT_WORKERS_AFTER)
                self._assign(now, turn)
            case WorkerDied(worker_id) if worker_id in self.hosts.by_worker:
                self._actor_died(message, now, turn)
            case WorkerDied():
                self._worker_died(message, now, turn)
            case WorkersMeasured(usage):
                if usage.keys() - self._usage.keys():
                    self._report_by = min(self._report_by, now + REPORT_WORKERS_AFTER)
                self._usage = usage
                if self.settings.care.measures:
                    self._judge(now, turn)
        self._quit_if_ready(now, turn)
        return turn

    def tick(self, now: float) -> Turn:
        """Start workers, report, recall, and care for the membership."""
        turn = Turn()
        self._now = now
        self.membership.tick(now, turn)
        if not self.membership.is_in and now >= self._alone_since + ABANDONED_AFTER:
            self._exit(4, f"no interchange for {ABANDONED_AFTER:.0f} s", turn)
        due = [at for at in self._starts_due if at <= now]
        self._starts_due = [at for at in self._starts_due if at > now]
        for _ in due:
            if self._spares() < 0:
                self._start_worker(now, turn)
        if self._has_types and self._types_at() <= now:
            self._care_for_types(now, turn)
        if self._recall_at() <= now:
            self._recall_stuck(now, turn)
        if self._spares_at <= now:
            self._stop_spares(now, turn)
        if self._has_timeouts:
            self._end_late(now, turn)
        if self._kill_at:
            self._kill_late(now, turn)
        if self.hosts.wake_at <= now:
            self.hosts.tick(now, turn.effects)
        if self._report_at() <= now:
            self._report(now, turn)
        if self._measure_at <= now:
            self._measure_at = now + MEASURE_PERIOD
            turn.effects.append(MeasureWorkers(of_all=True))
        if self._idle_at <= now:
            self._leave_if_idle(now, turn)
        self._quit_if_ready(now, turn)
        return turn

    @property
    def wake_at(self) -> float:
        return min(
            self.membership.wake_at,
            min(self._starts_due, default=math.inf),
            self._recall_at(),
            self._report_at(),
            self._measure_at,
            self._idle_at,
            self._spares_at,
            self._timeout_at() if self._has_timeouts else math.inf,
            self._types_at() if self._has_types else math.inf,
            min(self._kill_at.values(), default=math.inf),
            self.hosts.wake_at,
            self._quit_by,
            math.inf if self.membership.is_in else self._alone_since + ABANDONED_AFTER,
        )

    # Membership

    def _held(self) -> list[Holding]:
        """List all leases that are here, or whose outcome is."""
        held = [Holding(t.task_id, t.attempt) for t in self._queued()]
        for worker in self.workers.values():
            # What is dropped must not be adopted: nobody would ever end it.
            held += [
                Holding(t.task_id, t.attempt)
                for _, t in worker.backlog
                if _key(t) not in self._dropped
            ]
        held += self.hosts.held()
        held += [Holding(o.task_id, o.attempt) for o in self.outbox.values()]
        return held

    def _hello(self) -> Hello:
        settings = self.settings
        return Hello(
            "manager",
            settings.manager_id,
            settings.instance,
            PROTOCOL,
            settings.python,
            settings.token,
            settings.pid,
            settings.host,
            settings.block_id,
            settings.slots,
            self._held(),
            self.hosts.incarnations(),
            resources=list(settings.resources),
            time_left=None
            if settings.ends_at is None
            else settings.ends_at - self._now,
            worker_type=settings.worker_type,
            tag=settings.tag,
            is_exclusive=settings.is_exclusive,
        )

    def _rejoin(self, now: float, turn: Turn) -> None:
        # Before what is said of its calls.
        for ended in self.hosts.ended.values():
            self.membership.send(ended, now, turn)
        alive = self.hosts.alive()
        if alive:
            self.membership.send(ActorsStarted(alive), now, turn)
        for worker_id, wait in self._long_waits.items():
            told = self._as_waits(worker_id, wait)
            if told is not None:
                self.membership.send(told, now, turn)
        if self.outflow and (items := list(self.outflow.untaken())):
            self.membership.send(ItemsYielded(items), now, turn)
        if self.outbox:
            finished = Finished(list(self.outbox.values()))
            self.membership.send(finished, now, turn)
        for worker in self.workers.values():
            worker.reported = None
        self._report(now, turn)

    def _adopted(self, attempts: dict[TaskId, int], turn: Turn) -> None:
        """Keep what the interchange still wants from us, drop the rest."""
        self._set_queued(
            _under_attempt(task, attempts[task.task_id])
            for task in self._queued()
            if task.task_id in attempts
        )
        for task_id in [t for t in self.outbox if t not in attempts]:
            del self.outbox[task_id]
        for worker in self.workers.values():
            for index, (seq, task) in enumerate(worker.backlog):
                key = _key(task)
                if task.task_id in attempts and key not in self._dropped:
                    kept = _under_attempt(task, attempts[task.task_id])
                    worker.backlog[index] = (seq, kept)
                    self.outflow.renumber(task, kept.attempt)
                    if key in self._kill_at:
                        self._kill_at[_key(kept)] = self._kill_at.pop(key)
                    if key in self._cancelled:
                        self._cancelled[_key(kept)] = self._cancelled.pop(key)
                    if key in self._timed_out:
                        self._timed_out.discard(key)
                        self._timed_out.add(_key(kept))
                    if index == 0 and kept is not task:
                        worker.reported = None
                    continue
                self._dropped.add(key)
                if index == 0:
                    self._kill(worker, turn)
                else:
                    self._recall(worker, turn)

    # Leases

    def _lease(self, tasks: list[Leased], now: float, turn: Turn) -> None:
        if self.is_draining:
            held = [Holding(t.task_id, t.attempt) for t in tasks]
            self.membership.send(Returned(held), now, turn)
            return
        self._busy_at = now
        is_typed = False
        for task in tasks:  # `any` takes three times as long
            if task.worker_type:
                is_typed = True
                break
        if is_typed:
            tasks = self._of_known_types(tasks, now, turn)
        if self._dropped or self._cancelled:
            tasks = self._without_namesakes(tasks, now, turn)
        # All of them ask for something, or none.
        asks = bool(tasks) and tasks[0].amounts is not None
        if asks:
            self.asking.extend(tasks)
        elif is_typed:
            for task in tasks:
                self._queue_of(task.worker_type).append(task)
        else:
            self.queue.extend(tasks)
        self._assign(now, turn)
        if asks:
            self._tell_places(now, turn)

    # What waits: plain tasks in one queue, those of each other type in one of its own,
    # those that ask for something in another one

    def _waits_in(self, task: Leased) -> deque[Leased]:
        if task.amounts is not None:
            return self.asking
        return self._queue_of(task.worker_type)

    def _queue_of(self, worker_type: str) -> deque[Leased]:
        if not worker_type:
            return self.queue
        return self.typed.setdefault(worker_type, deque())

    def _queued(self) -> Iterator[Leased]:
        yield from self.queue
        yield from self.asking
        for queue in self.typed.values():
            yield from queue

    def _set_queued(self, tasks: Iterable[Leased]) -> None:
        """Let these wait, and no others."""
        tasks = list(tasks)
        self.queue = deque()
        self.typed.clear()
        self.asking.clear()
        for task in tasks:
            self._waits_in(task).append(task)
        wanted = {task.task_id for task in self.asking}
        for task_id in [t for t in self._claims if t not in wanted]:
            self.capacity.give_back(*self._claims.pop(task_id))

    def _of_known_types(
        self, tasks: list[Leased], now: float, turn: Turn
    ) -> list[Leased]:
        """Let tasks fail whose type is not in our endpoint.toml, and return the rest.

        The interchange knows the types, too; but tasks may be older than a change.
        """
        types = self.settings.start_timeouts
        strays = [t for t in tasks if t.worker_type and t.worker_type not in types]
        for task in strays:
            failure = no_such_type(task.worker_type, types)
            self._finish([self._refused_outcome(task, failure, now)], now, turn)
        if not strays:
            return tasks
        return [t for t in tasks if not t.worker_type or t.worker_type in types]

    def _without_namesakes(
        self, tasks: list[Leased], now: float, turn: Turn
    ) -> list[Leased]:
        """Hand back what has the same name as a lease that is just being ended.

        An interchange that lost what it had not yet synced may count attempts anew.
        """
        ending = self._dropped | self._cancelled.keys()
        back = [Holding(t.task_id, t.attempt) for t in tasks if _key(t) in ending]
        if back:
            self.membership.send(Returned(back), now, turn)
        return [t for t in tasks if _key(t) not in ending]

    def _assign(self, now: float, turn: Turn) -> None:
        """Give every idle worker a task, then let short ones queue up behind."""
        if self.asking:
            self._assign_asking(now, turn)
        if self._is_typed:
            self._assign_by_type(now, turn)
        elif self.queue:
            ready = [w for w in self.workers.values() if w.is_open]
            if self._is_asked:
                ready = [w for w in ready if w.need is None]
            self._deal(self.queue, ready, self._places - self._retiring, now, turn)

    def _deal(
        self,
        queue: deque[Leased],
        ready: list[_Worker],
        places: int,
        now: float,
        turn: Turn,
    ) -> None:
        """Give what waits in a queue to workers, so many of them at most."""
        if places < len(ready):
            busy = [w for w in ready if w.backlog]
            idle = [w for w in ready if not w.backlog]
            ready = [*busy[:places], *idle[: max(0, places - len(busy))]]
            if not ready:
                return
        for worker in ready:
            if not worker.backlog and queue:
                # The idle get their share of what is there, as far as it may wait.
                part = -(-len(queue) // len(ready))
                count = min(1 + self._depth.depth, part)
                self._give(worker, queue, count, now, turn)
        for worker in ready:
            room = 1 + self._depth.depth - len(worker.backlog)
            if room > 0 and queue and not worker.is_recalled:
                part = -(-len(queue) // len(ready))
                self._give(worker, queue, min(room, part), now, turn)

    def _give(
        self,
        worker: _Worker,
        queue: deque[Leased],
        count: int,
        now: float,
        turn: Turn,
    ) -> None:
        if self._counts:
            count = min(count, self._room_at(worker))
            if count <= 0:
                return
        runs: list[Run | Call] = []
        was_idle = not worker.backlog
        for _ in range(min(count, len(queue))):
            task = queue.popleft()
            seq = worker.next_seq
            worker.next_seq = seq + 1
            worker.backlog.append((seq, task))
            if task.streams_from >= 0:
                runs.append(call_of(seq, task.function, task))
                self.outflow.begin(task, worker.worker_id, seq)
            else:
                runs.append(Run(seq, task.function, task.arguments))
            if task.timeout is not None:
                self._has_timeouts = True
        if was_idle:
            worker.head_since = now
        if worker.environment and worker.need is None:
            worker.environment = {}
            turn.effects.append(EquipWorker(worker.worker_id, {}))
        turn.effects.append(AssignTasks(worker.worker_id, runs))
        if self._counts:
            self._given += len(runs)
            limit = self.settings.care.max_tasks_per_worker
            if limit and worker.ran + len(worker.backlog) >= limit:
                self._retire(worker, now, turn)

    # Tasks that ask for something

    @property
    def _is_asked(self) -> bool:
        return bool(self.asking) or any(w.need for w in self.workers.values())

    def _assign_asking(self, now: float, turn: Turn) -> None:
        """Run tasks as soon as there is what they ask for.

        Each takes what it needs when that is free of others like it; then the rest
        makes way, as its tasks end.
        """
        for task in self.asking:
            need = Need.of_amounts(task.amounts)
            if task.task_id not in self._claims and not self.capacity.lack(need):
                self._claims[task.task_id] = (need, self.capacity.take(need))
        others = sum(
            bool(w.backlog) and w.need is None and not w.is_waiting
            for w in self.workers.values()
        )
        claimed = sum(need.cpu_parts for need, _ in self._claims.values())
        idle: dict[str, list[_Worker]] = {}  # {type: its workers}
        coming: Counter[str] = Counter({"": len(self._starts_due)})
        for worker in self.workers.values():
            if not worker.is_started:
                coming[worker.worker_type] += 1
            elif not worker.backlog and worker.is_open and self._room_at(worker) > 0:
                idle.setdefault(worker.worker_type, []).append(worker)
        lacking: Counter[str] = Counter()
        for task in list(self.asking):
            claim = self._claims.get(task.task_id)
            if claim is None or not self.capacity.has_cpus(claim[0], claimed, others):
                continue
            claimed -= claim[0].cpu_parts
            if idle.get(task.worker_type):
                self._give_asking(idle[task.worker_type].pop(), task, now, turn)
            else:
                lacking[task.worker_type] += 1
        for worker_type, count in (lacking - coming).items():
            if self._retry_types.get(worker_type, 0.0) > now:
                continue
            for _ in range(min(count, MAX_WORKERS - len(self.workers))):
                self._start_worker(now, turn, worker_type)

    def _give_asking(
        self, worker: _Worker, task: Leased, now: float, turn: Turn
    ) -> None:
        self.asking.remove(task)
        worker.need, worker.gpus = self._claims.pop(task.task_id)
        environment = {}
        if worker.gpus:
            environment[GPU_VARIABLE] = name_gpus(worker.gpus, self.settings.gpu_names)
        if environment != worker.environment:
            worker.environment = environment
            turn.effects.append(EquipWorker(worker.worker_id, environment))
        self._give(worker, deque([task]), 1, now, turn)

    def _tell_places(self, now: float, turn: Turn) -> None:
        """Say how many tasks that ask for nothing may run, if that has changed."""
        if self._places != self._reported_places:
            self._report(now, turn)

    def _let_go(self, worker: _Worker, now: float) -> None:
        """Give back what a worker's task, which has ended, had."""
        if worker.need is None:
            return
        if worker.is_waiting:
            self.capacity.take(worker.need.processors)
        self.capacity.give_back(worker.need, worker.gpus)
        worker.need, worker.gpus = None, []
        if self._spares() > 0:
            self._spares_at = min(self._spares_at, now + SPARE_PERIOD)

    def _cancel(self, order: CancelTasks, now: float, turn: Turn) -> None:
        wanted = set(order.task_ids)
        ended = [t for t in self._queued() if t.task_id in wanted]
        if ended:
            self._set_queued([t for t in self._queued() if t.task_id not in wanted])
            self._finish([self._cancelled_outcome(t, now) for t in ended], now, turn)
        wish = _Wish.of(order)
        for worker in self.workers.values():
            for index, (_, task) in enumerate(worker.backlog):
                if task.task_id not in wanted:
                    continue
                key = _key(task)
                known = self._cancelled.get(key)
                # The same wish again, as after a new registration, interrupts once.
                is_news = known is None or known.how < wish.how
                if index > 0:
                    if is_news:
                        self._cancelled[key] = wish
                    self._recall(worker, turn)
                elif wish.how is not _Ending.IF_UNBEGUN and is_news:
                    self._cancelled[key] = wish
                    self._end_head(worker, now, turn)
        if self.hosts.by_worker:
            grace = -1.0 if order.grace is None else order.grace
            self.hosts.cancel(wanted, now, grace, turn.effects)

    def _drain(self, now: float, turn: Turn) -> None:
        self.is_draining = True
        for worker in self.workers.values():
            if len(worker.backlog) > 1:
                self._recall(worker, turn)
        self._hand_back(now, turn)

    def _hand_back(self, now: float, turn: Turn) -> None:
        held = [Holding(t.task_id, t.attempt) for t in self._queued()]
        if held:
            self._set_queued([])
            self.membership.send(Returned(held), now, turn)

    # Workers

    def _start_worker(
        self, now: float, turn: Turn, worker_type: str = "", place: int | None = None
    ) -> _Worker:
        self._started_workers += 1
        worker_id = WorkerId(f"{self.settings.manager_id}-w{self._started_workers}")
        worker = _Worker(worker_id, worker_type)
        worker.idle_since = now
        if worker_type:
            self._typed_workers += 1
            self._has_types = True
            self._release_types.pop(worker_type, None)
            worker.start_by = now + self.settings.start_timeouts[worker_type]
        worker.place = self._free_place() if place is None else place
        places = self.settings.care.places
        what = places[worker.place] if places else Place()
        self.workers[worker_id] = worker
        start = StartWorker(worker_id, worker_type=worker_type, place=what)
        turn.effects.append(start)
        return worker

    def _free_place(self) -> int:
        """Return the place that the fewest workers have."""
        taken = [0] * self.settings.slots
        for worker in self.workers.values():
            taken[worker.place] += 1
        return taken.index(min(taken))

    def _stop(self, worker: _Worker, turn: Turn) -> None:
        """Let an idle worker end."""
        worker.is_killed, worker.is_open = True, False
        turn.effects.append(StopWorker(worker.worker_id))

    def _kill(self, worker: _Worker, turn: Turn) -> None:
        if not worker.is_killed:
            worker.is_killed, worker.is_open = True, False
            turn.effects.append(KillWorker(worker.worker_id))

    def _recall(self, worker: _Worker, turn: Turn) -> None:
        if not worker.is_recalled and not worker.is_killed:
            worker.is_recalled = True
            turn.effects.append(RecallTasks(worker.worker_id))

    def _ran(self, worker: _Worker, results: list[Ran], now: float, turn: Turn) -> None:
        outcomes: list[Outcome] = []
        backlog = worker.backlog
        limit = self.membership.max_frame_bytes - FRAME_OVERHEAD_BYTES
        busy, is_terminated = 0.0, worker.is_terminated
        for ran in results:
            if not backlog or backlog[0][0] != ran.seq:
                raise BrokenInvariant(
                    f"{worker.worker_id} answered {ran.seq}, not the head of "
                    f"{[seq for seq, _ in backlog]}"
                )
            task = backlog.popleft()[1]
            busy += ran.ended_at - ran.began_at
            if self._dropped and _key(task) in self._dropped:
                self._unmark(_key(task))
                continue
            if is_terminated and not ran.is_success:
                self._unmark(_key(task))
                outcomes.append(self._terminated_outcome(task, worker, now))
                continue
            outcome = self._outcome(task, ran, worker.worker_id, limit)
            if self._cancelled or self._timed_out:
                outcome = self._as_ended(task, outcome, now)
            outcomes.append(outcome)
        worker.ran += len(results)
        self._busy_at = now
        worker.head_since = now if backlog else math.inf
        worker.idle_since = now
        has_asked = worker.need is not None
        if has_asked:
            self._let_go(worker, now)
        self._depth.observed(busy, len(results))
        self._ahead.observed(busy, len(results))
        self._finish(outcomes, now, turn)
        self._end_head(worker, now, turn)
        if not (backlog or worker.is_open):
            self._stop_if_retired(worker, turn)
        if self._limits_itself:
            self._leave_if_due(results, now, turn)
        self._assign(now, turn)
        if has_asked:
            self._tell_places(now, turn)

    def _as_ended(self, task: Leased, outcome: Outcome, now: float) -> Outcome:
        """Say that a task has failed because it was to end, if it was."""
        key = _key(task)
        wish, is_late = self._cancelled.get(key), key in self._timed_out
        self._unmark(key)
        if outcome.state is TaskState.SUCCESS:
            return outcome
        if wish is not None and wish.how is not _Ending.IF_UNBEGUN:
            return self._cancelled_outcome(task, now)
        if is_late:
            failure = _timed_out(task)
            return msgspec.structs.replace(outcome, payload=b"", failure=failure)
        return outcome

    def _unmark(self, key: _LeaseKey) -> None:
        # It may be all of these at once.
        self._cancelled.pop(key, None)
        self._dropped.discard(key)
        self._timed_out.discard(key)
        self._kill_at.pop(key, None)

    def _recalled(
        self, worker: _Worker, seqs: list[int], now: float, turn: Turn
    ) -> None:
        worker.is_recalled = False
        back = set(seqs)
        tasks = [task for seq, task in worker.backlog if seq in back]
        worker.backlog = deque(x for x in worker.backlog if x[0] not in back)
        if not worker.backlog:
            worker.head_since = math.inf
            self._stop_if_retired(worker, turn)
        self._requeue(tasks, now, turn)
        self._end_head(worker, now, turn)
        if any(self._is_unwanted(task) for _, task in list(worker.backlog)[1:]):
            # They were assigned after the recall that this answers.
            self._recall(worker, turn)
        if self.is_draining:
            self._hand_back(now, turn)
        else:
            self._assign(now, turn)

    def _requeue(self, tasks: list[Leased], now: float, turn: Turn) -> None:
        """Put unstarted tasks back, except those that nobody wants any more."""
        self._given -= len(tasks) if self._counts else 0
        cancelled = [t for t in tasks if _key(t) in self._cancelled]
        wanted = [t for t in tasks if not self._is_unwanted(t)]
        for task in reversed(wanted):
            self._waits_in(task).appendleft(task)
        for task in tasks:
            self._unmark(_key(task))
            if task.streams_from >= 0:
                # It begins anew when it is given to a worker again.
                self.outflow.end(task.task_id, task.attempt)
        self._finish([self._cancelled_outcome(t, now) for t in cancelled], now, turn)

    def _worker_died(self, death: WorkerDied, now: float, turn: Turn) -> None:
        self._wait_is_over(death.worker_id, now, turn)
        worker = self.workers.pop(death.worker_id)
        self._busy_at = now
        # Its next report tells what has become free.
        self._let_go(worker, now)
        self._usage.pop(death.worker_id, None)
        if worker.is_retiring:
            self._retiring -= 1
        if self.settings.care.has_work_dirs:
            turn.effects.append(RemoveWorkDirs(death.worker_id))
        self._report_by = min(self._report_by, now + REPORT_WORKERS_AFTER)
        # What had begun may have had effects; what had not is as good as new.
        begun = [t for seq, t in worker.backlog if seq <= death.begun_seq]
        if not begun and worker.backlog and worker.is_killed:
            # Killed for the sake of its head just before the head began.
            head = worker.backlog[0][1]
            if self._is_unwanted(head):
                begun = [head]
        unstarted = [t for _, t in worker.backlog][len(begun) :]
        outcomes = []
        for task in begun:
            if _key(task) in self._dropped:
                pass
            elif _key(task) in self._cancelled:
                outcomes.append(self._cancelled_outcome(task, now))
            elif _key(task) in self._timed_out:
                failure = _timed_out(task, ", and was ended with its worker")
                outcomes.append(self._lost_outcome(task, failure, worker, now))
            elif worker.is_terminated and not worker.over_bytes:
                outcomes.append(self._terminated_outcome(task, worker, now))
            else:
                outcomes.append(self._death_outcome(task, death, worker, now))
            self._unmark(_key(task))
        self._requeue(unstarted, now, turn)
        self._finish(outcomes, now, turn)
        if worker.worker_type:
            self._typed_worker_died(worker, death, now, turn)
        if self._spares() + len(self._starts_due) >= 0:
            self._spares_at = min(self._spares_at, now + SPARE_PERIOD)
        elif worker.is_started:
            self._starts_due.append(now)
        else:
            # It never came up: something is wrong that a quick retry will not heal.
            self._starts_due.append(now + self._start_backoff.next())
        if self._limits_itself:
            self._leave_if_due([], now, turn)
        if self.is_draining:
            self._hand_back(now, turn)
        else:
            self._assign(now, turn)

    def _recall_at(self) -> float:
        """When the followers of a stuck head should be recalled, if ever."""
        if (
            self.queue
            or self.typed
            or self.asking
            or not any(
                w.is_started and not w.backlog and not w.is_killed
                for w in self.workers.values()
            )
        ):
            return math.inf
        return min(
            (
                w.head_since + RECALL_AFTER
                for w in self.workers.values()
                if len(w.backlog) > 1 and not w.is_recalled and not w.is_killed
            ),
            default=math.inf,
        )

    def _recall_stuck(self, now: float, turn: Turn) -> None:
        for worker in self.workers.values():
            if len(worker.backlog) > 1 and worker.head_since + RECALL_AFTER <= now:
                self._recall(worker, turn)

    def _end_head(self, worker: _Worker, now: float, turn: Turn) -> None:
        """End what a worker runs, if it began before it could be recalled."""
        head = worker.head
        if head is None:
            return
        key = _key(head)
        wish = self._cancelled.get(key)
        if key in self._dropped or (wish and wish.how is _Ending.KILL):
            self._kill(worker, turn)
        elif wish is not None and wish.how is _Ending.INTERRUPT:
            self._interrupt(worker, wish.is_recursive, turn)
            if wish.grace >= 0:
                self._kill_at.setdefault(key, now + wish.grace)

    @staticmethod
    def _interrupt(worker: _Worker, is_recursive: bool, turn: Turn) -> None:
        seq = worker.backlog[0][0]
        if worker.interrupted != seq:
            # Twice would interrupt what it does to end in order.
            worker.interrupted = seq
            said = Interrupt(seq, is_recursive)
            turn.effects.append(TellWorker(worker.worker_id, said))

    def _kill_late(self, now: float, turn: Turn) -> None:
        """Kill the workers of tasks that went on for too long when told to end."""
        for worker in self.workers.values():
            if worker.backlog:
                key = _key(worker.backlog[0][1])
                if self._kill_at.get(key, math.inf) <= now:
                    self._kill(worker, turn)
        self._kill_at = {k: at for k, at in self._kill_at.items() if at > now}

    def _is_unwanted(self, task: Leased) -> bool:
        return _key(task) in self._cancelled or _key(task) in self._dropped

    # Tasks that may run for so long only

    def _timeout_at(self) -> float:
        """When the next head has run for too long."""
        return min(
            (
                worker.head_since + worker.backlog[0][1].timeout
                for worker in self.workers.values()
                if worker.backlog
                and worker.backlog[0][1].timeout is not None
                and not worker.is_killed
                and _key(worker.backlog[0][1]) not in self._timed_out
            ),
            default=math.inf,
        )

    def _end_late(self, now: float, turn: Turn) -> None:
        """Interrupt tasks that have run for too long."""
        self._has_timeouts = False
        for worker in self.workers.values():
            for index, (_, task) in enumerate(worker.backlog):
                if task.timeout is None or worker.is_killed:
                    continue
                self._has_timeouts = True
                if index or worker.head_since + task.timeout > now:
                    continue
                key = _key(task)
                if key not in self._timed_out:
                    self._timed_out.add(key)
                    self._kill_at[key] = now + INTERRUPT_GRACE
                    self._interrupt(worker, False, turn)

    # Tasks that wait for others

    def _waits(
        self, worker_id: WorkerId, now: float, turn: Turn, *, is_waiting: bool
    ) -> None:
        """Give the place of a task that waits to another one, or take one back."""
        worker = self.workers[worker_id]
        if worker.need is not None and worker.is_waiting != is_waiting:
            if is_waiting:
                self.capacity.give_back(worker.need.processors, ())
            else:
                self.capacity.take(worker.need.processors)
                self._report_by = min(self._report_by, now + REPORT_WORKERS_AFTER)
        worker.is_waiting = is_waiting
        if not is_waiting:
            # For a while there may be one too many.
            self._spares_at = min(self._spares_at, now + SPARE_PERIOD)
            return
        if not self._has_nested:
            self._has_nested = True
            turn.effects.append(ExpectCalls())
        if len(worker.backlog) > 1:
            self._recall(worker, turn)
        if self._spares() + len(self._starts_due) < 0 and (
            len(self.workers) < MAX_WORKERS and not self.typed
        ):
            self._start_worker(now, turn)
        self._report(now, turn)
        self._assign(now, turn)

    def _spares(self) -> int:
        """How many workers there are beyond those that may run tasks; < 0: lacking."""
        usable = sum(
            not (worker.is_waiting or worker.is_killed or worker.is_retiring)
            for worker in self.workers.values()
        )
        if not self._is_asked:
            return usable - self.settings.slots
        asked = sum(
            w.need is not None and not w.is_waiting and not w.is_killed
            for w in self.workers.values()
        )
        others = max(0, self.settings.slots - self.capacity.taken_cpus)
        return usable - max(self.settings.slots, others + asked)

    def _stop_spares(self, now: float, turn: Turn) -> None:
        self._has_nested = False  # a task here has waited for another one
        self._spares_at = math.inf
        spares = self._spares()
        idle = [w for w in self.workers.values() if not w.backlog and not w.is_killed]
        for worker in idle[: max(0, spares)]:
            self._stop(worker, turn)
        if spares > len(idle):
            self._spares_at = now + SPARE_PERIOD

    # Care

    @property
    def _runs_anything(self) -> bool:
        return any(worker.backlog for worker in self.workers.values())

    def _room_at(self, worker: _Worker) -> int:
        """Return how many more tasks a worker may be given."""
        care, room = self.settings.care, WINDOW_AHEAD_LIMIT
        if care.max_tasks:
            room = min(room, care.max_tasks - self._given)
        if care.max_tasks_per_worker:
            done = worker.ran + len(worker.backlog)
            room = min(room, care.max_tasks_per_worker - done)
        return room

    def _retire(self, worker: _Worker, now: float, turn: Turn) -> None:
        """Give a worker nothing more, and start who takes its place at once."""
        worker.is_open, worker.is_retiring = False, True
        self._retiring += 1
        if not self.is_draining and len(self.workers) < MAX_WORKERS:
            self._start_worker(now, turn, worker.worker_type, worker.place)

    def _retire_replaced(self, successor: _Worker, turn: Turn) -> None:
        """Let the worker go whose successor is up."""
        old = self.workers.get(successor.replaces or WorkerId(""))
        successor.replaces = None
        if old is None or not old.is_open:
            return
        old.is_open, old.is_retiring = False, True
        self._retiring += 1
        if len(old.backlog) > 1:
            self._recall(old, turn)
        self._stop_if_retired(old, turn)

    def _stop_if_retired(self, worker: _Worker, turn: Turn) -> None:
        if worker.is_retiring and not worker.backlog and not worker.is_killed:
            self._stop(worker, turn)
            worker.is_retiring = False
            self._retiring -= 1

    def _judge(self, now: float, turn: Turn) -> None:
        """End workers that take too much memory, replace those that grew too much."""
        care = self.settings.care
        replaced = {worker.replaces for worker in self.workers.values()}
        for worker in list(self.workers.values()):
            usage = self._usage.get(worker.worker_id)
            if usage is None or worker.is_killed:
                continue
            rss_bytes = usage.rss_bytes
            worker.first_rss_bytes = worker.first_rss_bytes or rss_bytes
            growth = rss_bytes - worker.first_rss_bytes
            if care.memory_limit_bytes and rss_bytes > care.memory_limit_bytes:
                worker.over_bytes = rss_bytes
                self._kill(worker, turn)
            elif (
                0 < care.max_worker_growth_bytes < growth
                and worker.is_open
                and worker.worker_id not in replaced
                and len(self.workers) < MAX_WORKERS
            ):
                successor = self._start_worker(
                    now, turn, worker.worker_type, worker.place
                )
                successor.replaces = worker.worker_id

    def _terminate(self, turn: Turn) -> None:
        """Ask the tasks that run to end in order."""
        for worker in self.workers.values():
            if worker.backlog and not worker.is_killed:
                worker.is_terminated = True
                turn.effects.append(TerminateWorker(worker.worker_id))

    def _leave_if_due(self, results: list[Ran], now: float, turn: Turn) -> None:
        """Leave after the last task, or after one that raised."""
        care = self.settings.care
        has_raised = care.exit_on_exception and any(
            ran.failure is not None and ran.failure.kind is FailureKind.EXCEPTION
            for ran in results
        )
        if has_raised:
            self._leave("a task raised an exception (exit_on_exception)", now, turn)
        elif 0 < care.max_tasks <= self._given and not self._runs_anything:
            self._leave(f"it has run {care.max_tasks} tasks (max_tasks)", now, turn)

    def _leave_if_idle(self, now: float, turn: Turn) -> None:
        timeout = self.settings.care.idle_timeout
        self._idle_at = now + timeout
        is_busy = (
            self.queue
            or self.typed
            or self.asking
            or self.outbox
            or self.hosts.by_worker
            or self._runs_anything
        )
        if is_busy or not self.membership.is_in:
            return
        if self._busy_at + timeout > now:
            self._idle_at = self._busy_at + timeout
            return
        self._leave(f"it was idle for {timeout:g} s (idle_timeout)", now, turn)

    def _leave(self, reason: str, now: float, turn: Turn) -> None:
        """Drain by ourselves: the interchange stops us when we have nothing left."""
        if self._leaves:
            return
        self._leaves = reason
        self._idle_at = math.inf
        self._drain(now, turn)
        # Who hears it gives us nothing more.
        self._report(now, turn)

    # Types of workers

    @property
    def _is_typed(self) -> bool:
        """Whether there is work for workers that are not plain, or such a worker."""
        return bool(self.typed) or self._typed_workers > 0

    def _assign_by_type(self, now: float, turn: Turn) -> None:
        """Share the places out among types, change workers, and deal tasks."""
        demand = {name: len(self._queue_of(name)) for name in ("", *self.typed)}
        alive: dict[str, list[_Worker]] = {}
        for worker in self.workers.values():
            if worker.is_retiring:
                # It has its place until it has ended, and gets nothing more.
                name = worker.worker_type
                demand[name] = demand.get(name, 0) + 1
            elif not worker.is_killed and not worker.is_waiting and not worker.need:
                alive.setdefault(worker.worker_type, []).append(worker)
                if worker.backlog:
                    name = worker.worker_type
                    demand[name] = demand.get(name, 0) + len(worker.backlog)
        # Where there are fewer places than types, each has its turn.
        names = sorted(demand, key=lambda name: self._served.get(name, 0))
        shares = apportion(self._places, {name: demand[name] for name in names})
        for name in names:
            queue = self._queue_of(name)
            if not queue:
                continue
            waiting = len(queue)
            self._change_workers(name, shares, alive, now, turn)
            ready = [w for w in alive.get(name, ()) if w.is_open]
            retiring = sum(
                w.is_retiring and w.worker_type == name for w in self.workers.values()
            )
            if ready and shares.get(name, 0) > retiring:
                self._deal(queue, ready, shares.get(name, 0) - retiring, now, turn)
            if len(queue) < waiting:
                self._services += 1
                self._served[name] = self._services
        self.typed = {name: queue for name, queue in self.typed.items() if queue}

    def _change_workers(
        self,
        name: str,
        shares: Mapping[str, int],
        alive: dict[str, list[_Worker]],
        now: float,
        turn: Turn,
    ) -> None:
        """Start workers of a type that lacks some, in the place of others perhaps."""
        mine = alive.setdefault(name, [])
        lack = min(shares.get(name, 0) - len(mine), len(self._queue_of(name)))
        if self._retry_types.get(name, 0.0) > now:
            return
        for _ in range(lack):
            usable = sum(map(len, alive.values()))
            if usable >= self.settings.slots:
                victim = _find_idle(alive, shares)
                if victim is None:
                    return
                alive[victim.worker_type].remove(victim)
                self._stop(victim, turn)
            if len(self.workers) >= MAX_WORKERS:
                return
            mine.append(self._start_worker(now, turn, name))

    def _typed_worker_died(
        self, worker: _Worker, death: WorkerDied, now: float, turn: Turn
    ) -> None:
        name = worker.worker_type
        self._typed_workers -= 1
        if not worker.is_started and not worker.is_killed:
            if death.is_impossible:
                where = f"{self.settings.manager_id} on {self.settings.host}"
                failure = not_to_be_had(name, where, death.stderr_tail)
                asking = [t for t in self.asking if t.worker_type == name]
                outcomes = [
                    self._refused_outcome(task, failure, now)
                    for task in (*self.typed.pop(name, ()), *asking)
                ]
                self._set_queued([t for t in self._queued() if t not in asking])
                self._finish(outcomes, now, turn)
            else:
                self._retry_types[name] = now + self._start_backoff.next()
        if all(w.worker_type != name for w in self.workers.values()):
            self._release_types[name] = now + TYPE_IDLE_PERIOD

    def _types_at(self) -> float:
        """When to look after types."""
        at = min(
            (
                w.idle_since + TYPE_IDLE_PERIOD if w.is_started else w.start_by
                for w in self.workers.values()
                if w.worker_type and not w.backlog and not w.is_killed
            ),
            default=math.inf,
        )
        retries, releases = self._retry_types.values(), self._release_types.values()
        return min([at, *retries, *releases])

    def _care_for_types(self, now: float, turn: Turn) -> None:
        """Give up what does not start, and let go what nobody wants."""
        late = {
            worker.worker_type
            for worker in self.workers.values()
            if not worker.is_started and worker.start_by <= now
        }
        for name in sorted(late):
            limit = self.settings.start_timeouts[name]
            why = f"it has not started within its start_timeout of {limit:g} s"
            turn.effects.append(AbandonType(name, why))
        for worker in self.workers.values():
            if worker.worker_type in late:
                worker.start_by = math.inf
        idle = [
            worker
            for worker in self.workers.values()
            if worker.worker_type
            and worker.is_started
            and not worker.backlog
            and not worker.is_killed
            and worker.idle_since + TYPE_IDLE_PERIOD <= now
        ]
        for worker in idle:
            self._stop(worker, turn)
            if self._spares() < 0:
                self._start_worker(now, turn)
        for name in [n for n, at in self._retry_types.items() if at <= now]:
            del self._retry_types[name]
            self._assign(now, turn)
        for name in [n for n, at in self._release_types.items() if at <= now]:
            del self._release_types[name]
            turn.effects.append(ReleaseType(name))
        self._has_types = bool(
            self._typed_workers or self._retry_types or self._release_types
        )

    def _waits_long(
        self, worker_id: WorkerId, said: WaitsLong, now: float, turn: Turn
    ) -> None:
        if said.task_ids:
            self._long_waits[worker_id] = said
        elif self._long_waits.pop(worker_id, None) is None:
            return
        told = self._as_waits(worker_id, said)
        if told is not None:
            self.membership.send(told, now, turn)

    def _as_waits(self, worker_id: WorkerId, wait: WaitsLong) -> Waits | None:
        """Say who waits; None: it has ended."""
        host, worker = self.hosts.by_worker.get(worker_id), self.workers.get(worker_id)
        if host is not None:
            who = host.of.actor_id, host.of.number
        elif worker is not None and worker.head is not None:
            who = worker.head.task_id, 0
        else:
            return None
        return Waits(*who, wait.number, wait.task_ids, wait.spare)

    def _deadlocked(self, told: Deadlocked, turn: Turn) -> None:
        for worker_id, wait in self._long_waits.items():
            known = self._as_waits(worker_id, wait)
            if known is not None and (
                (known.waiter, known.incarnation, known.number)
                == (told.waiter, told.incarnation, told.number)
            ):
                turn.effects.append(TellWorker(worker_id, told))

    def _wait_is_over(self, worker_id: WorkerId, now: float, turn: Turn) -> None:
        """Take note that a process is about to be gone, with its wait."""
        wait = self._long_waits.get(worker_id)
        if wait is not None:
            self._waits_long(worker_id, WaitsLong(wait.number, [], 0), now, turn)

    # Generators

    def _yielded(
        self, worker_id: WorkerId, said: Yielded, now: float, turn: Turn
    ) -> None:
        worker = self.workers.get(worker_id)
        task: Leased | LeasedCall | None
        if worker is None:
            task = self.hosts.by_worker[worker_id].calls.get(said.seq)
        else:
            task = worker.head
        limit = self.membership.max_frame_bytes - FRAME_OVERHEAD_BYTES
        if task is not None:
            item = self.outflow.yielded(task, said, limit, turn.effects)
            if item is not None:
                self.membership.send(ItemsYielded([item]), now, turn)

    # Actors

    def _actor_ran(
        self, host: Host, results: list[Ran], now: float, turn: Turn
    ) -> None:
        limit = self.membership.max_frame_bytes - FRAME_OVERHEAD_BYTES
        ended, is_constructed = self.hosts.ran(host, results, turn.effects)
        if is_constructed:
            self.membership.send(ActorsStarted([host.of]), now, turn)
        outcomes: list[Outcome] = []
        for call, ran, is_cancelled, is_late in ended:
            if is_cancelled:
                outcomes.append(self._cancelled_outcome(call, now))
                continue
            outcome = self._outcome(call, ran, host.worker_id, limit)
            if is_late:
                failure = _timed_out(call)
                outcome = msgspec.structs.replace(outcome, payload=b"", failure=failure)
            outcomes.append(outcome)
        self._finish(outcomes, now, turn)

    def _actor_died(self, death: WorkerDied, now: float, turn: Turn) -> None:
        self._wait_is_over(death.worker_id, now, turn)
        host = self.hosts.by_worker[death.worker_id]
        limit = self.membership.max_frame_bytes - FRAME_OVERHEAD_BYTES
        calls = self.hosts.died(death, limit)
        self.membership.send(
            self.hosts.ended[host.of.actor_id, host.of.number], now, turn
        )
        at = now + self.settings.wall_offset
        failure = Failure(FailureKind.WORKER_DIED, calls.message, death.stderr_tail)
        self._finish(
            [
                Outcome(c.task_id, c.attempt, TaskState.FAILED, b"", failure, at, at)
                for c in calls.begun
            ]
            + [
                Outcome(
                    c.task_id, c.attempt, TaskState.FAILED, b"", _timed_out(c), at, at
                )
                for c in calls.timed_out
            ],
            now,
            turn,
        )
        for call in calls.unbegun:
            self.outflow.end(call.task_id, call.attempt)
        if calls.unbegun:
            held = [Holding(c.task_id, c.attempt) for c in calls.unbegun]
            self.membership.send(Returned(held), now, turn)
        if host.need.amounts:
            self._report(now, turn)
            self._assign(now, turn)

    # Outcomes

    def _finish(self, outcomes: list[Outcome], now: float, turn: Turn) -> None:
        if not outcomes:
            return
        for outcome in outcomes:
            self.outbox[outcome.task_id] = outcome
        self.membership.send(Finished(outcomes), now, turn)
        # The first short tasks show that more may be under way at once.
        if self.window > 2 * self._reported_window:
            self._report(now, turn)

    def _outcome(
        self, task: Leased | LeasedCall, ran: Ran, worker_id: WorkerId, limit: int
    ) -> Outcome:
        state = TaskState.SUCCESS if ran.is_success else TaskState.FAILED
        payload, failure = ran.payload, ran.failure
        if len(payload) > limit > 0 or (
            task.streams_from >= 0 and self.outflow.is_spoilt(task.task_id)
        ):
            is_item = task.streams_from >= 0
            what = "an item" if is_item else f"result of {len(payload)} bytes"
            failure = Failure(
                FailureKind.TOO_LARGE,
                f"{what} exceeds the endpoint's "
                f"max_frame_bytes {limit + FRAME_OVERHEAD_BYTES}: raise it in "
                "endpoint.toml, or let the task write a file and return its name",
            )
            state, payload = TaskState.FAILED, b""
        return Outcome(
            task.task_id,
            task.attempt,
            state,
            payload,
            failure,
            ran.ended_at,
            ran.began_at,
            worker_id,
        )

    def _cancelled_outcome(self, task: Leased | LeasedCall, now: float) -> Outcome:
        at = now + self.settings.wall_offset
        return Outcome(
            task.task_id, task.attempt, TaskState.CANCELLED, b"", ended_at=at
        )

    def _refused_outcome(self, task: Leased, failure: Failure, now: float) -> Outcome:
        at = now + self.settings.wall_offset
        return Outcome(
            task.task_id, task.attempt, TaskState.FAILED, b"", failure, ended_at=at
        )

    def _death_outcome(
        self, task: Leased, death: WorkerDied, worker: _Worker, now: float
    ) -> Outcome:
        care = self.settings.care
        if worker.over_bytes:
            peak_bytes = max(worker.over_bytes, death.peak_rss_bytes)
            title = f"worker {self._name(worker)}"
            failure = over_memory(title, peak_bytes, care.memory_limit_bytes)
        elif death.exit_code == EXIT_OVER_LIMIT and care.has_work_dirs:
            last = death.stderr_tail.strip().rpartition("\n")[2]
            failure = Failure(FailureKind.WORK_DIR_LIMIT, last)
        else:
            kind, more = FailureKind.WORKER_DIED, ""
            if death.has_memory_run_out and not worker.is_killed:
                kind = FailureKind.OUT_OF_MEMORY
                more = "; the kernel killed a process because memory ran out"
            failure = Failure(
                kind,
                f"worker {self._name(worker)} {how_it_died(death)} while it ran the "
                f"task; peak memory {death.peak_rss_bytes / 2**20:.0f} MiB{more}",
                death.stderr_tail,
            )
        return self._lost_outcome(task, failure, worker, now)

    def _terminated_outcome(self, task: Leased, worker: _Worker, now: float) -> Outcome:
        """Tell that a task ended as its manager was asked to."""
        failure = Failure(
            FailureKind.WORKER_DIED,
            f"worker {self._name(worker)} was asked to end while it ran the task: "
            f"{self._quit_reason}",
        )
        return self._lost_outcome(task, failure, worker, now)

    def _name(self, worker: _Worker) -> str:
        return f"{worker.worker_id} (pid {worker.pid} on {self.settings.host})"

    def _lost_outcome(
        self, task: Leased, failure: Failure, worker: _Worker, now: float
    ) -> Outcome:
        settings = self.settings
        return Outcome(
            task.task_id,
            task.attempt,
            TaskState.FAILED,
            b"",
            failure,
            now + settings.wall_offset,
            min(worker.head_since, now) + settings.wall_offset,
            worker.worker_id,
        )

    # Reports

    @property
    def window(self) -> int:
        """Leases that we want to have at most; none while we drain."""
        if self.is_draining:
            return 0
        asking = len(self.asking) + sum(
            worker.need is not None for worker in self.workers.values()
        )
        window = self._places * (1 + self._ahead.depth) + asking
        most = self.settings.care.max_tasks
        if most:
            running = sum(len(worker.backlog) for worker in self.workers.values())
            return min(window, running + max(0, most - self._given))
        return window

    @property
    def _places(self) -> int:
        """How many workers may run tasks that ask for nothing at a time."""
        waiting = sum(w.is_waiting and w.need is None for w in self.workers.values())
        return max(0, self.settings.slots - self.capacity.taken_cpus) + waiting

    def _report_at(self) -> float:
        if not self.membership.is_in:
            return math.inf
        unreported = min(
            (
                w.head_since
                for w in self.workers.values()
                if w.backlog and w.reported != w.backlog[0][1].task_id
            ),
            default=math.inf,
        )
        return min(
            self._reported_at + self.settings.heartbeat_period,
            self._report_by,
            unreported + REPORT_RUNNING_AFTER,
        )

    def _report(self, now: float, turn: Turn) -> None:
        self._reported_at = now
        self._reported_window = self.window
        self._reported_places = self._places
        self._report_by = math.inf
        deltas, reports = [], []
        for worker in self.workers.values():
            head = worker.head
            if head is not None and worker.reported != head.task_id:
                worker.reported = head.task_id
                at = worker.head_since + self.settings.wall_offset
                deltas.append(
                    Delta(
                        head.task_id,
                        head.attempt,
                        TaskState.RUNNING,
                        at,
                        worker.worker_id,
                    )
                )
            usage = self._usage.get(worker.worker_id)
            reports.append(
                WorkerReport(
                    worker.worker_id,
                    worker.pid,
                    head.task_id if head else TaskId(""),
                    usage.rss_bytes if usage else 0,
                    usage.cpu_seconds if usage else 0.0,
                )
            )
        resting = [
            w.backlog[0][1].task_id
            for w in self.workers.values()
            if w.need is not None and w.is_waiting and w.backlog
        ]
        report = Report(
            self._reported_window,
            deltas,
            reports,
            self.is_draining,
            self._type_slots() if self._typed_workers else [],
            actors=[self._actor_report(h) for h in self.hosts.by_worker.values()],
            resting=resting,
        )
        self.membership.send(report, now, turn)
        turn.effects.append(MeasureWorkers(of_all=self.settings.care.measures))

    def _actor_report(self, host: Host) -> ActorReport:
        usage = self._usage.get(host.worker_id)
        return ActorReport(
            host.of.actor_id,
            host.pid,
            usage.rss_bytes if usage else 0,
            usage.cpu_seconds if usage else 0.0,
        )

    def _type_slots(self) -> list[TypeSlots]:
        """Count workers of each type but plain ones, and those that run nothing."""
        totals: dict[str, tuple[int, int]] = {}
        for worker in self.workers.values():
            if worker.worker_type and not worker.is_killed:
                total, free = totals.get(worker.worker_type, (0, 0))
                is_free = worker.is_started and not worker.backlog
                totals[worker.worker_type] = total + 1, free + is_free
        return [TypeSlots(name, *counts) for name, counts in totals.items()]

    # The end

    def _quit(self, reason: str, now: float, turn: Turn) -> None:
        """Hand back what has not begun, then leave; what runs is lost."""
        self._quit_reason = reason
        self._quit_by = now
        # Who begins anew has the time to say that it wants no more.
        waits = self.queue or self.typed or self.asking
        if self._exit_code or waits or self._runs_anything:
            grace = self.settings.care.termination_grace
            self._quit_by += max(QUIT_PATIENCE, grace)
            if grace:
                self._terminate(turn)
            self._drain(now, turn)
            # Answered with `Drain`: what was leased to us before has come by then.
            self._report(now, turn)

    def _quit_if_ready(self, now: float, turn: Turn) -> None:
        if self._quit_by == math.inf:
            return
        is_ready = self._is_drain_told and not any(
            worker.is_recalled or (worker.is_terminated and worker.backlog)
            for worker in self.workers.values()
        )
        if self.settings.care.termination_grace:
            is_ready = is_ready and not self.outbox
        if is_ready or now >= self._quit_by or not self.membership.is_in:
            self._quit_by = math.inf
            self.membership.send(Goodbye(self._quit_reason), now, turn)
            self._exit(self._exit_code, self._quit_reason, turn)

    def _exit(self, code: int, reason: str, turn: Turn) -> None:
        if not self._is_over:
            self._is_over = True
            turn.effects.append(Exit(code, reason))

    def check(self) -> None:
        """Raise AssertionError if a task is in two places, or in a wrong one."""
        self.hosts.check()
        places = [_key(t) for t in self._queued()]
        assert all(self.typed.values()), "an empty queue was kept"
        typed = sum(bool(w.worker_type) for w in self.workers.values())
        assert typed == self._typed_workers
        retiring = sum(worker.is_retiring for worker in self.workers.values())
        assert retiring == self._retiring
        for worker in self.workers.values():
            is_closed = worker.is_killed or worker.is_retiring or not worker.is_started
            assert worker.is_open != is_closed, "open and closed"
        asking = {task.task_id for task in self.asking}
        assert self._claims.keys() <= asking, "what nobody waits for is taken"
        there = Capacity(self.capacity.total())
        needs = [need for need, _ in self._claims.values()]
        needs += [host.need for host in self.hosts.by_worker.values()]
        for worker in self.workers.values():
            if worker.need is not None:
                assert len(worker.backlog) == 1, "a task that asks has company"
                needs.append(
                    worker.need.besides_processors if worker.is_waiting else worker.need
                )
        for need in needs:
            there.take(need)
        assert there.is_as_free_as(self.capacity), "something is taken by nobody"
        for worker in self.workers.values():
            places += [_key(t) for _, t in worker.backlog]
            seqs = [seq for seq, _ in worker.backlog]
            assert seqs == sorted(seqs), "a backlog is out of order"
            assert all(seq < worker.next_seq for seq in seqs)
            for _, task in worker.backlog:
                assert task.worker_type == worker.worker_type, "at a wrong worker"
        assert len(places) == len(set(places)), "a task is in two places"
        marked = self._cancelled.keys() | self._dropped | self._timed_out
        marked |= self._kill_at.keys()
        stray = marked - set(places)
        assert not stray, f"marked but not here: {stray}"


def _find_idle(
    alive: Mapping[str, list[_Worker]], shares: Mapping[str, int]
) -> _Worker | None:
    """Find the worker that is idle longest, of a type that has more than its share."""
    idle = [
        worker
        for name, workers in alive.items()
        if len(workers) > shares.get(name, 0)
        for worker in workers
        if worker.is_started and not worker.backlog
    ]
    return min(idle, key=lambda worker: worker.idle_since, default=None)


def _key(task: Leased) -> _LeaseKey:
    return task.task_id, task.attempt


def _under_attempt(task: Leased, attempt: int) -> Leased:
    if task.attempt == attempt:
        return task
    return msgspec.structs.replace(task, attempt=attempt)


def _timed_out(task: Leased | LeasedCall, how: str = "") -> Failure:
    name = getattr(task, "name", "") or task.task_id
    text = f"Task {name} ran longer than its timeout of {task.timeout:g} s{how}"
    return Failure(FailureKind.TIMED_OUT, text)
