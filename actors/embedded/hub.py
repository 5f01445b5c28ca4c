"""Hub: the tables of tasks and refs of one program, and who runs what. Pure.

    submit ─► (blocked until its arguments are known) ─► waiting ─► at a worker ─► ended
                                                            ▲            │
                                                            └────────────┘
                                     recalled, or to be run again after a failure

The head of a worker's backlog is what it runs; what stands behind it is prefetched, so
that short tasks follow each other without a pause. A worker whose head takes long has
the rest recalled as soon as another one could run them.

A task that waits for others (`get` in a worker) gives back its processors, and what it
waits for is run before all else, by a further worker if there is none: so tasks that
call tasks never wait for each other in vain.

Effects gather in `effects` and are taken by whoever drives the hub. What workers ask
for while they run a task is dealt with in `requests`.
"""

import heapq
import itertools
import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from actors.embedded.crew import Crew
from actors.embedded.failures import cancelled, closed, crashed, no_worker, timed_out
from actors.embedded.parcels import DEFINE_BYTES, Parcels
from actors.embedded.streams import Stream
from actors.embedded.tasks import Task, TaskStage
from actors.embedded.waiting import WaitingTasks
from actors.embedded.workers import (
    ForWorker,
    HubWorker,
    SendTasks,
)
from actors.errors import BrokenInvariant
from actors.logic.patience import (
    INTERRUPT_GRACE,
    RECALL_AFTER,
    recall_at,
)
from actors.logic.prefetch import Prefetch
from actors.logic.resources import CPU, ONE_CPU, Capacity
from actors.logic.turn import Effect
from actors.logic.workers import (
    KillWorker,
    RecallTasks,
    TellWorker,
    WorkerDied,
)
from actors.messages import (
    Failure,
    FailureKind,
    Gave,
    Interrupt,
    Ran,
    Run,
    Value,
    WorkerId,
    Yielded,
)
from actors.refs import ObjectRef, Promise, Settled, has_failed

__all__ = ["Hub", "failure_of"]

# Work that waits at a worker, in seconds and in tasks. Measured by tests/bench: more
# gains nothing, less leaves workers idle between two frames.
WORKER_AHEAD, WORKER_AHEAD_LIMIT = 0.002, 128
# What `actors.timeline` can tell of. Chosen: some 10 MB.
MAX_SPANS = 65_536

_NOTHING = b""

# Looked up once per task, and more: out of its enumeration that takes 0.1 us.
_BLOCKED, _WAITING = TaskStage.BLOCKED, TaskStage.WAITING
_ASSIGNED, _ENDED = TaskStage.ASSIGNED, TaskStage.ENDED


