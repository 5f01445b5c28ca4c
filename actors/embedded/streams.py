"""Stream: the refs of what a generator yields, in its order, as they come."""

from collections import deque
from collections.abc import Callable

from actors.refs import Promise

__all__ = ["Stream"]


class Stream(Promise):
    """What a streaming task returns; its outcome is known at its end.

    Items that were taken are forgotten: whoever took them holds them.
    """

    __slots__ = ("_taken", "item_waiters", "items")

    def __init__(self) -> None:
        super().__init__()
        self.items: deque[Promise] = deque()
        self._taken = 0
        self.item_waiters: list[Callable[[], None]] = []

    @property
    def known(self) -> int:
        """How many items there have been."""
        return self._taken + len(self.items)

    def add(self, item: Promise) -> None:
        """Note the next item."""
        self.items.append(item)
        self._tell()

    def end(self) -> None:
        """Note that there are no more; the outcome says how it ended."""
        self._tell()

    def take(self) -> Promise | None:
        """Take the next item; None: there is none yet, or none any more."""
        if not self.items:
            return None
        self._taken += 1
        return self.items.popleft()

    def call_at_next(self, waiter: Callable[[], None]) -> None:
        """Have something called at the next item or the end; at once if it is there."""
        if self.items or self.outcome is not None:
            waiter()
        else:
            self.item_waiters.append(waiter)

    def _tell(self) -> None:
        waiters, self.item_waiters = self.item_waiters, []
        for waiter in waiters:
            waiter()
