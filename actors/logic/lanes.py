"""Tasks that wait and for which not any worker will do: a queue for each demand.

Those that ask for the same (`Needs`) stand in one lane, a backlog of its own: where the
first of them does not fit, none does. So what is looked through is lanes, however many
tasks wait.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from actors.logic.backlog import Backlog, Waiter
from actors.messages import Needs, Task

__all__ = ["Asking", "Lanes", "precedes"]


class Asking(Waiter, Protocol):
    """What can wait in a lane, one at a time."""

    task: Task
    queued_at: float  # the same as long as it waits


AnyAsking = TypeVar("AnyAsking", bound=Asking)


class Lanes(Generic[AnyAsking]):
    """All lanes; one in which nobody waits is dropped."""

    def __init__(self) -> None:
        self._lanes: dict[Needs, Backlog[AnyAsking]] = {}
        self.is_news = False  # set when somebody comes, for who looks to unset

    def __len__(self) -> int:
        """Count those who wait."""
        return sum(map(len, self._lanes.values()))

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._lanes)

    def __iter__(self) -> Iterator[AnyAsking]:
        """Go through those who wait, lane by lane."""
        for lane in list(self._lanes.values()):
            yield from lane

    def append(self, entry: AnyAsking) -> None:
        """Let a task wait behind all of its kind and priority."""
        self.is_news = True
        self._of(entry).append(entry)

    def push_front(self, entry: AnyAsking) -> None:
        """Let a task wait before all of its kind and priority."""
        self.is_news = True
        self._of(entry).push_front(entry)

    def remove(self, entry: AnyAsking) -> bool:
        """Take one out for good; false: it does not wait."""
        is_out = entry.is_waiting and self._of(entry).remove(entry)
        self._tidy(entry)
        return is_out

    def withdraw(self, entry: AnyAsking) -> bool:
        """Take one out that may wait again; false: it does not wait."""
        is_out = entry.is_waiting and self._of(entry).withdraw(entry)
        self._tidy(entry)
        return is_out

    def take_out(self, is_wanted: Callable[[AnyAsking], bool]) -> list[AnyAsking]:
        """Take out all of a kind, who may wait again."""
        taken = []
        for needs, lane in list(self._lanes.items()):
            taken += lane.take_out(is_wanted)
            if not lane:
                del self._lanes[needs]
        return taken

    def take(self, needs: Needs, limit: int) -> list[AnyAsking]:
        """Take the next ones of a lane, all of one priority."""
        lane = self._lanes[needs]
        taken = lane.pop(limit)
        if not lane:
            del self._lanes[needs]
        return taken

    def by_turn(self) -> list[tuple[Needs, AnyAsking]]:
        """List the lanes, each with its first, by whose turn it is."""
        heads = [(needs, lane.peek()) for needs, lane in self._lanes.items()]
        known = [(needs, head) for needs, head in heads if head is not None]
        if len(known) > 1:
            known.sort(key=lambda each: (-each[1].priority, each[1].queued_at))
        return known

    def counts(self) -> Iterator[tuple[Needs, int]]:
        """Count those who wait by what they ask for."""
        for needs, lane in self._lanes.items():
            yield needs, len(lane)

    def check(self) -> None:
        """Raise AssertionError if a lane is empty or has a stranger."""
        for needs, lane in self._lanes.items():
            lane.check()
            assert lane, "an empty lane was kept"
            assert all(entry.task.needs == needs for entry in lane)

    def _of(self, entry: AnyAsking) -> Backlog[AnyAsking]:
        needs = entry.task.needs
        assert needs is not None
        lane = self._lanes.get(needs)
        if lane is None:
            lane = self._lanes[needs] = Backlog()
        return lane

    def _tidy(self, entry: AnyAsking) -> None:
        needs = entry.task.needs
        if needs is not None and not self._lanes.get(needs, (None,)):
            del self._lanes[needs]


def precedes(first: Asking, second: Asking) -> bool:
    """Tell whether it is the first one's turn before the second one's."""
    return (-first.priority, first.queued_at) < (-second.priority, second.queued_at)
