"""Executor: `concurrent.futures` on an endpoint."""

import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from actors.api.addressing import find_entrance
from actors.api.connection import PATIENCE, Connection
from actors.api.initializer import Initializer, InitializerFailed
from actors.api.task_future import TaskFuture
from actors.logic.chunks import chunked, flattened, run_chunk
from actors.messages import TaskOptions

__all__ = ["Executor"]

logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Connections to drain at the interpreter's end. As in `concurrent.futures`: a thread
# that ran on would find a dead interpreter.
_connections: "weakref.WeakSet[Connection]" = weakref.WeakSet()
_exit = threading.Event()


def _drain_at_exit() -> None:
    _exit.set()
    connections = list(_connections)
    for connection in connections:
        connection.leave()
    for connection in connections:
        connection.thread.join()


# Before the interpreter waits for threads that are no daemons, and before `atexit`.
threading._register_atexit(_drain_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001


class Executor(StandardExecutor):
    """Run calls on an endpoint; a standard `concurrent.futures.Executor`.

    Functions and arguments are pickled: by reference what the workers can import, by
    value what is defined in `__main__`, a notebook, a lambda or a local function.

    Args:
        address: an endpoint's folder (or its endpoint.toml), or `wss://host:port`;
            None: the environment variable ACTORS_ADDRESS, which `actors run ... --
            COMMAND` sets for its command.
        max_workers: at most so many of this executor's tasks are at the endpoint at a
            time; None: as many as you submit, and the endpoint decides.
        initializer: called in each worker before the first of this executor's tasks
            there. Workers serve others, too, and keep what it changed. If it fails, so
            do the executor's tasks, with a `BrokenExecutor`.
        initargs: its arguments.
        credentials: for a `wss://` address: a folder with the endpoint's `token` and
            `credentials/`, as `actors init` wrote them.
        retries: how often a task is started again after its worker, node or block was
            lost; 0: a task runs at most once. An exception of your own is a result, and
            never retried.
        priority: higher goes first.
        patience: seconds without an endpoint after which tasks fail.

    Raises:
        AddressError: no address, or nothing is there.
        ConfigError: the address, the endpoint's folder or the credentials are wrong.
        TypeError: `initializer` is not callable.
        ValueError: `max_workers` is not positive, or `retries` is negative.
    """

    def __init__(
        self,
        address: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        credentials: str | os.PathLike[str] | None = None,
        retries: int = 3,
        priority: int = 0,
        patience: float = PATIENCE,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if retries < 0:
            raise ValueError(f"retries {retries} must be 0 or more")
        # Others read it to decide on the size of chunks: dask, joblib.
        self._max_workers = max_workers or os.cpu_count() or 1
        self._options = TaskOptions(retries=retries, priority=priority)
        self._initializer = Initializer(initializer, initargs) if initializer else None
        self._broken: InitializerFailed | None = None
        self._is_shut_down = False
        self._lock = threading.Lock()
        entrance = find_entrance(address, "client", credentials=credentials)
        self._connection = Connection(
            entrance, max_running=max_workers, patience=patience
        )
        _connections.add(self._connection)
        # An executor that is dropped ends its thread once its tasks have ended.
        weakref.finalize(self, self._connection.leave).atexit = False

    def submit(
        self,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> TaskFuture:
        """Schedule `fn(*args, **kwargs)`.

        What cannot be pickled, or is larger than the endpoint takes, fails in the
        future alone, with NotSerializable or PayloadTooLarge.

        Raises:
            RuntimeError: after `shutdown`, or at the interpreter's end.
            BrokenExecutor: the initializer has failed.
        """
        return self._submit(self._options, fn, args, kwargs)

    def _submit(
        self,
        options: TaskOptions,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> TaskFuture:
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if _exit.is_set():
                raise RuntimeError(
                    "cannot schedule new futures after interpreter shutdown"
                )
            if self._broken is not None:
                raise InitializerFailed(self._broken.message)
            if self._initializer is None:
                return self._connection.submit(function, args, kwargs, options)
            function = self._initializer.before(function)
            future = self._connection.submit(function, args, kwargs, options)
        note_failure = weakref.WeakMethod(self._note_failure)
        future.add_done_callback(lambda ended: _call_if_alive(note_failure, ended))
        return future

    def _note_failure(self, future: "Future[Any]") -> None:
        """Break if it is the initializer that failed."""
        error = None if future.cancelled() else future.exception()
        if isinstance(error, InitializerFailed) and self._broken is None:
            self._broken = error
            logger.error("%s", error)

    def map(
        self,
        fn: Callable[..., Result],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Result]:
        """Call `fn` with the items of the iterables, as `map` does, in order.

        Args:
            fn: called as often as the shortest iterable has items.
            iterables: consumed at once.
            timeout: seconds from this call until the last result is there.
            chunksize: calls that travel as one task; large ones save time for short
                calls.

        Raises:
            TimeoutError: from the iterator, after `timeout`.
            ValueError: `chunksize` is below 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = chunked(zip(*iterables, strict=False), chunksize)
        results = super().map(functools.partial(run_chunk, fn), chunks, timeout=timeout)
        return flattened(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and leave the endpoint when all have ended.

        Args:
            wait: return only then.
            cancel_futures: cancel what has not begun. With `max_workers`, the oldest
                so many tasks are given a second to begin.
        """
        with self._lock:
            self._is_shut_down = True
        if cancel_futures:
            self._connection.cancel_waiting()
        self._connection.leave()
        if wait and threading.current_thread() is not self._connection.thread:
            self._connection.thread.join()


def _call_if_alive(
    method: Callable[[], Callable[["Future[Any]"], None] | None], future: "Future[Any]"
) -> None:
    """Call a method of an executor, which futures must not keep alive."""
    alive = method()
    if alive is not None:
        alive(future)
