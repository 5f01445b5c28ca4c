"""Those that wait: by priority, then in the order of their coming."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Backlog", "Waiter"]

# Lanes shorter than this are not tidied up. Chosen: it would not be worth the walk.
_SMALL = 64


class Waiter(Protocol):
    """What can wait in a backlog, one at a time."""

    priority: int  # higher goes first; the same as long as it waits
    is_waiting: bool  # set by the backlog alone


AnyWaiter = TypeVar("AnyWaiter", bound=Waiter)


class Backlog(Generic[AnyWaiter]):
    """A queue; whoever waits again after a failure goes to the front.

    Taking, and removing from the middle, cost the same however many wait: a client
    may cancel half of 100,000. Who is removed keeps its place, empty, until its turn
    comes or half of the places are empty.
    """

    def __init__(self) -> None:
        # {priority: places, oldest first}; a lane in which nobody waits is dropped.
        self._lanes: dict[int, deque[AnyWaiter]] = {}
        self._priorities: list[int] = []  # of the lanes, highest first
        self._counts: dict[int, int] = {}  # {priority: of those who wait}
        self.count = 0  # of those who wait

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[AnyWaiter]:
        """Go through those who wait, in the order in which they would be taken."""
        for priority in self._priorities:
            yield from (w for w in self._lanes[priority] if w.is_waiting)

    def peek(self) -> AnyWaiter | None:
        """Return whose turn it is; None: nobody waits."""
        return next(iter(self), None)

    def append(self, waiter: AnyWaiter) -> None:
        """Let somebody, who does not wait yet, wait behind all of its priority."""
        self._lane(waiter).append(waiter)

    def extend(self, waiters: Sequence[AnyWaiter]) -> None:
        """Let some, who do not wait yet, wait in order behind all of their priority."""
        if len({waiter.priority for waiter in waiters}) != 1:
            for waiter in waiters:
                self.append(waiter)
            return
        # The usual case: without a call for each.
        first, *others = waiters
        lane = self._lane(first)
        lane.extend(waiters)
        self._counts[first.priority] += len(others)
        self.count += len(others)
        for waiter in others:
            waiter.is_waiting = True

    def push_front(self, waiter: AnyWaiter) -> None:
        """Let somebody, who does not wait yet, wait before all of its priority."""
        self._lane(waiter).appendleft(waiter)

    def remove(self, waiter: AnyWaiter) -> bool:
        """Take one out of turn for good; false: it does not wait.

        For whoever may wait again: `withdraw`.
        """
        if not waiter.is_waiting:
            return False
        self._leave(waiter)
        self._tidy(waiter.priority, self._lanes[waiter.priority])
        return True

    def withdraw(self, waiter: AnyWaiter) -> bool:
        """Take one out of turn, place and all: it may wait again. Slow in the middle.

        Returns:
            False: it does not wait.
        """
        if not waiter.is_waiting:
            return False
        self._leave(waiter)
        lane = self._lanes[waiter.priority]
        lane.remove(waiter)
        self._tidy(waiter.priority, lane)
        return True

    def take_out(self, is_wanted: Callable[[AnyWaiter], bool]) -> list[AnyWaiter]:
        """Take out all of a kind, places and all, in their order; they may wait again.

        It goes through everybody who waits.
        """
        taken: list[AnyWaiter] = []
        for priority in list(self._priorities):
            stay: deque[AnyWaiter] = deque()
            count = 0
            for waiter in self._lanes[priority]:
                if not waiter.is_waiting or not is_wanted(waiter):
                    stay.append(waiter)
                    continue
                waiter.is_waiting = False
                taken.append(waiter)
                count += 1
            self._lanes[priority] = stay
            self._counts[priority] -= count
            self.count -= count
            self._tidy(priority, stay)
        return taken

    def pop(self, limit: int) -> list[AnyWaiter]:
        """Take the next ones of one priority.

        Args:
            limit: at most so many, >= 0.

        Returns:
            At least one, unless nobody waits or the limit is 0.
        """
        if not self._priorities:
            return []
        priority = self._priorities[0]
        lane = self._lanes[priority]
        taken: list[AnyWaiter] = []
        for _ in range(min(limit, self._counts[priority])):
            waiter = lane.popleft()
            while not waiter.is_waiting:
                waiter = lane.popleft()
            waiter.is_waiting = False
            taken.append(waiter)
        self._counts[priority] -= len(taken)
        self.count -= len(taken)
        self._tidy(priority, lane)
        return taken

    @property
    def head(self) -> AnyWaiter:
        """Who would be taken next; somebody must wait."""
        lane = self._lanes[self._priorities[0]]
        while not lane[0].is_waiting:
            lane.popleft()
        return lane[0]

    def check(self) -> None:
        """Raise AssertionError unless lanes, priorities and counts agree."""
        assert self.count == sum(self._counts.values())
        assert self._priorities == sorted(self._lanes, reverse=True)
        assert self._counts.keys() == self._lanes.keys()
        for priority, lane in self._lanes.items():
            waiting = [w for w in lane if w.is_waiting]
            assert waiting, "an empty lane was kept"
            assert len(waiting) == self._counts[priority]
            assert len(lane) <= _SMALL + 2 * len(waiting), "too many empty places"
            assert len({id(w) for w in waiting}) == len(waiting), "waits twice"

    def _lane(self, waiter: AnyWaiter) -> deque[AnyWaiter]:
        priority = waiter.priority
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = deque()
            self._counts[priority] = 0
            self._priorities = sorted(self._lanes, reverse=True)
        self._counts[priority] += 1
        self.count += 1
        waiter.is_waiting = True
        return lane

    def _leave(self, waiter: AnyWaiter) -> None:
        waiter.is_waiting = False
        self._counts[waiter.priority] -= 1
        self.count -= 1

    def _tidy(self, priority: int, lane: deque[AnyWaiter]) -> None:
        """Close up the places of a lane if too many are empty."""
        count = self._counts[priority]
        if not count:
            del self._lanes[priority], self._counts[priority]
            self._priorities.remove(priority)
        elif len(lane) > _SMALL + 2 * count:
            self._lanes[priority] = deque(w for w in lane if w.is_waiting)
