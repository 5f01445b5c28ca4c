"""What runs inside a worker process: take a task, run it, send its result; again.

    main pipe     Run, Run, ... ──►  backlog  ──►  call  ──►  results  ──► Ran, Ran, ...
    control pipe  Recall ──► what has not begun goes back ──► Recalled

The main thread reads the main pipe itself, so that no task waits for a hand-over
between threads. A second thread sleeps on the control pipe; it answers `Recall` while
a task runs, by emptying pipe and backlog. One lock stands around "read a frame" and
"take the next task", so each task is either begun or handed back, never both.

Results gather while there are more tasks and are sent when the backlog is empty, or
1 ms after the first of them began, or when they are many. A long task that comes after
short ones cannot look after their results: an alarm lets the second thread send them.
(A task that keeps the interpreter's lock inside C code delays even that.)

Before a task runs, its number goes into memory that is shared with the pool: whatever
happens to this process, the pool knows what had begun. There stands, too, whether
somebody wants to see what tasks print. If all tasks are of one client it is enough to
say, before the results that are sent, how long the log is by now; else where the words
of each task end.
"""

import contextlib
import logging
import mmap
import operator
import os
import select
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import time
from typing import Protocol

from actors.copies import Barred, be_copy
from actors.messages import (
    FIRST_DIRECT,
    INITIALIZER_SEQ,
    Call,
    Gave,
    Message,
    Ran,
    Recall,
    Recalled,
    Run,
    ToWorker,
    Wrote,
    Yielded,
    encode_frame,
    encode_marked,
    to_worker,
)
from actors.perform import Performer, SimplePerformer
from actors.pipe import FrameReader, send_frame
from actors.process import Alarm
from actors.store.forks import at_fork

__all__ = [
    "BY_FRAME",
    "BY_TASK",
    "PROGRESS_BYTES",
    "Lines",
    "Progress",
    "Worker",
    "run_worker",
]

logger = logging.getLogger(__name__)

_STDERR = 2

# Exit code of a worker whose initializer failed; that of any failed Python program.
_EXIT_INITIALIZER_FAILED = 1

# How long a result may wait for company, in seconds, counted from its task's start: a
# task longer than that is sent alone. Chosen: ten times what sending costs a waiting
# owner, and less than anybody notices.
_HOLD = 0.001

# The alarm comes later than the main thread's own look at the clock, to be needed only
# when that is busy.
_ALARM_DELAY = 0.002

# More results, or more bytes of them, are not held. Chosen: the owner can then decode
# the first while the next are made; half of what a socket's buffer takes by default.
_MAX_HELD_RESULTS = 256
_MAX_HELD_BYTES = 100_000

# Who has got a result and sends the next task sooner than this is waited for awake: to
# sleep and be woken costs both sides more than all the rest of a short task. Chosen:
# some calls' time.
_BRISK = 0.00005

# How long a half-received frame is waited for when tasks are recalled, and how often:
# the owner's rest of it is on its way, unless the owner has stopped. Milliseconds, as
# poll() wants them.
_REST_OF_FRAME_MILLISECONDS = 100
_REST_OF_FRAME_WAITS = 10

# How a worker says that its log has grown: before the results that it sends, which are
# of one client's tasks; or before the result of each task that has written there.
BY_FRAME, BY_TASK = 1, 2

_PROGRESS = struct.Struct("=QdQQ")
PROGRESS_BYTES = _PROGRESS.size


class Progress:
    """A cell of memory, shared by a worker and its pool: what began last, and when.

    Args:
        descriptor: a file of `PROGRESS_BYTES`, all zero at first; may be closed then.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, PROGRESS_BYTES)
        # Aligned stores of 8 bytes: a reader sees the old or the new number.
        self.seqs = memoryview(self._memory)[:8].cast("Q")
        self.moments = memoryview(self._memory)[8:16].cast("d")
        self.directs = memoryview(self._memory)[16:24].cast("Q")
        self.watches = memoryview(self._memory)[24:].cast("Q")

    def read(self) -> tuple[int, float]:
        """Return (seq of the task that began last or 0, when: seconds since 1970)."""
        return self.seqs[0], self.moments[0]

    @property
    def begun_direct(self) -> int:
        """The last call that began of those that did not come from the owner."""
        return self.directs[0]

    def watch_output(self, how: int) -> None:
        """Have the worker say when its log has grown.

        Args:
            how: 0 (not), BY_FRAME, or BY_TASK.
        """
        self.watches[0] = how

    def close(self) -> None:
        """Release the memory."""
        self.watches.release()
        self.directs.release()
        self.seqs.release()
        self.moments.release()
        self._memory.close()


class Lines(Protocol):
    """Sockets besides the owner's, from which calls come."""

    def read(self) -> Sequence[Run]:
        """Return what has come; never block."""
        ...

    def answer(self, result: Ran | Gave) -> None:
        """Send a result where its call came from; never block."""
        ...


