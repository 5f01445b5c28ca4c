"""Embedded: worker processes of this program, and the calls that it makes on them.

    user's thread ──submit──► inbox ──┐
                                      ├─ round ─► hub ─► effects ─► pool ─► workers
    pool ──what workers said──────────┘

A round is run by whoever waits for a value, or else by a thread of its own (see
`actors.helm`). A call only puts its task into the inbox; if a worker is idle, or many
tasks are there, it runs a round then and there: so a call alone leaves at once, and
many calls leave in batches.

Only rounds touch the hub and the pool.
"""

import itertools
import logging
import math
import os
import random
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from actors.embedded.actor_calls import ActorCall
from actors.embedded.crew import Crew
from actors.embedded.directory import Directory
from actors.embedded.driver_actors import DriverActors
from actors.embedded.failures import closed
from actors.embedded.hub import Hub
from actors.embedded.outcomes import load_all
from actors.embedded.output import Printer
from actors.embedded.payloads import (
    Parts,
    dump_arguments,
    dump_call,
    dump_value,
)
from actors.embedded.pictures import ProgramState, picture_of_program
from actors.embedded.shell import Shell
from actors.embedded.streams import Stream
from actors.embedded.tasks import CallSpec, Task, refuse_worker_type
from actors.embedded.waiters import Waiters, is_known
from actors.embedded.window import open_window
from actors.errors import ConfigError, GetTimeoutError, PayloadTooLarge
from actors.helm import Helm
from actors.logic.resources import CPU, Capacity, Need
from actors.messages import (
    STREAMING,
    Failure,
    TaskOptions,
    Value,
)
from actors.pool import Pool
from actors.refs import (
    ObjectRef,
    ObjectRefGenerator,
    Promise,
    Settled,
    StoredOutcome,
    has_failed,
)
from actors.store import Store, Stored
from actors.task_errors import RuntimeClosedError
from actors.whereabouts import Whereabouts

