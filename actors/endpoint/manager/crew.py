"""Crew: the worker processes of a manager. Pure.

    start ─► started, open ─► given tasks ─► retiring ─► stopped
                │                              │
                └──────── killed ◄─────────────┘   and dead, whatever it was

The head of a worker's backlog is what it runs; what stands behind it is prefetched. A
worker that is stuck on a long head has that recalled as soon as another one is idle.

There are as many workers as there are slots, besides those whose tasks wait for others:
such a task gives its place to another worker. Those that are too many after that are
stopped when nobody has needed them for a while.
"""

import math
import random
from collections import deque
from collections.abc import Collection

from actors.endpoint.manager.queues import Queues
from actors.endpoint.manager.settings import ManagerSettings
from actors.logic.backoff import Backoff
from actors.logic.care import Place
from actors.logic.patience import RECALL_AFTER, SPARE_PERIOD, recall_at
from actors.logic.resources import Capacity, Need
from actors.logic.turn import Effect
from actors.logic.workers import (
    ExpectCalls,
    KillWorker,
    RecallTasks,
    StartWorker,
    StopWorker,
    TerminateWorker,
    WorkerDied,
    WorkerStarted,
)
from actors.messages import Leased, TaskId, WorkerId

__all__ = ["MAX_WORKERS", "Crew", "KnownWorker"]

# While tasks wait for others there may be so many workers. Each takes some 10 MB of its
# own. Chosen: what a large machine bears.
MAX_WORKERS = 512


class KnownWorker:
    """What is known of one worker process, from its start until its death."""

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
        "why_terminated",
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
        # Why its task was asked to end in order; None: it was not.
        self.why_terminated: str | None = None
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

    def give_up(self, seqs: Collection[int]) -> list[Leased]:
        """Remove what was recalled from the backlog, and return it."""
        back = set(seqs)
        tasks = [task for seq, task in self.backlog if seq in back]
        self.backlog = deque(each for each in self.backlog if each[0] not in back)
        return tasks


