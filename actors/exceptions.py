"""The errors of `actors.errors` under the names that Ray gives them.

A task's own exception is raised as itself, so there is no RayTaskError to catch.
"""

from actors.errors import (
    ActorAlreadyExistsError,
    ActorsError,
    GetTimeoutError,
    ObjectLostError,
    ObjectStoreFullError,
    PendingCallsLimitExceeded,
)
from actors.task_errors import (
    ActorDiedError,
    ActorError,
    ActorUnavailableError,
    OutOfMemoryError,
    TaskCancelledError,
    WorkerCrashed,
)

RayError = ActorsError
RayActorError = ActorError
WorkerCrashedError = WorkerCrashed

__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorUnavailableError",
    "GetTimeoutError",
    "ObjectLostError",
    "ObjectStoreFullError",
    "OutOfMemoryError",
    "PendingCallsLimitExceeded",
    "RayActorError",
    "RayError",
    "TaskCancelledError",
    "WorkerCrashedError",
]
