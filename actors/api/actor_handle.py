"""Handles on actors, and their methods."""

import types
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from actors.api.methods import MethodChanges, MethodPicture, RetryExceptions
from actors.api.runtime import runtime
from actors.errors import ConfigError
from actors.messages import METHOD_MARK
from actors.refs import Context, ObjectRef, known

__all__ = [
    "ActorHandle",
    "ActorMethod",
    "ActorPicture",
    "checked_handle",
]

T = TypeVar("T")


@dataclass(frozen=True)
class ActorPicture:
    """What a handle knows of its actor's class.

    Args:
        class_name: for people.
        methods: {name: how it is called}.
        max_pending_calls: of one caller; -1: any number.
        waits_for_room: whether one more call waits, and does not fail.
        groups: names of its concurrency groups.
    """

    class_name: str
    methods: dict[str, MethodPicture] = field(default_factory=dict)
    max_pending_calls: int = -1
    waits_for_room: bool = False
    groups: tuple[str, ...] = ()


class ActorMethod:
    """A method of an actor: call it by `.remote(...)`."""

    def __init__(
        self,
        anchor: ObjectRef[Any],
        name: str,
        actor: ActorPicture,
        picture: MethodPicture,
    ) -> None:
        self._anchor = anchor
        self._name = name
        self._actor = actor
        self._picture = picture
        # What errors about arguments call it.
        self._named = types.SimpleNamespace(__qualname__=f"{actor.class_name}.{name}")
        # What the runtime made of it at the first call, and which runtime.
        self._context: Context | None = None
        self._actors: Any = None
        self._spec: Any = None

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: it runs elsewhere."""
        name = self._named.__qualname__
        raise TypeError(f"{name}() is an actor's method: call {name}.remote(...)")

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call it in the actor's process, after all earlier calls of this process.

        Refs among the arguments are replaced by what they stand for; refs inside
        other values stay refs.

        Returns:
            As `num_returns` says: a ref, a list of refs, an ObjectRefGenerator.

        Raises:
            NotSerializable: an argument cannot be pickled.
            PendingCallsLimitExceeded: too many calls wait at the actor.
        """
        current = known()
        if current is None or current is not self._context:
            self._prepare()
        return self._actors.call(self._anchor, self._spec, self._named, args, kwargs)

    def options(
        self,
        *,
        num_returns: int | str | None = None,
        max_task_retries: int | None = None,
        retry_exceptions: RetryExceptions | None = None,
        concurrency_group: str | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> "ActorMethod":
        """Return the same method with other options; see `actors.method`.

        Raises:
            ConfigError: a value is wrong.
        """
        changes = MethodChanges.of(
            num_returns=num_returns,
            max_task_retries=max_task_retries,
            retry_exceptions=retry_exceptions,
            concurrency_group=concurrency_group,
            timeout=timeout,
            name=name,
        )
        if concurrency_group and concurrency_group not in self._actor.groups:
            there = ", ".join(self._actor.groups) or "none"
            raise ConfigError(
                f"{self._actor.class_name} has no concurrency group "
                f"{concurrency_group!r}; there are {there}"
            )
        picture = changes.applied_to(self._picture)
        return ActorMethod(self._anchor, self._name, self._actor, picture)

    def _prepare(self) -> None:
        current = runtime()
        group = f"\0{self._picture.group}" if self._picture.group else ""
        method = METHOD_MARK + f"{self._name}{group}".encode()
        self._actors = current.actors
        self._spec = self._actors.prepare(method, self._picture.options)
        self._context = current


class ActorHandle(Generic[T]):
    """A handle on an actor: `handle.method.remote(...)` calls a method of it.

    It may be given to tasks and other actors. When the last handle in any process has
    gone, and the calls made by it have ended, the actor ends.
    """

    def __init__(self, anchor: ObjectRef[Any], picture: ActorPicture) -> None:
        self._anchor = anchor
        self._picture = picture

    def __getattr__(self, name: str) -> ActorMethod:
        picture = self.__dict__.get("_picture")
        if picture is None or name not in picture.methods:
            kind = "ActorHandle" if picture is None else f"Actor {picture.class_name}"
            raise AttributeError(f"{kind} has no method {name!r}")
        method = ActorMethod(self._anchor, name, picture, picture.methods[name])
        # It holds the anchor, not this handle: no circle, which would live on.
        self.__dict__[name] = method
        return method

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._picture.methods})

    def __repr__(self) -> str:
        return f"ActorHandle({self._picture.class_name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._anchor == self._anchor

    def __hash__(self) -> int:
        return hash(self._anchor)

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorHandle, (self._anchor, self._picture)


def checked_handle(handle: object) -> ObjectRef[Any]:
    """Return the anchor of a handle.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(handle, ActorHandle):
        raise ConfigError(f"Expected an actor's handle, not {type(handle).__name__}")
    return handle._anchor  # noqa: SLF001  its other half
