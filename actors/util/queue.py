"""Queue: first in, first out, for tasks, actors and the program alike.

It lives in an actor, whose handle all copies of the queue share. Who waits at it waits
in the actor's event loop, and holds up nobody.
"""

import asyncio
import queue
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from actors.api.actor_class import actor_class
from actors.api.actor_tools import kill
from actors.api.objects import get
from actors.api.typed_actor import method
from actors.errors import ActorsError

__all__ = ["Empty", "Full", "Queue"]

T = TypeVar("T")

# Callers that may wait at one time. Chosen: more than a machine has processes.
_MOST_WAITERS = 100_000


class Empty(ActorsError, queue.Empty):
    """Tell that there was no item, or not in time."""


class Full(ActorsError, queue.Full):
    """Tell that there was no room, or not in time."""


class Queue(Generic[T]):
    """A queue that can be given to tasks and actors; as Ray's.

    Args:
        maxsize: items at most; 0: any number.
        actor_options: of its actor; see `ActorClass.options`.
    """

    def __init__(
        self, maxsize: int = 0, actor_options: Mapping[str, Any] | None = None
    ) -> None:
        # Those who wait for an item must not keep those out who bring one.
        groups = {"put": _MOST_WAITERS, "get": _MOST_WAITERS}
        options = {**(actor_options or {}), "concurrency_groups": groups}
        self.maxsize = maxsize
        self.actor: Any = actor_class(_Items, options).remote(maxsize)

    def __len__(self) -> int:
        return self.qsize()

    def size(self) -> int:
        """Return how many items there are."""
        return self.qsize()

    def qsize(self) -> int:
        """Return how many items there are."""
        size: int = get(self.actor.qsize.remote())
        return size

    def empty(self) -> bool:
        """Tell whether there is no item."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Tell whether there is no room."""
        return 0 < self.maxsize <= self.qsize()

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add an item at the end.

        Args:
            item: can be pickled.
            block: wait until there is room.
            timeout: seconds to wait; None: for ever.

        Raises:
            Full: there was no room, or not in time.
            ValueError: `timeout` is negative.
        """
        _raise_if(Full, get(self.actor.put.remote(item, _limit(block, timeout))))

    async def put_async(
        self, item: T, block: bool = True, timeout: float | None = None
    ) -> None:
        """Add an item at the end; see `put`."""
        _raise_if(Full, await self.actor.put.remote(item, _limit(block, timeout)))

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the first item.

        Args:
            block: wait until there is one.
            timeout: seconds to wait; None: for ever.

        Raises:
            Empty: there was none, or not in time.
            ValueError: `timeout` is negative.
        """
        found: list[T] = get(self.actor.get.remote(_limit(block, timeout)))
        return _item_of(found)

    async def get_async(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the first item; see `get`."""
        found: list[T] = await self.actor.get.remote(_limit(block, timeout))
        return _item_of(found)

    def put_nowait(self, item: T) -> None:
        """Add an item at the end, at once; raise Full if there is no room."""
        self.put(item, block=False)

    def get_nowait(self) -> T:
        """Take the first item, at once; raise Empty if there is none."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[T]) -> None:
        """Add all items in one step, or none.

        Raises:
            Full: there was no room for all.
        """
        batch = list(items)
        text = f"No room for {len(batch)} items among {self.maxsize}"
        _raise_if(Full, get(self.actor.put_batch.remote(batch)), text)

    def get_nowait_batch(self, num_items: int) -> list[T]:
        """Take so many items in one step, or none.

        Raises:
            Empty: there were fewer.
        """
        batch: list[T] | None = get(self.actor.get_batch.remote(num_items))
        if batch is None:
            raise Empty(f"There are fewer than {num_items} items")
        return batch

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue's actor; the items go with it.

        Args:
            force: at once; else those who wait at it are let go first.
            grace_period_s: Ray's, and without effect: nobody is waited for.
        """
        if not force:
            get(self.actor.release_all.remote())
        kill(self.actor)


def _limit(block: bool, timeout: float | None) -> float | None:
    """Seconds to wait; None: for ever."""
    if not block:
        return 0.0
    if timeout is not None and timeout < 0:
        raise ValueError(f"'timeout' must be a non-negative number, not {timeout}")
    return timeout


def _raise_if(error: type[ActorsError], is_so: bool, text: str = "") -> None:
    if is_so:
        raise error(text or "There is no room")


def _item_of(found: list[T]) -> T:
    if not found:
        raise Empty("There is no item")
    return found[0]


class _Items:
    """The actor."""

    def __init__(self, maxsize: int) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)
        self._waiting: set[asyncio.Task[Any]] = set()

    async def qsize(self) -> int:
        return self._queue.qsize()

    @method(concurrency_group="put")
    async def put(self, item: Any, limit: float | None) -> bool:
        """Add an item; tell whether there was no room."""
        if limit == 0:
            if self._queue.full():
                return True
            self._queue.put_nowait(item)
            return False
        return await self._within(self._queue.put(item), limit) is None

    @method(concurrency_group="get")
    async def get(self, limit: float | None) -> list[Any]:
        """Take an item; an empty list: there was none."""
        if limit == 0:
            return [] if self._queue.empty() else [self._queue.get_nowait()]
        return await self._within(self._queue.get(), limit) or []

    async def _within(self, work: Any, limit: float | None) -> list[Any] | None:
        """Return what came, in a list; None: it did not in time, or was let go."""
        task = asyncio.ensure_future(work)
        self._waiting.add(task)
        try:
            # Not `wait_for`: what comes in the moment of the end shall not be lost.
            await asyncio.wait([task], timeout=limit)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        except asyncio.CancelledError:
            # The caller gave it up.
            task.cancel()
            raise
        finally:
            self._waiting.discard(task)
        return None if task.cancelled() else [task.result()]

    async def put_batch(self, items: list[Any]) -> bool:
        room = self._queue.maxsize - self._queue.qsize()
        if self._queue.maxsize and room < len(items):
            return True
        for item in items:
            self._queue.put_nowait(item)
        return False

    async def get_batch(self, count: int) -> list[Any] | None:
        if self._queue.qsize() < count:
            return None
        return [self._queue.get_nowait() for _ in range(count)]

    async def release_all(self) -> None:
        for task in self._waiting:
            task.cancel()