class Worker:
    """The state of one worker process.

    Args:
        main: the blocking end of the main pipe.
        control: the blocking end of the control pipe.
        progress: the shared cell.
    """

    def __init__(
        self, main: socket.socket, control: socket.socket, progress: Progress
    ) -> None:
        self._main = main
        self._control = control
        self._seqs, self._moments = progress.seqs, progress.moments
        self._directs = progress.directs
        self._watch = progress.watches
        self._log = -1  # while tasks run: a descriptor of our output
        self._log_bytes = 0  # what it had when we looked last
        self._lines: Lines | None = None
        # The last task that was looked out for had come when we looked.
        self._comes_at_once = False
        self._performer: Performer = SimplePerformer()
        # Guards reader, backlog and results; never held while anything blocks.
        self._lock: threading.Lock | Barred = threading.Lock()
        self._reader = FrameReader()
        self._backlog: deque[Run | Call] = deque()  # received, not begun
        self._results: list[Message] = []  # and what else there is to say: not sent
        self._results_bytes = 0
        self._hold_until = 0.0  # moment to send the results at, if there are any
        self._is_alarm_set = False
        self._alarm = Alarm(_ALARM_DELAY)
        # Held while a frame is being sent: both threads do. Taken before `_lock`.
        self._send_lock: threading.Lock | Barred = threading.Lock()
        # One for each thread; what is watched may change while one waits.
        self._poller = select.epoll()
        self._poller.register(main, select.EPOLLIN)
        self._control_poller = _poller_of(main)
        self._watched = select.epoll()  # by the second thread
        # {descriptor: what to call in the second thread when it is readable}
        self._callbacks: dict[int, Callable[[], object]] = {}
        at_fork(in_child=self._become_copy)

    def _become_copy(self) -> None:
        """In the child of a task that forks: let nobody near the owner any more."""
        self._lock = self._send_lock = Barred()
        be_copy()

    def run(self, performer: Performer | None = None) -> int:
        """Run tasks until the owner closes the main pipe; return the exit code.

        Args:
            performer: what runs each of them; default: a SimplePerformer.

        Raises:
            OSError: the owner is gone, or a task has damaged our descriptors.
            MalformedFrame: the owner does not speak our language.
        """
        if performer is not None:
            self._performer = performer
        threading.Thread(
            target=self._serve_control, name="actors-control", daemon=True
        ).start()
        # Of our own: tasks may put something else in its place.
        self._log = os.dup(_STDERR)
        try:
            return self._run_all()
        finally:
            os.close(self._log)
            self._log = -1

    def _run_all(self) -> int:
        performer = self._performer
        perform = performer.perform
        watch = self._watch
        is_brisk = False  # tasks come alone, one soon after the other
        run = self._wait_and_take()
        while run is not None:
            result, seq = perform(run), run.seq
            if watch[0] == BY_TASK:
                self._mark(seq)
            if seq == INITIALIZER_SEQ and _has_failed(result):
                self.say(result, 0, now=True)  # type: ignore[arg-type]
                return _EXIT_INITIALIZER_FAILED
            if seq >= FIRST_DIRECT and result is not None:
                assert self._lines is not None
                self._lines.answer(result)
                result = None
            if (
                (result is not None or seq >= FIRST_DIRECT)
                and not self._backlog
                and not self._results
                and not performer.needs_rest
            ):
                # The usual case of one for which somebody waits.
                if result is not None:
                    self._send([result])
                    result = None
                until = time() + _BRISK
                has_come = is_brisk and self._look_out(until)
                run = self._wait_and_take(has_come=has_come)
                is_brisk = has_come or time() < until
                continue
            run = self._keep_and_take(result)
            result = None
            if run is None:
                performer.rest()
                self._flush()
                run = self._wait_and_take()
        return 0

    def say(self, message: Message, message_bytes: int, *, now: bool) -> None:
        """Send something to the owner, behind all that was said before.

        From any thread. It blocks while the owner reads nothing and much waits.

        Args:
            message: what to say.
            message_bytes: its size, roughly.
            now: at once; else with the next result, or after a moment.
        """
        with self._lock:
            self._results.append(message)
            self._results_bytes += message_bytes
            now = now or self._results_bytes >= _MAX_HELD_BYTES
            if not now and not self._is_alarm_set:
                self._alarm.set()
                self._is_alarm_set = True
        if now:
            self._flush()

    def unsay(self, messages: Sequence[Message]) -> bool:
        """Take back what was said last, unless it has been sent; tell whether it was.

        Args:
            messages: the very objects, in their order; at least one.
        """
        count = len(messages)
        with self._lock:
            last = self._results[-count:]
            if len(last) < count or any(map(operator.is_not, last, messages)):
                return False
            del self._results[-count:]
            return True

    def listen(self, lines: Lines, descriptor: int) -> None:
        """Take calls from elsewhere, too; from any thread.

        Args:
            lines: where from.
            descriptor: readable when there may be some.
        """
        self._lines = lines
        self._poller.register(descriptor, select.EPOLLIN)

    def watch(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Have something called in the second thread while a descriptor is readable."""
        self._callbacks[descriptor] = callback
        self._watched.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Watch it no longer; call it before closing the descriptor."""
        self._watched.unregister(descriptor)
        del self._callbacks[descriptor]

    def _look_at_log(self) -> int:
        """Return how long the log is, if it has grown since; else 0.

        Also if the owner wants to be told in another way by now: then it has perhaps
        given us tasks of others, which might have written, too.
        """
        how = self._watch[0]
        try:
            # A line that a task has begun is its own, not the next one's.
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception as error:  # noqa: BLE001  streams that it has put there, or closed
            logger.debug("what was printed last is lost: %s", error)
        log_bytes = os.lseek(self._log, 0, os.SEEK_END)
        if log_bytes == self._log_bytes or self._watch[0] != how:
            return 0
        self._log_bytes = log_bytes
        return log_bytes

    def _mark(self, seq: int) -> None:
        """Say before a task's result where its words end, if it has said any."""
        log_bytes = self._look_at_log()
        if log_bytes:
            with self._lock:
                if not self._results:
                    self._hold_until = time() + _HOLD
                self._results.append(Wrote(seq, log_bytes))

    def _with_words(self, results: list[Message]) -> list[Message]:
        """Put the word of what was written before what is to be sent."""
        seq = next((r.seq for r in results if type(r) is Ran or type(r) is Yielded), 0)
        log_bytes = self._look_at_log() if seq else 0
        return [Wrote(seq, log_bytes), *results] if log_bytes else results

    def _keep_and_take(self, result: Ran | Gave | None) -> Run | Call | None:
        """Keep a result and begin the next task: its turn, or None if there is none."""
        with self._lock:
            is_due = False
            if result is not None:
                if not self._results:
                    self._hold_until = result.began_at + _HOLD
                self._results.append(result)
                if type(result) is Ran:
                    self._results_bytes += len(result.payload)
                else:
                    is_due = True
                is_due = is_due or (
                    result.ended_at >= self._hold_until
                    or len(self._results) >= _MAX_HELD_RESULTS
                    or self._results_bytes >= _MAX_HELD_BYTES
                )
            if not self._backlog:
                return None
            run = self._begin_next()
            if self._results and not is_due and not self._is_alarm_set:
                self._alarm.set()
                self._is_alarm_set = True
        if is_due:
            self._flush()
        return run

    def _flush(self) -> None:
        """Send the results that are held; nothing if there are none."""
        with self._send_lock:
            with self._lock:
                results, self._results = self._results, []
                self._results_bytes = 0
                if self._is_alarm_set:
                    self._alarm.clear()
                    self._is_alarm_set = False
            if results and self._watch[0] == BY_FRAME:
                results = self._with_words(results)
            if results:
                send_frame(self._main, encode_marked(results))

    def _send(self, results: list[Message]) -> None:
        """Send results before which there is nothing else to say."""
        with self._send_lock:
            if self._watch[0] == BY_FRAME:
                results = self._with_words(results)
            send_frame(self._main, encode_marked(results))

    def _wait_and_take(self, *, has_come: bool = False) -> Run | Call | None:
        """Wait for tasks and begin the first; None: the owner has closed the pipe."""
        while True:
            if not has_come and not self._backlog:
                # Without the lock: a recall must not wait until a task comes.
                self._poller.poll()
            has_come = False
            with self._lock:
                try:
                    self._read_frames()
                except BlockingIOError:
                    # Recalled meanwhile, or expected in vain.
                    self._comes_at_once = False
                except EOFError:
                    if not self._backlog:
                        return None
                if self._lines is not None:
                    # After the pipe was read, and before what came by it: who has sent
                    # a call straight, and then another by the owner, has it in order.
                    self._backlog.extendleft(reversed(self._lines.read()))
                if self._backlog:
                    return self._begin_next()

    def _look_out(self, until: float) -> bool:
        """Look again and again for a task instead of sleeping; tell whether it came."""
        # Who is to send it may well be waiting for this very processor.
        os.sched_yield()
        if self._comes_at_once:
            # As the last time: to look first would cost more than to read in vain.
            return True
        poll = self._poller.poll
        if poll(0):
            self._comes_at_once = True
            return True
        while time() < until:
            os.sched_yield()
            if poll(0):
                return True
        return False

    def _begin_next(self) -> Run | Call:
        # With the lock held.
        run = self._backlog.popleft()
        self._moments[0] = time()
        seqs = self._seqs if run.seq < FIRST_DIRECT else self._directs
        seqs[0] = run.seq
        return run

    def _read_frames(self) -> None:
        # With the lock held.
        for frame in self._reader.receive(self._main, socket.MSG_DONTWAIT):
            for message in to_worker.decode(frame):  # type: ignore[arg-type]  # any buffer
                if type(message) is Run or type(message) is Call:
                    self._backlog.append(message)
                else:
                    self._performer.hear(message)

    # The second thread

    def _serve_control(self) -> None:
        reader = FrameReader()
        watched = self._watched
        watched.register(self._control, select.EPOLLIN)
        watched.register(self._alarm, select.EPOLLIN)
        try:
            while True:
                for descriptor, _ in watched.poll():
                    if descriptor == self._alarm.fileno():
                        self._flush()
                    elif descriptor in self._callbacks:
                        self._callbacks[descriptor]()
                    elif descriptor == self._control.fileno():
                        for frame in reader.receive(self._control):
                            self._answer(to_worker.decode(frame))  # type: ignore[arg-type]
        except (EOFError, ConnectionError):
            # The owner is gone; the fork server ends this process.
            return

    def _answer(self, messages: Sequence[ToWorker]) -> None:
        for message in messages:
            if isinstance(message, Recall):
                answer = encode_frame([Recalled(self._take_back())])
                send_frame(self._control, answer)
            else:
                self._performer.hear(message)

    def _take_back(self) -> list[int]:
        """Empty pipe and backlog; return the numbers of what has not begun."""
        seqs: list[int] = []
        for _ in range(_REST_OF_FRAME_WAITS):
            with self._lock:
                # What is still in the pipe was sent before the recall, too.
                with contextlib.suppress(BlockingIOError, EOFError):
                    while True:
                        self._read_frames()
                # The initializer is nobody's task: it stays.
                kept = [run for run in self._backlog if run.seq == INITIALIZER_SEQ]
                seqs += [run.seq for run in self._backlog if run.seq != INITIALIZER_SEQ]
                self._backlog = deque(kept)
                if not self._reader.has_partial_frame:
                    break
            self._control_poller.poll(_REST_OF_FRAME_MILLISECONDS)
        return seqs


def _has_failed(result: Ran | Gave | None) -> bool:
    return type(result) is Ran and not result.is_success


def _poller_of(stream: socket.socket) -> select.poll:
    poller = select.poll()
    poller.register(stream, select.POLLIN)
    return poller


def run_worker(main: socket.socket, control: socket.socket, progress: Progress) -> int:
    """Be a worker whose tasks know nothing of refs; return the exit code."""
    return Worker(main, control, progress).run()
