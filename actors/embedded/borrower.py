"""The embedded runtime in a worker: runs tasks, and lets them call, get and put.

Everything that a task wants goes to the hub over the worker's own pipe, between its
results; answers come over the control pipe, whose thread hands them to who waits. What
is not waited for (calls, puts, refs let go) travels with the next thing that is.

An `Interrupt` becomes a KeyboardInterrupt in the task.
"""

import itertools
import os
import pickle
import signal
import socket
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from time import time
from typing import Any

import msgspec

from actors.embedded.borrowed_actors import BorrowedActors
from actors.embedded.outcomes import load_value
from actors.embedded.payloads import (
    INLINE_BYTES,
    NO_ARGUMENTS,
    PLAIN,
    PROTOCOL,
    Parts,
    dump_arguments,
    dump_call,
    dump_value,
    load_call,
    load_inline,
)
from actors.embedded.straight_calls import StraightCalls
from actors.embedded.tasks import refuse_worker_type
from actors.errors import GetTimeoutError
from actors.interrupts import Interruptible
from actors.messages import (
    DYNAMIC,
    FUNCTION_MARK,
    REF_COUNT_BITS,
    STREAMING,
    Abandon,
    AwaitRefs,
    Call,
    CancelRef,
    Define,
    FailureKind,
    Gave,
    GetValues,
    Interrupt,
    Introduce,
    Message,
    NextItem,
    OfferLine,
    PutValue,
    Ran,
    ReadyRefs,
    ReleaseRefs,
    ReleaseStored,
    Run,
    SubmitTask,
    TaskOptions,
    Value,
    Values,
    Yielded,
)
from actors.payload import FunctionCache, is_stateless, load_function
from actors.perform import failed, not_loadable
from actors.refs import (
    BorrowedRef,
    ObjectRef,
    ObjectRefGenerator,
    Promise,
    set_context,
)
from actors.store import StoreClient, Stored, StoreFolders
from actors.whereabouts import Whereabouts
from actors.worker import Progress, Worker

__all__ = ["CURRENT_SEQ", "Borrower", "run_borrower"]

# Which call a thread or a coroutine of an actor runs; 0: none.
CURRENT_SEQ: ContextVar[int] = ContextVar("CURRENT_SEQ", default=0)

_folders: msgspec.msgpack.Decoder[StoreFolders] = msgspec.msgpack.Decoder(StoreFolders)
_stored: msgspec.msgpack.Decoder[Stored] = msgspec.msgpack.Decoder(Stored)
_encode = msgspec.msgpack.Encoder().encode

# What a message takes besides its payload, roughly.
_MESSAGE_BYTES = 64


class _Waiter:
    """A thread that waits for an answer."""

    __slots__ = ("answer", "bell")

    def __init__(self) -> None:
        self.bell = threading.Event()
        self.answer: Values | ReadyRefs | None = None