class Hub:
    """The machine; see the module's docstring.

    Args:
        capacity: what there is to run tasks with.
        crew: of workers, none yet.
        most_tasks: that a worker is given; then another one takes its place. 0: any.
    """

    def __init__(self, capacity: Capacity, crew: Crew, most_tasks: int = 0) -> None:
        self.capacity = capacity
        self.effects: list[Effect] = []
        self.parcels = Parcels()
        self.crew = crew
        self.workers, self.idle, self.guests = crew.workers, crew.idle, crew.guests
        self.waiting = WaitingTasks()
        self.failures = 0  # of refs, so far
        self.unended: dict[Task, None] = {}  # every task that is known, by its coming
        self._most_tasks = most_tasks or sys.maxsize
        self._broken: Settled | None = None  # why no task can run any more
        self._tickets = itertools.count(1)  # of tasks
        self._depth = Prefetch(WORKER_AHEAD, WORKER_AHEAD_LIMIT)
        # (moment, ticket, seq, task): when to end it, once to ask and once to force.
        self._deadlines: list[tuple[float, int, int, Task]] = []
        self._graces: list[tuple[float, Task]] = []  # (seconds from now, cancelled)
        # What ran when; see `pictures.Span`.
        self.spans: deque[tuple[int, str, float, float, int]] = deque(maxlen=MAX_SPANS)
        self.overdue: list[Task] = []  # calls of actors that did not end when asked

    # Tasks come

    def accept(self, task: Task) -> None:
        """Take a task; `place` finds a worker for it."""
        self.unended[task] = None
        task.ticket = next(self._tickets)
        if self._broken is not None:
            self.end(task, self._broken)
        elif task.dependencies:
            self._await_dependencies(task)
        else:
            self.waiting.append(task)

    def _await_dependencies(self, task: Task) -> None:
        task.stage = _BLOCKED
        for promise in task.dependencies:
            if promise.outcome is None:
                task.missing += 1
                self.when_known(promise, partial(self._dependency_known, task))
            elif failure_of(promise) is not None:
                self.end(task, promise.outcome)
                return
        if not task.missing:
            self.waiting.append(task)

    def _dependency_known(self, task: Task, promise: Promise) -> None:
        task.missing -= 1
        if task.stage is not _BLOCKED:
            return
        if failure_of(promise) is not None:
            assert promise.outcome is not None
            self.end(task, promise.outcome)
        elif not task.missing and self._broken is not None:
            self.end(task, self._broken)
        elif not task.missing:
            self.waiting.append(task)

    def when_known(self, promise: Promise, waiter: Callable[[Promise], object]) -> None:
        """Have something called in the turn that brings an outcome not yet known."""
        if promise.waiters is None:
            promise.waiters = []
        promise.waiters.append(waiter)

    # Tasks go to workers

    def place(self, now: float) -> None:
        """Give every worker that could run one a task, then let short ones queue up."""
        if self._graces:
            graces, self._graces = self._graces, []
            for grace, task in graces:
                self.set_deadline(task, now + grace)
        while self.waiting.count:
            self._occupy(now)
            # Where those that queue up had been first, others are now.
            if not self._prefetch(now):
                return

    def send_alone(self, task: Task, now: float) -> Run | None:
        """Take a task and give it to an idle worker in one step.

        Returns:
            What to send to the worker; None: it is to be accepted as others are.
        """
        spec = task.spec
        if (
            not self.idle
            or self.waiting.count
            or not spec.is_simple
            or len(spec.function) > DEFINE_BYTES
            or type(task.arguments) is not bytes
            or task.dependencies
            or task.held
            or self._broken is not None
            or self.capacity.lack(spec.need)
        ):
            return None
        self.unended[task] = None
        task.ticket = next(self._tickets)
        worker = self.idle.popitem()[1]
        worker.need = spec.need
        worker.gpus = self.capacity.take(spec.need)
        worker.head_since = now
        seq, worker.next_seq = worker.next_seq, worker.next_seq + 1
        task.stage, task.seq, task.worker = _ASSIGNED, seq, worker
        worker.backlog.append((seq, task))
        return Run(seq, spec.function, task.arguments)

    def _occupy(self, now: float) -> None:
        waiting = self.waiting
        while waiting.count:
            for lane in waiting.lanes():
                lack = self.capacity.lack(lane.need)
                if not lack:
                    break
                if lack == CPU and self.capacity.will_have(lane.need):
                    # Younger ones must not take for ever what this one waits for. (But
                    # if actors have that, it may wait for as long as they live.)
                    return
            else:
                return
            worker = self._take_idle(now)
            if worker is None:
                return
            worker.need = lane.need
            worker.gpus = self.capacity.take(lane.need)
            count = min(self._share(lane.is_simple), self._room_at(worker))
            self._give(worker, waiting.take(lane, count), now)

    def _share(self, is_simple: bool) -> int:
        """How many tasks an idle worker gets: short ones come several at a time."""
        if not is_simple:
            return 1
        return min(1 + self._depth.depth, self._part())

    def _room_at(self, worker: HubWorker) -> int:
        """How many more tasks a worker may be given."""
        return self._most_tasks + 1 - worker.next_seq

    def _part(self) -> int:
        return -(-self.waiting.count // max(1, min(len(self.workers), 64)))

    def _prefetch(self, now: float) -> bool:
        """Let short tasks queue up; tell whether any did."""
        depth = self._depth.depth
        if not depth or not self.waiting.count:
            return False
        before = self.waiting.count
        workers = [
            worker
            for worker in self.workers.values()
            if worker.backlog
            and worker.backlog[0][1].spec.is_simple
            and now < worker.head_since + RECALL_AFTER
            and not worker.is_recalled
            and not worker.blocked
            and not worker.is_killed
        ]
        workers.sort(key=_backlog_length)
        for lane in self.waiting.lanes():
            if not lane.is_simple:
                break
            for worker in workers:
                room = min(1 + depth - len(worker.backlog), self._room_at(worker))
                if room > 0 and self.waiting.count:
                    count = min(room, self._part())
                    self._give(worker, self.waiting.take(lane, count), now)
        return self.waiting.count < before

    def _take_idle(self, now: float) -> HubWorker | None:
        if self.idle:
            return self.idle.popitem()[1]
        if self.crew.is_paused:
            return None
        if not self.crew.is_full:
            worker = self.crew.start_worker(now, self.effects)
            del self.idle[worker.worker_id]
            return worker
        if all(worker.blocked for worker in self.workers.values()):
            self._refuse_waiting(
                f"{len(self.workers)} worker processes all wait for tasks of theirs; "
                "nest calls less deeply, or raise max_workers of actors.init()"
            )
        return None

    def _give(self, worker: HubWorker, tasks: Sequence[Task], now: float) -> None:
        if not tasks:
            return
        if not worker.backlog:
            worker.head_since = now
        runs: list[ForWorker] = []
        backlog, seq = worker.backlog, worker.next_seq
        define = self.parcels.define
        for task in tasks:
            spec = task.spec
            task.worker, task.seq = worker, seq
            backlog.append((seq, task))
            function = spec.function
            if len(function) > DEFINE_BYTES:
                function = define(worker, spec, runs)
            arguments = task.arguments
            if (
                spec.is_simple
                and type(arguments) is bytes
                and not task.dependencies
                and not task.held
            ):
                runs.append(Run(seq, function, arguments))
            else:
                runs.append(
                    self.parcels.call_of(worker, task, seq, function, self.effects)
                )
                if spec.options.timeout:
                    until = now + spec.options.timeout
                    heapq.heappush(self._deadlines, (until, task.ticket, seq, task))
            seq += 1
        worker.next_seq = seq
        self.effects.append(SendTasks(worker.worker_id, runs))

    # Tasks end

    def ran(self, worker_id: WorkerId, results: Sequence[Ran], now: float) -> None:
        """Note that a worker has run the next ones of its backlog."""
        worker = self.workers[worker_id]
        backlog = worker.backlog
        busy = 0.0
        for ran in results:
            seq, task = backlog.popleft()
            if seq != ran.seq:
                raise BrokenInvariant(f"{worker_id} ran {ran.seq}, not its head {seq}")
            busy += ran.ended_at - ran.began_at
            if ran.is_success:
                # The usual case, without any detour.
                promise = task.returns
                del self.unended[task]
                task.stage = _ENDED
                promise.outcome = ran.payload  # type: ignore[union-attr]
                promise.task = None  # type: ignore[union-attr]
                if promise.waiters is not None:  # type: ignore[union-attr]
                    self._tell_waiters(promise)  # type: ignore[arg-type]
            else:
                value = Value(ran.payload, failure=ran.failure)
                self._fail(task, value, is_retriable=not task.spec.options.retry_on)
        self.spans.append(
            (
                worker.pid,
                task.spec.name,
                results[0].began_at,
                ran.ended_at,
                len(results),
            )
        )
        self._depth.observed(busy, len(results))
        self._next_head(worker, now)

    def gave(self, worker_id: WorkerId, gave: Gave, now: float) -> None:
        """Note that a worker has run the next one, which was not simple."""
        worker = self.workers[worker_id]
        seq, task = worker.backlog.popleft()
        if seq != gave.seq:
            raise BrokenInvariant(f"{worker_id} ran {gave.seq}, not its head {seq}")
        failed = [value for value in gave.values if value.failure is not None]
        if failed:
            self._fail(task, failed[0], is_retriable=gave.is_retriable)
        else:
            outcomes = self.taken(worker, gave.values)
            self.end_with(task, outcomes)
        self.spans.append((worker.pid, task.spec.name, gave.began_at, gave.ended_at, 1))
        self._depth.observed(gave.ended_at - gave.began_at, 1)
        self._next_head(worker, now)

    def taken(
        self, worker: HubWorker, values: Iterable[Value]
    ) -> list[bytes | Settled]:
        """Make outcomes of what a worker sent, and hold the refs in them."""
        taken, effects = self.parcels.taken, self.effects
        return [taken(worker, value, effects) for value in values]

    def yielded(self, worker_id: WorkerId, item: Yielded) -> None:
        """Note the next item of a generator."""
        worker = self.workers[worker_id]
        head = worker.head
        if head is not None and isinstance(head.returns, Stream):
            promise: Promise = ObjectRef()
            (promise.outcome,) = self.taken(worker, [item.value])
            head.returns.add(promise)

    def _fail(self, task: Task, value: Value, *, is_retriable: bool) -> None:
        failure = value.failure
        if task.is_cancelled:
            self.end(task, cancelled(task))
        elif task.is_timed_out:
            self.end(task, timed_out(task))
        elif (
            is_retriable
            and failure is not None
            and failure.kind is FailureKind.EXCEPTION
            and task.own_failures != task.spec.options.own_retries
            and self._broken is None
        ):
            task.own_failures += 1
            self.waiting.append(task)
        else:
            self.end(task, Settled(value))

    def end(self, task: Task, outcome: bytes | Settled) -> None:
        """End a task with one outcome for all that it should return."""
        returns = task.returns
        if isinstance(returns, Stream):
            # As Ray's: the error is the last item.
            error: Promise = ObjectRef()
            error.outcome = outcome
            returns.add(error)
            self.end_with(task, [_NOTHING])
        else:
            count = 1 if isinstance(returns, Promise) else len(returns)
            self.end_with(task, [outcome] * count)

    def end_with(self, task: Task, outcomes: Sequence[bytes | Settled]) -> None:
        """End a task with an outcome for each that it should return."""
        self.unended.pop(task, None)
        task.stage = _ENDED
        returns = task.returns
        promises = [returns] if isinstance(returns, Promise) else returns
        for promise, outcome in zip(promises, outcomes, strict=True):
            self.settle(promise, outcome)
        if isinstance(returns, Stream):
            returns.end()

    def settle(self, promise: Promise, outcome: bytes | Settled) -> None:
        """Make an outcome known, once, and tell who waits for it."""
        promise.outcome = outcome
        promise.task = None
        if has_failed(promise):
            self.failures += 1
        if promise.waiters is not None:
            self._tell_waiters(promise)

    def _tell_waiters(self, promise: Promise) -> None:
        waiters, promise.waiters = promise.waiters, None
        for waiter in waiters or ():
            waiter(promise)

    def _next_head(self, worker: HubWorker, now: float) -> None:
        head = worker.head
        if head is not None:
            worker.head_since = now
            if head.is_cancelled:
                seq = worker.backlog[0][0]
                self.effects.append(TellWorker(worker.worker_id, Interrupt(seq)))
            return
        worker.head_since = math.inf
        worker.idle_since = now
        self._free(worker)
        if worker.next_seq > self._most_tasks and not worker.is_killed:
            self.crew.replace(worker, now, self.effects)
        elif not worker.is_stopping and not worker.is_killed:
            self.idle[worker.worker_id] = worker

    def _free(self, worker: HubWorker) -> None:
        if worker.need is not None:
            if worker.blocked:
                self.capacity.take(worker.need.processors)
            self.capacity.give_back(worker.need, worker.gpus)
            worker.need, worker.gpus = None, []

    # Waiting workers

    def block(self, worker: HubWorker, promises: Iterable[Promise]) -> None:
        """Note that a worker's task waits for these."""
        worker.blocked += 1
        if worker.blocked == 1 and worker.need is not None:
            self.capacity.give_back(worker.need.processors, ())
        if len(worker.backlog) > 1:
            self._recall(worker)
        for promise in promises:
            task = promise.task
            if task is not None and task.stage is _WAITING:
                self.waiting.hurry(task)

    def unblock(self, worker: HubWorker) -> None:
        """Note that one wait of a worker's task has ended."""
        worker.blocked -= 1
        if not worker.blocked and worker.need is not None:
            # Others may be running on what it had: for a while there are too many.
            self.capacity.take(worker.need.processors)

    def _recall(self, worker: HubWorker) -> None:
        if not worker.is_recalled and not worker.is_killed:
            worker.is_recalled = True
            # What has not left yet will not: definitions neither.
            worker.functions.clear()
            self.effects.append(RecallTasks(worker.worker_id))

    def recalled(self, worker_id: WorkerId, seqs: Iterable[int], now: float) -> None:
        """Take back what a worker has not begun."""
        worker = self.workers[worker_id]
        worker.is_recalled = False
        back = set(seqs)
        tasks = [task for seq, task in worker.backlog if seq in back]
        had_backlog = bool(worker.backlog)
        kept = [each for each in worker.backlog if each[0] not in back]
        worker.backlog.clear()
        worker.backlog.extend(kept)
        for task in tasks:
            self.parcels.take_back(worker, task, self.effects)
        self._requeue(tasks)
        if had_backlog and not kept:
            self._next_head(worker, now)
        elif kept and kept[0][1].is_cancelled:
            # It began before it could be recalled.
            self.effects.append(TellWorker(worker_id, Interrupt(kept[0][0])))
        if any(task.is_cancelled for _, task in kept[1:]):
            self._recall(worker)

    def _requeue(self, tasks: Sequence[Task]) -> None:
        wanted = []
        for task in tasks:
            task.worker = None
            if task.is_cancelled:
                self.end(task, cancelled(task))
            elif self._broken is not None:
                self.end(task, self._broken)
            else:
                wanted.append(task)
        self.waiting.push_front(reversed(wanted))

    # Cancelling

    def cancel(
        self, promise: Promise, *, force: bool, recursive: bool, grace: float = -1.0
    ) -> None:
        """Give up the task that should bring an outcome; nothing if that is known."""
        task = promise.task
        if task is None:
            return
        if recursive:
            for child in task.children or ():
                self.cancel(child, force=force, recursive=True, grace=grace)
        if not self.cancel_waiting(task) and task.stage is _ASSIGNED:
            task.is_cancelled = True
            if task.worker.worker_id in self.guests and (force or grace >= 0):
                # Perhaps it has not begun, which its process alone knows, and says.
                force, grace = False, max(grace, INTERRUPT_GRACE)
            self._stop_running(task, force=force)
            if grace >= 0:
                self._graces.append((grace, task))

    def cancel_waiting(self, task: Task) -> bool:
        """Give up a task, unless a worker has it or it has ended; tell whether."""
        if task.stage in (_ASSIGNED, _ENDED):
            return False
        if task.stage is _WAITING:
            self.waiting.withdraw(task)
        self.end(task, cancelled(task))
        return True

    def set_deadline(self, task: Task, moment: float) -> None:
        """Have a task that runs interrupted then; killed if it was interrupted."""
        deadline = (moment, next(self._tickets), task.seq, task)
        heapq.heappush(self._deadlines, deadline)

    def _stop_running(self, task: Task, *, force: bool) -> None:
        worker: HubWorker = task.worker
        if worker.worker_id in self.guests:
            # An actor's: what has not begun there is answered at once, or when its turn
            # comes.
            self.effects.append(TellWorker(worker.worker_id, Interrupt(task.seq)))
        elif worker.head is not task:
            self._recall(worker)
        elif force:
            self._kill(worker)
        else:
            self.effects.append(TellWorker(worker.worker_id, Interrupt(task.seq)))

    def _kill(self, worker: HubWorker) -> None:
        if not worker.is_killed:
            worker.is_killed = True
            self.effects.append(KillWorker(worker.worker_id))

    # Workers come and go

    @property
    def broken(self) -> Failure | None:
        """Why no task can run any more, if none can."""
        return None if self._broken is None else self._broken.value.failure

    def give_up(self, failure: Failure) -> None:
        """Note that the initializer failed: end every task, now and later."""
        if self._broken is None:
            kind = FailureKind.INITIALIZER_FAILED
            text = f"The initializer failed in a worker: {failure.message}"
            broken = Failure(kind, text, failure.detail)
            self._broken = Settled(Value(b"", failure=broken))
            # What is at workers ends there, or when they die.
            for task in list(self.waiting):
                self.waiting.withdraw(task)
                self.end(task, self._broken)

    def died(self, death: WorkerDied, now: float) -> None:
        """Note that a worker's process is gone, and run again what may be."""
        worker = self.workers.pop(death.worker_id)
        self.idle.pop(death.worker_id, None)
        self._free(worker)
        begun = [t for seq, t in worker.backlog if seq <= death.begun_seq]
        if not begun and worker.backlog and worker.is_killed:
            # Killed for the sake of its head just before the head began.
            head = worker.backlog[0][1]
            if head.is_cancelled or head.is_timed_out:
                begun = [head]
        unstarted = [task for _, task in worker.backlog][len(begun) :]
        worker.backlog.clear()
        self._requeue(unstarted)
        for task in begun:
            self._crash(task, death, worker.pid)
        worker.holds.clear()
        worker.requests.clear()
        if worker.is_stopping or self._broken is not None:
            return
        if self.crew.replace_dead(worker, now, self.effects):
            self._refuse_waiting(f"no worker can be made: {death.stderr_tail}")

    def _crash(self, task: Task, death: WorkerDied, pid: int) -> None:
        if task.is_cancelled:
            self.end(task, cancelled(task))
        elif task.is_timed_out:
            self.end(task, timed_out(task))
        elif self._broken is not None:
            self.end(task, self._broken)
        elif task.crashes == task.spec.options.retries:
            task.crashes += 1
            self.end(task, crashed(task, death, pid))
        else:
            task.crashes += 1
            self.waiting.push_front([task])

    def _refuse_waiting(self, why: str) -> None:
        for task in list(self.waiting):
            self.waiting.withdraw(task)
            self.end(task, no_worker(task, why))

    def close(self, reason: str) -> None:
        """End every task, and have no more."""
        for task in list(self.unended):
            if task in self.unended:
                self.refuse(task, reason)
        self.waiting = WaitingTasks()
        self.workers.clear()
        self.idle.clear()
        self.effects.clear()

    def refuse(self, task: Task, reason: str) -> None:
        """End a task that nobody will run."""
        task.stage = _ENDED
        self.end(task, closed(reason))

    # Time

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next; infinity: only events matter."""
        at = self.crew.wake_at
        if len(self.idle) < len(self.workers):
            at = min(at, self._recall_at())
        if self._deadlines:
            at = min(at, self._deadlines[0][0])
        return at

    def tick(self, now: float) -> None:
        """Recall what is stuck, end what takes too long, stop workers nobody needs."""
        if self._recall_at() <= now:
            for worker in self.workers.values():
                if len(worker.backlog) > 1 and worker.head_since + RECALL_AFTER <= now:
                    self._recall(worker)
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, seq, task = heapq.heappop(self._deadlines)
            if task.stage is _ASSIGNED and task.seq == seq:
                if task.is_timed_out or task.is_cancelled:
                    if task.worker.worker_id in self.guests:
                        self.overdue.append(task)
                    else:
                        self._kill(task.worker)
                else:
                    task.is_timed_out = True
                    self._stop_running(task, force=False)
                    self.set_deadline(task, now + INTERRUPT_GRACE)
        self.crew.tick(now, self.effects)

    def _recall_at(self) -> float:
        """When the followers of a stuck head should be recalled, if ever."""
        if self.waiting.count or not self.unended or self.capacity.lack(ONE_CPU):
            return math.inf
        return recall_at(self.workers.values())

    def check(self) -> None:
        """Raise AssertionError if a task is in two places, or in a wrong one."""
        at_workers = [t for w in self.workers.values() for _, t in w.backlog]
        assert len(at_workers) == len(set(at_workers)), "a task is at two workers"
        assert all(t.stage is _ASSIGNED for t in at_workers)
        waiting = list(self.waiting)
        assert len(waiting) == self.waiting.count, "tasks that wait are miscounted"
        for task in self.unended:
            places = (task in at_workers) + (task in waiting)
            assert places == (task.stage is not _BLOCKED), task.stage
        for worker in self.workers.values():
            is_free = not (worker.backlog or worker.is_stopping or worker.is_killed)
            assert (worker.worker_id in self.idle) == is_free
            assert (worker.need is None) == (not worker.backlog)


def _backlog_length(worker: HubWorker) -> int:
    return len(worker.backlog)


def failure_of(promise: Promise) -> object:
    """Return why a ref has no value; None: it has one, or none yet."""
    outcome = promise.outcome
    return outcome.value.failure if isinstance(outcome, Settled) else None
