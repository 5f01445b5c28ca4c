"""What a worker asks of the hub while it runs a task. Pure.

    SubmitTask, PutValue, CancelRef, ReleaseRefs     carried out, not answered
    GetValues, AwaitRefs, NextItem                   answered when what they wait for
                                                     is known, or given up (Abandon)

A worker speaks of refs by their numbers, and only of those that it holds.
"""

from collections.abc import Sequence
from functools import partial

import msgspec

from actors.embedded.deadlocks import find_cycle
from actors.embedded.hub import Hub
from actors.embedded.streams import Stream
from actors.embedded.tasks import CallSpec, Task
from actors.embedded.workers import HubWorker, PinStored
from actors.errors import BrokenInvariant
from actors.logic.workers import TellWorker
from actors.messages import (
    DYNAMIC,
    STREAMING,
    Abandon,
    AwaitRefs,
    CancelRef,
    Failure,
    FailureKind,
    FromWorker,
    GetValues,
    NextItem,
    PutValue,
    ReadyRefs,
    ReleaseRefs,
    SubmitTask,
    TaskOptions,
    Value,
    Values,
    WorkerId,
)
from actors.refs import ObjectRef, Promise, Settled, has_failed

__all__ = ["Requests"]

# Functions that workers called, whose options were looked at already. Chosen.
_MAX_SPECS = 1000


class _Request:
    """Something that a worker waits for."""

    __slots__ = ("blocks", "count", "is_endless", "missing", "promises", "request")

    def __init__(
        self,
        request: int,
        promises: Sequence[Promise],
        count: int,
        *,
        blocks: bool,
        is_endless: bool = True,
    ) -> None:
        self.request = request
        self.promises = promises
        self.count = count  # of AwaitRefs: that many will do; 0: of GetValues
        self.missing = 0
        self.blocks = blocks
        self.is_endless = is_endless


