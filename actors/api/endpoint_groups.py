"""Supervisors as a program on an endpoint makes them.

    start() ─► arguments of all constructors known ─► one task: the group, all in it
                                                        │
                                        ends when all are up, or never will be

A child's calls wait until the task has left; from then on the endpoint knows the child.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec

from actors.api import services
from actors.api.endpoint_anchors import EndpointAnchor, GroupAnchor
from actors.api.endpoint_refs import RefPromise, known_ref, ref_on
from actors.api.item_reader import Reading
from actors.logic.actor_life import DeathReason, Died
from actors.messages import (
    ActorWork,
    NewActor,
    NewChild,
    NewGroup,
    TaskOptions,
    encode_one,
)
from actors.plans import ActorPlan, ChildPlan, GroupPlan, MadeGroup
from actors.refs import ObjectRef
from actors.task_errors import ActorDiedError

__all__ = ["WorkSender", "supervise"]

_STARTING = TaskOptions(name="Supervisor.start")
_WATCHING = TaskOptions(name="Supervisor.watch")

Send = Callable[[tuple[Any, ...], dict[str, Any]], "Future[Any]"]


class WorkSender(Protocol):
    """What is needed of `OnEndpoint` to send what is for an actor."""

    def new_actor_id(self) -> str: ...
    def dump(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, Sequence[ObjectRef[Any]]]: ...
    def send_work(
        self,
        work: ActorWork,
        function: bytes,
        arguments: bytes,
        options: TaskOptions,
        kept: object,
        reading: Reading | None = None,
    ) -> "Future[Any]": ...


class _Actors(Protocol):
    """What is needed of `EndpointActors`."""

    def new_anchor(self, actor_id: str, limit: int, waits: bool) -> EndpointAnchor: ...
    def new_group_anchor(self, group_id: str) -> GroupAnchor: ...
    def never_made(self, anchor: EndpointAnchor, future: "Future[Any]") -> None: ...
    def send_in_turn(
        self,
        anchor: GroupAnchor,
        send: Send,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: TaskOptions,
    ) -> "Future[Any]": ...


class _Planned(msgspec.Struct):
    """A group whose actors have ids.

    Args:
        plan: of it.
        group_id: its id.
        actors: {name of a child: its anchor}.
        groups: {name of a child: it}.
    """

    plan: GroupPlan
    group_id: str
    actors: dict[str, EndpointAnchor] = msgspec.field(default_factory=dict)
    groups: "dict[str, _Planned]" = msgspec.field(default_factory=dict)

    def children(self) -> "list[tuple[ActorPlan, EndpointAnchor]]":
        """Return all actors in it, and in the groups in it."""
        found: list[tuple[ActorPlan, EndpointAnchor]] = []
        for name, child in self.plan.children.items():
            if isinstance(child.what, GroupPlan):
                found += self.groups[name].children()
            else:
                found.append((child.what, self.actors[name]))
        return found

    def made(self) -> dict[str, Any]:
        """Return the children as `MadeGroup` has them."""
        return {
            # Nobody waits for an inner one alone, or lets go of it.
            name: MadeGroup(known_ref(None), known_ref(None), self.groups[name].made())
            if name in self.groups
            else self.actors[name]
            for name in self.plan.children
        }


class _Start:
    """A group that is about to be sent, and then lets go of all in it.

    Futures keep who is told of their end: nothing that is told may keep handles.
    """

    def __init__(
        self,
        runtime: WorkSender,
        actors: _Actors,
        planned: _Planned,
        anchor: GroupAnchor,
    ) -> None:
        self.sent: Future[None] = Future()
        self.promise = RefPromise()  # ends when all are up, or never will be
        self._runtime = runtime
        self._actors = actors
        self._planned: _Planned | None = planned
        self._anchor: GroupAnchor | None = anchor

    def send(self, args: tuple[Any, ...], _kwargs: object) -> "Future[Any]":
        planned = self._planned
        assert planned is not None, "it was sent before"
        children = planned.children()
        dumped, held = _dumped(self._runtime, children, args)
        new = encode_one(_new_group(planned, dumped))
        work = ActorWork(planned.group_id, "supervise")
        kept = [self._anchor, held, [child for _, child in children]]
        future = self._runtime.send_work(work, b"", new, _STARTING, kept)
        self._let_go()
        return future

    def ended(self, future: "Future[Any]") -> None:
        """Note that all are up, or never will be."""
        if self._planned is None or future.cancelled():
            self.promise.end_as(future)
        else:
            # An argument of a constructor will never be known.
            cause = future.exception()
            text = f"Supervisor {self._planned.group_id} never began: {cause}"
            reason = DeathReason.CONSTRUCTOR_FAILED.value
            error = ActorDiedError(text, reason=reason)
            error.__cause__ = cause
            never: Future[Any] = Future()
            never.set_exception(error)
            self.promise.end_as(never)
        if self._planned is not None:
            for _, child in self._planned.children():
                self._actors.never_made(child, future)
            self._let_go()

    def _let_go(self) -> None:
        self._planned = self._anchor = None
        self.sent.set_result(None)


def supervise(
    runtime: WorkSender, actors: _Actors, plan: GroupPlan
) -> MadeGroup[ObjectRef[Any]]:
    """Make a supervisor; see `refs.Actors`.

    Raises:
        ConfigError: a child wants the namespace that is the endpoint's own.
        NotSerializable: an argument of a child cannot be pickled.
    """
    planned = _planned(plan, runtime, actors)
    children = planned.children()
    anchor = actors.new_group_anchor(planned.group_id)
    start = _Start(runtime, actors, planned, anchor)
    values = [v for each, _ in children for v in (*each.args, *each.kwargs.values())]
    future = actors.send_in_turn(anchor, start.send, tuple(values), {}, _STARTING)
    start.promise.source = future
    future.add_done_callback(start.ended)
    for _, child in children:
        child.lane.enter([start.sent], _nothing)
    watch(runtime, actors, anchor, start.promise)
    return MadeGroup(anchor, ref_on(start.promise), planned.made())


class _End:
    """Ends a supervisor's anchor, and keeps nothing after that."""

    def __init__(
        self, group_id: str, promise: RefPromise, started: "Future[Any] | None"
    ) -> None:
        self._group_id = group_id
        self._promise: RefPromise | None = promise
        self._started = started

    def __call__(self, watching: "Future[Any]") -> None:
        promise, started = self._promise, self._started
        self._promise = self._started = None
        assert promise is not None
        has_failed = not watching.cancelled() and watching.exception() is not None
        if not has_failed or started is None or not started.done():
            promise.end_as(watching)
            return
        # Nobody knows it as it was refused, or never sent.
        why = None if started.cancelled() else started.exception()
        if isinstance(why, ActorDiedError):
            death = DeathReason.RESTARTS_EXCEEDED
            died: Future[Died] = Future()
            died.set_result(Died(self._group_id, 1, death, True, str(why)))
            promise.end_as(died)
        else:
            promise.end_as(started)


