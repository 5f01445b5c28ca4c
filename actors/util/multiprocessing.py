"""Pool: the standard library's `multiprocessing.Pool`, run by an `actors.Executor`.

So its tasks run here, or on an endpoint if `ray_address` or ACTORS_ADDRESS names one;
what cannot be pickled by reference goes by value; and a worker that dies fails its
tasks, where the standard pool waits for ever.
"""

import collections
import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from multiprocessing import TimeoutError as PoolTimeoutError
from types import TracebackType
from typing import Any, Literal, Self

from actors.address import ADDRESS_VARIABLE
from actors.api.executors import Executor
from actors.errors import ConfigError
from actors.logic.chunks import run_chunk

__all__ = ["AsyncResult", "Pool"]

# Chunks of `imap` that are under way per process. Chosen: workers are never short of
# them, and an endless iterable does not fill memory.
_CHUNKS_AHEAD = 16


class AsyncResult:
    """What becomes of a call; as `multiprocessing.pool.AsyncResult`.

    Args:
        futures: of its parts.
        join: makes the value of those of the parts.
        callback: called with the value.
        error_callback: called with the exception.
    """

    def __init__(
        self,
        futures: list["Future[Any]"],
        join: Callable[[list[Any]], Any],
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._join = join
        self._callback, self._error_callback = callback, error_callback
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._left = len(futures)
        self._lock = threading.Lock()
        self._futures = futures
        if not futures:
            self._finish()
        for future in futures:
            future.add_done_callback(self._part_ended)

    def _part_ended(self, _: "Future[Any]") -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._finish()

    def _finish(self) -> None:
        try:
            self._value = self._join([future.result() for future in self._futures])
        except BaseException as error:  # noqa: BLE001  the task's
            self._error = error
        self._futures = []
        try:
            if self._error is not None:
                if self._error_callback is not None:
                    self._error_callback(self._error)
            elif self._callback is not None:
                self._callback(self._value)
        finally:
            self._done.set()

    def get(self, timeout: float | None = None) -> Any:
        """Return the value.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            multiprocessing.TimeoutError: it is not there in time.
            BaseException: what the call raised.
        """
        self.wait(timeout)
        if not self.ready():
            raise PoolTimeoutError
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended, or so many seconds."""
        self._done.wait(timeout)

    def ready(self) -> bool:
        """Tell whether the call has ended."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Tell whether the call ended without an exception.

        Raises:
            ValueError: it has not ended.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None


class Pool:
    """Runs calls in worker processes; see `multiprocessing.pool.Pool`.

    Args:
        processes: how many; default: as many as processors that we may use.
        initializer: called in each worker first.
        initargs: its arguments.
        maxtasksperchild: tasks, or chunks of them, after which a process is replaced;
            None: none is.
        context: the standard pool's, and without effect.
        ray_address: of an endpoint; None: ACTORS_ADDRESS, or else here.

    Raises:
        ConfigError: `maxtasksperchild` is given for an endpoint.
        ValueError: `processes` or `maxtasksperchild` is not positive.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: object = None,
        ray_address: str | None = None,
    ) -> None:
        options: dict[str, Any] = {}
        if maxtasksperchild is not None:
            if ray_address or os.environ.get(ADDRESS_VARIABLE):
                raise ConfigError(
                    f"maxtasksperchild {maxtasksperchild} must be None on an endpoint: "
                    "set max_tasks_per_worker in [workers] of its endpoint.toml"
                )
            if maxtasksperchild < 1:
                raise ValueError("maxtasksperchild must be a positive int or None")
            options["max_tasks_per_child"] = maxtasksperchild
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        # As the standard pool's: a task runs at most once.
        self._executor = Executor(
            ray_address,
            max_workers=processes,
            initializer=initializer,
            initargs=tuple(initargs),
            retries=0,
            **options,
        )
        self._processes: int = self._executor._max_workers  # type: ignore[attr-defined]  # noqa: SLF001
        self._is_closed = False

    # One call

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
    ) -> Any:
        """Call `func(*args, **kwds)` in a worker, and return its value."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Call `func(*args, **kwds)` in a worker."""
        self._refuse_if_closed()
        future = self._executor.submit(func, *args, **(kwds or {}))
        return AsyncResult([future], _only, callback, error_callback)

    # Many calls

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Call `func` with each item; return the values in their order."""
        values: list[Any] = self.map_async(func, iterable, chunksize).get()
        return values

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Call `func` with each item."""
        calls = [(item,) for item in iterable]
        return self._map(func, calls, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Call `func(*item)` for each item; return the values in their order."""
        values: list[Any] = self.starmap_async(func, iterable, chunksize).get()
        return values

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Call `func(*item)` for each item."""
        calls = [tuple(item) for item in iterable]
        return self._map(func, calls, chunksize, callback, error_callback)

    def _map(
        self,
        func: Callable[..., Any],
        calls: list[tuple[Any, ...]],
        chunksize: int | None,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> AsyncResult:
        self._refuse_if_closed()
        # As the standard pool's: four chunks for each process.
        size = chunksize or -(-len(calls) // (self._processes * 4)) or 1
        run = functools.partial(run_chunk, func)
        futures = [
            self._executor.submit(run, calls[start : start + size])
            for start in range(0, len(calls), size)
        ]
        return AsyncResult(futures, _joined, callback, error_callback)

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> "_Results":
        """Call `func` with each item; give the values in their order, as they come.

        The iterable is consumed as the values are.
        """
        return _Results(self._chunks(func, iterable, chunksize), self._ahead)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> "_Results":
        """Call `func` with each item; give the values as they come, in any order."""
        chunks = self._chunks(func, iterable, chunksize)
        return _Results(chunks, self._ahead, is_ordered=False)

    @property
    def _ahead(self) -> int:
        return self._processes * _CHUNKS_AHEAD

    def _chunks(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int
    ) -> Iterator["Future[Any]"]:
        self._refuse_if_closed()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        calls = ((item,) for item in iterable)
        run = functools.partial(run_chunk, func)
        chunks = iter(lambda: list(itertools.islice(calls, chunksize)), [])
        return (self._executor.submit(run, chunk) for chunk in chunks)

    # The end

    def close(self) -> None:
        """Take no more calls."""
        self._is_closed = True
        self._executor.shutdown(wait=False)

    def terminate(self) -> None:
        """End the workers at once, whatever they do."""
        self._is_closed = True
        terminate = getattr(self._executor, "terminate_workers", None)
        if terminate is not None:
            terminate()
        else:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Wait until the workers have ended, after `close` or `terminate`.

        Raises:
            ValueError: neither was called.
        """
        if not self._is_closed:
            raise ValueError("Pool is still running")
        self._executor.shutdown(wait=True)

    def __enter__(self) -> Self:
        self._refuse_if_closed()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        self.terminate()
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotImplementedError(
            "pool objects cannot be passed between processes or pickled"
        )

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise ValueError("Pool not running")


class _Results:
    """Gives the values of chunks, and has more of them begun meanwhile."""

    def __init__(
        self, chunks: Iterator["Future[Any]"], ahead: int, *, is_ordered: bool = True
    ) -> None:
        self._chunks = chunks
        self._is_ordered = is_ordered
        self._started: collections.deque[Future[Any]] = collections.deque()
        self._ended: collections.deque[Future[Any]] = collections.deque()
        self._bell = threading.Condition()
        self._values: collections.deque[Any] = collections.deque()
        self._count = 0  # chunks whose values were not given
        self._begin(ahead)

    def _begin(self, count: int) -> None:
        for future in itertools.islice(self._chunks, count):
            self._count += 1
            if self._is_ordered:
                self._started.append(future)
            else:
                future.add_done_callback(self._note)

    def _note(self, future: "Future[Any]") -> None:
        with self._bell:
            self._ended.append(future)
            self._bell.notify()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Return the next value.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            StopIteration: there is none.
            multiprocessing.TimeoutError: it is not there in time.
            BaseException: what its call raised; the other values of its chunk are lost.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._values:
            if not self._count:
                raise StopIteration
            future = self._take(deadline)
            self._count -= 1
            self._begin(1)
            self._values.extend(future.result())
        return self._values.popleft()

    def _take(self, deadline: float | None) -> "Future[Any]":
        """Wait for the next chunk that ends."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if self._is_ordered:
            try:
                self._started[0].exception(left)
            except FutureTimeoutError:
                raise PoolTimeoutError from None
            return self._started.popleft()
        with self._bell:
            if not self._bell.wait_for(lambda: self._ended, left):
                raise PoolTimeoutError
            return self._ended.popleft()


def _only(values: list[Any]) -> Any:
    return values[0]


def _joined(values: list[list[Any]]) -> list[Any]:
    return list(itertools.chain.from_iterable(values))
