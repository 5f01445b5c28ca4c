"""What runs now: tasks, actors, workers and objects of this program; what ran when.

    actors.state.list_actors()
    actors.timeline("run.json")          # for Perfetto, or chrome://tracing

On an endpoint they list what is there, of all programs (objects: of this one); more by
`actors.get_actor("interchange", namespace="endpoint")`, `actors status`, `actors tui`
and `actors timeline`.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from actors.api.endpoint_objects import endpoint_objects
from actors.api.endpoint_status import (
    endpoint_actors,
    endpoint_spans,
    endpoint_status,
    endpoint_tasks,
    endpoint_workers,
)
from actors.api.runtime import runtime
from actors.embedded.borrower import Borrower
from actors.embedded.pictures import (
    ActorState,
    ObjectState,
    TaskState,
    WorkerState,
    picture_of_actors,
    picture_of_tasks,
    picture_of_workers,
)
from actors.embedded.runtime import Embedded
from actors.errors import ConfigError
from actors.logic.resources import CPU

__all__ = [
    "ActorState",
    "ObjectState",
    "TaskState",
    "WorkerState",
    "available_resources",
    "cluster_resources",
    "list_actors",
    "list_objects",
    "list_tasks",
    "list_workers",
    "summarize_tasks",
    "timeline",
]

T = TypeVar("T")

# Rows of a list, unless told; Ray's number.
_LIMIT = 100
_MICROSECONDS = 1e6


def list_tasks(*, limit: int = _LIMIT) -> list[TaskState]:
    """Return tasks and calls of actors that have not ended, oldest first.

    Args:
        limit: rows at most.

    Raises:
        ConfigError: this is a worker of an embedded runtime.
    """
    if _is_elsewhere():
        return endpoint_tasks(limit)
    here = _embedded()
    return here.look(lambda: picture_of_tasks(here.hub))[:limit]


def list_actors(*, limit: int = _LIMIT) -> list[ActorState]:
    """Return the actors that are not dead, then those that died lately.

    Args:
        limit: rows at most.

    Raises:
        ConfigError: this is a worker of an embedded runtime.
    """
    if _is_elsewhere():
        return endpoint_actors()[:limit]
    here = _embedded()
    return here.look(lambda: picture_of_actors(here.directory))[:limit]


def list_workers(*, limit: int = _LIMIT) -> list[WorkerState]:
    """Return all processes that run tasks or actors.

    Args:
        limit: rows at most.

    Raises:
        ConfigError: this is a worker of an embedded runtime.
    """
    if _is_elsewhere():
        return endpoint_workers()[:limit]
    here = _embedded()
    living = here.directory.actors
    return here.look(lambda: picture_of_workers(here.hub, living.values()))[:limit]


def list_objects(*, limit: int = _LIMIT) -> list[ObjectState]:
    """Return the values that lie in shared memory; smaller ones do not.

    On an endpoint values live with their programs: there it returns those that this
    program, or task, has refs on, large ones first.

    Args:
        limit: rows at most.

    Raises:
        ConfigError: this is a worker of an embedded runtime.
    """
    if _is_elsewhere():
        return endpoint_objects()[:limit]
    here = _embedded()
    rows = here.look(here.list_stored)
    return [ObjectState(*row) for row in rows[:limit]]


def summarize_tasks() -> dict[str, dict[str, int]]:
    """Return {name: {state: how many}} of the tasks that have not ended.

    Raises:
        ConfigError: this is a worker of an embedded runtime.
    """
    summary: dict[str, Counter[str]] = {}
    for task in list_tasks(limit=2**62):
        summary.setdefault(task.name, Counter())[task.state] += 1
    return {name: dict(counts) for name, counts in summary.items()}


def cluster_resources() -> dict[str, float]:
    """Return what there is to run tasks with: {"CPU": 8.0, ...}.

    On an endpoint: what its managers have now.

    Raises:
        ConfigError: this is a worker.
    """
    return _resources(
        lambda here: here.capacity.total(),
        lambda manager: dict(manager.total),
    )


def available_resources() -> dict[str, float]:
    """Return what of it nobody takes now; as `cluster_resources`."""
    free = _resources(
        lambda here: here.capacity.free(),
        lambda manager: dict(manager.free),
    )
    # While a task that waited takes up its work again there may be too many.
    return {name: max(0.0, amount) for name, amount in free.items()}


def _resources(
    read: Callable[[Embedded], dict[str, float]],
    of_manager: Callable[[Any], dict[str, float]],
) -> dict[str, float]:
    if not _is_elsewhere():
        here = _embedded()
        return here.look(lambda: read(here))
    managers = endpoint_status().managers
    there = [manager for manager in managers if manager.state != "away"]
    amounts: Counter[str] = Counter()
    for manager in there:
        amounts.update(of_manager(manager))
    return {CPU: 0.0, **amounts}


def timeline(filename: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """Return, or write, what ran when on which process, as Chrome's trace events.

    The last 65,536 spans are kept. A span is one call; of calls below a millisecond
    several that followed each other, with their count.

    Args:
        filename: JSON for Perfetto or chrome://tracing goes there; None: nowhere.

    Raises:
        ConfigError: this is a worker of an embedded runtime.
        OSError: the file cannot be written.
    """
    if _is_elsewhere():
        return _written(endpoint_spans(), filename)
    here = _embedded()
    spans = here.look(lambda: list(here.hub.spans))
    driver = os.getpid()
    events: list[dict[str, Any]] = [
        {
            "name": name if count == 1 else f"{name} x {count}",
            "cat": "task",
            "ph": "X",
            "ts": began * _MICROSECONDS,
            "dur": max(0.0, ended - began) * _MICROSECONDS,
            "pid": driver,
            "tid": pid,
            "args": {"count": count},
        }
        for pid, name, began, ended, count in spans
    ]
    for pid in sorted({span[0] for span in spans}):
        events.append(
            {
                "name": "thread_name",
                "ph": "M",
                "pid": driver,
                "tid": pid,
                "args": {"name": f"worker {pid}"},
            }
        )
    return _written(events, filename)


def _written(
    events: list[dict[str, Any]], filename: str | os.PathLike[str] | None
) -> list[dict[str, Any]]:
    if filename is not None:
        with open(filename, "w", encoding="utf-8") as file:
            json.dump(events, file)
    return events


def _is_elsewhere() -> bool:
    """Tell whether the program, or the task, runs on an endpoint."""
    return not isinstance(runtime(), Embedded | Borrower)


def _embedded() -> Embedded:
    current = runtime()
    if not isinstance(current, Embedded):
        raise ConfigError(
            "Only the program itself can list what it has: in a task return what you "
            "need"
        )
    return current
