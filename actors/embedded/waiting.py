"""Tasks that wait for a worker: by priority, then in the order of their coming.

Tasks of the same need stand in one lane, in a queue per priority. What was cancelled,
or stands at two places, is passed over when its turn comes: a task waits for as long as
its stage says so, and leaves by that alone.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from actors.embedded.tasks import Task, TaskStage
from actors.logic.resources import Need

__all__ = ["Lane", "WaitingTasks"]

# Looked up once per task, and more.
_WAITING, _ASSIGNED = TaskStage.WAITING, TaskStage.ASSIGNED

# Before every priority that a user can give: what somebody holds a worker for.
URGENT = 1 << 62


class Lane:
    """Tasks of one need, all of them simple or none."""

    __slots__ = ("_priorities", "_queues", "is_simple", "need")

    def __init__(self, need: Need, *, is_simple: bool) -> None:
        self.need = need
        self.is_simple = is_simple
        self._queues: dict[int, deque[Task]] = {}  # {priority: tasks}
        self._priorities: list[int] = []  # highest first

    def queue(self, priority: int) -> deque[Task]:
        """Return the queue of a priority, made if missing."""
        found = self._queues.get(priority)
        if found is None:
            found = self._queues[priority] = deque()
            self._priorities = sorted(self._queues, reverse=True)
        return found

    def head(self) -> tuple[int, Task] | None:
        """Return whose turn it is, with the priority; None: nobody waits here."""
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue:
                if queue[0].stage is _WAITING:
                    return priority, queue[0]
                queue.popleft()
        return None

    def take(self, count: int) -> list[Task]:
        """Take up to so many, whose turn it is."""
        taken: list[Task] = []
        for priority in self._priorities:
            queue = self._queues[priority]
            while queue and len(taken) < count:
                task = queue.popleft()
                if task.stage is _WAITING:
                    task.stage = _ASSIGNED
                    taken.append(task)
        return taken


class WaitingTasks:
    """All lanes."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}  # {CallSpec.lane: it}
        self.count = 0  # of tasks, not of their places

    def append(self, task: Task) -> None:
        """Let a task wait behind all of its priority."""
        task.stage = _WAITING
        self.count += 1
        self._lane(task).queue(task.spec.priority).append(task)

    def push_front(self, tasks: Iterable[Task]) -> None:
        """Let tasks wait before all of their priority, the last given first."""
        for task in tasks:
            task.stage = TaskStage.WAITING
            self.count += 1
            self._lane(task).queue(task.spec.priority).appendleft(task)

    def hurry(self, task: Task) -> None:
        """Give a task, which waits, its turn before all others'."""
        self._lane(task).queue(URGENT).appendleft(task)

    def take(self, lane: Lane, count: int) -> list[Task]:
        """Take up to so many of a lane."""
        taken = lane.take(count)
        self.count -= len(taken)
        return taken

    def withdraw(self, task: Task) -> None:
        """Let a task, which waits, wait no more."""
        task.stage = TaskStage.ENDED
        self.count -= 1

    def lanes(self) -> list[Lane]:
        """Return the lanes in which somebody waits, by whose turn it is."""
        if len(self._lanes) == 1:
            (lane,) = self._lanes.values()
            return [lane] if lane.head() else []
        heads = [(lane.head(), lane) for lane in self._lanes.values()]
        waiting = [(head, lane) for head, lane in heads if head is not None]
        waiting.sort(key=lambda each: (-each[0][0], each[0][1].ticket))
        return [lane for _, lane in waiting]

    def __iter__(self) -> Iterator[Task]:
        """Go through all that wait, in no order."""
        for lane in self._lanes.values():
            seen: set[int] = set()
            for queue in lane._queues.values():  # noqa: SLF001  its own, in this file
                for task in queue:
                    if task.stage is TaskStage.WAITING and id(task) not in seen:
                        seen.add(id(task))
                        yield task

    def _lane(self, task: Task) -> Lane:
        spec = task.spec
        lane = self._lanes.get(spec.lane)
        if lane is None:
            lane = Lane(spec.need, is_simple=spec.is_simple)
            self._lanes[spec.lane] = lane
        return lane