def watch(
    runtime: WorkSender,
    actors: _Actors,
    anchor: GroupAnchor,
    started: "Future[Any] | None" = None,
) -> None:
    """Have an anchor know how its supervisor ends; if it never began, why."""
    work = ActorWork(anchor.group_id, "watch")

    def send(_args: object, _kwargs: object) -> "Future[Any]":
        # Watching keeps nobody alive.
        return runtime.send_work(work, b"", b"", _WATCHING, None)

    watching = actors.send_in_turn(anchor, send, (), {}, _WATCHING)
    promise = RefPromise()
    promise.source = watching
    watching.add_done_callback(_End(anchor.group_id, promise, started))
    anchor.task = promise


def _planned(plan: GroupPlan, runtime: WorkSender, actors: _Actors) -> _Planned:
    planned = _Planned(plan, runtime.new_actor_id())
    for name, child in plan.children.items():
        if isinstance(child.what, GroupPlan):
            planned.groups[name] = _planned(child.what, runtime, actors)
            continue
        options = child.what.options
        services.refuse_namespace(options.namespace)
        planned.actors[name] = actors.new_anchor(
            runtime.new_actor_id(), options.max_pending_calls, options.waits_for_room
        )
    return planned


def _dumped(
    runtime: WorkSender,
    children: "Sequence[tuple[ActorPlan, EndpointAnchor]]",
    values: Sequence[Any],
) -> tuple[dict[str, bytes], list[Any]]:
    """Pickle the arguments of all constructors, whose refs are known by now.

    Returns:
        {actor: its arguments}, and what must live until they have been read.
    """
    dumped: dict[str, bytes] = {}
    held: list[Any] = []
    left = iter(values)
    for plan, anchor in children:
        args = tuple(next(left) for _ in plan.args)
        kwargs = {name: next(left) for name in plan.kwargs}
        arguments, refs = runtime.dump(plan.constructor, args, kwargs)
        dumped[anchor.actor_id] = arguments
        held += refs
    return dumped, held


def _new_group(planned: _Planned, dumped: dict[str, bytes]) -> NewGroup:
    children = [
        _new_child(name, child, planned, dumped)
        for name, child in planned.plan.children.items()
    ]
    return NewGroup(planned.group_id, planned.plan.options, children)


def _new_child(
    name: str, child: ChildPlan, planned: _Planned, dumped: dict[str, bytes]
) -> NewChild:
    what = child.what
    if isinstance(what, GroupPlan):
        inner = _new_group(planned.groups[name], dumped)
        return NewChild(name, child.kind, group=inner)
    actor_id = planned.actors[name].actor_id
    new = NewActor(actor_id, what.class_, dumped[actor_id], what.options)
    return NewChild(name, child.kind, new)


def _nothing() -> None:
    """Let pass what waited behind it."""
