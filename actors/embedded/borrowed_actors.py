"""Actors as seen from a worker, or from an actor: what is done goes by the hub."""

from typing import Any, Protocol

from actors.embedded.actor_calls import refuse_detached
from actors.embedded.outcomes import load_value
from actors.embedded.straight_calls import StraightCalls
from actors.messages import (
    ActorOptions,
    CallActor,
    CreateActor,
    FindActor,
    KillActor,
    Message,
    ReserveCall,
    StopGroup,
    Supervise,
    SupervisedChild,
    TaskOptions,
    Value,
    Values,
    WatchActor,
)
from actors.plans import GroupPlan, MadeGroup
from actors.refs import BorrowedRef, ObjectRef

__all__ = ["BorrowedActors"]

# What a message takes besides its payload, roughly.
_MESSAGE_BYTES = 128


class _Borrower(Protocol):
    """What is needed of `Borrower`."""

    def say(self, message: Message, message_bytes: int, *, now: bool) -> None: ...
    def ask(self, ask: Any, timeout: float | None) -> Any: ...
    def dump(
        self, function: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Value, list[int]]: ...
    def new_ref(self) -> BorrowedRef[Any]: ...
    def new_refs(self, options: TaskOptions) -> list[BorrowedRef[Any]]: ...
    def returned(self, refs: list[BorrowedRef[Any]], options: TaskOptions) -> Any: ...
    def take_ref(self, value: Value) -> ObjectRef[Any]: ...


class BorrowedActors:
    """See `actors.refs.Actors`."""

    def __init__(self, borrower: _Borrower, straight: StraightCalls) -> None:
        self._borrower = borrower
        self._straight = straight

    def prepare(self, method: bytes, options: TaskOptions) -> Any:
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
        borrower = self._borrower
        arguments, dependencies = borrower.dump(method, args, kwargs)
        if options.needs_room:
            answer = borrower.ask(
                lambda request, blocks: ReserveCall(request, anchor.number, blocks),
                None,
            )
            for value in answer.values:
                load_value(value, _nothing_stored)
        refs = borrower.new_refs(options)
        numbers = [ref.number for ref in refs]
        call = CallActor(numbers, anchor.number, name, arguments, dependencies, options)
        borrower.say(call, _MESSAGE_BYTES + len(arguments.payload), now=False)
        self._straight.said(call)
        return borrower.returned(refs, options)

    def create(
        self,
        class_: bytes,
        options: ActorOptions,
        constructor: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        refuse_detached(options)
        borrower = self._borrower
        arguments, dependencies = borrower.dump(constructor, args, kwargs)
        if options.name:
            return self._answer(
                lambda request, blocks: CreateActor(
                    0, class_, arguments, dependencies, options, request, blocks
                )
            )
        anchor = borrower.new_ref()
        create = CreateActor(anchor.number, class_, arguments, dependencies, options)
        size = _MESSAGE_BYTES + len(class_) + len(arguments.payload)
        borrower.say(create, size, now=True)
        return anchor, options.picture

    def find(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        return self._answer(
            lambda request, blocks: FindActor(request, name, namespace, blocks)
        )

    def kill(self, anchor: ObjectRef[Any], *, is_final: bool) -> None:
        self._borrower.say(KillActor(anchor.number, is_final), _MESSAGE_BYTES, now=True)

    def watch(self, anchor: ObjectRef[Any]) -> ObjectRef[Any]:
        ref = self._borrower.new_ref()
        self._borrower.say(
            WatchActor(ref.number, anchor.number), _MESSAGE_BYTES, now=True
        )
        return ref

    def supervise(self, plan: GroupPlan) -> MadeGroup[ObjectRef[Any]]:
        message, made, size = self._planned(plan)
        self._borrower.say(message, size, now=True)
        return made

    def _planned(
        self, plan: GroupPlan
    ) -> tuple[Supervise, MadeGroup[ObjectRef[Any]], int]:
        borrower = self._borrower
        made: MadeGroup[ObjectRef[Any]] = MadeGroup(
            borrower.new_ref(), borrower.new_ref()
        )
        children, size = [], _MESSAGE_BYTES
        for name, child in plan.children.items():
            if isinstance(child.what, GroupPlan):
                group, inner, bytes_ = self._planned(child.what)
                made.children[name] = inner
                children.append(SupervisedChild(name, child.kind, group=group))
                size += bytes_
            else:
                what, anchor = child.what, borrower.new_ref()
                arguments, dependencies = borrower.dump(
                    what.constructor, what.args, what.kwargs
                )
                made.children[name] = anchor
                actor = CreateActor(
                    anchor.number, what.class_, arguments, dependencies, what.options
                )
                children.append(SupervisedChild(name, child.kind, actor))
                size += len(what.class_) + len(arguments.payload) + _MESSAGE_BYTES
        anchors = (made.anchor.number, made.started.number)
        return Supervise(*anchors, plan.options, children), made, size

    def stop(self, anchor: ObjectRef[Any]) -> None:
        self._borrower.say(StopGroup(anchor.number), _MESSAGE_BYTES, now=True)

    def _answer(self, ask: Any) -> tuple[ObjectRef[Any], bytes]:
        answer = self._borrower.ask(ask, None)
        assert isinstance(answer, Values)
        (value,) = answer.values
        if value.failure is not None:
            load_value(value, _nothing_stored)
        return self._borrower.take_ref(value), value.payload


def _nothing_stored(_handle: bytes) -> Any:
    raise AssertionError("a failure is never stored")
