"""Tasks that wait: by priority, then in the order of their coming."""

from collections import OrderedDict
from collections.abc import Iterator

from actors.messages import TaskId

__all__ = ["Backlog"]


class Backlog:
    """A queue of task ids; whoever waits again after a failure goes to the front.

    Taking, and removing from the middle, cost the same however many wait: a client
    may cancel half of 100,000.
    """

    def __init__(self) -> None:
        # {priority: ids, oldest first}; a lane that is empty is dropped.
        self._lanes: dict[int, OrderedDict[TaskId, None]] = {}
        self._priorities: list[int] = []  # of the lanes, highest first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[TaskId]:
        """Go through the waiting ids in the order in which they would be taken."""
        for priority in self._priorities:
            yield from self._lanes[priority]

    def append(self, task_id: TaskId, priority: int) -> None:
        """Let a task, which does not wait yet, wait behind all of its priority."""
        self._lane(priority)[task_id] = None
        self._count += 1

    def push_front(self, task_id: TaskId, priority: int) -> None:
        """Let a task, which does not wait yet, wait before all of its priority."""
        lane = self._lane(priority)
        lane[task_id] = None
        lane.move_to_end(task_id, last=False)
        self._count += 1

    def remove(self, task_id: TaskId, priority: int) -> bool:
        """Take one out of turn; false: it does not wait with that priority."""
        lane = self._lanes.get(priority)
        if lane is None or task_id not in lane:
            return False
        del lane[task_id]
        self._count -= 1
        self._drop_if_empty(priority)
        return True

    def pop(self) -> TaskId | None:
        """Take the next one; None: nobody waits."""
        if not self._priorities:
            return None
        priority = self._priorities[0]
        task_id, _ = self._lanes[priority].popitem(last=False)
        self._count -= 1
        self._drop_if_empty(priority)
        return task_id

    def check(self) -> None:
        """Raise AssertionError unless lanes, priorities and count agree."""
        assert self._count == sum(len(lane) for lane in self._lanes.values())
        assert self._priorities == sorted(self._lanes, reverse=True)
        assert all(self._lanes.values()), "an empty lane was kept"

    def _lane(self, priority: int) -> OrderedDict[TaskId, None]:
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = OrderedDict()
            self._priorities = sorted(self._lanes, reverse=True)
        return lane

    def _drop_if_empty(self, priority: int) -> None:
        if not self._lanes[priority]:
            del self._lanes[priority]
            self._priorities.remove(priority)
