"""Dealer: gives what waits at a manager to its workers. Pure.

Every idle worker gets a task; then short ones queue up behind what runs, so that they
follow each other without a pause.
"""

from collections import Counter, deque

from actors.endpoint.manager.crew import MAX_WORKERS, Crew, KnownWorker
from actors.endpoint.manager.endings import Endings
from actors.endpoint.manager.queues import Queues
from actors.endpoint.manager.settings import ManagerSettings
from actors.endpoint.manager.worker_care import WorkerCare
from actors.endpoint.manager.worker_types import WorkerTypes
from actors.endpoint.outflow import Outflow, call_of
from actors.logic.prefetch import Prefetch
from actors.logic.resources import GPU_VARIABLE, Capacity, name_gpus
from actors.logic.turn import Effect
from actors.logic.workers import AssignTasks, EquipWorker
from actors.messages import Call, Leased, Run

__all__ = ["Dealer"]

# Work that waits at a worker, and work that waits at the manager for its workers: in
# seconds, and in tasks at most. Measured by tests/bench: a quarter of the limits leaves
# frames so small that a task takes a fifth more of the processors; more gains nothing.
WORKER_AHEAD, WORKER_AHEAD_LIMIT = 0.002, 256
WINDOW_AHEAD, WINDOW_AHEAD_LIMIT = 0.02, 2048


