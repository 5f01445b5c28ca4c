"""Stream: the refs of what a generator yields, in its order, as they come."""

from collections import deque
from collections.abc import Callable

from actors.refs import Promise

__all__ = ["Stream"]


class Stream(Promise):
    """What a streaming task returns; its outcome is known at its end.

    Items that were taken are forgotten: whoever took them holds them.
    """

    __slots__ = ("_coming", "_taken", "item_waiters", "items")

    def __init__(self) -> None:
        super().__init__()
        self.items: deque[Promise] = deque()
        self._taken = 0
        self.item_waiters: list[Callable[[], None]] = []
        self._coming: Promise | None = None  # for who waits for the next item, so far

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

    def coming(self) -> Promise:
        """Return what is known once there is a next item, or none any more.

        Call it in a round only: it may be known in the next one.
        """
        if self._coming is None or self._coming.outcome is not None:
            self._coming = Promise()
            self._coming.number, self._coming.task = self.number, self.task
            self._tell_coming()
        return self._coming

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
        if self._coming is not None:
            self._tell_coming()

    def _tell_coming(self) -> None:
        coming = self._coming
        is_there = self.items or self.outcome is not None
        if coming is None or coming.outcome is not None or not is_there:
            return
        coming.outcome, coming.task = b"", None
        told, coming.waiters = coming.waiters, None
        for tell in told or ():
            tell(coming)
