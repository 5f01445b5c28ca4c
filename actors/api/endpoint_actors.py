"""Actors as seen from a program that uses an endpoint.

    .remote(...) ──► lane of the actor ──► a task with a word on the actor (ActorWork)

A process has one *anchor* for each actor that it has handles on, see
`endpoint_anchors`.
"""

import pickle
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NoReturn, Protocol

from actors.api import endpoint_groups, services
from actors.api.endpoint_anchors import EndpointAnchor, GroupAnchor
from actors.api.item_reader import ItemReader
from actors.api.services import ServiceAnchor
from actors.errors import ConfigError, PendingCallsLimitExceeded
from actors.logic.actor_life import DeathReason
from actors.logic.resources import Need
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
from actors.task_errors import ActorDiedError

__all__ = ["EndpointActors", "Sending"]


class Sending:
    """A call that may have to wait for its arguments, or be made again.

    Args:
        send: pickles and sends it.
        args: its arguments; refs are replaced when they are known.
        kwargs: those by name.
    """

    def __init__(
        self,
        send: Callable[[tuple[Any, ...], dict[str, Any]], "Future[Any]"],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.send = send
        self.args = args
        self.kwargs = kwargs


class _Runtime(endpoint_groups.WorkSender, Protocol):
    """What is needed of `OnEndpoint`."""

    is_within: bool

    @property
    def is_resolving(self) -> bool: ...
    def new_reader(self, returns: int) -> ItemReader | None: ...
    def await_room(
        self, room: threading.Semaphore, pending: "Sequence[Future[Any]]"
    ) -> None: ...
    def wish(self, work: ActorWork) -> "Future[Any]": ...
    def wish_only(self, work: ActorWork) -> None: ...
    def later(
        self, sending: Sending, options: TaskOptions
    ) -> "tuple[Future[Any], Callable[[], None]]": ...
    def send_now(
        self,
        send: Callable[[tuple[Any, ...], dict[str, Any]], "Future[Any]"],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> "Future[Any] | None": ...
    def unknown_inside(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> "list[Future[Any]]": ...
    def unknown_among(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> "list[Future[Any]]": ...
    def returned(
        self, future: "Future[Any]", returns: int, reader: ItemReader | None
    ) -> Any: ...
    def ref_on(
        self, future: "Future[Any]", change: Callable[[Any], Any] | None = None
    ) -> ObjectRef[Any]: ...


class EndpointActors:
    """See `actors.refs.Actors`."""

    def __init__(self, runtime: _Runtime) -> None:
        self._runtime = runtime
        self._anchors: weakref.WeakValueDictionary[str, EndpointAnchor] = (
            weakref.WeakValueDictionary()
        )
        self._groups: weakref.WeakValueDictionary[str, GroupAnchor] = (
            weakref.WeakValueDictionary()
        )
        self._lock = threading.Lock()  # around the making of anchors

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
        if isinstance(anchor, ServiceAnchor):
            return self._call_service(anchor, name, options, args, kwargs)
        mine = _checked(anchor)
        if mine.room is not None and not mine.room.acquire(blocking=False):
            if not mine.waits:
                raise PendingCallsLimitExceeded(
                    f"{mine.limit} calls wait at actor {mine.actor_id}, which is its "
                    "max_pending_calls; get some results first"
                )
            self._runtime.await_room(mine.room, list(mine.pending))
        work = ActorWork(mine.actor_id, "call")
        reader = self._runtime.new_reader(options.num_returns)
        reading = None if reader is None else weakref.ref(reader)

        def send(args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Future[Any]":
            if mine.error is not None:
                raise mine.error
            arguments, held = self._runtime.dump(method, args, kwargs)
            kept = [mine, held]
            return self._runtime.send_work(
                work, name, arguments, options, kept, reading
            )

        future = self.send_in_turn(mine, send, args, kwargs, options)
        if mine.room is not None:
            mine.pending.add(future)
            future.add_done_callback(_Countdown(mine))
        return self._runtime.returned(future, options.num_returns, reader)

    def send_in_turn(
        self,
        anchor: EndpointAnchor | GroupAnchor,
        send: Callable[[tuple[Any, ...], dict[str, Any]], "Future[Any]"],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: TaskOptions,
    ) -> "Future[Any]":
        """Send something, behind all that waits to be sent to the same actor."""
        runtime = self._runtime
        missing = runtime.unknown_among(args, kwargs)
        if anchor.lane.is_empty and not missing and not options.own_retries:
            sent = runtime.send_now(send, args, kwargs)
            if sent is not None:
                return sent
        missing += runtime.unknown_inside(send, args, kwargs)
        future, begin = self._runtime.later(Sending(send, args, kwargs), options)
        anchor.lane.enter(missing, begin)
        return future

    def _call_service(
        self,
        anchor: ServiceAnchor,
        name: bytes,
        options: TaskOptions,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> ObjectRef[Any]:
        text = name.removeprefix(METHOD_MARK).decode()
        command = services.command_for(anchor, text, args, kwargs)
        future = self._ask(anchor.name, command, options)
        return self._runtime.ref_on(future, services.read_answer(anchor, command.verb))

    def _ask(self, name: str, command: Command, options: TaskOptions) -> "Future[Any]":
        work = ActorWork(f"{services.NAMESPACE}/{name}", "command")
        return self._runtime.send_work(work, b"", encode_one(command), options, None)

    def create(
        self,
        class_: bytes,
        options: ActorOptions,
        constructor: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        services.refuse_namespace(options.namespace)
        runtime = self._runtime
        anchor = self.new_anchor(
            runtime.new_actor_id(), options.max_pending_calls, options.waits_for_room
        )
        work = ActorWork(anchor.actor_id, "create", options)
        named = TaskOptions(name=f"{options.class_name}.__init__")

        def send(args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Future[Any]":
            arguments, held = runtime.dump(constructor, args, kwargs)
            kept = [anchor, held]
            return runtime.send_work(work, class_, arguments, named, kept)

        future = self.send_in_turn(anchor, send, args, kwargs, named)
        if options.name or Need.of(options).amounts:
            # It may be refused.
            found = future.result()
            return self._introduced(*found)
        future.add_done_callback(_Unmade(anchor))
        if anchor.lane.is_empty:
            self._settle(future)
        return anchor, options.picture

    def find(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        asking = TaskOptions(name="get_actor")
        if namespace == services.NAMESPACE:
            command, whole = Command("find", "status"), ServiceAnchor("interchange")
            answer = self._ask(name, command, asking).result()
            services.refuse_unknown(name, services.read_answer(whole, "status")(answer))
            service = ServiceAnchor(name)
            return service, services.picture_of(service)
        work = ActorWork("", "find")
        future = self._runtime.send_work(
            work, name.encode(), namespace.encode(), asking, None
        )
        return self._introduced(*future.result())

    def _introduced(
        self, actor_id: str, picture: bytes
    ) -> tuple[ObjectRef[Any], bytes]:
        known = pickle.loads(picture)
        limit, waits = known.max_pending_calls, known.waits_for_room
        return self.arrive(actor_id, limit, waits), picture

    def arrive(self, actor_id: str, limit: int, waits: bool) -> EndpointAnchor:
        """Return the anchor of an actor that we have heard of."""
        with self._lock:
            anchor = self._anchors.get(actor_id)
        if anchor is not None:
            return anchor
        anchor = self.new_anchor(actor_id, limit, waits)
        # Also if the endpoint knows it: what it knows may be about to be taken back.
        self._settle(self._runtime.wish(ActorWork(actor_id, "hold")))
        return anchor

    def new_anchor(self, actor_id: str, limit: int, waits: bool) -> EndpointAnchor:
        with self._lock:
            anchor = EndpointAnchor(actor_id, limit, waits, self._released)
            self._anchors[actor_id] = anchor
        return anchor

    def _released(self, anchor: EndpointAnchor) -> None:
        """In any thread, at any moment: note that an anchor goes."""
        # Another one may have been made already.
        if self._anchors.get(anchor.actor_id) in (None, anchor):
            self._runtime.wish_only(ActorWork(anchor.actor_id, "release"))

    def kill(self, anchor: ObjectRef[Any], *, is_final: bool) -> None:
        mine = _checked(anchor)
        work = ActorWork(mine.actor_id, "kill" if is_final else "restart")
        self._tell(mine, work, "kill")

    def watch(self, anchor: ObjectRef[Any]) -> ObjectRef[Any]:
        mine = _checked(anchor)
        future = self._tell(mine, ActorWork(mine.actor_id, "watch"), "watch")
        return self._runtime.ref_on(future)

    def supervise(self, plan: GroupPlan) -> MadeGroup[ObjectRef[Any]]:
        return endpoint_groups.supervise(self._runtime, self, plan)

    def stop(self, anchor: ObjectRef[Any]) -> None:
        if not isinstance(anchor, GroupAnchor):
            raise _astray(anchor)
        work = ActorWork(anchor.group_id, "stop")
        self._tell(anchor, work, "Supervisor.stop")

    def new_group_anchor(self, group_id: str) -> GroupAnchor:
        """Make the anchor of a supervisor that this process did not know."""
        with self._lock:
            anchor = GroupAnchor(group_id, self._group_released)
            self._groups[group_id] = anchor
        return anchor

    def arrive_group(self, group_id: str) -> GroupAnchor:
        """Return the anchor of a supervisor that we have heard of."""
        with self._lock:
            anchor = self._groups.get(group_id)
        if anchor is None:
            anchor = self.new_group_anchor(group_id)
            # As with an actor, see `arrive`.
            self._settle(self._runtime.wish(ActorWork(group_id, "hold")))
            endpoint_groups.watch(self._runtime, self, anchor)
        return anchor

    def _group_released(self, anchor: GroupAnchor) -> None:
        if self._groups.get(anchor.group_id) in (None, anchor):
            self._runtime.wish_only(ActorWork(anchor.group_id, "release"))

    @staticmethod
    def never_made(anchor: EndpointAnchor, future: "Future[Any]") -> None:
        """Note for an actor's calls why it could not be made."""
        _Unmade(anchor)(future)

    def _tell(
        self, anchor: EndpointAnchor | GroupAnchor, work: ActorWork, name: str
    ) -> "Future[Any]":
        options = TaskOptions(name=name)

        def send(_args: object, _kwargs: object) -> "Future[Any]":
            # Watching keeps nobody alive.
            return self._runtime.send_work(work, b"", b"", options, None)

        return self.send_in_turn(anchor, send, (), {}, options)

    def _settle(self, future: "Future[Any]") -> None:
        """In a task or an actor: wait until the endpoint knows that we have a handle.

        Else our result could take it to where the actor is not known yet, or drop the
        only other one before we are counted. (One that comes in another's result, which
        we must not wait with, is covered by the time that actors live on without.)
        """
        if self._runtime.is_within and not self._runtime.is_resolving:
            # Whatever it brings; who calls the actor learns it.
            future.exception()


class _Countdown:
    """Counts a call as answered."""

    def __init__(self, anchor: EndpointAnchor) -> None:
        self._anchor: EndpointAnchor | None = anchor

    def __call__(self, future: "Future[Any]") -> None:
        anchor, self._anchor = self._anchor, None
        if anchor is not None:
            assert anchor.room is not None
            anchor.pending.discard(future)
            anchor.room.release()


class _Unmade:
    """Notes why an actor could not be made, for its calls."""

    def __init__(self, anchor: EndpointAnchor) -> None:
        self._anchor = weakref.ref(anchor)

    def __call__(self, future: "Future[Any]") -> None:
        anchor = self._anchor()
        if anchor is None or future.cancelled():
            return
        cause = future.exception()
        if cause is not None:
            text = f"Actor {anchor.actor_id} was never made: {cause}"
            reason = DeathReason.CONSTRUCTOR_FAILED.value
            anchor.error = ActorDiedError(text, reason=reason)
            anchor.error.__cause__ = cause


def _checked(anchor: ObjectRef[Any]) -> EndpointAnchor:
    if isinstance(anchor, ServiceAnchor):
        _refuse_service(anchor)
    if not isinstance(anchor, EndpointAnchor):
        raise _astray(anchor)
    return anchor


def _astray(anchor: ObjectRef[Any]) -> TypeError:
    return TypeError(f"{anchor} is not of this runtime: it was made before init()")


def _refuse_service(anchor: ServiceAnchor) -> NoReturn:
    raise ConfigError(
        f"{anchor.name} is the endpoint's own: the supervisor looks after it; "
        "`actors stop` ends the endpoint"
    )
