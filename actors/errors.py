"""Every error that this package raises: one class per thing a caller can do about it.

    ActorsError
    ├── ConfigError             yours: endpoint.toml, an option, an address
    ├── NotSerializable         yours: an argument or a result that cannot travel
    ├── PayloadTooLarge         yours: larger than the endpoint takes in one message
    ├── AddressError            yours: nobody answers at the address
    ├── AdmissionRefused        yours: somebody answers, and says no
    ├── TaskFailed              theirs: the cause is remote, its text travels along
    │   ├── WorkerCrashed       the world's: the process that ran the task died
    │   │   └── OutOfMemoryError    because there was no more memory
    │   ├── ManagerLost         the world's: the node or block that ran the task is gone
    │   ├── BadStateError       the world's: no block of the endpoint comes up
    │   ├── TaskLost            the world's: the endpoint no longer knows the task
    │   ├── TaskTimeoutError    yours: the task ran longer than its `timeout`
    │   ├── WorkDirLimitError   yours: the task wrote more than its folder may hold
    │   ├── WorkerTypeError     yours: no workers of the type that the task asks for
    │   ├── InitializerFailedError  yours: a worker could not be initialized
    │   ├── TaskCancelledError  yours: the task was cancelled
    │   ├── RuntimeClosedError  yours: `shutdown` came before the result
    │   └── ActorError          the world's: the actor did not answer the call
    │       ├── ActorDiedError      it never will; `reason` says why
    │       └── ActorUnavailableError   it is being restarted; ask again
    ├── DeadlockError           yours: the wait would never end; it names the circle
    ├── PendingCallsLimitExceeded   yours: too many calls wait at the actor
    ├── ActorAlreadyExistsError     yours: another actor has the name
    ├── NoSuchActorError        yours: no actor has the name
    ├── GetTimeoutError         yours: `get` waited for as long as it was told
    ├── ObjectStoreFullError    the world's: no room for a large value
    ├── ObjectLostError         the world's: a large value is gone, or its owner is
    ├── TransportClosed         the world's: the other side of a link is gone
    ├── MalformedFrame          theirs: bytes that are no message of ours
    └── BrokenInvariant         ours: the process stops, its supervisor restarts it

Those of tasks are in `task_errors`, as they are `BrokenProcessPool`, too, whose module
takes a service longer to import than all of these. All are names of `actors`.

A user's own exception is raised as itself, with the remote traceback as its cause.
Messages name the value, the limit and the next step: sentence case, no full stop.
"""

from typing import ClassVar

__all__ = [
    "ActorAlreadyExistsError",
    "ActorsError",
    "AddressError",
    "AdmissionRefused",
    "BrokenInvariant",
    "ConfigError",
    "DeadlockError",
    "DiskFull",
    "GetTimeoutError",
    "MalformedFrame",
    "NoSuchActorError",
    "NotSerializable",
    "ObjectLostError",
    "ObjectStoreFullError",
    "PayloadTooLarge",
    "PendingCallsLimitExceeded",
    "TransportClosed",
]


class ActorsError(Exception):
    """Be the base of every error of this package.

    `may_pass` tells whether the same may succeed in another process, started later.
    """

    may_pass: ClassVar[bool] = False


class ConfigError(ActorsError, ValueError):
    """Tell that a configuration or an option is wrong, and what would be right."""


class NotSerializable(ActorsError, TypeError):
    """Tell that a function, an argument or a result cannot be pickled."""


class PayloadTooLarge(ActorsError, ValueError):
    """Tell that one task's payload exceeds what the endpoint takes in one message."""


class AddressError(ActorsError, ConnectionError):
    """Tell that no endpoint answers at an address."""


class AdmissionRefused(ActorsError, ConnectionError):
    """Tell that an endpoint answered and refused, with its reason."""


class DiskFull(ActorsError):
    """Tell that there was no room to write: the same may succeed later."""


class ObjectStoreFullError(ActorsError):
    """Tell that neither shared memory nor the spill folder has room for a value."""


class ObjectLostError(ActorsError):
    """Tell that a value was freed, or that the process that owned it is gone."""


class TransportClosed(ActorsError, ConnectionError):
    """Tell that the other side of a link or door is gone."""


class MalformedFrame(ActorsError, ValueError):
    """Tell that received bytes are no message that may come this way."""


class BrokenInvariant(ActorsError, AssertionError):
    """Tell that our own state contradicts itself; always a bug of this package."""


class DeadlockError(ActorsError):
    """Tell that actors would wait for each other, for ever; names them."""


class PendingCallsLimitExceeded(ActorsError):
    """Tell that a caller has `max_pending_calls` calls waiting at an actor."""


class ActorAlreadyExistsError(ActorsError, ValueError):
    """Tell that another actor has this name in this namespace."""


class NoSuchActorError(ActorsError, ValueError):
    """Tell that no actor has this name in this namespace."""


class GetTimeoutError(ActorsError, TimeoutError):
    """Tell that a value was not known in time; the task goes on."""
