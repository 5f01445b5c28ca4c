"""Refs of a program that uses an endpoint: futures, and what becomes of them.

call ─► waits for refs ─► task's future ─► promise ─► ref
                              └─ failed, and may be tried again ─► another task
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

from actors.api.task_future import TaskFuture
from actors.errors import ActorsError
from actors.messages import TaskId
from actors.payload import dump_result, load_result
from actors.refs import ObjectRef, Promise, context, known, note_refs, noted_refs
from actors.task_errors import TaskCancelledError

__all__ = [
    "ComingItem",
    "EndpointRef",
    "KnownValue",
    "NotYetKnown",
    "PendingCall",
    "RefPromise",
    "counted",
    "failed_ref",
    "future_of",
    "give_up",
    "item_of",
    "known_ref",
    "ref_on",
    "resolved",
    "snapshot",
    "task_of",
    "then",
]


# Names of this process's refs, for its own use.
_numbers = itertools.count(1)


class PendingCall:
    """A call that waits for refs, or may be made again."""

    def __init__(
        self,
        send: Callable[[tuple[Any, ...], dict[str, Any]], "Future[Any]"],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tries: float,
        retry_on: tuple[type[BaseException], ...],
    ) -> None:
        self.promise = RefPromise()
        self._send = send
        self._args = args
        self._kwargs = kwargs
        self._missing = 1  # refs that are not known; and we, who look for them
        self._counting = threading.Lock()
        self._tries_left = tries
        self._retry_on = retry_on

    def begin_after(self, dependencies: "Sequence[Future[Any]]") -> None:
        """Begin once all these are known."""
        self._missing += len(dependencies)
        for future in dependencies:
            future.add_done_callback(self._one_less)
        self._one_less(None)

    def _one_less(self, future: "Future[Any] | None") -> None:
        with self._counting:
            self._missing -= 1
            is_complete = not self._missing
        if is_complete:
            self.begin()

    def begin(self) -> None:
        """Make the call, unless it was given up; all refs are known."""
        if self.promise.done():
            return
        try:
            future = self._send(*resolved(self._args, self._kwargs))
        except NotYetKnown as not_yet:
            self._missing = 1
            self.begin_after([future_of(ref) for ref in not_yet.refs])
            return
        except BaseException as error:  # noqa: BLE001  a dependency's, perhaps
            _end(self.promise, None, error)
            return
        if not self._tries_left:
            # Nothing of it is needed any more.
            self._args, self._kwargs = (), {}
        self.promise.source = future
        future.add_done_callback(self._ended)

    def _ended(self, future: "Future[Any]") -> None:
        # Not what became of it on the way: without an endpoint it would be tried on and
        # on.
        was_raised = isinstance(future, TaskFuture) and future.was_raised
        error = future.exception() if was_raised else None
        if self._tries_left > 0 and isinstance(error, self._retry_on):
            self._tries_left -= 1
            self.begin()
        else:
            _pass_on(future, self.promise)


class RefPromise(Future[Any]):
    """A future that somebody else's end will end."""

    source: "Future[Any] | None" = None  # whose; None: not known yet

    def give_up(self, grace: float, *, is_recursive: bool) -> None:
        """Cancel it, or what will end it."""
        if self.source is None:
            self.cancel()
            self.set_running_or_notify_cancel()
        else:
            give_up(self.source, grace, is_recursive=is_recursive)

    def end_as(self, other: "Future[Any]") -> None:
        """End as another future has ended; nothing if it was given up."""
        _pass_on(other, self)


class ComingItem(Future[None]):
    """A future that ends once a generator's next item is there, or its end."""

    task_id: TaskId | None = None  # of the generator; None: it is still to be sent

    def come(self) -> None:
        """End it; twice is once."""
        with contextlib.suppress(InvalidStateError):
            self.set_result(None)


def give_up(future: "Future[Any]", grace: float, *, is_recursive: bool) -> None:
    """Cancel a task, or what waits for one; one that runs is interrupted.

    Args:
        future: of the task.
        grace: seconds until its process is killed if it goes on; < 0: it never is.
        is_recursive: give up what it has called, too.
    """
    match future:
        case RefPromise():
            future.give_up(grace, is_recursive=is_recursive)
        case TaskFuture():
            future.give_up(grace, is_recursive=is_recursive)


def task_of(future: "Future[Any]") -> TaskId | None:
    """Return the task that brings a future about; None: there is none yet."""
    while isinstance(future, RefPromise):
        if future.source is None:
            return None
        future = future.source
    if isinstance(future, TaskFuture | ComingItem):
        return future.task_id
    return None


def _pass_on(
    source: "Future[Any]",
    promise: "Future[Any]",
    change: Callable[[Any], Any] = lambda result: result,
) -> None:
    """End a promise as another future has ended; nothing if it was given up."""
    if source.cancelled():
        promise.cancel()
        promise.set_running_or_notify_cancel()
        return
    error = source.exception()
    result = None
    try:
        if error is None:
            result = change(source.result())
    except BaseException as reason:  # noqa: BLE001  for whoever waits
        error = reason
    _end(promise, result, error)


