"""How many blocks may be launched now: so many in any minute."""

from collections import deque

__all__ = ["RATE_PERIOD", "LaunchRate"]

# What `max_launches_per_minute` counts in, in seconds.
RATE_PERIOD = 60.0


class LaunchRate:
    """The launches of the last minute.

    Args:
        limit: blocks in any minute, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._launches: deque[tuple[float, int]] = deque()  # when, how many; in order

    def room(self, now: float) -> int:
        """Say how many blocks may be launched now; 0 if none."""
        while self._launches and self._launches[0][0] <= now - RATE_PERIOD:
            self._launches.popleft()
        return max(0, self.limit - sum(count for _, count in self._launches))

    def note(self, count: int, now: float) -> None:
        """Note a launch, whoever wanted it; it may exceed the limit."""
        self._launches.append((now, count))

    def wait(self, now: float) -> float:
        """Seconds until some of the room is free again; 0 if there is room."""
        if self.room(now) > 0:
            return 0.0
        spent = sum(count for _, count in self._launches)
        for at, count in self._launches:
            spent -= count
            if spent < self.limit:
                return at + RATE_PERIOD - now
        raise AssertionError("the limit is at least 1")
