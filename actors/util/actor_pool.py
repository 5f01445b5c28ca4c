"""ActorPool: calls that are spread over several actors, one at a time at each."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from actors.api.objects import get, wait
from actors.errors import GetTimeoutError
from actors.refs import ObjectRef

__all__ = ["ActorPool"]

V = TypeVar("V")
R = TypeVar("R")


class ActorPool(Generic[V, R]):
    """Spreads calls over actors, as Ray's ActorPool does.

        pool = actors.util.ActorPool([Worker.remote(), Worker.remote()])
        list(pool.map(lambda worker, value: worker.double.remote(value), range(10)))

    Args:
        actors: handles on them.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle = deque(actors)
        # What was submitted, by the order of its submission.
        self._waiting: deque[tuple[int, Callable[[Any, V], ObjectRef[R]], V]] = deque()
        self._running: dict[ObjectRef[R], tuple[int, Any]] = {}  # {ref: (index, actor)}
        self._done: dict[int, ObjectRef[R]] = {}  # not yet asked for; their actors left
        self._given: set[int] = set()  # asked for out of turn
        self._next_submit = 0
        self._next_result = 0

    def map(
        self, fn: Callable[[Any, V], ObjectRef[R]], values: Iterable[V]
    ) -> Iterator[R]:
        """Call `fn(actor, value)` for each value; give the results in their order.

        Args:
            fn: makes the call, and returns its ref.
            values: consumed at once.
        """
        self._forget()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(
        self, fn: Callable[[Any, V], ObjectRef[R]], values: Iterable[V]
    ) -> Iterator[R]:
        """Call `fn(actor, value)` for each value; give the results as they come."""
        self._forget()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def _forget(self) -> None:
        """As in Ray's: results of earlier submissions are not asked for any more."""
        while self.has_next():
            self.get_next_unordered(is_wanted=False)

    def _results(self, next_one: Callable[[], R]) -> Iterator[R]:
        while self.has_next():
            yield next_one()

    def submit(self, fn: Callable[[Any, V], ObjectRef[R]], value: V) -> None:
        """Have `fn(actor, value)` called as soon as an actor is free."""
        self._waiting.append((self._next_submit, fn, value))
        self._next_submit += 1
        self._start()

    def _start(self) -> None:
        while self._idle and self._waiting:
            index, fn, value = self._waiting.popleft()
            actor = self._idle.popleft()
            try:
                ref = fn(actor, value)
            except BaseException:
                self._idle.append(actor)
                self._given.add(index)
                self._skip_given()
                raise
            self._running[ref] = (index, actor)

    def has_next(self) -> bool:
        """Tell whether a result can be asked for."""
        return bool(self._running or self._waiting or self._done)

    def get_next(
        self, timeout: float | None = None, *, ignore_if_timedout: bool = False
    ) -> R:
        """Return the next result, in the order of the submissions.

        Args:
            timeout: seconds; None: for ever.
            ignore_if_timedout: give the result up if it does not come in time.

        Raises:
            StopIteration: there is none.
            TimeoutError: it is not there in time.
            BaseException: what the call raised.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        deadline = None if timeout is None else time.monotonic() + timeout
        index = self._next_result
        while index not in self._done:
            if not self._collect(deadline):
                if ignore_if_timedout:
                    self._given.add(index)
                    self._skip_given()
                raise GetTimeoutError(f"Result {index} is not there after {timeout} s")
        self._next_result += 1
        self._skip_given()
        return get(self._done.pop(index))

    def get_next_unordered(
        self,
        timeout: float | None = None,
        *,
        ignore_if_timedout: bool = False,
        is_wanted: bool = True,
    ) -> R:
        """Return a result, whichever is there first.

        Args:
            timeout: seconds; None: for ever.
            ignore_if_timedout: Ray's: which result should be given up is not known
                here, so nothing is.
            is_wanted: whether its value, or its exception, is.

        Raises:
            StopIteration: there is none.
            TimeoutError: none is there in time.
            BaseException: what the call raised.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._done:
            if not self._collect(deadline):
                raise GetTimeoutError(f"No result is there after {timeout} s")
        index = next(iter(self._done))
        ref = self._done.pop(index)
        self._given.add(index)
        self._skip_given()
        return get(ref) if is_wanted else None  # type: ignore[return-value]

    def _collect(self, deadline: float | None) -> bool:
        """Wait for a call to end, and let its actor have the next one; False: too late.

        An actor is free again whether its call succeeded or failed.
        """
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _ = wait(list(self._running), timeout=left)
        for ref in ready:
            index, actor = self._running.pop(ref)
            if index not in self._given:
                self._done[index] = ref
            self._idle.append(actor)
        self._start()
        return bool(ready)

    def _skip_given(self) -> None:
        while self._next_result in self._given:
            self._given.discard(self._next_result)
            self._next_result += 1

    def has_free(self) -> bool:
        """Tell whether an actor is idle and nothing waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take an idle actor out of the pool; None: there is none."""
        return self._idle.popleft() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor.

        Raises:
            ValueError: it is in the pool already.
        """
        if actor in self._idle or any(
            actor == busy for _, busy in self._running.values()
        ):
            raise ValueError("The actor is in the pool already")
        self._idle.append(actor)
        self._start()