class Crew:
    """The machine; see the module's docstring.

    Args:
        settings: of the manager.
        queues: what waits for these workers.
        capacity: what their tasks take from.
        chance: for the waits after failed starts.
        now: monotonic seconds.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        queues: Queues,
        capacity: Capacity,
        chance: random.Random,
        now: float,
    ) -> None:
        self._settings = settings
        self._queues = queues
        self._capacity = capacity
        self.workers: dict[WorkerId, KnownWorker] = {}
        self.typed = 0  # workers that are not plain
        self.retiring = 0  # workers that run their last tasks
        self.backoff = Backoff(chance, first=0.05, limit=30.0)
        self._count = 0  # workers that there have been
        self._starts_due: list[float] = [now] * settings.slots
        self._spares_at = math.inf  # when to look for workers that nobody needs
        self._expects_calls = False  # a task here has waited for another one

    # How many there are, and may be

    @property
    def is_asked(self) -> bool:
        """Whether some task, here or at a worker, has asked for something."""
        if self._queues.asking:
            return True
        # For every task there is: a generator takes three times as long.
        return bool([w for w in self.workers.values() if w.need is not None])

    @property
    def is_busy(self) -> bool:
        """Whether a worker has a task."""
        return any(worker.backlog for worker in self.workers.values())

    @property
    def is_full(self) -> bool:
        """Whether no further worker may be started."""
        return len(self.workers) >= MAX_WORKERS

    @property
    def plain_starts_due(self) -> int:
        """Plain workers that will be started soon."""
        return len(self._starts_due)

    @property
    def places(self) -> int:
        """How many workers may run tasks that ask for nothing at a time."""
        places = max(0, self._settings.slots - self._capacity.taken_cpus)
        for worker in self.workers.values():
            if worker.is_waiting and worker.need is None:
                places += 1
        return places

    def spares(self) -> int:
        """How many workers there are beyond those that may run tasks; < 0: lacking."""
        usable = sum(
            not (worker.is_waiting or worker.is_killed or worker.is_retiring)
            for worker in self.workers.values()
        )
        slots = self._settings.slots
        if not self.is_asked:
            return usable - slots
        asked = sum(
            w.need is not None and not w.is_waiting and not w.is_killed
            for w in self.workers.values()
        )
        others = max(0, slots - self._capacity.taken_cpus)
        return usable - max(slots, others + asked)

    # Their lives

    def start(
        self,
        now: float,
        effects: list[Effect],
        worker_type: str = "",
        place: int | None = None,
    ) -> KnownWorker:
        """Start a worker.

        Args:
            now: monotonic seconds.
            effects: what follows goes in here.
            worker_type: "": a plain one.
            place: among the node's workers; None: where the fewest are.
        """
        self._count += 1
        worker_id = WorkerId(f"{self._settings.manager_id}-w{self._count}")
        worker = KnownWorker(worker_id, worker_type)
        worker.idle_since = now
        if worker_type:
            self.typed += 1
            worker.start_by = now + self._settings.start_timeouts[worker_type]
        worker.place = self._free_place() if place is None else place
        places = self._settings.care.places
        what = places[worker.place] if places else Place()
        self.workers[worker_id] = worker
        effects.append(StartWorker(worker_id, worker_type=worker_type, place=what))
        return worker

    def _free_place(self) -> int:
        """Return the place that the fewest workers have."""
        taken = [0] * self._settings.slots
        for worker in self.workers.values():
            taken[worker.place] += 1
        return taken.index(min(taken))

    def started(self, said: WorkerStarted, effects: list[Effect]) -> None:
        """Note that a worker is up; whom it replaces may go."""
        worker = self.workers[said.worker_id]
        worker.is_started, worker.pid = True, said.pid
        worker.is_open = not worker.is_killed
        if worker.replaces is not None:
            self._retire_replaced(worker, effects)
        self.backoff.reset()

    def stop(self, worker: KnownWorker, effects: list[Effect]) -> None:
        """Let an idle worker end."""
        worker.is_killed, worker.is_open = True, False
        effects.append(StopWorker(worker.worker_id))

    def kill(self, worker: KnownWorker, effects: list[Effect]) -> None:
        """Kill a worker, with what it runs; twice is once."""
        if not worker.is_killed:
            worker.is_killed, worker.is_open = True, False
            effects.append(KillWorker(worker.worker_id))

    def terminate(self, reason: str, effects: list[Effect]) -> None:
        """Ask the tasks that run to end in order."""
        for worker in self.workers.values():
            if worker.backlog and not worker.is_killed:
                worker.why_terminated = reason
                effects.append(TerminateWorker(worker.worker_id))

    def died(self, death: WorkerDied, now: float) -> KnownWorker:
        """Take note that a worker is gone, and return what was known of it."""
        worker = self.workers.pop(death.worker_id)
        self.typed -= bool(worker.worker_type)
        self.retiring -= worker.is_retiring
        self.let_go(worker, now)
        return worker

    def replace(self, worker: KnownWorker, now: float) -> None:
        """Let another worker come for a dead one, if one is lacking now."""
        if self.spares() + len(self._starts_due) >= 0:
            self._look_for_spares_soon(now)
        elif worker.is_started:
            self._starts_due.append(now)
        else:
            # It never came up: something is wrong that a quick retry will not heal.
            self._starts_due.append(now + self.backoff.next())

    # What they take

    def let_go(self, worker: KnownWorker, now: float) -> None:
        """Give back what a worker's task, which has ended, had."""
        if worker.need is None:
            return
        if worker.is_waiting:
            self._capacity.take(worker.need.processors)
        self._capacity.give_back(worker.need, worker.gpus)
        worker.need, worker.gpus = None, []
        if self.spares() > 0:
            self._look_for_spares_soon(now)

    def waits(self, worker: KnownWorker, now: float, effects: list[Effect]) -> None:
        """Give the place of a task that waits to another worker."""
        if worker.need is not None and not worker.is_waiting:
            self._capacity.give_back(worker.need.processors, ())
        worker.is_waiting = True
        if not self._expects_calls:
            self._expects_calls = True
            effects.append(ExpectCalls())
        if len(worker.backlog) > 1:
            self.recall(worker, effects)
        is_lacking = self.spares() + len(self._starts_due) < 0
        if is_lacking and not self.is_full and not self._queues.typed:
            self.start(now, effects)

    def waits_no_more(self, worker: KnownWorker, now: float) -> bool:
        """Take the place back; for a while there may be one worker too many.

        Returns:
            Whether there are fewer processors now for others.
        """
        takes = worker.need is not None and worker.is_waiting
        if takes and worker.need is not None:
            self._capacity.take(worker.need.processors)
        worker.is_waiting = False
        self._look_for_spares_soon(now)
        return takes

    # Recalls

    def recall(self, worker: KnownWorker, effects: list[Effect]) -> None:
        """Take back what a worker has not begun, unless that is under way."""
        if not worker.is_recalled and not worker.is_killed:
            worker.is_recalled = True
            effects.append(RecallTasks(worker.worker_id))

    def recall_all(self, effects: list[Effect]) -> None:
        """Take back all that has not begun."""
        for worker in self.workers.values():
            if len(worker.backlog) > 1:
                self.recall(worker, effects)

    def _recall_at(self) -> float:
        """When the followers of a stuck head should be recalled, if ever."""
        if self._queues:
            return math.inf
        workers = self.workers.values()
        at = recall_at(workers)
        # Seldom more is to be asked.
        if at < math.inf and not any(
            w.is_started and not w.backlog and not w.is_killed for w in workers
        ):
            return math.inf
        return at

    # Retirement

    def retire(self, worker: KnownWorker, now: float, effects: list[Effect]) -> None:
        """Give a worker nothing more, and start who takes its place at once."""
        worker.is_open, worker.is_retiring = False, True
        self.retiring += 1
        if not self.is_full:
            self.start(now, effects, worker.worker_type, worker.place)

    def stop_if_retired(self, worker: KnownWorker, effects: list[Effect]) -> None:
        """Let a worker end that has run its last task."""
        if worker.is_retiring and not worker.backlog and not worker.is_killed:
            self.stop(worker, effects)
            worker.is_retiring = False
            self.retiring -= 1

    def _retire_replaced(self, successor: KnownWorker, effects: list[Effect]) -> None:
        """Let the worker go whose successor is up."""
        old = self.workers.get(successor.replaces or WorkerId(""))
        successor.replaces = None
        if old is None or not old.is_open:
            return
        old.is_open, old.is_retiring = False, True
        self.retiring += 1
        if len(old.backlog) > 1:
            self.recall(old, effects)
        self.stop_if_retired(old, effects)

    # Time

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next; infinity: only messages matter."""
        at = min(self._recall_at(), self._spares_at)
        return min(at, *self._starts_due) if self._starts_due else at

    def tick(self, now: float, effects: list[Effect]) -> None:
        """Start who is lacking, recall what is stuck, and stop who is too many."""
        due = sum(at <= now for at in self._starts_due)
        if due:
            self._starts_due = [at for at in self._starts_due if at > now]
        for _ in range(due):
            if self.spares() < 0:
                self.start(now, effects)
        if self._recall_at() <= now:
            for worker in self.workers.values():
                is_stuck = worker.head_since + RECALL_AFTER <= now
                if is_stuck and len(worker.backlog) > 1:
                    self.recall(worker, effects)
        if self._spares_at <= now:
            self._stop_spares(now, effects)

    def _look_for_spares_soon(self, now: float) -> None:
        self._spares_at = min(self._spares_at, now + SPARE_PERIOD)

    def _stop_spares(self, now: float, effects: list[Effect]) -> None:
        self._expects_calls = False
        self._spares_at = math.inf
        spares = self.spares()
        idle = [w for w in self.workers.values() if not w.backlog and not w.is_killed]
        for worker in idle[: max(0, spares)]:
            self.stop(worker, effects)
        if spares > len(idle):
            self._spares_at = now + SPARE_PERIOD

    def check(self) -> None:
        """Raise AssertionError if a count is wrong, or a backlog out of order."""
        workers = self.workers.values()
        assert self.typed == sum(bool(w.worker_type) for w in workers)
        assert self.retiring == sum(w.is_retiring for w in workers)
        for worker in workers:
            is_closed = worker.is_killed or worker.is_retiring or not worker.is_started
            assert worker.is_open != is_closed, "open and closed"
            if worker.need is not None:
                assert len(worker.backlog) == 1, "a task that asks has company"
            seqs = [seq for seq, _ in worker.backlog]
            assert seqs == sorted(seqs), "a backlog is out of order"
            assert all(seq < worker.next_seq for seq in seqs)
            for _, task in worker.backlog:
                assert task.worker_type == worker.worker_type, "at a wrong worker"
