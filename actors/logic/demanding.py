"""Tasks that wait and for which not any worker will do: a queue for each wish.

Those that ask for the same (`Needs`) stand in one queue: where the first of them does
not fit, none does. So what is looked through is queues, however many tasks wait. A task
without a wish never comes here; whose turn it is among all queues tells `rank`.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from actors.logic.backlog import Backlog, Waiter
from actors.messages import Amount, Needs

__all__ = ["MOST_WALLTIMES", "Demanding", "Wishful", "rank"]

# Queues that differ in their walltime alone; what comes after so many waits with the
# next longer ones. Chosen: each placement looks at all queues, and takes a fraction of
# a millisecond for so many.
MOST_WALLTIMES = 256


class _Asking(Protocol):
    @property
    def needs(self) -> Needs | None: ...


class Wishful(Waiter, Protocol):
    """What waits here: a waiter with a place among those of all queues, and a task."""

    ticket: int  # lower goes first among those of one priority
    wish: Needs | None  # the queue that it waits in; set here alone

    @property
    def task(self) -> _Asking: ...


AnyWishful = TypeVar("AnyWishful", bound=Wishful)


def rank(waiter: Wishful) -> tuple[int, int]:
    """Return what sorts waiters of several queues: by priority, then as they came."""
    return -waiter.priority, waiter.ticket


class Demanding(Generic[AnyWishful]):
    """The queues, by what those in them ask for."""

    def __init__(self) -> None:
        self.queues: dict[Needs, Backlog[AnyWishful]] = {}  # none is empty
        self.is_news = False  # set when somebody comes, for who looks to unset

    def __len__(self) -> int:
        return sum(map(len, self.queues.values()))

    def __bool__(self) -> bool:
        return bool(self.queues)

    def __iter__(self) -> Iterator[AnyWishful]:
        for queue in self.queues.values():
            yield from queue

    def append(self, waiter: AnyWishful) -> None:
        """Let one wait behind all that ask for the same, of its priority."""
        self._queue_for(waiter).append(waiter)

    def push_front(self, waiter: AnyWishful) -> None:
        """Let one wait before all that ask for the same, of its priority."""
        self._queue_for(waiter).push_front(waiter)

    def remove(self, waiter: AnyWishful) -> bool:
        """Take one out of turn for good; false: it does not wait."""
        return self._take(waiter, Backlog.remove)

    def withdraw(self, waiter: AnyWishful) -> bool:
        """Take one out of turn; it may wait again. False: it does not wait."""
        return self._take(waiter, Backlog.withdraw)

    def take_out(self, is_wanted: Callable[[AnyWishful], bool]) -> list[AnyWishful]:
        """Take out all of a kind, queue by queue in their order."""
        taken: list[AnyWishful] = []
        for wish in list(self.queues):
            taken += self.queues[wish].take_out(is_wanted)
            self.tidy(wish)
        return taken

    def pop(self, wish: Needs) -> AnyWishful:
        """Take the next one of a queue; somebody must wait there."""
        (waiter,) = self.queues[wish].pop(1)
        self.tidy(wish)
        return waiter

    def by_turn(self) -> list[tuple[Needs, AnyWishful]]:
        """List the queues, each with its first, by whose turn it is."""
        heads = [(wish, queue.head) for wish, queue in self.queues.items()]
        if len(heads) > 1:
            heads.sort(key=lambda each: rank(each[1]))
        return heads

    def counts(self) -> Iterator[tuple[Needs, int]]:
        """Count those who wait by what they ask for."""
        for wish, queue in self.queues.items():
            yield wish, len(queue)

    def tidy(self, wish: Needs) -> None:
        """Drop a queue that somebody has taken from, if it is empty."""
        if wish in self.queues and not self.queues[wish]:
            del self.queues[wish]

    def _take(
        self,
        waiter: AnyWishful,
        how: Callable[[Backlog[AnyWishful], AnyWishful], bool],
    ) -> bool:
        if not waiter.is_waiting or waiter.wish is None:
            return False
        how(self.queues[waiter.wish], waiter)
        self.tidy(waiter.wish)
        return True

    def _queue_for(self, waiter: AnyWishful) -> Backlog[AnyWishful]:
        wish = waiter.task.needs
        assert wish is not None, "it asks for nothing"
        self.is_news = True
        if wish.walltime and wish not in self.queues:
            wish = self._rounded(wish)
        waiter.wish = wish
        return self.queues.setdefault(wish, Backlog())

    def _rounded(self, wish: Needs) -> Needs:
        """Join those that ask for a little more, if there are too many queues."""
        kind = _kind(wish)
        kin = [n for n in self.queues if n.walltime and _kind(n) == kind]
        if len(kin) < MOST_WALLTIMES:
            return wish
        longer = [n for n in kin if n.walltime >= wish.walltime]
        # None of these asks for more than a block offers: that was looked at before.
        return min(longer, key=lambda n: n.walltime, default=wish)

    def check(self) -> None:
        """Raise AssertionError unless queues and waiters agree."""
        for wish, queue in self.queues.items():
            queue.check()
            assert queue, "an empty queue was kept"
            ranks = [rank(waiter) for waiter in queue]
            assert ranks == sorted(ranks), "tickets are out of order"
            for waiter in queue:
                needs = waiter.task.needs
                assert waiter.wish == wish
                assert needs is not None
                assert _kind(needs) == _kind(wish), "it waits with strangers"
                assert needs.walltime <= wish.walltime


def _kind(needs: Needs) -> tuple[str, tuple[Amount, ...] | None, str]:
    """Return all that is asked for but the walltime."""
    return needs.worker_type, needs.amounts, needs.tag
