"""What is done with refs: `get`, `wait`, `put`, `cancel`, `as_completed`."""

import importlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

from actors.api.runtime import runtime
from actors.errors import GetTimeoutError
from actors.refs import ObjectRef, ObjectRefGenerator, Waitable, known

__all__ = ["as_completed", "cancel", "cancelled", "get", "put", "wait"]

T = TypeVar("T")


# By name: few want a bar, and rich takes its time to import.
_PROGRESS = "actors.api.progress"
# Seconds between two counts for a bar; chosen: as often as it is drawn.
_COUNT_PERIOD = 0.2


@overload
def get(
    refs: ObjectRef[T], *, timeout: float | None = None, progress: bool | str = False
) -> T: ...


@overload
def get(
    refs: Sequence[ObjectRef[T]],
    *,
    timeout: float | None = None,
    progress: bool | str = False,
) -> list[T]: ...


def get(
    refs: Any, *, timeout: float | None = None, progress: bool | str = False
) -> Any:
    """Wait for values and return them.

    Args:
        refs: one, or a list of them.
        timeout: seconds; None: for ever.
        progress: draw a bar on standard error that counts the values that are known;
            a text stands before it.

    Returns:
        The value, or the list of values.

    Raises:
        GetTimeoutError: not all are known in time.
        BaseException: a task failed: what it raised, with its traceback as the cause.
        TypeError: something is no ref.
    """
    if progress:
        asked_at = time.monotonic()
        wanted = [refs] if isinstance(refs, ObjectRef) else _checked(refs)
        text = progress if isinstance(progress, str) else "values"
        _count_known(wanted, timeout, text)
        if timeout is not None:
            timeout = max(0.0, timeout - (time.monotonic() - asked_at))
    if isinstance(refs, ObjectRef):
        return runtime().get((refs,), timeout)[0]
    return runtime().get(_checked(refs), timeout)


