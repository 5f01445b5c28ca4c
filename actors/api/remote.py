"""Remote functions: `@actors.remote`.

What `.remote()` returns follows from the function and its `num_returns`: a ref, a
generator of refs, or a list of them. Type checkers know it by the class:

    RemoteFunction    one result                    ObjectRef[R]
    RemoteGenerator   a generator's items           ObjectRefGenerator[R]
    RemoteMany        num_returns given             list[ObjectRef[Any]]

A ref may stand for any argument. Python's types cannot say so: arguments are checked
strictly, but if one of the first four is a ref, none is.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from actors.api.actor_class import ActorClass, actor_class
from actors.api.names import name_call
from actors.api.options import Options, RemoteOptions, options_from
from actors.api.runtime import runtime
from actors.errors import ConfigError
from actors.messages import DYNAMIC, STREAMING
from actors.payload import dump_function
from actors.refs import Context, ObjectRef, ObjectRefGenerator, known

__all__ = ["RemoteFunction", "RemoteGenerator", "RemoteMany", "remote"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class _Remote(Generic[P]):
    """What all remote functions are: a function, options, and what became of them.

    It is pickled at its first call; what it refers to is as it was then.
    """

    def __init__(self, function: Callable[P, Any], options: Options) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        self._name = name_call(function)
        self._pickled: bytes | None = None
        # What the runtime made of it at the first call, and which runtime.
        self._context: Context | None = None
        self._spec: Any = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Refuse: it runs elsewhere."""
        name = self._name
        raise TypeError(
            f"{name}() is a remote function: call {name}.remote(...), or "
            f"{name}.function(...) to run it here"
        )

    def _submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        current = known()
        if current is None or current is not self._context:
            current = self._prepare()
        return current.submit(self._spec, self._function, args, kwargs)

    def _prepare(self) -> Context:
        current = runtime()
        if self._pickled is None:
            self._pickled = dump_function(self._function)
        options = self._options.for_tasks(is_generator=_is_generator(self._function))
        self._spec = current.prepare(self._pickled, options, self._name)
        self._context = current
        return current

    def _changed(self, options: RemoteOptions) -> Any:
        return _made(self._function, self._options.changed(options))

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what this process's runtime made of it.
        return _made, (self._function, self._options)


class RemoteFunction(_Remote[P], Generic[P, R_co]):
    """A function that runs in a worker: call it by `.remote(...)`."""

    @property
    def function(self) -> Callable[P, R_co]:
        """The function itself, to call it here."""
        return self._function

    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R_co]: ...
    @overload
    def remote(
        self, a: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R_co]: ...
    @overload
    def remote(
        self, a: Any, b: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R_co]: ...
    @overload
    def remote(
        self, a: Any, b: Any, c: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R_co]: ...
    @overload
    def remote(
        self, a: Any, b: Any, c: Any, d: ObjectRef[Any], /, *args: Any, **kwargs: Any
    ) -> ObjectRef[R_co]: ...

    def remote(self, *args: Any, **kwargs: Any) -> ObjectRef[R_co]:
        """Call it in a worker.

        Refs among the arguments are replaced by what they stand for; refs inside
        other values stay refs.

        Raises:
            NotSerializable: an argument cannot be pickled.
            ConfigError: it needs more than there will ever be.
        """
        # Not by _submit: a call more would cost a fiftieth of the task.
        current = known()
        if current is None or current is not self._context:
            current = self._prepare()
        ref: ObjectRef[R_co] = current.submit(self._spec, self._function, args, kwargs)
        return ref

    @overload
    def options(
        self, *, num_returns: int, **options: Unpack[RemoteOptions]
    ) -> "RemoteMany[P]": ...
    @overload
    def options(
        self, *, num_returns: Literal["dynamic"], **options: Unpack[RemoteOptions]
    ) -> "RemoteFunction[P, list[ObjectRef[Any]]]": ...
    @overload
    def options(
        self, *, num_returns: Literal["streaming"], **options: Unpack[RemoteOptions]
    ) -> "RemoteGenerator[P, Any]": ...
    @overload
    def options(
        self, **options: Unpack[RemoteOptions]
    ) -> "RemoteFunction[P, R_co]": ...

    def options(self, **options: Any) -> Any:
        """Return the same function with other options; see `RemoteOptions`.

        Raises:
            ConfigError: an option is unknown, or its value is wrong.
        """
        return self._changed(options)  # type: ignore[arg-type]


