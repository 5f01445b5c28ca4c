"""Actors as seen from the program itself."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from actors.embedded.actor_calls import Actor, ActorCall, Anchor, refuse_detached
from actors.embedded.directory import Directory
from actors.embedded.groups import Group, GroupAnchor
from actors.embedded.mailboxes import give_room_back, reserve
from actors.embedded.outcomes import load_value
from actors.embedded.payloads import Parts, dump_arguments, dump_call
from actors.embedded.streams import Stream
from actors.embedded.tasks import CallSpec, Task
from actors.logic.actor_life import LifeState
from actors.logic.resources import Need
from actors.logic.restarts import RestartKind
from actors.messages import STREAMING, ActorOptions, TaskOptions
from actors.plans import GroupPlan, MadeGroup
from actors.refs import ObjectRef, ObjectRefGenerator, Promise, Settled
from actors.task_errors import RuntimeClosedError

__all__ = ["DriverActors"]

T = TypeVar("T")

_ALIVE = LifeState.ALIVE


class _Runtime(Protocol):
    """What is needed of `Embedded`."""

    is_over: bool

    def enqueue(self, task: Task, *, is_urgent: bool = False) -> None: ...
    def command(self, command: Callable[[], object]) -> None: ...
    def steer(self, is_done: Callable[[], bool], timeout: float | None) -> None: ...
    def store_parts(self, parts: Parts) -> Settled: ...
    def generator_of(self, stream: Stream) -> ObjectRefGenerator[Any]: ...
    def load_stored(self, handle: bytes) -> Any: ...
    def look(self, read: Callable[[], T]) -> T: ...
    def refuse_if_impossible(self, need: Need, name: str) -> None: ...


class DriverActors:
    """See `actors.refs.Actors`."""

    def __init__(self, runtime: _Runtime, directory: Directory) -> None:
        self._runtime = runtime
        self._directory = directory

    def prepare(self, method: bytes, options: TaskOptions) -> CallSpec:
        return CallSpec(method, options, options.name)

    def call(
        self,
        anchor: Anchor,
        spec: CallSpec,
        method: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        actor = anchor.actor
        if self._runtime.is_over:
            raise RuntimeClosedError("The runtime was shut down; call actors.init()")
        dumped = dump_arguments(args, kwargs)
        if type(dumped) is bytes:
            arguments: bytes | Settled = dumped
            dependencies: Sequence[Promise] = ()
            held: Sequence[Promise] = ()
        else:
            arguments, dependencies, held = self._ready(method, args, kwargs, dumped)
        if spec.options.needs_room:
            self._reserve(actor)
        # Alone at an idle actor: it is likely to be waited for. With others: they can
        # go together.
        is_urgent = not actor.sent and actor.life.state is _ALIVE
        if spec.returns_one:
            ref: ObjectRef[Any] = ObjectRef()
            ref.task = call = ActorCall(
                actor, anchor, "", spec, arguments, ref, dependencies, held
            )
            self._runtime.enqueue(call, is_urgent=is_urgent)
            return ref
        call = ActorCall(actor, anchor, "", spec, arguments, [], dependencies, held)
        if spec.options.num_returns == STREAMING:
            stream = Stream()
            stream.task, call.returns = call, stream
            self._runtime.enqueue(call, is_urgent=is_urgent)
            return self._runtime.generator_of(stream)
        refs: list[ObjectRef[Any]] = [
            ObjectRef() for _ in range(spec.options.num_returns)
        ]
        for ref in refs:
            ref.task = call
        call.returns = [*refs]
        self._runtime.enqueue(call, is_urgent=is_urgent)
        return refs or None

    def _reserve(self, actor: Actor) -> None:
        """Wait until there is room for a call, or raise what is said instead."""
        answers: list[Settled | None] = []
        bell = threading.Event()
        has_left = False

        def tell(answer: Settled | None) -> None:
            if has_left and answer is None:
                give_room_back(actor, "")
            answers.append(answer)
            bell.set()

        def leave() -> None:
            nonlocal has_left
            if answers and answers[0] is None:
                give_room_back(actor, "")
            has_left = True

        self._runtime.command(lambda: reserve(actor, "", tell))
        try:
            self._runtime.steer(bell.is_set, None)
            bell.wait()
        except BaseException:
            self._runtime.command(leave)
            raise
        if answers[0] is not None:
            load_value(answers[0].value, self._runtime.load_stored)

    def _dump(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes | Settled, Sequence[Promise], Sequence[Promise]]:
        return self._ready(function, args, kwargs, dump_arguments(args, kwargs))

    def _ready(
        self,
        function: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        dumped: bytes | Parts | None,
    ) -> tuple[bytes | Settled, Sequence[Promise], Sequence[Promise]]:
        """Make arguments ready to be sent, from what `dump_arguments` returned."""
        dependencies: Sequence[Promise] = ()
        held: Sequence[Promise] = ()
        if dumped is None:
            dumped, dependencies, held = dump_call(function, args, kwargs)
        if isinstance(dumped, bytes):
            return dumped, dependencies, held
        return self._runtime.store_parts(dumped), dependencies, held

    def create(
        self,
        class_: bytes,
        options: ActorOptions,
        constructor: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        if self._runtime.is_over:
            raise RuntimeClosedError("The runtime was shut down; call actors.init()")
        refuse_detached(options)
        arguments, dependencies, held = self._dump(constructor, args, kwargs)
        directory = self._directory
        anchor = directory.prepare(class_, options, arguments, dependencies, held)
        self._runtime.refuse_if_impossible(anchor.actor.need, options.class_name)
        if not options.name:
            self._runtime.command(lambda: directory.admit(anchor))
            return anchor, options.picture
        return self._found(self._runtime.look(lambda: directory.admit(anchor)))

    def find(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        found = self._runtime.look(lambda: self._directory.find(name, namespace))
        return self._found(found)

    def _found(self, found: Any) -> tuple[ObjectRef[Any], bytes]:
        if isinstance(found, Settled):
            load_value(found.value, self._runtime.load_stored)
        assert isinstance(found, Anchor)
        return found, found.actor.options.picture

    def kill(self, anchor: Anchor, *, is_final: bool) -> None:
        actor = anchor.actor
        self._runtime.command(lambda: self._directory.kill(actor, is_final=is_final))

    def watch(self, anchor: Anchor) -> ObjectRef[Any]:
        ref: ObjectRef[Any] = ObjectRef()
        actor = anchor.actor
        self._runtime.command(lambda: self._directory.watch(actor, ref))
        return ref

    def supervise(self, plan: GroupPlan) -> MadeGroup[ObjectRef[Any]]:
        if self._runtime.is_over:
            raise RuntimeClosedError("The runtime was shut down; call actors.init()")
        group, made = self._prepare_group(plan)
        anchor = GroupAnchor(group)
        self._runtime.command(lambda: self._directory.supervise(anchor))
        assert isinstance(group.started, ObjectRef)
        return MadeGroup(anchor, group.started, made)

    def _prepare_group(
        self, plan: GroupPlan
    ) -> tuple[Group, dict[str, ObjectRef[Any] | MadeGroup[ObjectRef[Any]]]]:
        children: dict[str, tuple[RestartKind, Anchor | Group]] = {}
        made: dict[str, ObjectRef[Any] | MadeGroup[ObjectRef[Any]]] = {}
        for name, child in plan.children.items():
            if isinstance(child.what, GroupPlan):
                group, inner = self._prepare_group(child.what)
                children[name] = (child.kind, group)
                # Nobody waits for it alone, or lets go of it.
                made[name] = MadeGroup(ObjectRef(), ObjectRef(), inner)
            else:
                what = child.what
                dumped = self._dump(what.constructor, what.args, what.kwargs)
                anchor = self._directory.prepare(
                    what.class_, what.options, *dumped, is_supervised=True
                )
                need = anchor.actor.need
                self._runtime.refuse_if_impossible(need, what.options.class_name)
                children[name] = (child.kind, anchor)
                made[name] = anchor
        return self._directory.prepare_group(plan.options, children), made

    def stop(self, anchor: GroupAnchor) -> None:
        self._runtime.command(lambda: self._directory.stop_group(anchor.group))