class Dealer:
    """The machine; see the module's docstring.

    Args:
        settings: of the manager.
        queues: what waits,
        crew: and for whom.
        capacity: what those who ask take from.
        types: of workers.
        care: which limits what a worker is given.
        endings: which cares for timeouts.
        outflow: which cares for generators.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        queues: Queues,
        crew: Crew,
        capacity: Capacity,
        *,
        types: WorkerTypes,
        care: WorkerCare,
        endings: Endings,
        outflow: Outflow,
    ) -> None:
        self._gpu_names = settings.gpu_names
        self._queues = queues
        self._crew = crew
        self._capacity = capacity
        self._types = types
        self._care = care
        self._endings = endings
        self._outflow = outflow
        self._depth = Prefetch(WORKER_AHEAD, WORKER_AHEAD_LIMIT)
        self._ahead = Prefetch(WINDOW_AHEAD, WINDOW_AHEAD_LIMIT)

    def observed(self, seconds: float, count: int) -> None:
        """Note that so many tasks together ran for so many seconds."""
        self._depth.observed(seconds, count)
        self._ahead.observed(seconds, count)

    @property
    def window(self) -> int:
        """Leases that we want to have at most."""
        asking = len(self._queues.asking)
        for worker in self._crew.workers.values():
            if worker.need is not None:
                asking += 1
        window = self._crew.places * (1 + self._ahead.depth) + asking
        return self._care.may_hold(window)

    def assign(self, now: float, effects: list[Effect]) -> None:
        """Give every idle worker a task, then let short ones queue up behind."""
        queues, crew = self._queues, self._crew
        if queues.asking:
            self._assign_asking(now, effects)
        if self._types.are_in_use:
            self._assign_by_type(now, effects)
        elif queues.plain:
            ready = [w for w in crew.workers.values() if w.is_open]
            if crew.is_asked:
                ready = [w for w in ready if w.need is None]
            self._deal(queues.plain, ready, crew.places - crew.retiring, now, effects)

    def _assign_by_type(self, now: float, effects: list[Effect]) -> None:
        """Share the places out among types, change workers, and deal tasks."""
        queues, types = self._queues, self._types
        shares, alive = types.shares()
        for name, share in shares.items():
            queue = queues.of_type(name)
            if not queue:
                continue
            waiting = len(queue)
            types.change_workers(name, shares, alive, now, effects)
            ready = [w for w in alive.get(name, ()) if w.is_open]
            places = share - sum(
                w.is_retiring and w.worker_type == name
                for w in self._crew.workers.values()
            )
            if ready and places > 0:
                self._deal(queue, ready, places, now, effects)
            if len(queue) < waiting:
                types.served(name)
        queues.typed = {name: queue for name, queue in queues.typed.items() if queue}

    def _deal(
        self,
        queue: deque[Leased],
        ready: list[KnownWorker],
        places: int,
        now: float,
        effects: list[Effect],
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
                self._give(worker, queue, count, now, effects)
        for worker in ready:
            room = 1 + self._depth.depth - len(worker.backlog)
            if room > 0 and queue and not worker.is_recalled:
                part = -(-len(queue) // len(ready))
                self._give(worker, queue, min(room, part), now, effects)

    def _give(
        self,
        worker: KnownWorker,
        queue: deque[Leased],
        count: int,
        now: float,
        effects: list[Effect],
    ) -> None:
        if self._care.counts:
            count = min(count, self._care.room_at(worker))
            if count <= 0:
                return
        was_idle = not worker.backlog
        tasks = [queue.popleft() for _ in range(min(count, len(queue)))]
        numbered = list(enumerate(tasks, worker.next_seq))
        worker.next_seq += len(tasks)
        worker.backlog += numbered
        runs: list[Run | Call] = [
            Run(seq, task.function, task.arguments)
            if task.streams_from < 0
            else self._begin_stream(worker, seq, task)
            for seq, task in numbered
        ]
        if [task for task in tasks if task.timeout is not None]:
            self._endings.has_timeouts = True
        if was_idle:
            worker.head_since = now
        if worker.environment and worker.need is None:
            worker.environment = {}
            effects.append(EquipWorker(worker.worker_id, {}))
        effects.append(AssignTasks(worker.worker_id, runs))
        if self._care.counts:
            self._care.gave(worker, len(runs), now, effects)

    def _begin_stream(self, worker: KnownWorker, seq: int, task: Leased) -> Call:
        self._outflow.begin(task, worker.worker_id, seq)
        return call_of(seq, task.function, task)

    # Tasks that ask for something

    def _assign_asking(self, now: float, effects: list[Effect]) -> None:
        """Run tasks as soon as there is what they ask for.

        Each takes what it needs when that is free of others like it; then the rest
        makes way, as its tasks end.
        """
        queues, crew = self._queues, self._crew
        queues.claim()
        others = sum(
            bool(w.backlog) and w.need is None and not w.is_waiting
            for w in crew.workers.values()
        )
        claimed = sum(need.cpu_parts for need, _ in queues.claims.values())
        idle: dict[str, list[KnownWorker]] = {}  # {type: its workers}
        coming: Counter[str] = Counter({"": crew.plain_starts_due})
        for worker in crew.workers.values():
            if not worker.is_started:
                coming[worker.worker_type] += 1
            elif not worker.backlog and worker.is_open and self._care.room_at(worker):
                idle.setdefault(worker.worker_type, []).append(worker)
        lacking: Counter[str] = Counter()
        for task in list(queues.asking):
            claim = queues.claims.get(task.task_id)
            if claim is None or not self._capacity.has_cpus(claim[0], claimed, others):
                continue
            claimed -= claim[0].cpu_parts
            if idle.get(task.worker_type):
                self._give_asking(idle[task.worker_type].pop(), task, now, effects)
            else:
                lacking[task.worker_type] += 1
        for worker_type, count in (lacking - coming).items():
            if self._types.may_start(worker_type, now):
                for _ in range(min(count, MAX_WORKERS - len(crew.workers))):
                    crew.start(now, effects, worker_type)

    def _give_asking(
        self, worker: KnownWorker, task: Leased, now: float, effects: list[Effect]
    ) -> None:
        self._queues.asking.remove(task)
        worker.need, worker.gpus = self._queues.claims.pop(task.task_id)
        environment = {}
        if worker.gpus:
            environment[GPU_VARIABLE] = name_gpus(worker.gpus, self._gpu_names)
        if environment != worker.environment:
            worker.environment = environment
            effects.append(EquipWorker(worker.worker_id, environment))
        self._give(worker, deque([task]), 1, now, effects)