class RemoteGenerator(_Remote[P], Generic[P, R_co]):
    """A generator's function that runs in a worker; its items come as they are made."""

    @property
    def function(self) -> Callable[P, Iterator[R_co]]:
        """The function itself, to call it here."""
        return self._function

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRefGenerator[R_co]:
        """Call it in a worker; see `RemoteFunction.remote`."""
        stream: ObjectRefGenerator[R_co] = self._submit(args, kwargs)
        return stream

    @overload
    def options(
        self, *, num_returns: Literal["dynamic"], **options: Unpack[RemoteOptions]
    ) -> RemoteFunction[P, list[ObjectRef[R_co]]]: ...
    @overload
    def options(
        self, *, num_returns: int, **options: Unpack[RemoteOptions]
    ) -> "RemoteMany[P]": ...
    @overload
    def options(
        self, **options: Unpack[RemoteOptions]
    ) -> "RemoteGenerator[P, R_co]": ...

    def options(self, **options: Any) -> Any:
        """Return the same function with other options; see `RemoteOptions`."""
        return self._changed(options)  # type: ignore[arg-type]


class RemoteMany(_Remote[P]):
    """A function with several results that runs in a worker."""

    @property
    def function(self) -> Callable[P, Any]:
        """The function itself, to call it here."""
        return self._function

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> list[ObjectRef[Any]]:
        """Call it in a worker; see `RemoteFunction.remote`.

        Returns:
            As many refs as `num_returns` says.
        """
        refs: list[ObjectRef[Any]] = self._submit(args, kwargs)
        return refs

    def options(self, **options: Unpack[RemoteOptions]) -> "RemoteMany[P]":
        """Return the same function with other options; see `RemoteOptions`."""
        changed: RemoteMany[P] = self._changed(options)
        return changed


@overload
def remote(class_: type[T], /) -> ActorClass[T]: ...  # type: ignore[overload-overlap]
@overload
def remote(function: Callable[P, Iterator[R]], /) -> RemoteGenerator[P, R]: ...  # type: ignore[overload-overlap]
@overload
def remote(function: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(
    *, num_returns: int, **options: Unpack[RemoteOptions]
) -> Callable[[Callable[P, Any]], RemoteMany[P]]: ...
@overload
def remote(
    *, num_returns: Literal["dynamic"], **options: Unpack[RemoteOptions]
) -> Callable[[Callable[P, Any]], RemoteFunction[P, list[ObjectRef[Any]]]]: ...
@overload
def remote(
    *, num_returns: Literal["streaming"], **options: Unpack[RemoteOptions]
) -> Callable[[Callable[P, Iterator[R]]], RemoteGenerator[P, R]]: ...
@overload
def remote(
    **options: Unpack[RemoteOptions],
) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...


def remote(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function remote, or a class an actor's; bare, or with options.

    Raises:
        ConfigError: an option is unknown, or its value is wrong; or this is neither a
            function nor a class, or an async function.
    """
    if function is not None:
        return _remote(function, options)
    if not options.keys() - Options.__dataclass_fields__.keys():
        # A wrong value is told here and not when it is applied.
        options_from(options)
    return lambda decorated: _remote(decorated, options)


def _remote(decorated: Callable[..., Any], options: dict[str, Any]) -> Any:
    if inspect.isclass(decorated):
        return actor_class(decorated, options)
    if isinstance(decorated, _Remote) or not callable(decorated):
        raise ConfigError(
            f"{decorated!r} cannot be made remote: give a function or a class"
        )
    if inspect.iscoroutinefunction(decorated) or inspect.isasyncgenfunction(decorated):
        raise ConfigError(
            f"{decorated.__qualname__} is async, and a task has no event loop: use a "
            "class with async methods, or asyncio.run() in a function"
        )
    return _made(decorated, options_from(options))


def _is_generator(function: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(function)


def _made(function: Callable[..., Any], options: Options) -> Any:
    """Choose the class by what the function and its options return."""
    returns = options.for_tasks(is_generator=_is_generator(function)).num_returns
    if returns == STREAMING:
        return RemoteGenerator(function, options)
    if returns in (1, DYNAMIC):
        return RemoteFunction(function, options)
    return RemoteMany(function, options)
