"""Executor: `concurrent.futures` here, or on an endpoint."""

import functools
import importlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from actors.address import ADDRESS_VARIABLE
from actors.api.initializer import InitializerFailed
from actors.errors import ConfigError
from actors.logic.chunks import chunked, flattened, run_chunk

if TYPE_CHECKING:
    from actors.api.executor import EndpointExecutor
    from actors.api.progress import CountedExecutor

__all__ = ["Executor"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class _Backend(Protocol):
    """Where an executor's calls go: something with a thread of its own."""

    def leave(self) -> None:
        """End once every task has ended, and return at once."""
        ...

    def join(self) -> None:
        """Wait until it has ended; in its own thread do nothing."""
        ...


# To drain at the interpreter's end. As in `concurrent.futures`: a thread that ran on
# would find a dead interpreter.
_backends: "weakref.WeakSet[_Backend]" = weakref.WeakSet()


# Which a fork of this process has, too, but neither their threads nor their workers.
_executors: "weakref.WeakSet[Executor]" = weakref.WeakSet()


def _drain_at_exit() -> None:
    Executor._is_at_exit = True  # noqa: SLF001  ours
    backends = list(_backends)
    for backend in backends:
        backend.leave()
    for backend in backends:
        backend.join()


# Before the interpreter waits for threads that are no daemons, and before `atexit`.
threading._register_atexit(_drain_at_exit)  # type: ignore[attr-defined]  # noqa: SLF001


def _leave_all_to_the_parent() -> None:
    """In a forked child: what was inherited talks to nobody and waits for nobody."""
    for executor in _executors:
        executor._lock = threading.Lock()  # noqa: SLF001  ours; perhaps held
        executor._is_shut_down = True  # noqa: SLF001
        executor._forked_from = os.getppid()  # noqa: SLF001
    _executors.clear()
    _backends.clear()


os.register_at_fork(after_in_child=_leave_all_to_the_parent)

# By name, too: few want a bar, and rich takes its time to import.
_PROGRESS = "actors.api.progress"
# By name: each imports this; and who stays at home need not pay for nng's import.
_HERE = ("actors.api.embedded_executor", "EmbeddedExecutor")
_ON_ENDPOINT = ("actors.api.executor", "EndpointExecutor")


class Executor(StandardExecutor):
    """Run calls in other processes; a standard `concurrent.futures.Executor`.

    With an address, or if the environment variable ACTORS_ADDRESS has one, it is an
    `actors.api.executor.EndpointExecutor`; else an
    `actors.api.embedded_executor.EmbeddedExecutor` with worker processes of its own.
    Both take `max_workers`, `initializer`, `initargs`, `retries`, `priority` and
    `log_to_driver`; what else there is for endpoints is said there.
    """

    _is_at_exit = False  # the interpreter's
    _forked_from = 0  # the process that it was made in, if we are a fork of that

    @overload
    def __new__(
        cls,
        address: str | os.PathLike[str],
        max_workers: int | None = None,
        **options: Any,
    ) -> "EndpointExecutor": ...
    @overload
    def __new__(
        cls, address: None = None, max_workers: int | None = None, **options: Any
    ) -> "Executor": ...

    def __new__(
        cls,
        address: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,  # noqa: ARG004  for __init__
        **options: Any,  # noqa: ARG004
    ) -> "Executor":
        """Choose the class."""
        chosen = cls
        if cls is Executor:
            is_here = address is None and not os.environ.get(ADDRESS_VARIABLE)
            module, name = _HERE if is_here else _ON_ENDPOINT
            chosen = getattr(importlib.import_module(module), name)
        return super().__new__(chosen)

    # For the two of them

    def _begin(self, backend: _Backend) -> None:
        """Begin to take calls for a backend, which ends after us."""
        self._is_shut_down = False
        self._broken: InitializerFailed | None = None
        self._lock = threading.Lock()  # around a submission, and around the shutdown
        _backends.add(backend)
        _executors.add(self)
        # An executor that is dropped ends its thread once its tasks have ended.
        weakref.finalize(self, backend.leave).atexit = False

    def _refuse_if_over(self) -> None:
        """With the lock held: raise what there is to say if it takes nothing.

        Raises:
            ConfigError: this process is a fork of the one that made it.
            RuntimeError: after `shutdown`, or at the interpreter's end.
        """
        if self._is_shut_down:
            if self._forked_from:
                raise ConfigError(
                    f"Process {os.getpid()} was forked from process "
                    f"{self._forked_from}, whose executor this is: make one here"
                )
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._is_at_exit:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def _break_with(self, future: "Future[Any]") -> None:
        """Break if a future tells that the initializer has failed."""
        note_failure = weakref.WeakMethod(self._note_failure)
        future.add_done_callback(lambda ended: _call_if_alive(note_failure, ended))

    def _note_failure(self, future: "Future[Any]") -> None:
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
        progress: bool | str = False,
    ) -> Iterator[Result]:
        """Call `fn` with the items of the iterables, as `map` does, in order.

        Args:
            fn: called as often as the shortest iterable has items.
            iterables: consumed at once.
            timeout: seconds from this call until the last result is there.
            chunksize: calls that travel as one task; large ones save time for short
                calls.
            progress: draw a bar on standard error that counts calls that have ended,
                until all have, or the iterator is closed; a text stands before it.

        Raises:
            TimeoutError: from the iterator, after `timeout`.
            ValueError: `chunksize` is below 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if progress:
            return self._map_counted(fn, iterables, timeout, chunksize, progress)
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        return _map_chunks(super().map, fn, iterables, timeout, chunksize)

    def _map_counted(
        self,
        fn: Callable[..., Result],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        progress: bool | str,
    ) -> Iterator[Result]:
        """Map, and count what has ended."""
        name = getattr(fn, "__name__", type(fn).__name__)
        text = progress if isinstance(progress, str) else name
        size_of = len if chunksize > 1 else _one
        counted: CountedExecutor = importlib.import_module(_PROGRESS).CountedExecutor(
            self, text, size_of
        )
        try:
            if chunksize == 1:
                results = counted.map(fn, *iterables, timeout=timeout)
            else:
                results = _map_chunks(counted.map, fn, iterables, timeout, chunksize)
            counted.complete()
        except BaseException:
            counted.close()
            raise
        return _closing(results, counted)


def _call_if_alive(
    method: Callable[[], Callable[["Future[Any]"], None] | None], future: "Future[Any]"
) -> None:
    """Call a method of an executor, which futures must not keep alive."""
    alive = method()
    if alive is not None:
        alive(future)


def _map_chunks(
    map_: Callable[..., Iterator[list[Result]]],
    fn: Callable[..., Result],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    chunksize: int,
) -> Iterator[Result]:
    """Map a function's calls, several as one."""
    chunks = chunked(zip(*iterables, strict=False), chunksize)
    return flattened(map_(functools.partial(run_chunk, fn), chunks, timeout=timeout))


def _one(*_arguments: object) -> int:
    return 1


def _closing(results: Iterator[Result], bar: "CountedExecutor") -> Iterator[Result]:
    """Give the results, and end their bar with the last one of them."""
    try:
        yield from results
        bar.settle()
    finally:
        bar.close()