__all__ = ["Embedded"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

# What workers run, see `forkserver.Program`.
_PROGRAM = "actors.embedded.borrower:run_borrower"

# So many tasks are put into the inbox before a round is run for them. Measured, no-op
# tasks a second: 32: 90,000; 64: 108,000; 128: 122,000; 256: 151,000; 512: not more.
TASKS_PER_ROUND = 256
# A call that comes so soon after a round for another waits for company: for
# TASKS_PER_ROUND of it, for somebody who waits for a value, or for the hub's thread,
# which looks a millisecond after that round. Chosen: some ten calls.
BURST_PERIOD = 0.0002
# If the last wait was shorter than this, and so few tasks are under way, we look again
# and again for so long before we sleep: to be woken costs us and the worker more than
# all the rest of a short call. Measured: p50 of a call 60 to 80 us instead of 110.
BRISK, FEW_TASKS = 0.0001, 1
# The answer to a call is waited for so long in one step with its sending. Chosen:
# longer than a short call; less than what else there is may have to wait.
ALONE_PERIOD = 0.001
# How often output of workers is looked for while tasks run, and else. Chosen: what a
# person takes for at once; and next to nothing.
LOOK_PERIOD, IDLE_LOOK_PERIOD = 0.1, 1.0
# Free memory of the store is given back when nothing ran for so long. Chosen: longer
# than a person at a prompt thinks.
TRIM_AFTER = 5.0
# A function is sent in one frame, which holds four times as much. Chosen.
MAX_FUNCTION_BYTES = 1 << 30
# Longer paths leave no room for the name of a socket, of 107 bytes in all.
MAX_LINES_FOLDER = 85
# Rows of one kind that who looks from outside gets; chosen: some milliseconds.
_MOST_ROWS = 1000
# A round looks up at least so often.
_LONGEST_SLEEP = 60.0

# Of this process, whatever its runtimes: a ref may outlive its own, and be given to the
# next one's workers, who name theirs by their indexes.
_REF_NUMBERS, _WORKER_INDEXES = itertools.count(1), itertools.count(1)
_NUMBERED: weakref.WeakValueDictionary[int, Promise] = weakref.WeakValueDictionary()

_stored: msgspec.msgpack.Decoder[Stored] = msgspec.msgpack.Decoder(Stored)
_encode = msgspec.msgpack.Encoder().encode


class Embedded:
    """The runtime of one program.

    Args:
        num_workers: processes to keep; as many tasks run at a time, if each takes one
            processor.
        resources: further amounts that tasks may ask for, GPU among them.
        max_workers: processes that there may be while tasks wait for each other.
        pool: of no workers yet, closed with the runtime; default: one of our own.
        initializer: a pickled function and its arguments, called in each worker first.
        log_to_driver: whether what workers print appears on our standard error.
        namespace: where names of actors are looked up, and given, unless told.
    """

    def __init__(
        self,
        num_workers: int,
        resources: dict[str, float],
        max_workers: int,
        *,
        pool: Pool | None = None,
        initializer: tuple[bytes, bytes] | None = None,
        log_to_driver: bool = True,
        most_tasks: int = 0,
        namespace: str = "",
    ) -> None:
        self._capacity = Capacity({CPU: num_workers, **resources})
        self._store = Store()
        crew = Crew(
            num_workers,
            max_workers,
            random.Random(),
            _encode(self._store.folders),
            initializer,
        )
        crew.indexes = _WORKER_INDEXES
        self._hub = Hub(self._capacity, crew, most_tasks)
        self._hub.parcels.numbers = _REF_NUMBERS
        self._hub.parcels.numbered = _NUMBERED
        self.namespace = crew.namespace = namespace
        crew.job_id = f"{socket.gethostname()}-{os.getpid()}"
        self._directory = Directory(self._hub, random.Random(), self.wake)
        self._calls = self._directory.calls
        # Sockets of actors stand beside the objects: the folder is this user's alone,
        # and is removed with all in it, however this process ends.
        folder = self._store.folders.memory or self._store.folders.spill
        lines_folder = folder if len(folder) <= MAX_LINES_FOLDER else ""
        self.actors = DriverActors(self, self._directory)
        self._pool = pool or Pool(None, program=_PROGRAM)
        self._shell = Shell(
            self._hub, self._directory, self._pool, self._store, lines_folder
        )
        self._inbox: deque[Task | Callable[[], object]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_rung = False
        self._pool.watch(self._bell, self._hear)
        self._look_at = 0.0
        self._printer = Printer() if log_to_driver else None
        self._is_prompt = False  # what was sent alone was answered within a moment
        self._is_brisk = False  # what is waited for comes within a moment, of late
        self._busy_at = math.inf  # when a task was seen under way last
        self.is_over = False
        self._is_closed = False
        self._nudged_at = -math.inf  # when a call last ran a round, or had one run
        self._number_lock = threading.Lock()
        self._close_lock = threading.RLock()
        self._closing_reason = ""
        self._is_left = False  # nothing more will be asked
        self._helm = Helm(self)
        self._waiters = Waiters(self, self._hub, self._helm)
        self._thread = threading.Thread(
            target=self._serve, name="actors-hub", daemon=True
        )
        self._began_at = time.monotonic()
        self._hub.crew.start(self._began_at, self._hub.effects)
        self._shell.carry_out()
        self._thread.start()
        self._window = open_window(self.picture)

    # The loop

    @property
    def is_idle(self) -> bool:
        """Whether no task is known that has not ended."""
        return not self._hub.unended and not self._inbox

    @property
    def broken(self) -> Failure | None:
        """Why no task can run any more, if none can."""
        return self._hub.broken

    def wake(self) -> None:
        """End the wait of the round that is under way, or of the next one."""
        # Once until it has been heard: it is a system call.
        if not self._is_rung and not self._is_closed:
            self._is_rung = True
            os.eventfd_write(self._bell, 1)

    def _hear(self) -> None:
        os.eventfd_read(self._bell)
        self._is_rung = False

    def round(self, longest: float) -> None:
        """Take what users want, wait for what workers say, and do what follows."""
        try:
            self._round(longest)
        except Exception as error:  # noqa: BLE001  logged there
            self._break(error)

    def _break(self, error: Exception) -> None:
        # Nothing that is half done may be gone on with; nobody shall wait for it.
        logger.error("the runtime ends: this is a bug of it", exc_info=error)
        self._finish(f"the runtime broke: {type(error).__name__}: {error}")

    def _round(self, longest: float) -> None:
        hub = self._hub
        now = time.monotonic()
        if self._inbox:
            self._take_inbox()
            if self.is_over:
                return
            hub.place(now)
            self._directory.place(now)
            if hub.effects:
                self._shell.carry_out()
        wake_at = min(hub.wake_at, self._directory.wake_at)
        if longest > 0:
            until = min(wake_at, self._look_at)
            longest = max(0.0, min(longest, until - now, _LONGEST_SLEEP))
        events = self._pool.read(longest, BRISK if self._is_brisk else 0)
        asked_at, now = now, time.monotonic()
        self._is_brisk = now - asked_at < BRISK and len(hub.unended) <= FEW_TASKS
        take = self._shell.take
        for event in events:
            take(event, now)
        if wake_at <= now:
            hub.tick(now)
        hub.place(now)
        self._directory.place(now)
        if hub.effects:
            self._shell.carry_out()
        if hub.parcels.released:
            self._shell.release()
        self._store.collect()
        if self._look_at <= now:
            self._look_around(now)
        if self._is_left and self.is_idle:
            self._finish("the runtime was shut down")

    def _take_inbox(self) -> None:
        inbox, hub = self._inbox, self._hub
        for _ in range(len(inbox)):
            item = inbox.popleft()
            if type(item) is Task:
                hub.accept(item)
            elif type(item) is ActorCall:
                self._calls.accept(item)
            else:
                item()  # type: ignore[operator]

    # What workers print

    def _look_around(self, now: float) -> None:
        """Do what is to be done now and then."""
        if not self.is_idle:
            self._busy_at = now
        elif now > self._busy_at + TRIM_AFTER:
            self._busy_at = math.inf  # once
            self._store.trim()
        period = IDLE_LOOK_PERIOD if self.is_idle else LOOK_PERIOD
        self._look_at = now + period
        if self._printer is not None:
            self._printer.show(self._pool.read_output())

    # Calls

    def prepare(self, function: bytes, options: TaskOptions, name: str) -> CallSpec:
        """Look at what all calls of a function have in common.

        Raises:
            ConfigError: it needs what there will never be.
            PayloadTooLarge: it refers to more than a gigabyte.
        """
        if len(function) > MAX_FUNCTION_BYTES:
            raise PayloadTooLarge(
                f"Function {name} of {len(function)} bytes exceeds "
                f"{MAX_FUNCTION_BYTES} bytes; give it what is large as an argument"
            )
        refuse_worker_type(options, name)
        spec = CallSpec(function, options, name)
        self.refuse_if_impossible(spec.need, spec.name)
        return spec

    def refuse_if_impossible(self, need: Need, name: str) -> None:
        """Raise ConfigError if something needs more than there will ever be."""
        lack = self._capacity.lack(need, of_all=True)
        if lack:
            total = self._capacity.total().get(lack, 0)
            raise ConfigError(
                f"{name} needs {need}, but there is {total:g} {lack} in all; give more "
                "to actors.init(), or ask for less"
            )

    def submit(
        self,
        spec: CallSpec,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        waiter: Callable[[Promise], object] | None = None,
    ) -> Any:
        """Call a function in a worker.

        Args:
            spec: what `prepare` returned.
            function: to name it in errors.
            args: its arguments.
            kwargs: those by name.
            waiter: called with the ref in the round that brings its outcome.

        Returns:
            As `num_returns` says: a ref, a list of refs, an ObjectRefGenerator.

        Raises:
            NotSerializable: an argument cannot be pickled.
            RuntimeClosedError: after `close`.
        """
        if self._is_closed:
            raise RuntimeClosedError("The runtime was shut down; call actors.init()")
        dependencies: Sequence[Promise] = ()
        held: Sequence[Promise] = ()
        dumped = dump_arguments(args, kwargs)
        if dumped is None:
            dumped, dependencies, held = dump_call(function, args, kwargs)
        arguments = dumped if isinstance(dumped, bytes) else self.store_parts(dumped)
        if spec.returns_one:
            ref: ObjectRef[Any] = ObjectRef()
            ref.task = task = Task(spec, arguments, ref, dependencies, held)
            if waiter is not None:
                ref.waiters = [waiter]
            self.enqueue(task)
            return ref
        return self._submit_other(Task(spec, arguments, [], dependencies, held))

    def _submit_other(self, task: Task) -> Any:
        """Submit a task that returns several refs, or a generator's."""
        if task.spec.options.num_returns == STREAMING:
            stream = Stream()
            stream.task = task
            task.returns = stream
            self.enqueue(task)
            return self.generator_of(stream)
        refs: list[ObjectRef[Any]] = []
        for _ in range(task.spec.options.num_returns):
            ref: ObjectRef[Any] = ObjectRef()
            ref.task = task
            refs.append(ref)
        task.returns = [*refs]
        self.enqueue(task)
        return refs or None

    def enqueue(self, task: Task, *, is_urgent: bool = False) -> None:
        """Take a task; send it at once if nothing else is likely to come with it.

        Args:
            task: new.
            is_urgent: whether what would run it is idle; a worker is looked for anyway.
        """
        inbox = self._inbox
        inbox.append(task)
        if self.is_over:
            self._late()
            return
        if len(inbox) >= TASKS_PER_ROUND:
            self._nudged_at = time.monotonic()
            self._helm.nudge()
        elif is_urgent or self._hub.idle:
            now = time.monotonic()
            if now - self._nudged_at > BURST_PERIOD or self._helm.is_taken:
                self._nudged_at = now
                self._helm.nudge()

    def command(self, command: Callable[[], object]) -> None:
        """Have something done in the next round, which is soon."""
        self._inbox.append(command)
        self._helm.nudge()
        if self.is_over:
            self._late()

    def _late(self) -> None:
        """Deal with what may have come after the last round."""
        with self._close_lock:
            self._give_up_inbox()

    def store_parts(self, parts: Parts, held: Sequence[Promise] = ()) -> StoredOutcome:
        handle = _encode(self._store.write(parts))
        numbers = [ref.number for ref in held]
        value = Value(handle, numbers, is_stored=True)
        return StoredOutcome(value, held, self._hub.parcels.released)

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Wait for all values and return them.

        Raises:
            GetTimeoutError: not all are known after `timeout` seconds.
            BaseException: the first failure among them.
        """
        for ref in refs:
            if ref.outcome is None:
                if len(refs) == 1 and timeout is None and len(self._inbox) == 1:
                    # Sent and answered in one step, if it is alone.
                    self._helm.attempt(self._exchange, ref.task)
                    if is_known(ref):
                        break
                self._wait_for_all(refs, timeout)
                break
        return load_all([ref.outcome for ref in refs], self.load_stored)  # type: ignore[misc]

    def _exchange(self, task: Task) -> None:
        """In place of a round: send a task and take its result, if it is alone.

        What a round does, without looking at all that cannot be: nothing else is under
        way. If anything comes in between, rounds go on where this ends.
        """
        hub, inbox = self._hub, self._inbox
        # Only rounds take from the inbox; others may have added to it.
        if hub.unended or hub.effects or not inbox or inbox[0] is not task:
            return
        try:
            if type(task) is ActorCall:
                run = self._calls.send_alone(task)
            else:
                run = hub.send_alone(task, time.monotonic())
            if run is None:
                return
            inbox.popleft()
            worker_id = task.worker.worker_id
            asked_at = time.monotonic()
            brisk = BRISK if self._is_prompt else 0.0
            ran = self._pool.exchange(worker_id, run, ALONE_PERIOD, brisk)
            now = time.monotonic()
            self._is_prompt = now - asked_at < BRISK
            if ran is None:
                return
            if type(task) is ActorCall:
                self._calls.ran_alone(task, ran, now)
            else:
                hub.ran(worker_id, [ran], now)
        except Exception as error:  # noqa: BLE001  logged there
            self._break(error)

    def _wait_for_all(
        self, refs: Sequence[ObjectRef[Any]], timeout: float | None
    ) -> None:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._waiters.wait_for(refs, len(refs), deadline, or_one_failed=True)
        for ref in refs:
            if ref.outcome is None:
                load_all([r.outcome for r in refs if has_failed(r)], self.load_stored)  # type: ignore[misc]
                raise GetTimeoutError(
                    f"{ref} is not known after {timeout:g} s; its task goes on"
                )

    def load_stored(self, handle: bytes) -> Any:
        """Return the value that lies in shared memory."""
        return self._store.load(_stored.decode(handle))

    def wait(
        self, refs: Sequence[ObjectRef[Any]], count: int, timeout: float | None
    ) -> list[bool]:
        """Wait until so many are known; tell of each whether it is.

        Args:
            refs: which.
            count: how many of them will do, at most all.
            timeout: seconds; None: for ever.
        """
        if sum(ref.outcome is not None for ref in refs) < count:
            deadline = math.inf if timeout is None else time.monotonic() + timeout
            self._waiters.wait_for(refs, count, deadline)
        return [ref.outcome is not None for ref in refs]

    def generator_of(self, stream: Stream) -> ObjectRefGenerator[Any]:
        """Return what users read a stream by."""
        return ObjectRefGenerator(
            lambda: self._waiters.next_item(stream),
            stream,
            lambda: self.look(stream.coming),
        )

    def put(self, value: Any) -> ObjectRef[Any]:
        """Make a ref on a value.

        Raises:
            NotSerializable: it cannot be pickled.
        """
        dumped, held = dump_value(value, "Value")
        ref: ObjectRef[Any] = ObjectRef()
        if not isinstance(dumped, bytes):
            ref.outcome = self.store_parts(dumped, held)
        elif held:
            numbers = [inner.number for inner in held]
            ref.outcome = Settled(Value(dumped, numbers), held)
        else:
            ref.outcome = dumped
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
        self.command(
            lambda: self._hub.cancel(ref, force=force, recursive=recursive, grace=grace)
        )

    def subscribe(
        self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None]
    ) -> None:
        """Have something called, in the runtime's own thread, when a ref is known."""

        def tell() -> None:
            self._helm.leave_to_thread(lambda: callback(ref))

        self.command(partial(self._waiters.call_at_first, [ref], tell))

    def number_of(self, ref: ObjectRef[Any]) -> int:
        """Return the ref's name in other processes."""
        with self._number_lock:
            if not ref.number:
                ref.number = next(self._hub.parcels.numbers)
                self._hub.parcels.numbered[ref.number] = ref
        return ref.number

    def arrive(self, number: int) -> ObjectRef[Any]:
        """Return the ref that was pickled as this number."""
        ref = self._hub.parcels.numbered[number]
        assert isinstance(ref, ObjectRef)
        return ref

    # What there is

    @property
    def hub(self) -> Hub:
        """The tables of tasks; only for what `look` is given."""
        return self._hub

    @property
    def directory(self) -> Directory:
        """The tables of actors; only for what `look` is given."""
        return self._directory

    def whereabouts(self) -> Whereabouts:
        """Return where the program runs."""
        return Whereabouts(self._hub.crew.job_id, self.namespace, is_driver=True)

    @property
    def capacity(self) -> Capacity:
        """What tasks share; only for what `look` is given."""
        return self._capacity

    def picture(self) -> bytes:
        """Return what is to be seen of all this, as JSON; see `ProgramState`."""
        return msgspec.json.encode(self.look(self._draw))

    def _draw(self) -> ProgramState:
        return picture_of_program(
            self._hub,
            self._directory,
            self.list_stored(),
            most=_MOST_ROWS,
            uptime=time.monotonic() - self._began_at,
            wall=time.time(),
        )

    def list_stored(self) -> list[tuple[str, int, dict[str, int]]]:
        """Return what lies in shared memory; see `Store.listed`."""
        self._store.collect()
        return self._store.listed()

    def look(self, read: Callable[[], T]) -> T:
        """Have something looked up in a round, when nothing is half done."""
        answers: list[T] = []
        bell = threading.Event()

        def answer() -> None:
            answers.append(read())
            bell.set()

        self.command(answer)
        self._helm.steer(bell.is_set)
        bell.wait()
        return answers[0]

    # The end

    def close(self, reason: str = "the runtime was shut down") -> None:
        """End all tasks and workers; twice is once."""
        self.command(lambda: self._finish(reason))
        self.join()

    def disown(self) -> None:
        """In a forked child: nothing comes any more, as all of this is the parent's."""
        why = "it is the parent's of this process, which was forked"
        outcome = closed(why)
        tasks = [each for each in self._inbox if isinstance(each, Task)]
        for task in (*self._hub.unended, *tasks):
            # Nobody is told: whatever waits is the parent's, too.
            returns = task.returns
            if isinstance(returns, Stream):
                error: ObjectRef[Any] = ObjectRef()
                error.outcome = outcome
                returns.items.append(error)
            for promise in [returns] if isinstance(returns, Promise) else returns:
                promise.outcome = outcome
        self._directory.disown(why)

    def leave(self, *, cancel_waiting: bool = False) -> None:
        """End the workers once all tasks have ended, and return at once.

        Args:
            cancel_waiting: cancel the tasks that no worker has.
        """

        def begin() -> None:
            if cancel_waiting:
                # What was submitted before, and could begin, does.
                self._hub.place(time.monotonic())
                for task in list(self._hub.unended):
                    self._hub.cancel_waiting(task)
            self._is_left = True

        self.command(begin)

    def join(self) -> None:
        """Wait until the workers have ended, after `close` or `leave`."""
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def cancel_waiting(self, ref: ObjectRef[Any]) -> bool:
        """Give up a task, unless a worker has it; tell whether it was."""
        return self.look(
            lambda: ref.task is not None and self._hub.cancel_waiting(ref.task)
        )

    def steer(self, is_done: Callable[[], bool], timeout: float | None) -> None:
        """Run rounds until something is done, unless somebody else does so already."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._helm.steer(is_done, deadline)

    def leave_to_thread(self, errand: Callable[[], object]) -> None:
        """Have something called by the runtime's own thread."""
        self._helm.leave_to_thread(errand)

    def _serve(self) -> None:
        """Be the runtime's thread: run the loop, then release everything."""
        self._helm.run()
        with self._close_lock:
            self._is_closed = True
            self._give_up_inbox()
            self._pool.close()
            self._store.close()
            os.close(self._bell)
        # Not with the lock held: who looks just now may want it.
        if self._window is not None:
            self._window.close()

    def _finish(self, reason: str) -> None:
        """In a round: make it the last one."""
        if not self.is_over:
            self._closing_reason = reason
            self.is_over = True
            self._directory.close()
            self._hub.close(reason)
            if self._printer is not None:
                self._printer.close(self._pool.read_output())
            # The thread may be asleep.
            self._helm.leave_to_thread(lambda: None)

    def _give_up_inbox(self) -> None:
        """Deal with what came when there were no rounds any more."""
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Task):
                self._hub.refuse(item, self._closing_reason)
            else:
                item()
