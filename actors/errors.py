"""Every error that this package raises: one class per thing a caller can do about it.

    ActorsError
    ├── ConfigError             yours: endpoint.toml, an option, an address
    ├── NotSerializable         yours: an argument or a result that cannot travel
    ├── PayloadTooLarge         yours: larger than the endpoint takes in one message
    ├── AddressError            yours: nobody answers at the address
    ├── AdmissionRefused        yours: somebody answers, and says no
    ├── TaskFailed              theirs: the cause is remote, its text travels along
    │   ├── WorkerCrashed       the world's: the process that ran the task died
    │   ├── ManagerLost         the world's: the node or block that ran the task is gone
    │   └── TaskLost            the world's: the endpoint no longer knows the task
    ├── TransportClosed         the world's: the other side of a link is gone
    ├── MalformedFrame          theirs: bytes that are no message of ours
    └── BrokenInvariant         ours: the process stops, its supervisor restarts it

A user's own exception is raised as itself, with the remote traceback as its cause.
Messages name the value, the limit and the next step: sentence case, no full stop.
"""

from concurrent.futures.process import BrokenProcessPool

__all__ = [
    "ActorsError",
    "AddressError",
    "AdmissionRefused",
    "BrokenInvariant",
    "ConfigError",
    "MalformedFrame",
    "ManagerLost",
    "NotSerializable",
    "PayloadTooLarge",
    "TaskFailed",
    "TaskLost",
    "TransportClosed",
    "WorkerCrashed",
]


class ActorsError(Exception):
    """Be the base of every error of this package."""


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


class TransportClosed(ActorsError, ConnectionError):
    """Tell that the other side of a link or door is gone."""


class MalformedFrame(ActorsError, ValueError):
    """Tell that received bytes are no message that may come this way."""


class BrokenInvariant(ActorsError, AssertionError):
    """Tell that our own state contradicts itself; always a bug of this package."""


class TaskFailed(ActorsError):
    """Tell that a task ended without a result.

    Args:
        message: what happened, in a sentence.
        detail: what is known beyond: the tail of standard error, a remote traceback.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message, detail)
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message}\n{self.detail}" if self.detail else self.message


class WorkerCrashed(TaskFailed, BrokenProcessPool):
    """Tell that the worker process died while it ran the task."""


class ManagerLost(TaskFailed, BrokenProcessPool):
    """Tell that the manager that held the task is gone: its node, block or network."""


class TaskLost(TaskFailed):
    """Tell that the endpoint was restarted and no longer knows the task."""
