"""Worker care: limits of workers, and of the manager itself. Pure.

a worker    has run so many tasks, or grown by so much: another one takes its place
            takes more memory than it may: it is killed, its task is told the numbers
a manager   is idle for so long, has run its tasks, or one of them has raised: it leaves
"""

import math
import sys
from collections.abc import Iterable

import msgspec

from actors.endpoint.manager.crew import Crew, KnownWorker
from actors.endpoint.manager.settings import ManagerSettings
from actors.logic.turn import Effect
from actors.messages import FailureKind, Ran, WorkerId

__all__ = [
    "MEASURE_PERIOD",
    "MeasureWorkers",
    "RemoveWorkDirs",
    "WorkerCare",
    "WorkerUsage",
    "WorkersMeasured",
]

# Memory is measured so often where it is limited. Chosen: a task that takes ten
# gigabytes a second is ended five above its limit; a look costs some 50 µs per worker.
MEASURE_PERIOD = 0.5


class MeasureWorkers(Effect, frozen=True):
    """Measure memory and CPU time, ours too; answered with `WorkersMeasured`."""

    of_all: bool = False  # with the memory of what workers have started


class RemoveWorkDirs(Effect, frozen=True):
    """Remove what a dead worker has left of its work folders."""

    worker_id: WorkerId


class WorkerUsage(msgspec.Struct, frozen=True):
    """What one worker, or the manager, uses now."""

    pid: int
    rss_bytes: int
    cpu_seconds: float


class WorkersMeasured(msgspec.Struct, frozen=True):
    usage: dict[WorkerId, WorkerUsage]
    own: WorkerUsage | None = None  # of the manager; None: not known


class WorkerCare:
    """The machine; see the module's docstring.

    Args:
        settings: of the manager.
        crew: its workers.
        now: monotonic seconds.
    """

    def __init__(self, settings: ManagerSettings, crew: Crew, now: float) -> None:
        self._limits = settings.care
        self._crew = crew
        # Looked up for each frame.
        self.counts = self._limits.counts
        self.limits_itself = self._limits.limits_itself
        self.usage: dict[WorkerId, WorkerUsage] = {}  # when it was measured last
        self.own_usage: WorkerUsage | None = None  # the manager's, likewise
        self.given = 0  # tasks that were given to workers, and not taken back
        self.busy_at = now  # when there was something to do last
        self.leaves = ""  # why the manager drains by itself
        self._measure_at = now if self._limits.measures else math.inf
        self._idle_at = now + (self._limits.idle_timeout or math.inf)

    # Counts

    def room_at(self, worker: KnownWorker) -> int:
        """Return how many more tasks a worker may be given."""
        limits, room = self._limits, sys.maxsize
        if limits.max_tasks:
            room = min(room, limits.max_tasks - self.given)
        if limits.max_tasks_per_worker:
            done = worker.ran + len(worker.backlog)
            room = min(room, limits.max_tasks_per_worker - done)
        return max(0, room)

    def may_hold(self, window: int) -> int:
        """Return how many leases of those that could run are wanted."""
        most = self._limits.max_tasks
        if not most:
            return window
        running = sum(len(worker.backlog) for worker in self._crew.workers.values())
        return min(window, running + max(0, most - self.given))

    def gave(
        self, worker: KnownWorker, count: int, now: float, effects: list[Effect]
    ) -> None:
        """Count what was given to a worker; after its last task another one comes."""
        self.given += count
        limit = self._limits.max_tasks_per_worker
        if limit and worker.ran + len(worker.backlog) >= limit:
            self._crew.retire(worker, now, effects)

    # Memory

    def started(self, effects: list[Effect]) -> None:
        """Have a worker measured that is up, before it is given anything.

        What its first task takes would else be no growth.
        """
        if self._limits.max_worker_growth_bytes:
            effects.append(MeasureWorkers(of_all=True))

    def measured(
        self, usage: dict[WorkerId, WorkerUsage], now: float, effects: list[Effect]
    ) -> None:
        """End workers that take too much memory, replace those that grew too much."""
        self.usage = usage
        if not self._limits.measures:
            return
        limits, workers = self._limits, self._crew.workers
        replaced = {worker.replaces for worker in workers.values()}
        for worker in list(workers.values()):
            used = usage.get(worker.worker_id)
            if used is None or worker.is_killed:
                continue
            rss_bytes = used.rss_bytes
            if worker.is_started and not worker.first_rss_bytes:
                worker.first_rss_bytes = rss_bytes
            growth = rss_bytes - (worker.first_rss_bytes or rss_bytes)
            if limits.memory_limit_bytes and rss_bytes > limits.memory_limit_bytes:
                worker.over_bytes = rss_bytes
                self._crew.kill(worker, effects)
            elif (
                0 < limits.max_worker_growth_bytes < growth
                and worker.is_open
                and worker.worker_id not in replaced
                and not self._crew.is_full
            ):
                successor = self._crew.start(
                    now, effects, worker.worker_type, worker.place
                )
                successor.replaces = worker.worker_id

    def died(self, worker_id: WorkerId, effects: list[Effect]) -> None:
        """Clean up after a worker."""
        self.usage.pop(worker_id, None)
        if self._limits.has_work_dirs:
            effects.append(RemoveWorkDirs(worker_id))

    # When the manager leaves by itself

    def why_leave(self, results: Iterable[Ran]) -> str:
        """Say why the manager leaves after these; empty: it does not."""
        limits = self._limits
        has_raised = limits.exit_on_exception and any(
            ran.failure is not None and ran.failure.kind is FailureKind.EXCEPTION
            for ran in results
        )
        if has_raised:
            return "a task raised an exception (exit_on_exception)"
        if 0 < limits.max_tasks <= self.given and not self._crew.is_busy:
            return f"it has run {limits.max_tasks} tasks (max_tasks)"
        return ""

    def is_idle_due(self, now: float) -> bool:
        """Tell whether it is time to ask `why_leave_idle`."""
        return self._idle_at <= now

    def why_leave_idle(self, now: float, *, is_busy: bool) -> str:
        """Say why a manager leaves that has had nothing to do; empty: it does not.

        Args:
            now: monotonic seconds.
            is_busy: whether there is something that it must not leave behind.
        """
        timeout = self._limits.idle_timeout
        self._idle_at = now + timeout
        if is_busy:
            return ""
        if self.busy_at + timeout > now:
            self._idle_at = self.busy_at + timeout
            return ""
        return f"it was idle for {timeout:g} s (idle_timeout)"

    def leave(self, reason: str) -> None:
        """Note that the manager leaves."""
        self.leaves = reason
        self._idle_at = math.inf

    # Time

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next, or it may be time to leave."""
        return min(self._measure_at, self._idle_at)

    def tick(self, now: float, effects: list[Effect]) -> None:
        """Have the workers measured, where that is wanted."""
        if self._measure_at <= now:
            self._measure_at = now + MEASURE_PERIOD
            effects.append(MeasureWorkers(of_all=True))
