"""Host: what runs inside an actor's process.

The first call constructs the actor; each other one names a method of it. An actor whose
calls run one at a time is run by the main thread, as tasks are. Others have their calls
handed on by the main thread to the threads of their concurrency groups, or to an event
loop (`concurrency`).
"""

import importlib
import inspect
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from time import time
from typing import Any, Protocol

from msgspec.structs import replace

from actors.embedded.borrower import Borrower
from actors.embedded.lines import ActorLines
from actors.embedded.outcomes import load_value
from actors.embedded.payloads import dump_value, load_call, load_inline
from actors.messages import (
    METHOD_MARK,
    STREAMING,
    ActorExits,
    Began,
    Call,
    FailureKind,
    Gave,
    HostActor,
    Message,
    OpenLines,
    Ran,
    Run,
    Value,
    Yielded,
)
from actors.payload import load_function
from actors.perform import failed, not_loadable
from actors.refs import set_context
from actors.whereabouts import Whereabouts
from actors.worker import Progress, Worker

__all__ = ["ActorExit", "ActorHost", "leave_in_order", "run_host"]

_CONSTRUCTOR = METHOD_MARK + b"__init__"
# Calls at a time of an actor with async methods, unless told; Ray's number.
_ASYNC_CALLS = 1000
# Threads for the sync methods of such an actor. Chosen.
_ASYNC_THREADS = 64
_MESSAGE_BYTES = 64


class ActorExit(BaseException):
    """End the actor; raised by `actors.exit_actor`."""


class _Leave(BaseException):
    """Leave the worker's loop: the process ends in order."""


class _Lanes(Protocol):
    def take(self, run: Run | Call) -> None: ...
    def interrupt(self, seq: int) -> None: ...


