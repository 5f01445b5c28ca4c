"""Queues: what waits at a manager for its workers. Pure.

Plain tasks wait in one queue, those of each other type in one of its own, and those
that ask for something, processors or GPUs perhaps, in another one. What they ask for is
taken as soon as it is free of others like them: the claim of one that still waits.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from actors.logic.resources import Capacity, Need
from actors.messages import Holding, Leased, TaskId

__all__ = ["Queues"]


class Queues:
    """The waiting tasks; see the module's docstring.

    Args:
        capacity: what claims are taken from.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self.plain: deque[Leased] = deque()
        # {type of worker: tasks that wait}; no empty ones between two turns.
        self.typed: dict[str, deque[Leased]] = {}
        # Tasks that ask for something; they never wait at a worker.
        self.asking: deque[Leased] = deque()
        # {task of `asking`: what it has taken already, and which GPUs}
        self.claims: dict[TaskId, tuple[Need, list[int]]] = {}

    def __bool__(self) -> bool:
        return bool(self.plain or self.typed or self.asking)

    def __iter__(self) -> Iterator[Leased]:
        yield from self.plain
        yield from self.asking
        for queue in self.typed.values():
            yield from queue

    def of_type(self, worker_type: str) -> deque[Leased]:
        """Return the queue of tasks that ask for a type and nothing else."""
        if not worker_type:
            return self.plain
        return self.typed.setdefault(worker_type, deque())

    def put_back(self, tasks: list[Leased]) -> None:
        """Let tasks that were given wait again, before all others."""
        for task in reversed(tasks):
            self._queue_of(task).appendleft(task)

    def hold_only(self, tasks: Iterable[Leased]) -> None:
        """Let these wait, and no others."""
        tasks = list(tasks)
        self.plain = deque()
        self.typed.clear()
        self.asking.clear()
        for task in tasks:
            self._queue_of(task).append(task)
        wanted = {task.task_id for task in self.asking}
        for task_id in [t for t in self.claims if t not in wanted]:
            self._capacity.give_back(*self.claims.pop(task_id))

    def take(self, is_wanted: Callable[[Leased], bool]) -> list[Leased]:
        """Remove those that are wanted, and return them."""
        taken = [task for task in self if is_wanted(task)]
        if taken:
            self.hold_only([task for task in self if not is_wanted(task)])
        return taken

    def held(self) -> list[Holding]:
        """Return the leases of all that wait."""
        return [Holding(task.task_id, task.attempt) for task in self]

    def claim(self) -> None:
        """Take for those that ask what is free of others like them."""
        for task in self.asking:
            need = Need.of_amounts(task.amounts)
            if task.task_id not in self.claims and not self._capacity.lack(need):
                self.claims[task.task_id] = (need, self._capacity.take(need))

    def _queue_of(self, task: Leased) -> deque[Leased]:
        if task.amounts is not None:
            return self.asking
        return self.of_type(task.worker_type)

    def check(self) -> None:
        """Raise AssertionError if a queue is kept for nobody, or a claim."""
        assert all(self.typed.values()), "an empty queue was kept"
        asking = {task.task_id for task in self.asking}
        assert self.claims.keys() <= asking, "what nobody waits for is taken"
