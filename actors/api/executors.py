"""Executor: `concurrent.futures` here, or on an endpoint."""

import functools
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor as StandardExecutor
from typing import TYPE_CHECKING, Any, TypeVar, overload

from actors.address import ADDRESS_VARIABLE
from actors.logic.chunks import chunked, flattened, run_chunk

if TYPE_CHECKING:
    from actors.api.executor import EndpointExecutor

__all__ = ["Executor"]

Result = TypeVar("Result")

# By name: each imports this; and who stays at home need not pay for nng's import.
_HERE = ("actors.api.embedded_executor", "EmbeddedExecutor")
_ON_ENDPOINT = ("actors.api.executor", "EndpointExecutor")


class Executor(StandardExecutor):
    """Run calls in other processes; a standard `concurrent.futures.Executor`.

    With an address, or if the environment variable ACTORS_ADDRESS has one, it is an
    `actors.api.executor.EndpointExecutor`; else an
    `actors.api.embedded_executor.EmbeddedExecutor` with worker processes of its own.
    Both take `max_workers`, `initializer`, `initargs`, `retries` and `priority`; what
    else there is for endpoints is said there.
    """

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
