"""Parcels: what goes to workers with tasks, and what comes back with results. Pure.

Refs have numbers once they were in another process, and their holders are known by
these. What lies in shared memory is pinned as long as a worker reads it, and a long
function goes to a worker once.
"""

import itertools
import weakref
from collections import deque
from collections.abc import Iterable, Iterator

from actors.embedded.streams import Stream
from actors.embedded.tasks import CallSpec, Task
from actors.embedded.workers import (
    AdoptStored,
    ForWorker,
    HubWorker,
    PinStored,
    UnpinStored,
)
from actors.logic.resources import GPU_VARIABLE, name_gpus
from actors.logic.turn import Effect
from actors.messages import FUNCTION_MARK, Call, Define, Value
from actors.refs import Promise, Settled, StoredOutcome

__all__ = ["DEFINE_BYTES", "MAX_DEFINED", "Parcels"]

# Functions longer than this are sent once per worker and then called by number, as many
# as this. Chosen: a reference by name is shorter, and costs less than the bookkeeping.
DEFINE_BYTES = 128
MAX_DEFINED = 256


class Parcels:
    """The machine; see the module's docstring."""

    def __init__(self) -> None:
        # {number: ref} of all that were in another process, as long as somebody holds
        # them.
        self.numbered: weakref.WeakValueDictionary[int, Promise] = (
            weakref.WeakValueDictionary()
        )
        self.numbers = itertools.count(1)  # of refs
        # Handles of what lies in shared memory and is needed no more.
        self.released: deque[bytes] = deque()
        # Numbers of functions that are defined, as long as somebody may call them.
        self._keys: weakref.WeakKeyDictionary[CallSpec, int] = (
            weakref.WeakKeyDictionary()
        )
        self._next_key = itertools.count(1)

    def call_of(
        self,
        worker: HubWorker,
        task: Task,
        seq: int,
        function: bytes,
        effects: list[Effect],
    ) -> Call:
        """Make the message for a task that is not simple; note what goes with it.

        Args:
            worker: who runs it.
            task: with all its dependencies known.
            seq: its number there.
            function: pickled, or what it was defined as.
            effects: what follows goes in here.
        """
        arguments = task.arguments
        sent = Value(arguments) if isinstance(arguments, bytes) else arguments.value
        values = [_value_of(promise) for promise in task.dependencies]
        for value in (sent, *values):
            if value.is_stored:
                effects.append(PinStored(worker.worker_id, value.payload))
        refs = [self.give_ref(worker, promise) for promise in task.held]
        for promise in _inner_of(task.dependencies):
            self.give_ref(worker, promise)
        return Call(
            seq,
            function,
            Value(sent.payload, refs, sent.is_stored),
            values,
            task.spec.options,
            task.returns.known if isinstance(task.returns, Stream) else 0,
            _environment(worker) if task.spec.options.num_gpus else {},
        )

    def define(self, worker: HubWorker, spec: CallSpec, runs: list[ForWorker]) -> bytes:
        """Return what a call names a long function by.

        Args:
            worker: who is called.
            spec: of the function.
            runs: what goes to the worker; the function itself, if it is the first time.
        """
        key = self._keys.get(spec)
        if key is None:
            key = self._keys[spec] = next(self._next_key)
        if key not in worker.functions:
            if key not in worker.all_functions:
                if len(worker.all_functions) >= MAX_DEFINED:
                    return spec.function
                worker.all_functions.add(key)
            worker.functions.add(key)
            runs.append(Define(key, spec.function))
        return FUNCTION_MARK + str(key).encode()

    def take_back(self, worker: HubWorker, task: Task, effects: list[Effect]) -> None:
        """Take back the refs and the memory that went to a worker with a task."""
        arguments = task.arguments
        values = [_value_of(promise) for promise in task.dependencies]
        if isinstance(arguments, Settled):
            values.append(arguments.value)
        for value in values:
            if value.is_stored:
                effects.append(UnpinStored(worker.worker_id, value.payload))
        for promise in (*task.held, *_inner_of(task.dependencies)):
            worker.let_go(promise.number, 1)

    def give_ref(self, worker: HubWorker, promise: Promise) -> int:
        """Note that a worker is given a ref; return its number."""
        if not promise.number:
            promise.number = next(self.numbers)
            self.numbered[promise.number] = promise
        worker.hold(promise)
        return promise.number

    def taken(
        self, worker: HubWorker, value: Value, effects: list[Effect]
    ) -> bytes | Settled:
        """Make an outcome of what a worker sent, and hold the refs in it."""
        if not value.refs and not value.is_stored:
            return value.payload
        inner = [self.numbered[number] for number in value.refs]
        if not value.is_stored:
            return Settled(value, inner)
        effects.append(AdoptStored(worker.worker_id, value.payload))
        return StoredOutcome(value, inner, self.released)


def _inner_of(promises: Iterable[Promise]) -> Iterator[Promise]:
    for promise in promises:
        if isinstance(promise.outcome, Settled):
            yield from promise.outcome.inner


def _value_of(promise: Promise) -> Value:
    outcome = promise.outcome
    assert outcome is not None, "a task was placed before what it needs was known"
    return outcome.value if isinstance(outcome, Settled) else Value(outcome)


def _environment(worker: HubWorker) -> dict[str, str]:
    return {GPU_VARIABLE: name_gpus(worker.gpus, ())}
