"""What an outcome is for the user's code: a value, or an exception to raise."""

import pickle
from collections.abc import Callable, Iterable
from typing import Any

from actors.errors import (
    ActorAlreadyExistsError,
    ActorsError,
    ConfigError,
    DeadlockError,
    NoSuchActorError,
    PendingCallsLimitExceeded,
)
from actors.messages import Failure, FailureKind, Value
from actors.refs import Settled
from actors.remote_errors import load_exception
from actors.store import load_inline
from actors.task_errors import (
    ActorDiedError,
    ActorUnavailableError,
    InitializerFailedError,
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
from actors.unpicklable import as_not_serializable, describe_load_error

__all__ = ["error_of", "load", "load_all"]

# How what `load_inline` would give to `pickle.loads` begins.
_PICKLE = b"\x80"

_CLASSES: dict[FailureKind, type[TaskFailed]] = {
    FailureKind.WORKER_DIED: WorkerCrashed,
    FailureKind.OUT_OF_MEMORY: OutOfMemoryError,
    FailureKind.MEMORY_LIMIT: OutOfMemoryError,
    FailureKind.WORK_DIR_LIMIT: WorkDirLimitError,
    FailureKind.WORKER_TYPE: WorkerTypeError,
    FailureKind.TIMED_OUT: TaskTimeoutError,
    FailureKind.CANCELLED: TaskCancelledError,
    FailureKind.CLOSED: RuntimeClosedError,
    FailureKind.LOST: TaskLost,
    FailureKind.INITIALIZER_FAILED: InitializerFailedError,
}

# Those that have a message and no more.
_SHORT: dict[FailureKind, type[ActorsError]] = {
    FailureKind.PENDING_LIMIT: PendingCallsLimitExceeded,
    FailureKind.NAME_TAKEN: ActorAlreadyExistsError,
    FailureKind.NO_SUCH_ACTOR: NoSuchActorError,
    FailureKind.DEADLOCK: DeadlockError,
    FailureKind.IMPOSSIBLE: ConfigError,
}


def load_all(
    outcomes: Iterable[bytes | Settled], load_stored: Callable[[bytes], Any]
) -> list[Any]:
    """Return the values of several outcomes; see `load`."""
    values = []
    for outcome in outcomes:
        if type(outcome) is bytes and outcome.startswith(_PICKLE):
            try:
                values.append(pickle.loads(outcome))
            except BaseException:  # noqa: BLE001  told properly by what follows
                values.append(load(outcome, load_stored))
        else:
            values.append(load(outcome, load_stored))
    return values


def load(outcome: bytes | Settled, load_stored: Callable[[bytes], Any]) -> Any:
    """Return the value; it is new each time.

    Args:
        outcome: of a ref.
        load_stored: loads what lies in shared memory.

    Raises:
        BaseException: the task failed, or what it gave cannot be unpickled here.
    """
    if isinstance(outcome, bytes):
        return _load_inline(outcome)
    return load_value(outcome.value, load_stored)


def load_value(value: Value, load_stored: Callable[[bytes], Any]) -> Any:
    """Return the value that was sent, or raise the failure."""
    if value.failure is not None:
        raise error_of(value.payload, value.failure)
    if value.is_stored:
        return load_stored(value.payload)
    return _load_inline(value.payload)


def _load_inline(payload: bytes) -> Any:
    try:
        return load_inline(payload)
    except BaseException as error:
        # SystemExit, too: it is the unpickling of a value that failed, no more.
        hint = "make it importable in this process"
        message = describe_load_error("Result", error, hint)
        raise as_not_serializable(message, error) from error


def error_of(payload: bytes, failure: Failure) -> BaseException:
    """Return the exception to raise for a failure."""
    if failure.kind is FailureKind.ACTOR_DIED:
        died = ActorDiedError(failure.message, failure.detail, failure.reason)
        if payload:
            # What its constructor raised.
            died.__cause__ = load_exception(payload, failure.detail)
        return died
    if failure.kind is FailureKind.ACTOR_UNAVAILABLE:
        return ActorUnavailableError(failure.message, failure.detail, failure.reason)
    if failure.kind in _SHORT:
        return _SHORT[failure.kind](failure.message)
    if payload:
        return load_exception(payload, failure.detail)
    return _CLASSES.get(failure.kind, TaskFailed)(failure.message, failure.detail)