class Borrower(Interruptible):
    """The context of a worker process, and what performs its tasks.

    Args:
        worker: says things to the hub.
    """

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        self._worker = worker
        self._functions = FunctionCache()
        self._defined: dict[bytes, Callable[..., Any]] = {}
        self._definitions: dict[bytes, bytes] = {}  # not called yet
        self._numbers = itertools.count()
        self._requests = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}
        self._client: StoreClient | None = None
        # Refs: how often each was given to us, and the handles that live.
        self._given: Counter[int] = Counter()
        self._loading: Counter[int] = Counter()  # values with them are being loaded
        self._refs: weakref.WeakValueDictionary[int, BorrowedRef[Any]] = (
            weakref.WeakValueDictionary()
        )
        self._gone: deque[int] = deque()  # handles that died: any thread, any moment
        self._lock = threading.Lock()  # around _given and _refs
        self.namespace = ""
        self._job_id = ""
        self._straight = StraightCalls(worker, self)
        self.actors = BorrowedActors(self, self._straight)

    # Performing

    def perform(self, run: Run | Call) -> Ran | Gave:
        """Run a task; whatever its code raises is its result."""
        began_at = time()
        if type(run) is Call:
            return self._perform_call(run, began_at)
        assert isinstance(run, Run)
        seq = run.seq
        try:
            function = self._function(run.function)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(seq, began_at, "Function", error)
        return self._perform_plain(run, function, began_at)

    def _perform_plain(
        self, run: Run, function: Callable[..., Any], began_at: float
    ) -> Ran | Gave:
        seq = run.seq
        try:
            args, kwargs = load_inline(run.arguments)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(seq, began_at, "Argument", error)
        try:
            try:
                self._running = seq
                if self._interrupted:
                    self._raise_if_interrupted()
                value = function(*args, **kwargs)
            finally:
                self._running = 0
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.EXCEPTION, error)
        del args, kwargs
        return self._result(seq, value, began_at)

    def _result(self, seq: int, value: Any, began_at: float) -> Ran | Gave:
        ended_at = time()
        if type(value) in PLAIN and not self._gone:
            # Measured: 1.5 us less than by what follows, of 4.5 for the whole task.
            data = pickle.dumps(value, PROTOCOL)
            if len(data) <= INLINE_BYTES:
                return Ran(seq, True, data, began_at, ended_at)
        try:
            dumped, held = dump_value(value)
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.NOT_SERIALIZABLE, error)
        if self._gone:
            self._let_go()
        if type(dumped) is bytes and not held:
            return Ran(seq, True, dumped, began_at, ended_at)
        try:
            return Gave(seq, [self._value(dumped, held)], began_at, ended_at)
        except Exception as error:  # noqa: BLE001  no room for it
            return failed(seq, began_at, FailureKind.TOO_LARGE, error)

    def _perform_call(self, call: Call, began_at: float) -> Ran | Gave:
        seq = call.seq
        given = [call.arguments, *call.values]
        self._begin_loading(given)
        try:
            function = self._function(call.function)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(seq, began_at, "Function", error)
        try:
            args, kwargs = load_call(
                load_value(call.arguments, self._load_stored),
                lambda index: load_value(call.values[index], self._load_stored),
            )
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(seq, began_at, "Argument", error)
        finally:
            self._end_loading(given)
        before = {name: os.environ.get(name) for name in call.environment}
        os.environ.update(call.environment)
        options = call.options
        try:
            try:
                self._running = seq
                if self._interrupted:
                    self._raise_if_interrupted()
                value = function(*args, **kwargs)
                if options.num_returns == STREAMING:
                    self._stream(seq, value, call.first_item)
                elif options.num_returns == DYNAMIC:
                    value = [self.put(item) for item in value]
            finally:
                self._running = 0
        except BaseException as error:  # noqa: BLE001  the user's code
            return self._raised(seq, began_at, options, error)
        finally:
            for name, old in before.items():
                if old is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = old
        del args, kwargs
        if options.num_returns == STREAMING:
            return Gave(seq, [Value(b"")], began_at, time())
        if options.num_returns in (1, DYNAMIC):
            return self._result(seq, value, began_at)
        return self._results(seq, value, options, began_at)

    def _raised(
        self, seq: int, began_at: float, options: TaskOptions, error: BaseException
    ) -> Ran | Gave:
        ran = failed(seq, began_at, FailureKind.EXCEPTION, error)
        if self._gone:
            self._let_go()
        if not options.retry_on or not isinstance(
            error, pickle.loads(options.retry_on)
        ):
            return ran
        value = Value(ran.payload, failure=ran.failure)
        return Gave(seq, [value], began_at, ran.ended_at, is_retriable=True)

    def _results(
        self, seq: int, value: Any, options: TaskOptions, began_at: float
    ) -> Ran | Gave:
        """Report several results as one each."""
        ended_at = time()
        try:
            items = list(value) if options.num_returns else []
            if len(items) != options.num_returns:
                raise ValueError(
                    f"{options.name or 'the task'} returned {len(items)} values, but "
                    f"its num_returns is {options.num_returns}"
                )
            values = [self._value(*dump_value(item)) for item in items]
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.NOT_SERIALIZABLE, error)
        if self._gone:
            self._let_go()
        return Gave(seq, values, began_at, ended_at)

    def _stream(self, seq: int, items: Any, first: int) -> None:
        for index, item in enumerate(items):
            if index >= first:
                value = self._value(*dump_value(item, f"Item {index}"))
                size = len(value.payload) + _MESSAGE_BYTES
                self.say(Yielded(seq, index, value), size, now=True)

    def _function(self, function: bytes) -> Callable[..., Any]:
        if not function.startswith(FUNCTION_MARK):
            return self._functions.load(function)
        found = self._defined.get(function)
        if found is None:
            found = load_function(self._definitions[function])
            # What carries state is found by each call as it was sent.
            if is_stateless(found):
                self._defined[function] = found
                del self._definitions[function]
        return found

    # Values

    def _value(self, dumped: bytes | Parts, held: Sequence[ObjectRef[Any]]) -> Value:
        numbers = [ref.number for ref in held]
        if isinstance(dumped, bytes):
            return Value(dumped, numbers)
        assert self._client is not None, "a task came before the introduction"
        return Value(_encode(self._client.write(dumped)), numbers, is_stored=True)

    def _load_stored(self, handle: bytes) -> Any:
        assert self._client is not None, "a task came before the introduction"
        return self._client.load(_stored.decode(handle))

    def _begin_loading(self, values: Sequence[Value]) -> None:
        """Note which refs were given to us with these, and keep them meanwhile."""
        with self._lock:
            for value in values:
                self._given.update(value.refs)
                self._loading.update(value.refs)

    def _end_loading(self, values: Sequence[Value]) -> None:
        with self._lock:
            for value in values:
                for number in value.refs:
                    self._loading[number] -= 1
                    if not self._loading[number]:
                        del self._loading[number]
                # Whatever no handle was made of may go at once.
                self._gone.extend(value.refs)

    def _let_go(self) -> None:
        """Tell of refs that have no handle here any more, and of memory unread."""
        numbers, counts = [], []
        with self._lock:
            for _ in range(len(self._gone)):
                number = self._gone.popleft()
                if self._loading[number] > 0:
                    self._gone.append(number)
                elif number not in self._refs:
                    self._straight.forget(number)
                    if self._given[number]:
                        numbers.append(number)
                        counts.append(self._given.pop(number))
        if numbers:
            size = _MESSAGE_BYTES * len(numbers)
            self.say(ReleaseRefs(numbers, counts), size, now=False)

    @property
    def needs_rest(self) -> bool:
        """Whether `rest` has anything to do."""
        client = self._client
        return bool(self._gone) or (client is not None and client.has_released)

    def rest(self) -> None:
        """Let go of what the tasks so far have left behind."""
        if self._gone:
            self._let_go()
        self._release_stored()

    def _release_stored(self) -> None:
        if self._client is None:
            return
        names = self._client.take_released()
        if names:
            size = _MESSAGE_BYTES * len(names)
            self.say(ReleaseStored(names), size, now=False)

    # What it hears

    def hear(self, message: Message) -> None:
        """Take what comes besides tasks; never block."""
        match message:
            case Interrupt(seq):
                self.interrupt(seq)
            case Values(request) | ReadyRefs(request):
                waiter = self._waiters.pop(request, None)
                if waiter is not None:
                    waiter.answer = message
                    waiter.bell.set()
                elif isinstance(message, Values):
                    self._decline(message)
            case Define(key, function):
                name = FUNCTION_MARK + str(key).encode()
                if name not in self._defined:  # it may be told again after a recall
                    self._definitions[name] = function
            case OfferLine():
                self._straight.offered(message)
            case Introduce(index, folders, namespace, job_id):
                self.namespace, self._job_id = namespace, job_id
                self._numbers = itertools.count((index << REF_COUNT_BITS) + 1)
                self._client = StoreClient(_folders.decode(folders), f"w{index}")

    def is_cancelled_here(self) -> bool:
        """Tell whether the task whose code asks this was interrupted."""
        seq = self.running_seq()
        return seq > 0 and seq in self._cancelled

    def running_seq(self) -> int:
        """Return the number of the task or call whose code asks; 0: of none."""
        is_main = threading.get_ident() == self._main
        return self._running if is_main else CURRENT_SEQ.get()

    def whereabouts(self) -> Whereabouts:
        """Return where the code that asks runs, and for whom."""
        return Whereabouts(self._job_id, self.namespace, self.running_seq())

    def _decline(self, answer: Values) -> None:
        """Give back what nobody waits for any more."""
        self._begin_loading(answer.values)
        self._end_loading(answer.values)
        assert self._client is not None
        for value in answer.values:
            if value.is_stored:
                self._client.skip(_stored.decode(value.payload))

    # For `StraightCalls`

    def own(self, number: int) -> None:
        """Note that a ref is this process's alone: the owner does not know of it."""
        with self._lock:
            self._given.pop(number, None)

    def tidy(self) -> None:
        """Let go of what belongs to refs that are gone."""
        if self._gone:
            self._let_go()

    def share(self, number: int) -> None:
        """Note that the owner is about to learn of a ref."""
        with self._lock:
            self._given[number] += 1

    # The context of the tasks that run here

    def prepare(
        self, function: bytes, options: TaskOptions, name: str
    ) -> tuple[bytes, TaskOptions]:
        """Keep what all calls of a function have in common.

        Raises:
            ConfigError: it needs what there will never be.
        """
        refuse_worker_type(options, name)
        if not options.name:
            options = msgspec.structs.replace(options, name=name)
        return function, options

    def submit(
        self,
        spec: tuple[bytes, TaskOptions],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call a function in another worker; the hub hears of it with the next news.

        Raises:
            NotSerializable: an argument cannot be pickled.
        """
        pickled, options = spec
        arguments, dependencies = self.dump(function, args, kwargs)
        refs = self.new_refs(options)
        submit = SubmitTask(
            [ref.number for ref in refs],
            pickled,
            arguments,
            dependencies,
            options,
        )
        size = _MESSAGE_BYTES + len(pickled) + len(arguments.payload)
        self.say(submit, size, now=False)
        return self.returned(refs, options)

    def dump(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Value, list[int]]:
        """Pickle the arguments of a call; return them and the refs among them.

        Raises:
            NotSerializable: an argument cannot be pickled.
        """
        dependencies: list[ObjectRef[Any]] = []
        held: list[ObjectRef[Any]] = []
        dumped: bytes | Parts | None = NO_ARGUMENTS
        if args or kwargs:
            dumped = dump_arguments(args, kwargs)
            if dumped is None:
                dumped, dependencies, held = dump_call(function, args, kwargs)
        assert dumped is not None
        if dependencies:
            self._straight.publish([ref.number for ref in dependencies])
        return self._value(dumped, held), [ref.number for ref in dependencies]

    def new_refs(self, options: TaskOptions) -> list[BorrowedRef[Any]]:
        """Make the refs that a call with these options returns."""
        count = 1 if options.num_returns < 0 else options.num_returns
        return [self.new_ref() for _ in range(count)]

    def returned(self, refs: list[BorrowedRef[Any]], options: TaskOptions) -> Any:
        """Return what a call with these options returns."""
        if options.num_returns == STREAMING:
            return self.generator_of(refs[0])
        if options.num_returns in (1, DYNAMIC):
            return refs[0]
        return refs or None

    def new_ref(self) -> BorrowedRef[Any]:
        """Make a ref of our own; the hub hears of it with what makes its value."""
        number = next(self._numbers)
        ref: BorrowedRef[Any] = BorrowedRef(number, self._gone.append)
        with self._lock:
            self._given[number] += 1
            self._refs[number] = ref
        return ref

    def generator_of(self, stream: BorrowedRef[Any]) -> ObjectRefGenerator[Any]:
        indexes = itertools.count()

        def take() -> ObjectRef[Any] | None:
            index = next(indexes)
            answer = self.ask(
                lambda request, blocks: NextItem(request, stream.number, index, blocks),
                None,
            )
            assert isinstance(answer, Values)
            if not answer.values:
                return None
            if answer.values[0].failure is not None:
                load_value(answer.values[0], self._load_stored)
            return self.take_ref(answer.values[0])

        # Who waits for a stream waits for its next item: see `Requests`.
        return ObjectRefGenerator(take, stream, lambda: stream)

    def take_ref(self, value: Value) -> ObjectRef[Any]:
        """Return the ref that was given to us in an answer."""
        self._begin_loading([value])
        (number,) = value.refs
        ref = self.arrive(number)
        self._end_loading([value])
        return ref

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Wait for all values and return them.

        Raises:
            GetTimeoutError: not all are known after `timeout` seconds.
            BaseException: the first failure among them.
        """
        if not refs:
            return []
        numbers = [ref.number for ref in refs]
        known = self._straight.get(numbers, timeout)
        if known is not None:
            return [load_value(value, self._load_stored) for value in known]
        answer = self.ask(
            lambda request, blocks: GetValues(
                request, numbers, blocks, timeout is None
            ),
            timeout,
        )
        if not isinstance(answer, Values):
            raise GetTimeoutError(
                f"{len(refs)} values are not known after {timeout:g} s; their tasks "
                "go on"
            )
        self._begin_loading(answer.values)
        unread = deque(answer.values)
        try:
            loaded = []
            while unread:
                loaded.append(load_value(unread.popleft(), self._load_stored))
            return loaded
        finally:
            self._end_loading(answer.values)
            for value in unread:
                if value.is_stored and self._client is not None:
                    self._client.skip(_stored.decode(value.payload))

    def wait(
        self, refs: Sequence[ObjectRef[Any]], count: int, timeout: float | None
    ) -> list[bool]:
        """Wait until so many are known; tell of each whether it is."""
        numbers = [ref.number for ref in refs]
        self._straight.publish(numbers)
        answer = self.ask(
            lambda request, blocks: AwaitRefs(
                request, numbers, count, blocks, timeout is None
            ),
            timeout,
            is_answered_late=True,
        )
        if isinstance(answer, Values):
            load_value(answer.values[0], self._load_stored)
        assert isinstance(answer, ReadyRefs)
        ready = set(answer.numbers)
        return [number in ready for number in numbers]

    def ask(
        self,
        ask: Callable[[int, bool], Message],
        timeout: float | None,
        *,
        is_answered_late: bool = False,
    ) -> Values | ReadyRefs | None:
        """Send a request and wait for its answer; None: there is none in time.

        Args:
            ask: makes it of its number, and whether the task waits for it.
            timeout: seconds; None: for ever.
            is_answered_late: whether giving it up is answered, too.
        """
        if self._gone:
            self._let_go()
        self._release_stored()
        request, waiter = next(self._requests), _Waiter()
        self._waiters[request] = waiter
        try:
            message = ask(request, threading.get_ident() == self._main)
            self.say(message, _MESSAGE_BYTES, now=True)
            if not waiter.bell.wait(timeout):
                self.say(Abandon(request), _MESSAGE_BYTES, now=True)
                if is_answered_late:
                    waiter.bell.wait()
        except BaseException:
            # Interrupted. An answer that comes all the same is declined.
            self._waiters.pop(request, None)
            self._worker.say(Abandon(request), _MESSAGE_BYTES, now=True)
            raise
        if waiter.answer is None:
            self._waiters.pop(request, None)
        return waiter.answer

    def put(self, value: Any) -> ObjectRef[Any]:
        """Make a ref on a value.

        Raises:
            NotSerializable: it cannot be pickled.
        """
        sent = self._value(*dump_value(value, "Value"))
        ref = self.new_ref()
        size = _MESSAGE_BYTES + len(sent.payload)
        self.say(PutValue(ref.number, sent), size, now=False)
        return ref

    def cancel(
        self,
        ref: Promise,
        *,
        force: bool,
        recursive: bool,
        grace: float = -1.0,
    ) -> None:
        """Give up the task that brings a value."""
        self._straight.publish([ref.number])
        message = CancelRef(ref.number, force, recursive, grace)
        self.say(message, _MESSAGE_BYTES, now=True)

    def subscribe(
        self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None]
    ) -> None:
        """Have something called, in a thread of its own, when a ref is known."""

        def wait_and_tell() -> None:
            self.wait([ref], 1, None)
            callback(ref)

        threading.Thread(target=wait_and_tell, daemon=True).start()

    def number_of(self, ref: ObjectRef[Any]) -> int:
        """Return the ref's name in other processes: here it has no other."""
        self._straight.publish([ref.number])
        return ref.number

    def arrive(self, number: int) -> ObjectRef[Any]:
        """Return the ref that was pickled as this number."""
        with self._lock:
            ref = self._refs.get(number)
            if ref is None:
                ref = self._refs[number] = BorrowedRef(number, self._gone.append)
            return ref


def run_borrower(
    main: socket.socket, control: socket.socket, progress: Progress
) -> int:
    """Be a worker of the embedded runtime; return the exit code."""
    worker = Worker(main, control, progress)
    borrower = Borrower(worker)
    signal.signal(signal.SIGINT, borrower.on_interrupt)
    set_context(borrower)
    return worker.run(borrower)
