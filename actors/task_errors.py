"""What becomes of a task that fails, as its caller sees it; `errors` has the tree."""

from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

from actors.errors import ActorsError

__all__ = [
    "ActorDiedError",
    "ActorError",
    "ActorUnavailableError",
    "BadStateError",
    "InitializerFailedError",
    "ManagerLost",
    "OutOfMemoryError",
    "RuntimeClosedError",
    "TaskCancelledError",
    "TaskFailed",
    "TaskLost",
    "TaskTimeoutError",
    "WorkDirLimitError",
    "WorkerCrashed",
    "WorkerTypeError",
]


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


class BadStateError(TaskFailed, BrokenProcessPool):
    """Tell that block after block of the endpoint failed; `detail` says how."""


class TaskLost(TaskFailed):
    """Tell that the endpoint was restarted and no longer knows the task."""


class OutOfMemoryError(WorkerCrashed, MemoryError):
    """Tell that the worker was killed because memory, or its share of it, ran out."""


class TaskTimeoutError(TaskFailed, TimeoutError):
    """Tell that the task ran longer than its `timeout`, and was ended."""


class TaskCancelledError(TaskFailed, CancelledError):
    """Tell that the task was cancelled."""


class WorkDirLimitError(TaskFailed, OSError):
    """Tell that the task wrote more into its work folder than that may hold."""


class WorkerTypeError(TaskFailed):
    """Tell that there are no workers of the type that the task asks for, and why."""


class InitializerFailedError(TaskFailed, BrokenProcessPool):
    """Tell that an executor's initializer failed in a worker: its tasks cannot run."""


class RuntimeClosedError(TaskFailed):
    """Tell that the runtime was shut down before the task had a result."""


class ActorError(TaskFailed):
    """Tell that an actor did not answer a call.

    Args:
        message: what happened, in a sentence.
        detail: the last lines that the actor wrote, or a constructor's traceback.
        reason: why it died: a value of `actors.DeathReason`.
    """

    def __init__(self, message: str, detail: str = "", reason: str = "") -> None:
        super().__init__(message, detail)
        self.args = (message, detail, reason)
        self.reason = reason


class ActorDiedError(ActorError):
    """Tell that the actor is dead and will not come back."""


class ActorUnavailableError(ActorError):
    """Tell that the actor died and may come back; the call may have run."""