class Requests:
    """Carries out what workers say, on a hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._specs: dict[tuple[bytes, bytes], CallSpec] = {}

    def take(self, worker_id: WorkerId, message: FromWorker) -> None:
        """Carry out what a worker says."""
        hub = self.hub
        worker = hub.workers.get(worker_id) or hub.guests.get(worker_id)
        if worker is None:
            return
        match message:
            case SubmitTask():
                self._submit(worker, message)
            case PutValue(number, value):
                promise = self.made(worker, number)
                if value.failure is None:
                    (promise.outcome,) = self.hub.taken(worker, [value])
                else:
                    promise.outcome = Settled(value)
            case GetValues() | AwaitRefs():
                asked = _Request(
                    message.request,
                    [self._awaited(worker, number) for number in message.numbers],
                    message.count if isinstance(message, AwaitRefs) else 0,
                    blocks=message.blocks,
                    is_endless=message.is_endless,
                )
                self._ask(worker, asked)
            case NextItem():
                self._next_item(worker, message)
            case Abandon(request):
                self._give_up(worker, request)
            case ReleaseRefs(numbers, counts):
                for number, count in zip(numbers, counts, strict=True):
                    worker.let_go(number, count)
            case CancelRef(number, force, recursive, grace):
                ref = self.ref_of(worker, number)
                self.hub.cancel(ref, force=force, recursive=recursive, grace=grace)

    def ref_of(self, worker: HubWorker, number: int) -> Promise:
        """Return a ref that a worker holds."""
        entry = worker.holds.get(number)
        if entry is None:
            raise BrokenInvariant(f"{worker.worker_id} does not hold ref {number}")
        promise: Promise = entry[0]
        return promise

    def _awaited(self, worker: HubWorker, number: int) -> Promise:
        """Return what a worker waits for: of a generator, its next item."""
        ref = self.ref_of(worker, number)
        return ref.coming() if isinstance(ref, Stream) else ref

    def made(
        self, worker: HubWorker, number: int, ref: Promise | None = None
    ) -> Promise:
        """Take note of a ref that a worker has made, and holds."""
        promise = ObjectRef() if ref is None else ref
        promise.number = number
        self.hub.parcels.numbered[number] = promise
        worker.hold(promise)
        return promise

    def _submit(self, worker: HubWorker, asked: SubmitTask) -> None:
        hub, options = self.hub, asked.options
        returns: Promise | list[Promise]
        if options.num_returns == STREAMING:
            returns = self.made(worker, asked.numbers[0], Stream())
        elif options.num_returns in (1, DYNAMIC):
            returns = self.made(worker, asked.numbers[0])
        else:
            returns = [self.made(worker, number) for number in asked.numbers]
        arguments = asked.arguments
        held = [self.ref_of(worker, number) for number in arguments.refs]
        task = Task(
            self._spec(asked.function, options),
            self.arguments_of(worker, arguments),
            returns,
            [self.ref_of(worker, number) for number in asked.dependencies],
            held,
        )
        promises = [returns] if isinstance(returns, Promise) else returns
        for promise in promises:
            promise.task = task
        head = worker.head
        if head is not None:
            head.children = (head.children or []) + promises
        hub.accept(task)

    def arguments_of(self, worker: HubWorker, sent: Value) -> bytes | Settled:
        """Take over the arguments of a call; the refs in them are its own affair."""
        (taken,) = self.hub.taken(worker, [msgspec.structs.replace(sent, refs=[])])
        return taken

    def _spec(self, function: bytes, options: TaskOptions) -> CallSpec:
        key = (function, repr(options).encode())
        spec = self._specs.get(key)
        if spec is None:
            if len(self._specs) >= _MAX_SPECS:
                self._specs.clear()
            spec = self._specs[key] = CallSpec(function, options, options.name)
        return spec

    def _ask(self, worker: HubWorker, asked: _Request) -> None:
        unknown = [p for p in asked.promises if p.outcome is None]
        asked.missing = len(unknown)
        if asked.count:
            asked.missing -= len(asked.promises) - asked.count
        if asked.missing > 0 and asked.blocks and asked.is_endless:
            cycle = find_cycle(worker, unknown, asked.missing if asked.count else 0)
            if cycle:
                self._refuse(worker, asked.request, cycle)
                return
        worker.requests[asked.request] = asked
        if asked.missing <= 0:
            self._answer(worker, asked, was_blocked=False)
            return
        for promise in unknown:
            self.hub.when_known(promise, partial(self._known, worker, asked))
        if asked.blocks:
            self.hub.block(worker, unknown)

    def _refuse(self, worker: HubWorker, request: int, cycle: Sequence[str]) -> None:
        text = "waiting would never end: " + " waits for ".join(cycle)
        failure = Failure(FailureKind.DEADLOCK, text[0].upper() + text[1:])
        answer = Values(request, [Value(b"", failure=failure)])
        self.hub.effects.append(TellWorker(worker.worker_id, answer))

    def _give_up(self, worker: HubWorker, request: int) -> None:
        asked = worker.requests.get(request)
        if asked is None:
            return
        if asked.count:
            # Who asks which refs are known is told so, however few they are.
            self._answer(worker, asked, was_blocked=asked.blocks)
            return
        del worker.requests[request]
        if asked.blocks:
            self.hub.unblock(worker)

    def _known(self, worker: HubWorker, asked: _Request, promise: Promise) -> None:
        asked.missing -= 1
        if asked.missing and not asked.count and has_failed(promise):
            # Who wants them all has heard enough.
            asked.promises, asked.missing = [promise], 0
        if asked.missing == 0:
            self._answer(worker, asked, was_blocked=asked.blocks)

    def _answer(self, worker: HubWorker, asked: _Request, *, was_blocked: bool) -> None:
        if worker.requests.pop(asked.request, None) is None:
            return  # given up, or the worker is dead
        if was_blocked:
            self.hub.unblock(worker)
        answer: Values | ReadyRefs
        if asked.count:
            known = [p.number for p in asked.promises if p.outcome is not None]
            answer = ReadyRefs(asked.request, known)
        else:
            values = [self._given(worker, promise) for promise in asked.promises]
            answer = Values(asked.request, values)
        self.hub.effects.append(TellWorker(worker.worker_id, answer))

    def _given(self, worker: HubWorker, promise: Promise) -> Value:
        outcome = promise.outcome
        assert outcome is not None
        if not isinstance(outcome, Settled):
            return Value(outcome)
        for inner in outcome.inner:
            self.hub.parcels.give_ref(worker, inner)
        if outcome.value.is_stored:
            pin = PinStored(worker.worker_id, outcome.value.payload)
            self.hub.effects.append(pin)
        return outcome.value

    # For those who know of more to wait for

    def begin_wait(self, worker: HubWorker, request: int) -> None:
        """Note that a worker asks for something."""
        worker.requests[request] = _Request(request, [], 0, blocks=False)

    def block_on_any(
        self,
        worker: HubWorker,
        request: int,
        promises: Sequence[Promise],
        *,
        blocks: bool,
    ) -> None:
        """Have a worker wait for its answer, which any of these refs will bring.

        It is refused at once if it would wait for ever.
        """
        cycle = find_cycle(worker, promises, 1) if blocks else []
        if cycle:
            del worker.requests[request]
            self._refuse(worker, request, cycle)
            return
        worker.requests[request] = _Request(request, promises, 1, blocks=blocks)
        if blocks:
            self.hub.block(worker, promises)

    def end_wait(self, worker: HubWorker, request: int) -> bool:
        """Note that there is an answer; tell whether anybody waits for it still."""
        asked = worker.requests.pop(request, None)
        if asked is not None and asked.blocks:
            self.hub.unblock(worker)
        return asked is not None

    def _next_item(self, worker: HubWorker, asked: NextItem) -> None:
        stream = self.ref_of(worker, asked.number)
        assert isinstance(stream, Stream)
        cycle: list[str] = []
        if asked.blocks and not stream.items:
            cycle = find_cycle(worker, [stream])
        if cycle:
            self._refuse(worker, asked.request, cycle)
            return
        waits = _Request(asked.request, [stream], 0, blocks=asked.blocks)
        worker.requests[asked.request] = waits
        self._give_item(worker, stream, waits, was_blocked=False)

    def _give_item(
        self, worker: HubWorker, stream: Stream, waits: _Request, *, was_blocked: bool
    ) -> None:
        if waits.request not in worker.requests:
            return
        item = stream.take()
        if item is None and stream.outcome is None:
            again = partial(
                self._give_item, worker, stream, waits, was_blocked=waits.blocks
            )
            stream.item_waiters.append(again)
            if waits.blocks and not was_blocked:
                self.hub.block(worker, [stream])
            return
        del worker.requests[waits.request]
        if was_blocked:
            self.hub.unblock(worker)
        values = []
        if item is not None:
            number = self.hub.parcels.give_ref(worker, item)
            values.append(Value(b"", [number]))
        answer = Values(waits.request, values)
        self.hub.effects.append(TellWorker(worker.worker_id, answer))
