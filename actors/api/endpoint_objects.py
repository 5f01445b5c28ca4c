"""The values that a program on an endpoint has refs on, for people to look at."""

import gc
from concurrent.futures import Future
from typing import Any

from actors.api.endpoint_refs import (
    EndpointRef,
    KnownValue,
    RefPromise,
    future_of,
    task_of,
)
from actors.api.task_future import TaskFuture
from actors.embedded.pictures import ObjectState

__all__ = ["endpoint_objects"]

_UNKNOWN_BYTES = -1


def endpoint_objects() -> list[ObjectState]:
    """Return a row for each value that this process has refs on, large ones first."""
    held: dict[int, tuple[Future[Any], int]] = {}  # {id of the future: it, refs on it}
    # The interpreter knows all refs: to list them ourselves would cost each of them.
    for found in gc.get_objects():
        if type(found) is EndpointRef and isinstance(found.task, Future):
            future = future_of(found)
            _, count = held.get(id(future), (future, 0))
            held[id(future)] = future, count + 1
    rows = [_row(future, count) for future, count in held.values()]
    return sorted(rows, key=lambda row: (-row.object_size, row.object_id))


def _row(future: "Future[Any]", count: int) -> ObjectState:
    task_id = task_of(future)
    # Of one task there may be several values.
    number = "" if isinstance(future, TaskFuture) else f"{id(future):x}"
    name = "-".join(filter(None, (task_id, number)))
    if not future.done():
        state, where = "PENDING", "endpoint" if task_id else ""
    elif future.cancelled() or future.exception() is not None:
        state, where = "FAILED", "program"
    else:
        state, where = "READY", "program"
    size = _size_of(future) if state == "READY" else _UNKNOWN_BYTES
    return ObjectState(name, size, {"owner": count}, state, where)


def _size_of(future: "Future[Any]") -> int:
    """Return what a value took on its way here, in bytes, if that is known."""
    source = future.source if isinstance(future, RefPromise) else None
    # It may stand for a part of what it comes from.
    if source is not None and source.result() is future.result():
        return _size_of(source)
    if isinstance(future, TaskFuture | KnownValue):
        return future.payload_bytes
    return _UNKNOWN_BYTES
