"""Run Python functions on many processes: here, or on an endpoint on a cluster.

    with actors.Executor("lab") as executor:
        print(sum(executor.map(pow, range(100), range(100))))

The tour, for who reads the code: `messages` first (what is said), then `logic/turn`
(how a machine answers), `endpoint/` (the four machines and their shells), `runtime`
(the one loop), `api/` (what users call), `cli/` (what operators call).
"""

import importlib
from typing import TYPE_CHECKING

from actors.errors import (
    ActorAlreadyExistsError,
    ActorsError,
    AddressError,
    AdmissionRefused,
    ConfigError,
    DeadlockError,
    GetTimeoutError,
    NoSuchActorError,
    NotSerializable,
    PayloadTooLarge,
    PendingCallsLimitExceeded,
)

if TYPE_CHECKING:
    from actors.api.actor_tools import exit_actor, get_actor, kill, watch
    from actors.api.executors import Executor
    from actors.api.objects import as_completed, cancel, cancelled, get, put, wait
    from actors.api.remote import remote
    from actors.api.runtime import init, is_initialized, shutdown
    from actors.api.supervisor import Child, Supervisor
    from actors.api.typed_actor import Actor, method
    from actors.logic.actor_life import DeathReason, Died
    from actors.refs import ObjectRef, ObjectRefGenerator
    from actors.runtime_context import get_gpu_ids, get_runtime_context, nodes
    from actors.state import available_resources, cluster_resources, timeline
    from actors.task_errors import (
        ActorDiedError,
        ActorError,
        ActorUnavailableError,
        BadStateError,
        ManagerLost,
        OutOfMemoryError,
        RuntimeClosedError,
        TaskCancelledError,
        TaskFailed,
        TaskLost,
        TaskTimeoutError,
        WorkDirLimitError,
        WorkerCrashed,
        WorkerTypeError,
    )
    from actors.util.actor_pool import ActorPool
    from actors.util.joblib import register_actors
    from actors.util.multiprocessing import Pool
    from actors.util.queue import Queue

__all__ = [
    "Actor",
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorError",
    "ActorPool",
    "ActorUnavailableError",
    "ActorsError",
    "AddressError",
    "AdmissionRefused",
    "BadStateError",
    "Child",
    "ConfigError",
    "DeadlockError",
    "DeathReason",
    "Died",
    "Executor",
    "GetTimeoutError",
    "ManagerLost",
    "NoSuchActorError",
    "NotSerializable",
    "ObjectRef",
    "ObjectRefGenerator",
    "OutOfMemoryError",
    "PayloadTooLarge",
    "PendingCallsLimitExceeded",
    "Pool",
    "Queue",
    "RuntimeClosedError",
    "Supervisor",
    "TaskCancelledError",
    "TaskFailed",
    "TaskLost",
    "TaskTimeoutError",
    "WorkDirLimitError",
    "WorkerCrashed",
    "WorkerTypeError",
    "as_completed",
    "available_resources",
    "cancel",
    "cancelled",
    "cluster_resources",
    "exit_actor",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "register_actors",
    "remote",
    "shutdown",
    "state",
    "timeline",
    "util",
    "wait",
    "watch",
]

# Worker processes import this package, too, and must not load nng before they fork:
# what needs it is imported when it is asked for.
_LAZY = {
    "ActorDiedError": "actors.task_errors",
    "ActorError": "actors.task_errors",
    "ActorUnavailableError": "actors.task_errors",
    "BadStateError": "actors.task_errors",
    "ManagerLost": "actors.task_errors",
    "OutOfMemoryError": "actors.task_errors",
    "RuntimeClosedError": "actors.task_errors",
    "TaskCancelledError": "actors.task_errors",
    "TaskFailed": "actors.task_errors",
    "TaskLost": "actors.task_errors",
    "TaskTimeoutError": "actors.task_errors",
    "WorkDirLimitError": "actors.task_errors",
    "WorkerCrashed": "actors.task_errors",
    "WorkerTypeError": "actors.task_errors",
    "Actor": "actors.api.typed_actor",
    "ActorPool": "actors.util.actor_pool",
    "Pool": "actors.util.multiprocessing",
    "Queue": "actors.util.queue",
    "register_actors": "actors.util.joblib",
    "Child": "actors.api.supervisor",
    "Executor": "actors.api.executors",
    "ObjectRef": "actors.refs",
    "ObjectRefGenerator": "actors.refs",
    "DeathReason": "actors.logic.actor_life",
    "Died": "actors.logic.actor_life",
    "Supervisor": "actors.api.supervisor",
    "as_completed": "actors.api.objects",
    "available_resources": "actors.state",
    "cluster_resources": "actors.state",
    "timeline": "actors.state",
    "exit_actor": "actors.api.actor_tools",
    "get_actor": "actors.api.actor_tools",
    "kill": "actors.api.actor_tools",
    "method": "actors.api.typed_actor",
    "watch": "actors.api.actor_tools",
    "cancel": "actors.api.objects",
    "cancelled": "actors.api.objects",
    "get": "actors.api.objects",
    "get_gpu_ids": "actors.runtime_context",
    "get_runtime_context": "actors.runtime_context",
    "nodes": "actors.runtime_context",
    "init": "actors.api.runtime",
    "is_initialized": "actors.api.runtime",
    "put": "actors.api.objects",
    "remote": "actors.api.remote",
    "shutdown": "actors.api.runtime",
    "wait": "actors.api.objects",
}


# Those that are modules themselves.
_MODULES = frozenset({"actor", "exceptions", "state", "util"})


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"actors.{name}")
    if name in _LAZY:
        found: object = getattr(importlib.import_module(_LAZY[name]), name)
        # Next time without this detour.
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_MODULES})
