"""Items of a generator that runs on an endpoint, as its caller reads them.

    ItemsYielded ──add──► (here) ──take──► a ref ──► ItemsTaken, now and then

Who reads no further says so by letting go of it: then the endpoint keeps no more items.
A generator that is started again goes on where the first one ended.
"""

import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from actors.api.endpoint_refs import ComingItem, failed_ref, known_ref, ref_on
from actors.errors import NotSerializable
from actors.logic.item_streams import ALL_ITEMS
from actors.messages import TaskId
from actors.payload import load_result
from actors.refs import ObjectRef
from actors.task_errors import TaskLost

__all__ = ["ItemReader", "Reading"]

# After so many items the endpoint is told that they were taken, also if more are here.
# Chosen: what is told costs little beside them, and little is kept in vain.
_TELL_AFTER = 64


class _Home(Protocol):
    """Where the items come from."""

    def steer(self, is_done: Callable[[], bool], deadline: float = math.inf) -> None:
        """Work until something is so, unless another caller does."""
        ...

    def wake(self) -> None:
        """Have who steers look again."""
        ...

    def take_items(self, task_id: TaskId, count: int) -> None:
        """Tell that so many items were taken; in any thread at any moment."""
        ...


class ItemReader:
    """One generator's items.

    Args:
        home: its connection.
    """

    def __init__(self, home: _Home) -> None:
        self._home = home
        self._task_id = TaskId("")  # that yields now; "": none yet
        self._changed = threading.Condition()
        self._payloads: deque[bytes] = deque()  # that were not taken
        self._taken = 0
        self._told = 0  # how many the endpoint knows to be taken
        self._gap = ""  # what is missing before the next
        self._end: Future[Any] | None = None  # of the call, once it has ended
        self._is_over = False  # the last ref was given out
        self._coming: ComingItem | None = None  # for who waits for the next, so far

    def __del__(self) -> None:
        if self._task_id and not (self._end and self._told == self._known):
            self._home.take_items(self._task_id, ALL_ITEMS)

    @property
    def _known(self) -> int:
        return self._taken + len(self._payloads)

    def follow(self, task_id: TaskId) -> int:
        """Read what a task yields from now on.

        Returns:
            The index of the first item that it shall yield.
        """
        if self._coming is not None:
            self._coming.task_id = task_id
        if self._task_id:
            # All that the one before has yielded is here.
            self._home.take_items(self._task_id, ALL_ITEMS)
        self._task_id = task_id
        return self._known

    def end_with(self, future: "Future[Any]") -> None:
        """End as a call does."""
        me = weakref.ref(self)

        def ended(future: "Future[Any]") -> None:
            reader = me()
            if reader is not None:
                reader.ended(future)

        future.add_done_callback(ended)

    def ended(self, future: "Future[Any]") -> None:
        """Note that no more items will come."""
        with self._changed:
            self._end = future
            self._changed.notify_all()
            coming = self._coming
        self._home.wake()
        if coming is not None:
            coming.come()

    def add(self, index: int, payload: bytes) -> int:
        """Take the next item; return how many the endpoint may forget.

        One that is here already changes nothing.
        """
        with self._changed:
            known = self._known
            if self._end is not None and index >= known:
                # Who told of the end was gone before that was written down.
                return ALL_ITEMS
            if index > known and not self._gap:
                self._gap = f"items {known} to {index - 1} were lost"
            if index >= known and not self._gap:
                self._payloads.append(payload)
            self._changed.notify_all()
            told, coming = (ALL_ITEMS if self._gap else self._told), self._coming
        if coming is not None:
            coming.come()
        return told

    @property
    def is_ready(self) -> bool:
        """Whether `take` need not wait."""
        return bool(self._payloads or self._gap or self._end is not None)

    def coming(self) -> "Future[None]":
        """Return what ends once `take` need not wait."""
        with self._changed:
            coming = self._coming
            if coming is None or coming.done():
                coming = self._coming = ComingItem()
                coming.task_id = self.task_id
            is_ready = self.is_ready
        if is_ready:
            coming.come()
        return coming

    @property
    def task_id(self) -> TaskId | None:
        """What yields now; None: it is still to be sent."""
        return self._task_id or None

    def look(self) -> None:
        """Have who waits look again."""
        with self._changed:
            self._changed.notify_all()
        self._home.wake()

    def wait_for(
        self, is_done: Callable[[], bool], timeout: float | None = None
    ) -> None:
        """Wait until `take` need not, or something else is so.

        Args:
            is_done: what; `look` has it asked again.
            timeout: seconds; None: for ever.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout

        def is_over() -> bool:
            return self.is_ready or is_done() or time.monotonic() >= deadline

        while not is_over():
            self._home.steer(is_over, deadline)
            with self._changed:
                if not is_over():
                    left = None if timeout is None else deadline - time.monotonic()
                    self._changed.wait(left)

    def take(self) -> ObjectRef[Any] | None:
        """Wait for the next ref; None: there are no more. An error is the last one."""
        self.wait_for(lambda: False)
        with self._changed:
            if not self._payloads:
                return self._last()
            payload = self._payloads.popleft()
            self._taken += 1
            is_due = not self._payloads or self._taken - self._told >= _TELL_AFTER
            if is_due:
                self._told = self._taken
        if is_due:
            self._home.take_items(self._task_id, self._taken)
        try:
            return known_ref(load_result(payload), len(payload))
        except NotSerializable as error:
            return failed_ref(error)

    def _last(self) -> ObjectRef[Any] | None:
        if self._is_over:
            return None
        self._is_over = True
        end = self._end
        if end is None or self._gap:
            return failed_ref(TaskLost(f"{self._gap}: the endpoint's host lost power"))
        if end.cancelled() or end.exception() is not None:
            return ref_on(end)
        if end.result() > self._taken:
            text = f"items {self._taken} to {end.result() - 1} were lost"
            return failed_ref(TaskLost(f"{text}: the endpoint's host lost power"))
        return None


# What a call knows of its reader, who may have left.
Reading = weakref.ref[ItemReader]
