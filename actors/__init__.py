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
    ActorsError,
    AddressError,
    AdmissionRefused,
    ConfigError,
    GetTimeoutError,
    ManagerLost,
    NotSerializable,
    OutOfMemoryError,
    PayloadTooLarge,
    RuntimeClosedError,
    TaskCancelledError,
    TaskFailed,
    TaskLost,
    TaskTimeoutError,
    WorkerCrashed,
)

if TYPE_CHECKING:
    from actors.api.executors import Executor
    from actors.api.objects import as_completed, cancel, get, put, wait
    from actors.api.remote import remote
    from actors.api.runtime import init, is_initialized, shutdown
    from actors.refs import ObjectRef, ObjectRefGenerator

__all__ = [
    "ActorsError",
    "AddressError",
    "AdmissionRefused",
    "ConfigError",
    "Executor",
    "GetTimeoutError",
    "ManagerLost",
    "NotSerializable",
    "ObjectRef",
    "ObjectRefGenerator",
    "OutOfMemoryError",
    "PayloadTooLarge",
    "RuntimeClosedError",
    "TaskCancelledError",
    "TaskFailed",
    "TaskLost",
    "TaskTimeoutError",
    "WorkerCrashed",
    "as_completed",
    "cancel",
    "get",
    "init",
    "is_initialized",
    "put",
    "remote",
    "shutdown",
    "wait",
]

# Worker processes import this package, too, and must not load nng before they fork:
# what needs it is imported when it is asked for.
_LAZY = {
    "Executor": "actors.api.executors",
    "ObjectRef": "actors.refs",
    "ObjectRefGenerator": "actors.refs",
    "as_completed": "actors.api.objects",
    "cancel": "actors.api.objects",
    "get": "actors.api.objects",
    "init": "actors.api.runtime",
    "is_initialized": "actors.api.runtime",
    "put": "actors.api.objects",
    "remote": "actors.api.remote",
    "shutdown": "actors.api.runtime",
    "wait": "actors.api.objects",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        found: object = getattr(importlib.import_module(_LAZY[name]), name)
        # Next time without this detour.
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