def _count_known(
    refs: Sequence[ObjectRef[Any]], timeout: float | None, text: str
) -> None:
    """Have a bar count the values that are known, until all are, or time is over."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    here, unknown = runtime(), list(dict.fromkeys(refs))
    with importlib.import_module(_PROGRESS).Bar(text, len(unknown)) as bar:
        while unknown:
            left = deadline - time.monotonic()
            count, period = len(unknown), min(_COUNT_PERIOD, max(0.0, left))
            known = here.wait(unknown, count, period)
            unknown = [
                r for r, is_known in zip(unknown, known, strict=True) if not is_known
            ]
            bar.add(count - len(unknown))
            if left <= 0:
                return


@overload
def wait(
    refs: Sequence[ObjectRef[T]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]: ...


@overload
def wait(
    refs: Sequence[ObjectRefGenerator[T]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRefGenerator[T]], list[ObjectRefGenerator[T]]]: ...


@overload
def wait(
    refs: Sequence[Waitable],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]: ...


def wait(
    refs: Sequence[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,  # noqa: ARG001  Ray's; here values always are
) -> tuple[list[Any], list[Any]]:
    """Wait until some values are known.

    Args:
        refs: all different; a generator among them counts as known once its next item
            is there, or it has ended.
        num_returns: how many will do.
        timeout: seconds; None: for ever.
        fetch_local: Ray's, and without effect: values are here.

    Returns:
        (known, the others), each in the order given; at most `num_returns` are known,
        even if more are.

    Raises:
        TypeError: `refs` is no list of refs.
        ValueError: a ref stands there twice, `num_returns` is out of range, or
            `timeout` is negative.
    """
    wanted = _awaitable(refs)
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout {timeout:g} must be 0 or more, or None")
    if len(set(wanted)) != len(wanted):
        raise ValueError("wait() needs refs that are all different")
    if not 0 < num_returns <= len(wanted):
        if not wanted:
            return [], []
        raise ValueError(f"num_returns {num_returns} must be 1 to {len(wanted)}")
    known = runtime().wait(_promises(wanted), num_returns, timeout)
    ready: list[Any] = []
    others: list[Any] = []
    for ref, is_known in zip(wanted, known, strict=True):
        (ready if is_known and len(ready) < num_returns else others).append(ref)
    return ready, others


def put(value: T) -> ObjectRef[T]:
    """Make a ref on a value.

    Raises:
        NotSerializable: it cannot be pickled.
        TypeError: it is a ref already.
    """
    if isinstance(value, ObjectRef):
        raise TypeError("put() takes a value, not a ref on one")
    ref: ObjectRef[T] = runtime().put(value)
    return ref


def cancel(
    ref: ObjectRef[Any] | ObjectRefGenerator[Any],
    *,
    force: bool = False,
    recursive: bool = True,
    grace: float | None = None,
) -> None:
    """Give up the task that brings a value; nothing if that is known.

    A task that waits is dropped; in one that runs KeyboardInterrupt is raised.
    `get` raises TaskCancelledError then.

    Args:
        ref: of the task, or the generator that it is.
        force: kill the worker, if the task runs.
        recursive: give up the tasks that it has called, too.
        grace: seconds after which the process is killed if the task goes on; default:
            never. An actor's has two at least, also with `force`, as others may run
            there, and is restarted as after a crash.

    Raises:
        TypeError: it is no ref.
        ValueError: `grace` is negative.
    """
    if not isinstance(ref, ObjectRef | ObjectRefGenerator):
        raise TypeError(f"Expected an ObjectRef, not {type(ref).__name__}")
    if grace is not None and grace < 0:
        raise ValueError(f"grace {grace:g} must be 0 or more, or None")
    runtime().cancel(
        ref if isinstance(ref, ObjectRef) else ref.call,
        force=force,
        recursive=recursive,
        grace=-1.0 if grace is None else grace,
    )


def cancelled() -> bool:
    """Tell whether somebody has cancelled the task, or call, that asks this.

    For code that is not to be interrupted: between two steps it can look, and end.
    """
    # The context of a program runs no task.
    ask: Callable[[], bool] | None = getattr(known(), "is_cancelled_here", None)
    return ask is not None and ask()


@overload
def as_completed(
    refs: Iterable[ObjectRef[T]], *, timeout: float | None = None
) -> Iterator[ObjectRef[T]]: ...


@overload
def as_completed(
    refs: Iterable[ObjectRefGenerator[T]], *, timeout: float | None = None
) -> Iterator[ObjectRef[T]]: ...


@overload
def as_completed(
    refs: Iterable[Waitable], *, timeout: float | None = None
) -> Iterator[ObjectRef[Any]]: ...


def as_completed(
    refs: Iterable[Waitable], *, timeout: float | None = None
) -> Iterator[ObjectRef[Any]]:
    """Give refs as their values become known.

    Args:
        refs: each is given once, however often it stands there; in place of a generator
            the refs that it yields, as it does.
        timeout: seconds from the first `next` until the last value.

    Raises:
        GetTimeoutError: not all are known in time.
    """
    left: list[Any] = list(dict.fromkeys(_awaitable(list(refs))))
    deadline = None if timeout is None else time.monotonic() + timeout
    while left:
        rest = None if deadline is None else max(0.0, deadline - time.monotonic())
        known = runtime().wait(_promises(left), 1, rest)
        if not any(known):
            raise GetTimeoutError(f"{len(left)} values are not known after {timeout} s")
        asked, left = left, []
        for ref, is_known in zip(asked, known, strict=True):
            if not is_known:
                left.append(ref)
            elif isinstance(ref, ObjectRef):
                yield ref
            elif (item := next(ref, None)) is not None:
                left.append(ref)
                yield item


def _checked(refs: object) -> list[ObjectRef[Any]]:
    if type(refs) is not list and not isinstance(refs, list | tuple):
        raise TypeError(
            f"Expected an ObjectRef or a list of them, not {type(refs).__name__}"
        )
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"Expected ObjectRefs, not {type(ref).__name__}")
    return list(refs)


def _awaitable(refs: object) -> list[Any]:
    """Check what is waited for: refs, and generators."""
    if isinstance(refs, list | tuple) and any(
        isinstance(ref, ObjectRefGenerator) for ref in refs
    ):
        _checked([ref for ref in refs if not isinstance(ref, ObjectRefGenerator)])
        return list(refs)
    return _checked(refs)


def _promises(refs: Sequence[Any]) -> list[ObjectRef[Any]]:
    """Return what the runtime waits for in place of these."""
    return [ref if isinstance(ref, ObjectRef) else ref.coming() for ref in refs]
