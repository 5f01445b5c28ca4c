"""Classes whose instances are actors: `@actors.remote` on a class."""

import functools
import inspect
import pickle
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from actors.api.actor_handle import ActorHandle, ActorPicture
from actors.api.methods import MethodChanges, MethodPicture
from actors.api.option_kinds import of_their_kinds
from actors.api.runtime import runtime
from actors.errors import ConfigError
from actors.messages import STREAMING, ActorOptions, Amount, TaskOptions
from actors.payload import dump_function

__all__ = ["MARK", "ActorClass", "actor_class"]

T = TypeVar("T")

# Whose base class has methods of its own.
_TYPED = "actors.api.typed_actor"
# Where a method keeps what `actors.method` gave it.
MARK = "__actors_method__"


@dataclass(frozen=True)
class ClassOptions:
    """See `ActorClass.options`."""

    name: str = ""
    namespace: str | None = None
    get_if_exists: bool = False
    max_restarts: int = 0
    restart_period: float = 0.0
    max_task_retries: int = 0
    retry_exceptions: bool | list[type[BaseException]] = False
    max_concurrency: int = 0
    concurrency_groups: Mapping[str, int] = field(default_factory=dict)
    max_pending_calls: int = -1
    on_full: str = "fail"
    on_restart: str = "wait"
    num_cpus: float = 0.0
    num_gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    lifetime: str | None = None

    def changed(self, options: Mapping[str, Any]) -> "ClassOptions":
        """Return them with some others.

        Raises:
            ConfigError: an option is unknown, or its value is wrong.
        """
        unknown = options.keys() - self.__dataclass_fields__.keys()
        if unknown:
            raise ConfigError(
                f"Unknown options {', '.join(sorted(unknown))}; there are "
                f"{', '.join(self.__dataclass_fields__)}"
            )
        chosen = {name: value for name, value in options.items() if value is not None}
        changed = replace(self, **of_their_kinds(chosen))
        changed.check()
        return changed

    def check(self) -> None:
        """Raise ConfigError if a value is wrong."""
        for name in ("max_restarts", "max_task_retries", "max_pending_calls"):
            value = getattr(self, name)
            if value < -1:
                raise ConfigError(f"{name} {value} must be -1 or more")
        for name in ("restart_period", "max_concurrency", "num_cpus", "num_gpus"):
            value = getattr(self, name)
            if value < 0:
                raise ConfigError(f"{name} {value} must be 0 or more")
        for group, limit in self.concurrency_groups.items():
            if limit < 1:
                raise ConfigError(f"Concurrency group {group!r}: {limit} must be >= 1")
        if self.on_restart not in ("wait", "fail"):
            raise ConfigError(f"on_restart {self.on_restart!r} must be wait or fail")
        if self.on_full not in ("wait", "fail"):
            raise ConfigError(f"on_full {self.on_full!r} must be wait or fail")
        if self.max_pending_calls == 0:
            raise ConfigError(
                "max_pending_calls 0 lets nobody call; use -1, or 1 or more"
            )
        if self.get_if_exists and not self.name:
            raise ConfigError("get_if_exists needs a name; give name=... too")
        if self.lifetime not in (None, "detached", "non_detached"):
            raise ConfigError(f"lifetime {self.lifetime!r} must be detached, or none")


