"""Crew: the processes of one program: how many there are, who comes and who goes. Pure.

    start ─► worker ─► idle ◄─► busy ─┬─► spare for long, or has run its tasks: stopped
      ▲                               └─► died
      └──── another one: at once, or if it never came up, after a while

Guests are processes that run no tasks, but call, get and put as they do.
"""

import itertools
import math
import random

from actors.embedded.workers import ForWorker, HubWorker, SendTasks
from actors.logic.backoff import Backoff
from actors.logic.patience import SPARE_PERIOD
from actors.logic.turn import Effect
from actors.logic.workers import StartWorker, StopWorker
from actors.messages import INITIALIZER_SEQ, Introduce, Run, WorkerId

__all__ = ["Crew"]

# So many starts in a row that came to nothing: there will be no worker. Chosen.
MAX_FAILED_STARTS = 5


class Crew:
    """The machine; see the module's docstring.

    Args:
        usual_workers: processes to keep, at least 1.
        max_workers: processes that there may be while tasks wait for each other.
        chance: for the delays between failed starts.
        folders: of the object store, for workers to find it.
        initializer: a pickled function and arguments, called in each worker first.
    """

    def __init__(
        self,
        usual_workers: int,
        max_workers: int,
        chance: random.Random,
        folders: bytes = b"",
        initializer: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.workers: dict[WorkerId, HubWorker] = {}
        self.idle: dict[WorkerId, HubWorker] = {}  # of them: may be given a head
        self.guests: dict[WorkerId, HubWorker] = {}
        self.namespace = ""  # what workers are told
        self.job_id = ""
        self._usual_workers = usual_workers
        self._max_workers = max_workers
        self._folders = folders
        self._initializer = initializer
        # By which workers name refs; from a counter of the process's, if runtimes
        # follow each other in it.
        self.indexes = itertools.count(1)
        self._started = itertools.count(1)
        self._failed_starts = 0
        self._backoff = Backoff(chance, first=0.05, limit=5.0)
        self._start_at = math.inf  # when to try again

    @property
    def is_full(self) -> bool:
        """Whether no further worker may be started."""
        return len(self.workers) >= self._max_workers

    @property
    def is_paused(self) -> bool:
        """Whether starts have failed, and are tried again later."""
        return self._start_at < math.inf

    # They come

    def start(self, now: float, effects: list[Effect]) -> None:
        """Have the usual workers started."""
        while len(self.workers) < self._usual_workers:
            self.start_worker(now, effects)

    def start_worker(self, now: float, effects: list[Effect]) -> HubWorker:
        """Have a worker started; it may be given tasks at once."""
        worker_id = WorkerId(f"w{next(self._started)}")
        worker = self.workers[worker_id] = HubWorker(worker_id, next(self.indexes))
        worker.idle_since = now
        self.idle[worker_id] = worker
        effects.append(StartWorker(worker_id))
        first: list[ForWorker] = [self.introduction(worker)]
        if self._initializer is not None:
            first.append(Run(INITIALIZER_SEQ, *self._initializer))
        effects.append(SendTasks(worker_id, first))
        return worker

    def started(self, worker_id: WorkerId, pid: int) -> None:
        """Note that a worker's process exists."""
        worker = self.workers[worker_id]
        worker.is_started, worker.pid = True, pid
        self._failed_starts = 0
        self._backoff.reset()

    def add_guest(self, worker_id: WorkerId) -> HubWorker:
        """Know a process that runs no tasks.

        Whoever starts it sends it `introduction(guest)` before anything else, and hands
        what it says to `Requests`.
        """
        guest = self.guests[worker_id] = HubWorker(worker_id, next(self.indexes))
        guest.is_started = True
        return guest

    def introduction(self, worker: HubWorker) -> Introduce:
        """Return the first that a worker or guest hears."""
        return Introduce(worker.index, self._folders, self.namespace, self.job_id)

    # They go

    def remove_guest(self, worker_id: WorkerId) -> None:
        """Note that a guest's process is gone: what it held is let go."""
        guest = self.guests.pop(worker_id)
        guest.holds.clear()
        guest.requests.clear()

    def replace(self, worker: HubWorker, now: float, effects: list[Effect]) -> None:
        """Let another one take a worker's place."""
        if not worker.is_stopping:
            worker.is_stopping = True
            effects.append(StopWorker(worker.worker_id))
            if len(self.workers) - self._stopping() < self._usual_workers:
                self.start_worker(now, effects)

    def replace_dead(
        self, worker: HubWorker, now: float, effects: list[Effect]
    ) -> bool:
        """Let another one come for a dead worker, if one is lacking now.

        Returns:
            Whether it seems that no worker will ever come up.
        """
        if worker.is_started:
            if len(self.workers) < self._usual_workers:
                self.start_worker(now, effects)
            return False
        self._failed_starts += 1
        self._start_at = now + self._backoff.next()
        return self._failed_starts >= MAX_FAILED_STARTS and not any(
            w.is_started and not w.blocked for w in self.workers.values()
        )

    def _stopping(self) -> int:
        return sum(worker.is_stopping for worker in self.workers.values())

    # Time

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next; infinity: only events matter."""
        at = self._start_at
        if len(self.workers) > self._usual_workers and self.idle:
            at = min(at, min(w.idle_since for w in self.idle.values()) + SPARE_PERIOD)
        return at

    def tick(self, now: float, effects: list[Effect]) -> None:
        """Try again what failed, and stop workers that nobody needs."""
        if self._start_at <= now:
            self._start_at = math.inf
            self.start(now, effects)
        if len(self.workers) <= self._usual_workers:
            return
        for worker in list(self.idle.values()):
            if len(self.workers) - self._stopping() <= self._usual_workers:
                return
            if worker.idle_since + SPARE_PERIOD <= now and not worker.holds:
                del self.idle[worker.worker_id]
                worker.is_stopping = True
                effects.append(StopWorker(worker.worker_id))
