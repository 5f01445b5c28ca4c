"""The endpoint's own actors behind handles: status reports, and what operators order.

    lab = actors.get_actor("interchange", namespace="endpoint")
    print(actors.get(lab.status.remote()).tasks)
    actors.get(lab.hold.remote("block-1"))

A call is the same `Command` that the command line sends, and is answered by the
interchange, which knows all others; it does not disturb them, and is answered while one
of them is away. An order that cannot be carried out raises TaskFailed with the reason.
"""

import inspect
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from actors.api.actor_handle import ActorPicture
from actors.api.methods import MethodPicture
from actors.endpoint.pictures import ManagerPicture, Relayed, Snapshot
from actors.endpoint.task_pictures import TaskList, TaskStory
from actors.errors import ConfigError, NoSuchActorError
from actors.messages import ActorRestarted, Command, ScalingDecided, TaskOptions, Verb
from actors.refs import ObjectRef
from actors.task_errors import TaskFailed

__all__ = [
    "NAMESPACE",
    "ServiceAnchor",
    "command_for",
    "picture_of",
    "read_answer",
    "refuse_namespace",
    "refuse_unknown",
]

NAMESPACE = "endpoint"

# Tasks in one list, unless told. Chosen: what fits on some screens.
_LISTED_TASKS = 100

_Order = tuple[Verb, list[str], int]


class _Service:
    """What may be asked of one of the endpoint's actors.

    Each method takes what its remote method takes and returns the command's verb,
    names and number.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def status(self) -> _Order:
        return "status", [], 0

    def read_status(self, snapshot: Snapshot) -> Any:
        """Choose from the whole picture what is this actor's."""
        return snapshot


class _Interchange(_Service):
    def tasks(
        self, text: str = "", *, states: Sequence[str] = (), limit: int = _LISTED_TASKS
    ) -> _Order:
        return "tasks", [text, *states], limit

    def story(self, task_id: str) -> _Order:
        return "story", [task_id], 0

    def cancel(self, *task_ids: str) -> _Order:
        return "cancel", [*task_ids], 0

    def hold(self, *names: str) -> _Order:
        return "hold", [*names], 0

    def resume(self, *names: str) -> _Order:
        return "resume", [*names], 0

    def drain(self, *names: str) -> _Order:
        return "drain", [*names], 0

    def scale(self, blocks: int) -> _Order:
        return "scale", [], blocks

    def restart(self, *names: str) -> _Order:
        return "restart", [*names], 0

    def quiesce(self) -> _Order:
        return "quiesce", [], 0

    def stop(self) -> _Order:
        return "stop", [], 0


class _Strategy(_Service):
    def scale(self, blocks: int) -> _Order:
        return "scale", [], blocks

    def read_status(self, snapshot: Snapshot) -> list[Relayed]:
        """Its decisions, oldest first, each with its age and its reason."""
        return [r for r in snapshot.relayed if isinstance(r.event, ScalingDecided)]


class _Provider(_Service):
    def read_status(self, snapshot: Snapshot) -> Any:
        """All blocks that it knows."""
        return snapshot.blocks


class _Supervisor(_Service):
    def stop(self) -> _Order:
        return "stop", [], 0

    def read_status(self, snapshot: Snapshot) -> list[Relayed]:
        """What it restarted, oldest first, each with its age and the reason."""
        return [r for r in snapshot.relayed if isinstance(r.event, ActorRestarted)]


class _Manager(_Service):
    def hold(self) -> _Order:
        return "hold", [self._name], 0

    def resume(self) -> _Order:
        return "resume", [self._name], 0

    def drain(self) -> _Order:
        return "drain", [self._name], 0

    def restart(self) -> _Order:
        return "restart", [self._name], 0

    def read_status(self, snapshot: Snapshot) -> ManagerPicture:
        """Its picture, workers and all."""
        for manager in snapshot.managers:
            if manager.manager_id == self._name:
                return manager
        raise NoSuchActorError(f"Manager {self._name} is gone")


# {name: class}; any other name is a manager's
_SERVICES: Mapping[str, type[_Service]] = {
    "interchange": _Interchange,
    "strategy": _Strategy,
    "provider": _Provider,
    "supervisor": _Supervisor,
}
# {verb: what its answer's body is}
_BODIES: Mapping[str, type[Any]] = {
    "status": Snapshot,
    "tasks": TaskList,
    "story": TaskStory,
}


class ServiceAnchor(ObjectRef[None]):
    """What handles on one of the endpoint's actors hold."""

    __slots__ = ("name", "service")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.service = _SERVICES.get(name, _Manager)(name)

    def __reduce__(self) -> tuple[type["ServiceAnchor"], tuple[str]]:  # type: ignore[override]
        # It is the same wherever it is: nobody counts who has it.
        return ServiceAnchor, (self.name,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServiceAnchor) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


def refuse_namespace(namespace: str) -> None:
    """Refuse to make an actor where the endpoint's own ones are.

    Raises:
        ConfigError: it is that namespace.
    """
    if namespace == NAMESPACE:
        raise ConfigError(
            f"Namespace {NAMESPACE!r} is the endpoint's own: take another"
        )


def refuse_unknown(name: str, snapshot: Snapshot) -> None:
    """Raise NoSuchActorError if the endpoint has no actor of that name."""
    known = [*_SERVICES, *(manager.manager_id for manager in snapshot.managers)]
    if name not in known:
        raise NoSuchActorError(
            f"There is no actor named {name!r} in namespace {NAMESPACE!r}; there are "
            f"{', '.join(known)}"
        )


def picture_of(anchor: ServiceAnchor) -> bytes:
    """Return what a handle knows of the actor, pickled."""
    class_name = type(anchor.service).__name__.removeprefix("_")
    methods = {
        name: MethodPicture(TaskOptions(name=f"{class_name}.{name}"))
        for name, _ in inspect.getmembers(anchor.service, inspect.ismethod)
        if not name.startswith(("_", "read_"))
    }
    return pickle.dumps(ActorPicture(class_name, methods))


def command_for(
    anchor: ServiceAnchor, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Command:
    """Make the command that a call stands for.

    Raises:
        TypeError: the arguments do not fit.
        ConfigError: they are of wrong types.
    """
    verb, names, number = getattr(anchor.service, method)(*args, **kwargs)
    try:
        return msgspec.convert([Command.__name__, "call", verb, names, number], Command)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{anchor.name}.{method}(): {error}") from error


def read_answer(
    anchor: ServiceAnchor, verb: str
) -> Callable[[tuple[bool, str, bytes]], Any]:
    """Return what makes a call's value of the interchange's answer.

    It raises TaskFailed if the answer is a no.
    """

    def read(answer: tuple[bool, str, bytes]) -> Any:
        is_done, text, body = answer
        if not is_done:
            raise TaskFailed(text)
        if verb not in _BODIES:
            return text
        picture = msgspec.json.decode(body, type=_BODIES[verb])
        return anchor.service.read_status(picture) if verb == "status" else picture

    return read
