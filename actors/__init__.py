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
    ManagerLost,
    NotSerializable,
    PayloadTooLarge,
    TaskFailed,
    TaskLost,
    WorkerCrashed,
)

if TYPE_CHECKING:
    from actors.api.executor import Executor

__all__ = [
    "ActorsError",
    "AddressError",
    "AdmissionRefused",
    "ConfigError",
    "Executor",
    "ManagerLost",
    "NotSerializable",
    "PayloadTooLarge",
    "TaskFailed",
    "TaskLost",
    "WorkerCrashed",
]

# Worker processes import this package, too, and must not load nng before they fork:
# what needs it is imported when it is asked for.
_LAZY = {"Executor": "actors.api.executor"}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
