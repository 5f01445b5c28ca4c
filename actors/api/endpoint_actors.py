"""Actors as seen from a program that uses an endpoint."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NoReturn, Protocol

from actors.api import services
from actors.api.services import ServiceAnchor
from actors.errors import ConfigError
from actors.messages import (
    METHOD_MARK,
    ActorOptions,
    ActorWork,
    Command,
    TaskOptions,
    encode_one,
)
from actors.plans import GroupPlan, MadeGroup
from actors.refs import ObjectRef

__all__ = ["EndpointActors"]


class _Runtime(Protocol):
    """What is needed of `OnEndpoint`."""

    def send_work(
        self, work: ActorWork, function: bytes, arguments: bytes, options: TaskOptions
    ) -> "Future[Any]": ...
    def ref_on(
        self, future: "Future[Any]", change: Callable[[Any], Any] | None = None
    ) -> ObjectRef[Any]: ...


class EndpointActors:
    """See `actors.refs.Actors`."""

    def __init__(self, runtime: _Runtime) -> None:
        self._runtime = runtime

    def prepare(self, method: bytes, options: TaskOptions) -> tuple[bytes, TaskOptions]:
        return method, options

    def call(
        self,
        anchor: ObjectRef[Any],
        spec: tuple[bytes, TaskOptions],
        method: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        name, options = spec
        if not isinstance(anchor, ServiceAnchor):
            self._refuse()
        text = name.removeprefix(METHOD_MARK).decode()
        command = services.command_for(anchor, text, args, kwargs)
        future = self._ask(anchor.name, command, options)
        return self._runtime.ref_on(future, services.read_answer(anchor, command.verb))

    def _ask(self, name: str, command: Command, options: TaskOptions) -> "Future[Any]":
        work = ActorWork(f"{services.NAMESPACE}/{name}", "command")
        return self._runtime.send_work(work, b"", encode_one(command), options)

    def create(
        self,
        class_: bytes,
        options: ActorOptions,
        constructor: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        self._refuse()

    def find(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        if namespace != services.NAMESPACE:
            self._refuse()
        status = Command("find", "status")
        whole = ServiceAnchor("interchange")
        answer = self._ask(name, status, TaskOptions(name="get_actor")).result()
        services.refuse_unknown(name, services.read_answer(whole, "status")(answer))
        anchor = ServiceAnchor(name)
        return anchor, services.picture_of(anchor)

    def kill(self, anchor: ObjectRef[Any], *, is_final: bool) -> None:
        self._refuse()

    def watch(self, anchor: ObjectRef[Any]) -> ObjectRef[Any]:
        self._refuse()

    def supervise(self, plan: GroupPlan) -> MadeGroup[ObjectRef[Any]]:
        self._refuse()

    def stop(self, anchor: ObjectRef[Any]) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigError(
            "Actors do not run on an endpoint yet; call actors.init() without an "
            "address to have them here"
        )