class ActorClass(Generic[T]):
    """A class whose instances are actors: make one by `.remote(...)`."""

    def __init__(self, class_: type[T], options: ClassOptions) -> None:
        functools.update_wrapper(self, class_, updated=())
        self._class = class_
        self._options = options
        self._pickled = b""
        self._actor_options: ActorOptions | None = None
        self._picture: ActorPicture | None = None

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: its instances are actors."""
        name = self._class.__qualname__
        raise TypeError(f"{name} is an actor's class: call {name}.remote(...)")

    @property
    def class_(self) -> type[T]:
        """The class itself, to make usual instances of it."""
        return self._class

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[T]:
        """Make an actor in a process of its own, and return at once.

        Refs among the arguments are replaced by what they stand for.

        Raises:
            NotSerializable: the class or an argument cannot be pickled.
            ActorAlreadyExistsError: the name is another one's.
            ConfigError: it needs more than there will ever be.
        """
        current = runtime()
        pickled, options, own_picture = self.prepared()
        name = f"{self._class.__qualname__}.__init__"
        anchor, picture = current.actors.create(
            pickled,
            options,
            types.SimpleNamespace(__qualname__=name),
            args,
            kwargs,
        )
        if picture == options.picture:
            return ActorHandle(anchor, own_picture)
        return ActorHandle(anchor, pickle.loads(picture))

    def prepared(
        self, *, is_supervised: bool = False
    ) -> tuple[bytes, ActorOptions, ActorPicture]:
        """Return the class pickled, its options as they travel, and its picture.

        Raises:
            NotSerializable: the class cannot be pickled.
            ConfigError: `is_supervised`, but the options want what a supervisor does.
        """
        given = self._options
        if is_supervised and (given.max_restarts or given.get_if_exists):
            raise ConfigError(
                f"{self._class.__qualname__} has max_restarts {given.max_restarts} and "
                f"get_if_exists {given.get_if_exists}: leave both to its supervisor"
            )
        if is_supervised and given.lifetime == "detached":
            raise ConfigError(
                f"{self._class.__qualname__} is detached, and a supervisor's child "
                "ends with it: make the supervisor in a detached actor"
            )
        if self._actor_options is None or self._picture is None:
            self._picture = _picture_of(self._class, self._options)
            self._pickled = dump_function(self._class)
            self._actor_options = self._made_options(self._picture)
        return self._pickled, self._actor_options, self._picture

    def options(self, **options: Any) -> "ActorClass[T]":
        """Return the same class with other options.

        Args:
            **options: `name`, `namespace`, `get_if_exists`; `max_restarts` (-1: any
                number) within `restart_period` seconds (0: all its life),
                `max_task_retries`, `retry_exceptions`, `on_restart` ("wait" or
                "fail": what calls do meanwhile); `max_concurrency`,
                `concurrency_groups`; `max_pending_calls` of one caller, and
                `on_full` ("fail" or "wait": what one more call does); `num_cpus`,
                `num_gpus`, `resources`, all taken from its start to its end.

        Raises:
            ConfigError: an option is unknown, or its value is wrong.
        """
        return ActorClass(self._class, self._options.changed(options))

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorClass, (self._class, self._options)

    def _made_options(self, picture: ActorPicture) -> ActorOptions:
        given, home = self._options, runtime().namespace
        resources = sorted(given.resources.items())
        concurrency = given.max_concurrency
        if not concurrency and not _has_async(self._class):
            concurrency = 1
        return ActorOptions(
            class_name=self._class.__qualname__,
            picture=pickle.dumps(picture),
            name=given.name,
            namespace=home if given.namespace is None else given.namespace,
            home=home,
            get_if_exists=given.get_if_exists,
            max_restarts=given.max_restarts,
            restart_period=given.restart_period,
            max_concurrency=concurrency,
            groups=[
                Amount(name, calls) for name, calls in given.concurrency_groups.items()
            ],
            max_pending_calls=given.max_pending_calls,
            fails_on_restart=given.on_restart == "fail",
            waits_for_room=given.on_full == "wait",
            num_cpus=given.num_cpus,
            num_gpus=given.num_gpus,
            resources=[Amount(name, amount) for name, amount in resources],
            is_detached=given.lifetime == "detached",
        )


def actor_class(class_: type[Any], options: Mapping[str, Any]) -> ActorClass[Any]:
    """Make a class an actor's.

    Raises:
        ConfigError: an option is unknown, or its value is wrong.
    """
    return ActorClass(class_, ClassOptions().changed(options))


def _has_async(class_: type[Any]) -> bool:
    return any(
        inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        for _, member in inspect.getmembers(class_, inspect.isroutine)
    )


def _picture_of(class_: type[Any], given: ClassOptions) -> ActorPicture:
    methods = {}
    retry = given.retry_exceptions
    for name, member in inspect.getmembers(class_, callable):
        if name.startswith("__") and name != "__call__":
            continue
        if name == "__call__" and "__call__" not in vars(class_):
            continue
        if getattr(member, "__module__", "") == _TYPED and name in (
            "remote",
            "options",
        ):
            continue  # they make handles, and are not called by them
        changes: MethodChanges = getattr(member, MARK, MethodChanges())
        group = changes.concurrency_group or ""
        if group and group not in given.concurrency_groups:
            raise ConfigError(
                f"{class_.__qualname__}.{name} is of concurrency group {group!r}; "
                f"there are {', '.join(given.concurrency_groups) or 'none'}"
            )
        streams = inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(
            member
        )
        retries = given.max_task_retries
        options = TaskOptions(
            num_returns=STREAMING if streams else 1,
            retries=retries,
            own_retries=retries if retry else 0,
            retry_on=b"" if isinstance(retry, bool) else pickle.dumps(tuple(retry)),
            name=f"{class_.__qualname__}.{name}",
            needs_room=given.max_pending_calls >= 0,
        )
        methods[name] = changes.applied_to(MethodPicture(options, group))
    return ActorPicture(
        class_.__qualname__,
        methods,
        given.max_pending_calls,
        given.on_full == "wait",
        tuple(given.concurrency_groups),
    )
