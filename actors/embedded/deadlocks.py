"""Deadlocks: whether a wait that is about to begin would never end. Pure.

A process that waits cannot do what others wait for:

    get in A ─► call of B ─► B's process, which waits in turn ─► call of A ─► A

Only what is certain counts: waits without a timeout, of the one thread that runs the
calls of an actor or the task of a worker. What a worker has not begun is no part of it:
another worker takes that.
"""

from collections.abc import Iterable

from actors.embedded.actor_calls import Actor, ActorCall
from actors.embedded.tasks import Task, TaskStage
from actors.embedded.workers import HubWorker
from actors.refs import Promise

__all__ = ["find_cycle", "runs_one_at_a_time"]


def find_cycle(
    waiter: HubWorker, promises: Iterable[Promise], count: int = 0
) -> list[str]:
    """Name who waits for whom, if waiting would close a circle; else nothing.

    Args:
        waiter: the process whose task or call is about to wait.
        promises: what for; no outcome of them is known.
        count: how many of them will do; 0: all.
    """
    search = _Search(waiter)
    stuck = [path for promise in promises if (path := search.of_promise(promise))]
    unknown = len(list(promises))
    if len(stuck) <= (unknown - count if count else 0):
        return []
    return [_title(waiter), *stuck[0]]


class _Search:
    """Goes from promises to the processes that must do something for them.

    Each process is looked at once: what it waits for does not change meanwhile.
    """

    def __init__(self, origin: HubWorker) -> None:
        self._origin = origin
        self._seen: dict[int, list[str]] = {}  # {id of it: the way to the origin}

    def of_promise(self, promise: Promise) -> list[str]:
        """Return whom it takes to make a value known, up to the origin; or nothing."""
        task = promise.task
        if promise.outcome is not None or task is None:
            return []
        if not isinstance(task, ActorCall):
            return self._of_task(task)
        return self._of_call(task)

    def _of_task(self, task: Task) -> list[str]:
        if task.stage is TaskStage.BLOCKED:
            return self._of_any(task.dependencies)
        worker: HubWorker | None = task.worker
        if task.stage is TaskStage.ASSIGNED and worker is not None:
            return self._of_process(worker) if worker.head is task else []
        return []

    def _of_call(self, call: ActorCall) -> list[str]:
        actor = call.actor
        if call.stage is TaskStage.BLOCKED and (way := self._of_any(call.dependencies)):
            return way
        if actor.host is None or not runs_one_at_a_time(actor):
            return []
        lane = actor.lanes.get(call.caller)
        if lane and lane[0] is not call and lane[0].stage is TaskStage.BLOCKED:
            # It holds back all behind it.
            way = self._of_any(lane[0].dependencies)
            if way:
                return way
        return self._of_process(actor.host)

    def _of_process(self, worker: HubWorker) -> list[str]:
        if worker is self._origin:
            return [_title(worker)]
        if not worker.blocked:
            return []
        if id(worker) not in self._seen:
            self._seen[id(worker)] = []  # a circle without the origin is none of ours
            for request in worker.requests.values():
                if not (request.blocks and request.is_endless):
                    continue
                ways = [self.of_promise(promise) for promise in request.promises]
                stuck = [way for way in ways if way]
                spare = len(ways) - request.count if request.count else 0
                if len(stuck) > spare:
                    self._seen[id(worker)] = [_title(worker), *stuck[0]]
                    break
        return self._seen[id(worker)]

    def _of_any(self, promises: Iterable[Promise]) -> list[str]:
        for promise in promises:
            way = self.of_promise(promise)
            if way:
                return way
        return []


def runs_one_at_a_time(actor: Actor) -> bool:
    """Tell whether an actor's calls are run by its one main thread."""
    return actor.options.max_concurrency == 1 and not actor.options.groups


def _title(worker: HubWorker) -> str:
    if worker.title:
        return worker.title
    head = worker.head
    return f"Task {head.spec.name}" if head is not None else worker.worker_id