class ActorHost(Borrower):
    """The context of an actor's process, and what performs its calls."""

    hosts_actor = True
    why_interrupted = "the call was cancelled"

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self.become: HostActor | None = None
        self.instance: Any = None
        self._methods: dict[bytes, Callable[..., Any]] = {}
        # {name: method} of those that the main thread runs, one at a time.
        self._serial_methods: dict[bytes, Callable[..., Any]] = {}
        self._concurrent: _Lanes | None = None
        self.is_exiting = False

    def hear(self, message: Message) -> None:
        """Take what comes besides calls; never block."""
        if isinstance(message, HostActor):
            self.become = message
            os.environ.update(message.environment)
            return
        if isinstance(message, OpenLines):
            lines = ActorLines(lambda gave: self.say(gave, _MESSAGE_BYTES, now=True))
            lines.open(message.path)
            self._worker.listen(lines, lines.fileno())
            return
        super().hear(message)
        seq = getattr(message, "seq", 0)
        if self._concurrent is not None and seq:
            self._concurrent.interrupt(seq)

    def perform(self, run: Run | Call) -> Ran | Gave | None:  # type: ignore[override]
        """Run a call, or hand it on."""
        if self.is_exiting:
            return None
        if type(run) is Run:
            method = self._serial_methods.get(run.function)
            if method is not None and not self._interrupted:
                # The usual case. A result that has ended the actor is no usual one.
                return self._checked(self._perform_plain(run, method, time()))
        if self._concurrent is not None:
            self._concurrent.take(run)
            return None
        self.say_begun(run)
        return self._checked(super().perform(run))

    def _checked(self, result: Ran | Gave) -> Ran | Gave:
        """Leave if the result has ended the actor."""
        if (type(result) is not Ran or not result.is_success) and self._ends(result):
            raise _Leave
        return result

    def say_begun(self, run: Run | Call) -> None:
        """Let the time of a call with a timeout begin."""
        if type(run) is Call and run.options.timeout:
            self.say(Began(run.seq), _MESSAGE_BYTES, now=True)

    def _ends(self, result: Ran | Gave) -> bool:
        """Tell whether a call has ended the actor, and say so."""
        error = _error_of(result)
        if isinstance(error, ActorExit):
            code: object = 0
        elif isinstance(error, SystemExit):
            code = error.code
        else:
            return False
        if code not in (0, None):
            # As a program would: somebody may want it back.
            os._exit(code if isinstance(code, int) else 1)
        self.exit(result.seq)
        return True

    def exit(self, seq: int) -> None:
        """Run nothing any more, and tell the hub."""
        self.is_exiting = True
        self.say(ActorExits(seq), _MESSAGE_BYTES, now=True)

    def whereabouts(self) -> Whereabouts:
        """Return where the code that asks runs, and for whom."""
        return replace(super().whereabouts(), actor=self.become)

    def _function(self, function: bytes) -> Callable[..., Any]:
        found = self._methods.get(function)
        if found is None:
            if not function.startswith(METHOD_MARK):
                return super()._function(function)
            if function == _CONSTRUCTOR:
                return self._class()
            found = self._methods[function] = getattr(
                self.instance, function[1:].partition(b"\0")[0].decode()
            )
            if self._concurrent is None:
                self._serial_methods[function] = found
        return found

    def _class(self) -> Callable[..., None]:
        assert self.become is not None, "a constructor came before the class"
        class_ = load_function(self.become.class_)
        options = self.become.options

        def construct(*args: Any, **kwargs: Any) -> None:
            self.instance = class_(*args, **kwargs)
            methods = inspect.getmembers(class_, inspect.isroutine)
            is_async = any(
                inspect.iscoroutinefunction(method)
                or inspect.isasyncgenfunction(method)
                for _, method in methods
            )
            calls = options.max_concurrency or (_ASYNC_CALLS if is_async else 1)
            if is_async or calls > 1 or options.groups:
                # By name, as most actors need neither its imports nor asyncio's.
                module = importlib.import_module("actors.embedded.concurrency")
                groups = {group.name: int(group.amount) for group in options.groups}
                threads = options.max_concurrency or _ASYNC_THREADS
                self._concurrent = module.Concurrency(
                    self, calls, groups, threads=threads, is_async=is_async
                )

        return construct

    # What `concurrency` needs

    def load(self, run: Run | Call) -> tuple[Any, Any, dict[str, Any]] | Ran:
        """Unpickle a call: (method, args, kwargs), or why that cannot be."""
        began_at = time()
        try:
            method = self._function(run.function)
            if isinstance(run, Run):
                return method, *load_inline(run.arguments)
            given = [run.arguments, *run.values]
            self._begin_loading(given)
            try:
                args, kwargs = load_call(
                    load_value(run.arguments, self._load_stored),
                    lambda index: load_value(run.values[index], self._load_stored),
                )
            finally:
                self._end_loading(given)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(run.seq, began_at, "Argument", error)
        else:
            return method, args, kwargs

    def finish(self, run: Run | Call, value: Any, began_at: float) -> Ran | Gave:
        """Make the result of a call that returned."""
        if isinstance(run, Call):
            if run.options.num_returns == STREAMING:
                return Gave(run.seq, [Value(b"")], began_at, time())
            if run.options.num_returns != 1:
                return self._results(run.seq, value, run.options, began_at)
        return self._result(run.seq, value, began_at)

    def fail(self, run: Run | Call, error: BaseException, began_at: float) -> Any:
        """Make the result of a call that raised; None: it has ended the actor."""
        if isinstance(run, Call):
            result = self._raised(run.seq, began_at, run.options, error)
        else:
            result = failed(run.seq, began_at, FailureKind.EXCEPTION, error)
        return None if self._ends(result) else result

    def stream(self, seq: int, items: Any, first: int) -> None:
        """Say what a generator gives."""
        self._stream(seq, items, first)

    async def stream_async(self, run: Run | Call, items: Any) -> None:
        """Say what an asynchronous generator gives."""
        index, first = 0, run.first_item if isinstance(run, Call) else 0
        async for item in items:
            if index >= first:
                value = self._value(*dump_value(item, f"Item {index}"))
                size = len(value.payload) + _MESSAGE_BYTES
                self.say(Yielded(run.seq, index, value), size, now=True)
            index += 1

    def is_cancelled(self, seq: int) -> bool:
        """Tell whether a call was cancelled before it began."""
        if seq in self._interrupted:
            self._interrupted.discard(seq)
            return True
        return False


def _error_of(result: Ran | Gave) -> object:
    failure, payload = None, b""
    if isinstance(result, Ran):
        failure, payload = result.failure, result.payload
    elif result.values:
        failure, payload = result.values[0].failure, result.values[0].payload
    if failure is None or not failure.message.startswith(("SystemExit", "ActorExit")):
        return None
    return pickle.loads(payload)


def run_host(main: socket.socket, control: socket.socket, progress: Progress) -> int:
    """Be an actor's process; return the exit code."""
    worker = Worker(main, control, progress)
    host = ActorHost(worker)
    assert threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGINT, host.on_interrupt)
    set_context(host)
    return leave_in_order(worker, host)


def leave_in_order(worker: Worker, host: ActorHost) -> int:
    """Run an actor's calls until it ends; return the exit code."""
    try:
        return worker.run(host)
    except _Leave:
        return 0
