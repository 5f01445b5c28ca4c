"""How a worker runs one task: bytes in, bytes out, whatever the user's code does."""

import os
import pickle
from collections.abc import Callable, Mapping
from time import time
from typing import Protocol

from actors.copies import end_if_copy
from actors.errors import PayloadTooLarge
from actors.interrupts import Interruptible, Speaker
from actors.messages import Call, Equip, Failure, FailureKind, Gave, Message, Ran, Run
from actors.payload import (
    FunctionCache,
    dump_exception,
    dump_result,
    load_arguments,
)
from actors.pipe import MAX_FRAME_BYTES
from actors.store.parts import Parts, join_parts
from actors.unpicklable import as_not_serializable, describe_load_error

__all__ = [
    "MAX_RESULT_BYTES",
    "Performer",
    "SimplePerformer",
    "failed",
    "not_loadable",
    "too_large",
]

# What fits into a frame with its other fields.
MAX_RESULT_BYTES = MAX_FRAME_BYTES - 2**20

_IMPORT_HINT = (
    "make it importable in the workers, e.g. by PYTHONPATH or worker_init of "
    "endpoint.toml"
)


class Performer(Protocol):
    """What a worker does with the messages of its owner."""

    def perform(self, run: Run | Call) -> Ran | Gave | None:
        """Run a task in the main thread; whatever its code raises is its result.

        None: it goes on elsewhere, and whoever runs it says its result.
        """
        ...

    def hear(self, message: Message) -> None:
        """Take any other message: from either pipe, in either thread; never block."""
        ...

    @property
    def needs_rest(self) -> bool:
        """Whether `rest` has anything to do."""
        ...

    def rest(self) -> None:
        """Do what is left to do before the worker waits for its next task."""
        ...


class SimplePerformer(Interruptible):
    """Runs tasks that know nothing of refs.

    Args:
        speaker: see `Interruptible`.
        write: puts what is large of a result in one place.
    """

    needs_rest = False

    def __init__(
        self,
        speaker: Speaker | None = None,
        write: Callable[[Parts], bytes] = join_parts,
    ) -> None:
        super().__init__(speaker)
        self._write = write
        self._functions = FunctionCache()
        self._equipment = Equipment()

    def perform(self, run: Run | Call) -> Ran | Gave:
        """Run a task. Whatever its code raises becomes its result.

        All references to arguments and value are gone when this returns.
        """
        began_at = time()
        if type(run) is not Run:
            return self._perform_call(run, began_at)  # type: ignore[arg-type]
        try:
            function = self._functions.load(run.function)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(run.seq, began_at, "Function", error)
        try:
            args, kwargs = load_arguments(run.arguments)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(run.seq, began_at, "Argument", error)
        try:
            try:
                self._running = run.seq
                if self._interrupted:
                    self._raise_if_interrupted()
                value = function(*args, **kwargs)
            finally:
                self._running = 0
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(run.seq, began_at, FailureKind.EXCEPTION, error)
        ended_at = time()
        try:
            payload = dump_result(value, write=self._write)
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(run.seq, began_at, FailureKind.NOT_SERIALIZABLE, error)
        if len(payload) > MAX_RESULT_BYTES:
            return too_large(run.seq, began_at, len(payload))
        return Ran(run.seq, True, payload, began_at, ended_at)

    def _perform_call(self, call: Call, began_at: float) -> Ran:
        """Run what is not simple."""
        raise AssertionError(f"a simple worker was given {call!r} at {began_at}")

    def hear(self, message: Message) -> None:
        """Take variables; drop the rest: it is for those who know refs."""
        if type(message) is Equip:
            self._equipment.change(message.environment)

    def rest(self) -> None:
        """Do nothing."""


class Equipment:
    """Variables that are set for one task, and no longer."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def change(self, environment: Mapping[str, str]) -> None:
        """Set variables; those set before become what they were."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)


def failed(seq: int, began_at: float, kind: FailureKind, error: BaseException) -> Ran:
    """Report an exception, which comes out of `perform` and shows none of it."""
    end_if_copy(error)
    ended_at = time()
    try:
        payload, summary, text = dump_exception(error, own_frames=1)
    except BaseException as reason:  # noqa: BLE001  the user's code
        # An exception that resists even this, or no memory left.
        summary = f"{type(error).__name__} (not shown: {type(reason).__name__})"
        payload, text = pickle.dumps(RuntimeError(summary)), ""
    return Ran(seq, False, payload, began_at, ended_at, Failure(kind, summary, text))


def not_loadable(seq: int, began_at: float, what: str, error: BaseException) -> Ran:
    """Report that a function or an argument cannot be unpickled here."""
    message = describe_load_error(what, error, _IMPORT_HINT)
    refusal = as_not_serializable(message, error)
    refusal.__cause__ = error
    return failed(seq, began_at, FailureKind.NOT_LOADABLE, refusal)


def too_large(seq: int, began_at: float, payload_bytes: int) -> Ran:
    """Report that a result does not fit into a frame."""
    error = PayloadTooLarge(
        f"Result of {payload_bytes} bytes exceeds {MAX_RESULT_BYTES} bytes; "
        "write it to a file and return its name"
    )
    return failed(seq, began_at, FailureKind.TOO_LARGE, error)
