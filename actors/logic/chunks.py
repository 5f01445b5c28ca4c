"""Several calls as one task: what `Executor.map(chunksize=...)` sends."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["chunked", "flattened", "run_chunk"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def chunked(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Cut items into tuples of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk


def run_chunk(
    function: Callable[..., Result], chunk: Iterable[tuple[Any, ...]]
) -> list[Result]:
    """Call a function with each tuple of arguments."""
    return [function(*arguments) for arguments in chunk]


def flattened(chunks: Iterable[list[Result]]) -> Iterator[Result]:
    """Give the results one by one, and keep no reference to any that was given."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()