def _end(
    promise: "Future[Any]", result: Any, error: "BaseException | None" = None
) -> None:
    # Given up meanwhile: nobody wants it any more.
    with contextlib.suppress(InvalidStateError):
        if error is None:
            promise.set_result(result)
        else:
            promise.set_exception(error)


def then(source: "Future[Any]", change: Callable[[Any], Any]) -> RefPromise:
    """Return what another future's result becomes by a change."""
    promise = RefPromise()
    promise.source = source
    source.add_done_callback(lambda ended: _pass_on(ended, promise, change))
    return promise


def item_of(values: list[Any], index: int) -> Any:
    """Return one of several results."""
    return values[index]


class EndpointRef(ObjectRef[Any]):
    """A ref of a program that uses an endpoint.

    Inside another value it travels as what it stands for, and is a ref again where it
    arrives: what it stands for must be known before. Whoever sends values that hold
    unknown ones finds them among the noted refs, and tries again.
    """

    __slots__ = ()

    def binary(self) -> bytes:
        """Return its name, which no other ref of this process has."""
        if not self.number:
            self.number = next(_numbers)
        return super().binary()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        future, noted = future_of(self), noted_refs()
        if isinstance(noted, _Kept):
            noted.append(self)
            return _kept, (len(noted) - 1,)
        if noted is None:
            if not getattr(known(), "is_within", False):
                return super().__reduce__()
            # A task's result: it ends when all is known that is in it.
            context().wait([self], 1, None)
        elif not future.done():
            noted.append(self)
            return _nothing, ()
        if future.cancelled():
            return failed_ref, (TaskCancelledError("The task was cancelled"),)
        error = future.exception()
        if error is not None:
            return failed_ref, (error,)
        return known_ref, (future.result(),)


class NotYetKnown(ActorsError):
    """Tell that values cannot be pickled yet, as refs in them are not known.

    Args:
        refs: these.
    """

    def __init__(self, refs: list[EndpointRef]) -> None:
        super().__init__(f"{len(refs)} refs are not known")
        self.refs: list[ObjectRef[Any]] = [*refs]


class _Kept(list[ObjectRef[Any]]):
    """Refs that stay what they are in the copy of a value."""


_copying = threading.local()


def _kept(index: int) -> ObjectRef[Any]:
    refs: _Kept = _copying.refs
    return refs[index]


def snapshot(value: Any) -> tuple[Any, int]:
    """Copy a value, as if it had been sent somewhere; refs in it stay the same.

    Returns:
        The copy, and the bytes that it took.

    Raises:
        NotSerializable: it cannot be pickled.
    """
    refs = _Kept()
    note_refs(refs)
    try:
        payload = dump_result(value, "Value")
    finally:
        note_refs(None)
    _copying.refs = refs
    try:
        return load_result(payload), len(payload)
    finally:
        del _copying.refs


def _nothing() -> None:
    """Stand for a ref that is not known in what will be pickled again."""


def failed_ref(error: BaseException) -> ObjectRef[Any]:
    """Return a ref on a value that there is not."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return ref_on(future)


def ref_on(future: "Future[Any]") -> ObjectRef[Any]:
    """Return a ref on a future's result."""
    ref: ObjectRef[Any] = EndpointRef()
    ref.task = future
    return ref


class KnownValue(Future[Any]):
    """A future of a value that was here at once."""

    payload_bytes = -1  # that it took on its way here; -1: unknown


def known_ref(value: Any, payload_bytes: int = -1) -> ObjectRef[Any]:
    """Return a ref on a value that is here.

    Args:
        value: what it stands for.
        payload_bytes: that it took on its way here; -1: unknown.
    """
    future = KnownValue()
    future.payload_bytes = payload_bytes
    future.set_result(value)
    return ref_on(future)


def future_of(ref: Promise) -> "Future[Any]":
    """Return the future that a ref stands on.

    Raises:
        TypeError: the ref is not of this runtime.
    """
    future = ref.task
    if not isinstance(future, Future):
        raise TypeError(f"{ref} is not of this runtime: it was made before init()")
    return future


def resolved(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put values, all of them known, in the place of refs."""
    return (
        tuple(_value_of(value) for value in args),
        {name: _value_of(value) for name, value in kwargs.items()},
    )


def counted(result: Any, count: int) -> list[Any]:
    """Return so many results as a list.

    Raises:
        ValueError: there are more or fewer.
    """
    values = list(result) if count else []
    if len(values) != count:
        raise ValueError(
            f"The method returned {len(values)} values; its num_returns is {count}"
        )
    return values


def _value_of(argument: Any) -> Any:
    return future_of(argument).result() if isinstance(argument, ObjectRef) else argument
