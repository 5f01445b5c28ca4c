"""Actors whose calls type checkers know: classes that derive from `actors.Actor`.

    class Counter(actors.Actor):
        def __init__(self, start: int = 0) -> None:
            self.total = start

        @actors.method
        def add(self, count: int) -> int:
            self.total += count
            return self.total

    counter = Counter.remote(5)
    total = actors.get(counter.add.remote(1))  # an int; add.remote("1") is an error

Type checkers do not look at what a class decorator returns, or cannot say what a
handle has of its class. So here a handle is, for them alone, an instance of the class;
and what `method` marks can be called by `.remote(...)` and, inside, as it is.
"""

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from actors.api.actor_class import MARK, ActorClass, actor_class
from actors.api.methods import MethodChanges, RetryExceptions
from actors.refs import ObjectRef, ObjectRefGenerator

__all__ = ["Actor", "method"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)

# Classes whose pickled form is kept. Chosen: more than a program has.
_MAX_CLASSES = 256


# What type checkers see; nothing is ever an instance of these.


class _Remote(Protocol[P, R_co]):
    """What `.remote` of a method that returns one value is."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R_co]: ...
    @overload
    def __call__(
        self, a: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R_co]: ...
    @overload
    def __call__(
        self, a: Any, b: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R_co]: ...
    @overload
    def __call__(
        self, a: Any, b: Any, c: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R_co]: ...


class Method(Protocol[P, R_co]):
    """A method that returns one value."""

    @property
    def remote(self) -> _Remote[P, R_co]: ...
    def options(self, **options: Any) -> "Method[P, R_co]": ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class AsyncMethod(Protocol[P, R_co]):
    """An `async def` method."""

    @property
    def remote(self) -> _Remote[P, R_co]: ...
    def options(self, **options: Any) -> "AsyncMethod[P, R_co]": ...
    def __call__(
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R_co]: ...


class GeneratorMethod(Protocol[P, R_co]):
    """A method that yields."""

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRefGenerator[R_co]: ...
    def options(self, **options: Any) -> "GeneratorMethod[P, R_co]": ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[R_co]: ...


class ManyMethod(Protocol[P]):
    """A method with several results."""

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> list[ObjectRef[Any]]: ...
    def options(self, **options: Any) -> "ManyMethod[P]": ...
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class _Marked(Protocol):
    """What `method(...)` with options is."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncMethod[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        function: Callable[Concatenate[Any, P], Iterator[R] | AsyncIterator[R]],
        /,
    ) -> GeneratorMethod[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], R], /
    ) -> Method[P, R]: ...


class _MarkedMany(Protocol):
    """What `method(num_returns=...)` is."""

    def __call__(
        self, function: Callable[Concatenate[Any, P], Any], /
    ) -> ManyMethod[P]: ...


class _ClassWithOptions(Protocol[Q, T_co]):
    """What `options` of a class returns."""

    def remote(self, *args: Q.args, **kwargs: Q.kwargs) -> T_co: ...


# What there is


@overload
def method(
    function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
) -> AsyncMethod[P, R]: ...
@overload
def method(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[Any, P], Iterator[R] | AsyncIterator[R]], /
) -> GeneratorMethod[P, R]: ...
@overload
def method(function: Callable[Concatenate[Any, P], R], /) -> Method[P, R]: ...
@overload
def method(
    *,
    num_returns: int,
    max_task_retries: int | None = None,
    retry_exceptions: RetryExceptions | None = None,
    concurrency_group: str | None = None,
    timeout: float | None = None,
) -> _MarkedMany: ...
@overload
def method(
    *,
    num_returns: str | None = None,
    max_task_retries: int | None = None,
    retry_exceptions: RetryExceptions | None = None,
    concurrency_group: str | None = None,
    timeout: float | None = None,
) -> _Marked: ...


def method(
    function: Callable[..., Any] | None = None,
    /,
    *,
    num_returns: int | str | None = None,
    max_task_retries: int | None = None,
    retry_exceptions: RetryExceptions | None = None,
    concurrency_group: str | None = None,
    timeout: float | None = None,
) -> Any:
    """Mark a method of an actor's class; bare, or with options of its own.

    Args:
        function: the method.
        num_returns: how many values it returns, each with a ref of its own;
            "streaming": as many as it yields.
        max_task_retries: starts allowed after the process died of a call.
        retry_exceptions: whether an exception of its own is answered with a new start,
            too; a list: only these.
        concurrency_group: the threads that run it.
        timeout: seconds that a call may run. Then it is interrupted; if it goes on, the
            process is killed, and the actor restarted if it may be.

    Raises:
        ConfigError: a value is wrong.
    """
    changes = MethodChanges.of(
        num_returns=num_returns,
        max_task_retries=max_task_retries,
        retry_exceptions=retry_exceptions,
        concurrency_group=concurrency_group,
        timeout=timeout,
    )

    def mark(marked: Callable[..., Any]) -> Callable[..., Any]:
        setattr(marked, MARK, changes)
        return marked

    return mark if function is None else mark(function)


class Actor:
    """Be the base of an actor's class whose calls are checked; see the module."""

    @classmethod
    def remote(cls: Callable[Q, T], *args: Q.args, **kwargs: Q.kwargs) -> T:
        """Make an actor; what comes is a handle on it, see `ActorClass.remote`."""
        handle: Any = _remote_class(cls).remote(*args, **kwargs)
        return handle  # type: ignore[no-any-return]

    @classmethod
    def options(cls: Callable[Q, T], **options: Any) -> _ClassWithOptions[Q, T]:
        """Return the class with options; see `ActorClass.options`.

        Raises:
            ConfigError: an option is unknown, or its value is wrong.
        """
        changed: Any = _remote_class(cls).options(**options)
        return changed  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=_MAX_CLASSES)
def _remote_class(class_: Any) -> ActorClass[Any]:
    return actor_class(class_, {})
