"""The same tests for a program without an endpoint, and on one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import actors
from tests.endpoints import RunningEndpoint

__all__ = ["BOTH_WAYS", "initialized"]

BOTH_WAYS = ("embedded", "endpoint")


@contextmanager
def initialized(
    way: str,
    *,
    embedded: Mapping[str, Any] | None = None,
    endpoint: Mapping[str, Any] | None = None,
    **both: Any,
) -> Iterator[str]:
    """Begin and end what actors run on.

    Args:
        way: one of `BOTH_WAYS`.
        embedded: what `actors.init` is told without an endpoint; default: 2 workers.
        endpoint: tables of the endpoint's configuration.
        both: what `actors.init` is told either way.

    Yields:
        The way.
    """
    if way == "embedded":
        actors.init(**(embedded or {"num_workers": 2}), **both)
        yield way
        actors.shutdown()
        return
    with RunningEndpoint(**(endpoint or {})) as running:
        actors.init(running.folder, **both)
        yield way
        actors.shutdown()
