"""Worker processes and their pipes, as their owner sees them.

    owner ──start, assign, recall, stop, kill──► Pool ──► fork server, pipes ──► workers
          ◄──read(): WorkerStarted, TasksRan, TasksRecalled, WorkerDied──

The shell below the manager's machine, and below the embedded runtime. It decides
nothing: it carries out the effects of `actors.logic.workers` and returns its events.
No call but `close` blocks, whatever a worker does: pipes are non-blocking, and what a
worker does not read waits here.

All descriptors are in one epoll, which itself is a descriptor: the owner's selector
watches `fileno()` and calls `read()` when it is readable. Not safe for use by several
threads at once.
"""

import contextlib
import logging
import os
import select
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from actors.errors import MalformedFrame, PayloadTooLarge
from actors.forkserver import WORKER_PROGRAM, Exited, Forked, ForkServer, NotForked
from actors.logic.workers import (
    InitializerFailed,
    TasksRan,
    TasksRecalled,
    WorkerDied,
    WorkerEvent,
    WorkerSaid,
    WorkerStarted,
    WorkerWrote,
)
from actors.messages import (
    INITIALIZER_SEQ,
    Call,
    Define,
    Equip,
    Failure,
    FailureKind,
    FromWorker,
    Gave,
    HostActor,
    Introduce,
    Message,
    Ran,
    Recall,
    Recalled,
    Run,
    WorkerId,
    Wrote,
    encode_frame,
    encode_inline,
    from_worker,
)
from actors.pipe import MAX_FRAME_BYTES, FrameReader, FrameWriter
from actors.process import (
    kill_group,
    read_descendants_rss,
    read_oom_kills,
    read_usage,
)
from actors.store.links import Links, SharedDecoder
from actors.worker import BY_FRAME, BY_TASK, PROGRESS_BYTES, Progress
from actors.worker_log import TAIL_CHARACTERS, WorkerLog

__all__ = ["Pool", "WorkerUsage"]

logger = logging.getLogger(__name__)

# A frame holds no more tasks, or bytes of them, if it can be helped: a worker shall
# begin with the first while it decodes no others, and a recall can split no frame.
_MAX_RUNS_PER_FRAME = 256
_MAX_BYTES_PER_FRAME = 65_536

# What fits into a frame with its other fields.
_MAX_RUN_BYTES = MAX_FRAME_BYTES - 2**20

# What goes through the main pipe, and what of it is no task.
_ForMain = Run | Call | Define | Introduce | HostActor | Equip
_Unnumbered = Define | Introduce | HostActor | Equip

_READABLE = select.EPOLLIN

_RECALL_FRAME = encode_frame([Recall()])


class WorkerUsage(msgspec.Struct, frozen=True):
    """What a worker process takes, and what it is at."""

    pid: int
    rss_bytes: int
    cpu_seconds: float
    begun_seq: int  # the task that began last; 0: none
    begun_at: float  # when it did, seconds since 1970


class _Worker(msgspec.Struct):
    """What the pool keeps of one worker, until its death has been told."""

    worker_id: WorkerId
    main: socket.socket
    main_descriptor: int  # -1 once it is closed
    control: socket.socket
    progress: Progress
    log: WorkerLog
    reader: FrameReader = msgspec.field(default_factory=FrameReader)
    control_reader: FrameReader = msgspec.field(default_factory=FrameReader)
    writer: FrameWriter = msgspec.field(default_factory=FrameWriter)
    control_writer: FrameWriter = msgspec.field(default_factory=FrameWriter)
    pid: int = 0  # 0: not known yet
    is_orphan: bool = False  # its fork server is lost
    death_watch: int = -1  # a pidfd, if it is an orphan
    is_impossible: bool = False  # its fork server never made any
    fault: str = ""  # what the death's report should say besides its last output
    is_stopping: bool = False
    is_main_open: bool = True
    is_actor: bool = False  # all that it writes is of one origin
    tells_at_once: bool = False  # what an actor has written, before its results
    is_control_open: bool = True
    # For each recall not yet answered: what never left this process.
    taken_back: deque[list[int]] = msgspec.field(default_factory=deque)


class Pool:
    """Worker processes of this process; they die with it, however it ends.

    Args:
        log_dir: folder for `<worker_id>.log`, made if missing; None: logs are in
            memory, see `log_of`, and end with their worker.
        initializer: what `dump_call` returns; called in each worker before its first
            task. If it fails the worker runs nothing and dies.
        sys_path: where workers import from; default: as this process.
        program: what workers run, as `forkserver.Program` says.
        starts_as_copy: make the fork server now, by fork; see `ForkServer.is_copy`.
        make_server: makes a fork server, given a descriptor for its log and the
            program; None: one as this process.
        server_name: of the fork server's log, without its ending.
        links: where large payloads are, if workers see the same memory; None: they are
            sent.
    """

    def __init__(
        self,
        log_dir: Path | None,
        *,
        initializer: tuple[bytes, bytes] | None = None,
        sys_path: Sequence[str] | None = None,
        program: str = WORKER_PROGRAM,
        starts_as_copy: bool = False,
        make_server: Callable[[int, str], ForkServer] | None = None,
        server_name: str = "forkserver",
        links: Links | None = None,
    ) -> None:
        self._links = links
        self._encode: Callable[[Sequence[Message]], bytes] = encode_inline
        self._decode: Callable[[Any], list[FromWorker]] = from_worker.decode
        if links is not None:
            self._encode = encode_frame
            self._decode = SharedDecoder(from_worker.decode, links.take_over).decode
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._initializer = initializer
        self._sys_path = sys_path
        self._program = program
        self._new_server = make_server
        self._server_name = server_name
        self._server_log: WorkerLog | None = None
        self._server: ForkServer | None = None
        if starts_as_copy:
            # Before there is anything that it should not have.
            self._server = self._make_server(is_copy=True)
        self._epoll = select.epoll()
        if self._server is not None:
            self._epoll.register(self._server.fileno(), select.EPOLLIN)
        self._workers: dict[WorkerId, _Worker] = {}
        # {descriptor of a main or control pipe, or a death watch: its worker}
        self._by_descriptor: dict[int, _Worker] = {}
        # {descriptor of somebody else's: what to call when it is readable}
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._events: list[WorkerEvent] = []  # not yet read
        # Of dead workers: (worker, its pid, bytes).
        self._last_output: list[tuple[int, bytes]] = []
        # Whoever was asked last had answered when we looked.
        self._is_answered_at_once = False
        self._oom_kills = read_oom_kills()  # when we looked last
        self._output_watch = 0  # see `Progress.watch_output`
        self._is_closed = False

    def fileno(self) -> int:
        """Return the descriptor that is readable when `read` has something to do."""
        return self._epoll.fileno()

    def watch(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Have `read` call something when a descriptor of the owner's is readable."""
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Watch a descriptor no longer; call it before closing the descriptor."""
        del self._callbacks[descriptor]
        self._epoll.unregister(descriptor)

    def prepare(self) -> None:
        """Start the fork server now: it imports what workers need meanwhile."""
        self._running_server()

    def start(
        self,
        worker_id: WorkerId,
        program: str = "",
        *,
        cores: Sequence[int] = (),
        variables: Mapping[str, str] | None = None,
        is_actor: bool = False,
    ) -> None:
        """Make a worker; `WorkerStarted` follows, or `WorkerDied` if it cannot be.

        Tasks may be assigned at once; results of these may come before `WorkerStarted`.

        Args:
            worker_id: also the name of its log file; never used before in this pool.
            program: what it runs; default: as all the pool's workers.
            cores: that it may use; empty: all that this process may.
            variables: of its environment, beyond this process's.
            is_actor: whether all that it runs is of one actor.

        Raises:
            ValueError: such a worker exists, or the name cannot be that of a file.
            OSError: no descriptors left, or the log folder cannot be written to.
        """
        if worker_id in self._workers:
            raise ValueError(f"Worker {worker_id!r} exists; give each its own id")
        if "/" in worker_id or worker_id in ("", ".", ".."):
            raise ValueError(f"Worker id {worker_id!r} must be the name of a file")
        server = self._running_server()
        with contextlib.ExitStack() as undo:
            main, their_main = _pipe(undo)
            control, their_control = _pipe(undo)
            memory = os.memfd_create(f"actors-{worker_id}", os.MFD_CLOEXEC)
            undo.callback(os.close, memory)
            os.truncate(memory, PROGRESS_BYTES)
            log = self._log(worker_id)
            undo.callback(log.close)
            log_file = log.open_to_write()
            undo.callback(os.close, log_file)
            worker = _Worker(
                worker_id, main, main.fileno(), control, Progress(memory), log
            )
            worker.is_actor = is_actor
            undo.pop_all()
        self._workers[worker_id] = worker
        for stream in (main, control):
            self._by_descriptor[stream.fileno()] = worker
            self._epoll.register(stream.fileno(), select.EPOLLIN)
        if self._output_watch:
            self._watch_log(worker)
        server.spawn(
            worker_id,
            their_main.detach(),
            their_control.detach(),
            memory,
            log_file,
            program or self._program,
            cores=cores,
            variables=variables,
        )
        self._watch_server()
        if self._initializer is not None:
            self.assign(worker_id, [Run(INITIALIZER_SEQ, *self._initializer)])

    def __contains__(self, worker_id: object) -> bool:
        """Tell whether a worker is ours and its death has not been told."""
        return worker_id in self._workers

    def preload(self, module: str) -> None:
        """Have a module imported once for all workers that are made from now on."""
        self._running_server().preload(module)
        self._watch_server()

    def assign(self, worker_id: WorkerId, runs: Sequence[_ForMain]) -> None:
        """Give tasks to a worker; nothing if it is dead or unknown.

        Args:
            worker_id: who runs them.
            runs: with `seq` from 1 on, rising; and before them what they refer to.

        Raises:
            PayloadTooLarge: a task does not fit into one frame; it and those after it
                have not been assigned.
        """
        worker = self._workers.get(worker_id)
        if worker is None or not worker.is_main_open:
            return
        try:
            if len(runs) == 1:
                # The usual case of one who waits for it, without any bookkeeping.
                run = runs[0]
                if type(run) is Run and len(run.arguments) < _MAX_BYTES_PER_FRAME:
                    worker.writer.write(worker.main, self._encode(runs), runs)
                    runs = ()
            for batch in _batches(runs):
                worker.writer.write(worker.main, self._encode(batch), batch)
        except OSError:
            # It is dead or dying; its end is told when everything has been read.
            return
        if not worker.writer.is_empty:
            self._watch(worker)

    def recall(self, worker_id: WorkerId) -> None:
        """Take back what has not begun; `TasksRecalled` answers, or `WorkerDied`.

        What is assigned before the answer has been read may come back with it.
        """
        worker = self._workers.get(worker_id)
        if worker is None or not worker.is_control_open:
            return
        seqs: list[int] = []
        for batch in worker.writer.take_back():
            assert isinstance(batch, list)
            seqs += [r.seq for r in batch if not isinstance(r, _Unnumbered)]
        worker.taken_back.append(seqs)
        try:
            worker.control_writer.write(worker.control, _RECALL_FRAME)
        except OSError:
            return
        self._watch(worker)

    def tell(self, worker_id: WorkerId, message: Message) -> None:
        """Say something to a worker that it hears while a task runs, too.

        Raises:
            PayloadTooLarge: longer than a frame can be.
        """
        worker = self._workers.get(worker_id)
        if worker is None or not worker.is_control_open:
            return
        try:
            worker.control_writer.write(worker.control, encode_frame([message]))
        except OSError:
            return
        if not worker.control_writer.is_empty:
            self._watch(worker)

    def stop(self, worker_id: WorkerId) -> None:
        """Let a worker end when all it was assigned has run; exit code 0."""
        worker = self._workers.get(worker_id)
        if worker is not None and not worker.is_stopping:
            worker.is_stopping = True
            self._flush(worker)

    def terminate(self, worker_id: WorkerId) -> None:
        """SIGTERM a worker and its process group: its task may end in order."""
        if worker_id in self._workers and self._server is not None:
            self._server.terminate(worker_id)
            self._watch_server()

    def kill(self, worker_id: WorkerId) -> None:
        """SIGKILL a worker and its process group; `WorkerDied` follows."""
        if worker_id in self._workers and self._server is not None:
            self._server.kill(worker_id)
            self._watch_server()

    def usage(self, *, of_all: bool = False) -> dict[WorkerId, WorkerUsage]:
        """Return what the living workers take, and how far they are.

        Args:
            of_all: whether the memory of what they have started counts, too.
        """
        usages = {}
        for worker in self._workers.values():
            usage = read_usage(worker.pid) if worker.pid else None
            if usage is not None:
                started = read_descendants_rss(worker.pid) if of_all else 0
                usages[worker.worker_id] = WorkerUsage(
                    worker.pid,
                    usage.rss_bytes + started,
                    usage.cpu_seconds,
                    *worker.progress.read(),
                )
        return usages

    def read_output(self) -> Iterator[tuple[int, bytes]]:
        """Give what workers have written since the last call, dead ones too.

        Of logs in memory only.

        Yields:
            (pid, bytes); nothing for who wrote nothing.
        """
        yield from self._last_output
        self._last_output.clear()
        for worker in list(self._workers.values()):
            output = worker.log.read_new()
            if output:
                yield worker.pid, output

    def watch_output(self, *, is_wanted: bool, is_shared: bool = True) -> None:
        """Tell what workers write from now on, by `WorkerWrote`, or do not any more.

        Of logs in files only. What tasks have written is told before their results;
        `look_at_output` tells it sooner.

        Args:
            is_wanted: whether.
            is_shared: whether words of different tasks are to be told apart. Before
                tasks are assigned whose words are nobody else's business.
        """
        how = BY_TASK if is_shared else BY_FRAME
        self._output_watch = how if is_wanted else 0
        for worker in self._workers.values():
            if is_wanted:
                self._watch_log(worker)
            else:
                worker.progress.watch_output(0)
                worker.tells_at_once = False
                worker.log.unwatch()

    def _watch_log(self, worker: _Worker) -> None:
        # In this order: who ends a task and does not say so has written all before.
        how = 0 if worker.is_actor else self._output_watch
        worker.progress.watch_output(how)
        worker.tells_at_once = worker.is_actor
        try:
            worker.log.watch()
        except OSError as error:
            logger.warning("output of %s cannot be told: %s", worker.worker_id, error)

    def look_at_output(self, running: Mapping[WorkerId, int]) -> None:
        """Have the next `read` tell first what workers have written so far.

        Args:
            running: {worker: the task that runs there as far as the owner knows}. If
                another one has begun since, its words shall not be taken for the
                first one's: nothing is told until the first one's results are.
        """
        for worker_id, seq in running.items():
            worker = self._workers.get(worker_id)
            if worker is not None:
                self._look_at(worker, seq)

    def _look_at(self, worker: _Worker, seq: int) -> None:
        log = worker.log
        if not log.is_watched:
            return
        text, left_out = log.look()
        # After that: what has begun by now had perhaps begun then.
        if text and (worker.is_actor or worker.progress.read()[0] == seq):
            self._tell_output(worker, seq, text, left_out)

    def _tell_output(
        self,
        worker: _Worker,
        seq: int,
        text: bytes,
        left_out: int,
        *,
        is_end: bool = False,
    ) -> None:
        worker.log.take(len(text) + left_out)
        self._events.append(WorkerWrote(worker.worker_id, seq, text, left_out, is_end))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, longest: float = 0, brisk: float = 0) -> list[WorkerEvent]:
        """Return what has happened since the last call.

        Args:
            longest: seconds to wait for anything to happen; 0: do not wait.
            brisk: seconds, before them, in which to look again and again: to sleep
                and be woken costs more than all the rest of a short task.
        """
        for descriptor, ready in self._poll(0 if self._events else longest, brisk):
            worker = self._by_descriptor.get(descriptor)
            if worker is not None:
                if ready == _READABLE and descriptor == worker.main_descriptor:
                    self._read_main(worker)
                else:
                    self._serve(worker, descriptor, ready)
            elif descriptor in self._callbacks:
                self._callbacks[descriptor]()
            elif self._server is not None and descriptor == self._server.fileno():
                self._serve_server(self._server)
        events, self._events = self._events, []
        return events

    def exchange(
        self, worker_id: WorkerId, run: Run, longest: float, brisk: float
    ) -> Ran | None:
        """Assign one short task and wait for what comes next.

        Args:
            worker_id: who runs it.
            run: what fits into a frame.
            longest: seconds to wait.
            brisk: as of `read`.

        Returns:
            Its result; None: something else has happened, or nothing: `read` tells.
        """
        worker = self._workers.get(worker_id)
        if worker is None:
            return None
        writer = worker.writer
        try:
            writer.write(worker.main, encode_frame((run,)), [run.seq])
        except OSError:
            return None  # dead or dying; its end is told when all has been read
        if not writer.is_empty:
            self._watch(worker)
            return None
        if brisk:
            # Who is asked may well be waiting for this very processor.
            os.sched_yield()
        # As the last time: to look first would cost more than to read in vain.
        is_hasty = brisk and self._is_answered_at_once
        batches = self._receive(worker) if is_hasty else None
        if batches is None:
            ready = self._epoll.poll(0)
            self._is_answered_at_once = bool(ready)
            if not ready:
                ready = self._poll(longest, brisk)
            if ready != [(worker.main_descriptor, _READABLE)]:
                return None  # it will still be so when it is looked at again
            batches = self._receive(worker)
        if batches and len(batches) == 1 and len(batches[0]) == 1:
            message = batches[0][0]
            if type(message) is Ran:
                return message
        for messages in batches or ():
            self._take_results(worker, messages)
        return None

    def _poll(self, longest: float, brisk: float) -> list[tuple[int, int]]:
        poll = self._epoll.poll
        if brisk and longest:
            until = monotonic() + brisk
            while monotonic() < until:
                # Who is asked may well be waiting for this very processor.
                os.sched_yield()
                happened = poll(0)
                if happened:
                    return happened
        return poll(longest)

    def close(self, *, remove_logs: bool = False) -> None:
        """Kill all workers, wait for their end, release everything; twice is once.

        No event tells of these deaths.

        Args:
            remove_logs: whether to remove `log_dir` with all that is in it.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._server is not None:
            self._server.close()
        for worker in list(self._workers.values()):
            self._forget(worker)
        self._events.clear()
        if self._server_log is not None:
            self._server_log.close()
        self._epoll.close()
        if remove_logs and self._log_dir is not None:
            shutil.rmtree(self._log_dir, ignore_errors=True)

    # Workers

    def _serve(self, worker: _Worker, descriptor: int, ready: int) -> None:
        if descriptor == worker.death_watch:
            # The number may be new and the event of an old descriptor: look again.
            if _is_readable(descriptor):
                self._bury(worker)
            return
        if ready & select.EPOLLOUT:
            self._flush(worker)
        if ready & ~select.EPOLLOUT:
            if descriptor == worker.main_descriptor:
                self._read_main(worker)
            elif worker.is_control_open and descriptor == worker.control.fileno():
                self._read_control(worker)

    def _read_main(self, worker: _Worker) -> bool:
        """Read once; return whether there may be more."""
        batches = self._receive(worker)
        if worker.tells_at_once and batches:
            self._look_at(worker, 0)
        for messages in batches or ():
            self._take_results(worker, messages)
        return batches is not None

    def _receive(self, worker: _Worker) -> list[list[FromWorker]] | None:
        """Read once; None: there is nothing, or there is an end of it."""
        try:
            frames = worker.reader.receive(worker.main)
            decode = self._decode
            return [decode(frame) for frame in frames]
        except BlockingIOError:
            return None
        except EOFError:
            self._close_main(worker)
        except (MalformedFrame, OSError) as error:
            logger.error("%s: pipe is unusable, killed: %s", worker.worker_id, error)
            self._close_main(worker)
        return None

    def _take_results(self, worker: _Worker, messages: Sequence[FromWorker]) -> None:
        results: list[Ran] = []
        if (
            len(messages) == 1
            and type(messages[0]) is Ran
            and messages[0].seq != INITIALIZER_SEQ
        ):
            self._events.append(TasksRan(worker.worker_id, [messages[0]]))
            return
        for message in messages:
            if type(message) is not Ran:
                # What it says stands where it said it: between the results.
                if results:
                    self._events.append(TasksRan(worker.worker_id, results))
                    results = []
                if type(message) is Wrote:
                    text, left_out = worker.log.look(message.end)
                    self._tell_output(worker, message.seq, text, left_out, is_end=True)
                    continue
                if not (type(message) is Gave and message.seq == INITIALIZER_SEQ):
                    self._events.append(WorkerSaid(worker.worker_id, message))
            elif message.seq != INITIALIZER_SEQ:
                results.append(message)
            elif not message.is_success:
                failure = message.failure or Failure(FailureKind.EXCEPTION, "")
                self._events.append(InitializerFailed(worker.worker_id, failure))
        if results:
            self._events.append(TasksRan(worker.worker_id, results))

    def _read_control(self, worker: _Worker) -> bool:
        """Read once; return whether there may be more."""
        try:
            for frame in worker.control_reader.receive(worker.control):
                for message in from_worker.decode(frame):  # type: ignore[arg-type]
                    if isinstance(message, Recalled):
                        self._take_recalled(worker, message)
        except BlockingIOError:
            return False
        except (EOFError, MalformedFrame, OSError):
            self._close_control(worker)
            return False
        return True

    def _take_recalled(self, worker: _Worker, message: Recalled) -> None:
        taken_back = worker.taken_back.popleft() if worker.taken_back else []
        seqs = [*message.seqs, *taken_back]
        self._events.append(TasksRecalled(worker.worker_id, seqs))

    def _flush(self, worker: _Worker) -> None:
        """Send what waits; when all has gone to a stopping worker, say so."""
        if worker.is_main_open:
            try:
                worker.writer.flush(worker.main)
                if worker.is_stopping and worker.writer.is_empty:
                    worker.main.shutdown(socket.SHUT_WR)
            except OSError:
                # Dead; there may still be results to read.
                worker.writer.take_back()
        if worker.is_control_open:
            with contextlib.suppress(OSError):
                worker.control_writer.flush(worker.control)
        self._watch(worker)

    def _watch(self, worker: _Worker) -> None:
        """Ask to be told of room in a pipe exactly when something waits for it."""
        if worker.is_main_open:
            wanted = 0 if worker.writer.is_empty else select.EPOLLOUT
            self._epoll.modify(worker.main.fileno(), select.EPOLLIN | wanted)
        if worker.is_control_open:
            wanted = 0 if worker.control_writer.is_empty else select.EPOLLOUT
            self._epoll.modify(worker.control.fileno(), select.EPOLLIN | wanted)

    def _close_main(self, worker: _Worker) -> None:
        self._release(worker.main)
        worker.is_main_open = False
        worker.main_descriptor = -1
        if worker.is_orphan:
            if worker.death_watch < 0:
                self._bury(worker)
        elif not worker.is_stopping and self._server is not None:
            # Usually it is dead. If it is not, user code has closed the pipe, and
            # nothing will ever come of it.
            self._server.kill(worker.worker_id)
            self._watch_server()

    def _close_control(self, worker: _Worker) -> None:
        self._release(worker.control)
        worker.is_control_open = False

    def _bury(self, worker: _Worker, exited: Exited | None = None) -> None:
        """Tell of a death, after all that the worker had written."""
        while worker.is_main_open and self._read_main(worker):
            pass
        if worker.worker_id not in self._workers:
            return  # reading its last word has buried it
        while worker.is_control_open and self._read_control(worker):
            pass
        if worker.log.is_watched:
            begun, last_words = worker.progress.read()[0], worker.log.look()
            self._tell_output(worker, begun, *last_words, is_end=True)
        if self._links is not None:
            self._links.worker_ended(worker.pid)
        tail = worker.log.tail()
        if worker.fault:
            tail = f"{tail}\n{worker.fault}"[-TAIL_CHARACTERS:]
        self._events.append(
            WorkerDied(
                worker.worker_id,
                exit_code=exited.exit_code if exited else None,
                signal=exited.signal if exited else None,
                peak_rss_bytes=exited.peak_rss_bytes if exited else 0,
                cpu_seconds=exited.cpu_seconds if exited else 0.0,
                begun_seq=worker.progress.read()[0],
                stderr_tail=tail,
                begun_direct=worker.progress.begun_direct,
                is_impossible=worker.is_impossible,
                has_memory_run_out=self._has_memory_run_out(exited),
            )
        )
        self._forget(worker)

    def _has_memory_run_out(self, exited: Exited | None) -> bool:
        """Tell whether the kernel killed somebody for want of memory meanwhile."""
        if exited is None or exited.signal != signal.SIGKILL:
            return False
        kills, before = read_oom_kills(), self._oom_kills
        self._oom_kills = kills
        return kills > before

    def _forget(self, worker: _Worker) -> None:
        if worker.is_main_open:
            self._release(worker.main)
        if worker.is_control_open:
            self._release(worker.control)
        if worker.death_watch >= 0:
            self._epoll.unregister(worker.death_watch)
            del self._by_descriptor[worker.death_watch]
            os.close(worker.death_watch)
        worker.progress.close()
        output = worker.log.read_new()
        if output:
            self._last_output.append((worker.pid, output))
        worker.log.close()
        del self._workers[worker.worker_id]

    def _release(self, stream: socket.socket) -> None:
        self._epoll.unregister(stream.fileno())
        del self._by_descriptor[stream.fileno()]
        stream.close()

    def _log(self, name: str) -> WorkerLog:
        path = None if self._log_dir is None else self._log_dir / f"{name}.log"
        return WorkerLog(path, name)

    # The fork server

    def _running_server(self) -> ForkServer:
        if self._server is None:
            self._server = self._make_server(is_copy=False)
            self._epoll.register(self._server.fileno(), select.EPOLLIN)
        return self._server

    def _make_server(self, *, is_copy: bool) -> ForkServer:
        if self._server_log is None:
            self._server_log = self._log(self._server_name)
        log = self._server_log.open_to_write()
        try:
            if self._new_server is not None:
                return self._new_server(log, self._program)
            return ForkServer(self._sys_path, log, self._program, is_copy=is_copy)
        finally:
            os.close(log)

    def _watch_server(self) -> None:
        assert self._server is not None
        wanted = select.EPOLLOUT if self._server.wants_write else 0
        self._epoll.modify(self._server.fileno(), select.EPOLLIN | wanted)

    def _serve_server(self, server: ForkServer) -> None:
        server.flush()
        for report in server.read():
            worker = self._workers.get(WorkerId(report.worker_id))
            if worker is None:
                continue
            match report:
                case Forked(_, pid):
                    server.has_forked = True
                    worker.pid = pid
                    self._events.append(WorkerStarted(worker.worker_id, pid))
                case NotForked(_, reason):
                    worker.fault = reason
                    self._bury(worker)
                case Exited():
                    self._bury(worker, report)
        if server.is_lost:
            self._lose_server(server, "")
        else:
            self._watch_server()

    def give_up(self, why: str) -> None:
        """End the fork server and all workers; `WorkerDied` of each says why."""
        if self._server is not None:
            self._lose_server(self._server, why)

    def _lose_server(self, server: ForkServer, why: str) -> None:
        """Bury its workers as they die: the kernel kills each with the server."""
        self._epoll.unregister(server.fileno())
        self._server = None
        server.close()
        words = self._server_log.tail() if self._server_log else ""
        fault = f"The fork server ended with {server.exit_code}: {words}"
        if words and not server.has_forked:
            fault = words  # of what was to start it: they say it best
        if why:
            fault = f"{fault}\n{why}"
        logger.error("%s", fault)
        for worker in list(self._workers.values()):
            if worker.is_orphan:
                continue  # of an earlier server
            worker.is_orphan = True
            worker.fault = fault
            worker.is_impossible = not server.has_forked
            if not worker.pid:
                # It was never made, or dies before we could know it: its end of the
                # pipe closes.
                if not worker.is_main_open:
                    self._bury(worker)
                continue
            with contextlib.suppress(PermissionError):
                kill_group(worker.pid)
            try:
                worker.death_watch = os.pidfd_open(worker.pid)
            except OSError:
                # Gone already; or no such call here, but then it has its SIGKILL.
                self._bury(worker)
                continue
            self._by_descriptor[worker.death_watch] = worker
            self._epoll.register(worker.death_watch, select.EPOLLIN)


def _pipe(undo: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Make a pipe: our end, which never blocks, and the worker's."""
    ours, theirs = socket.socketpair()
    undo.callback(ours.close)
    undo.callback(theirs.close)
    ours.setblocking(False)
    return ours, theirs


_function_of: Callable[[_ForMain], bytes] = attrgetter("function")
_arguments_of: Callable[[_ForMain], bytes] = attrgetter("arguments")


def _batches(
    runs: Sequence[_ForMain],
) -> Iterator[list[_ForMain]]:
    """Cut tasks into frames' worth, in order."""
    if (
        len(runs) <= _MAX_RUNS_PER_FRAME
        and set(map(type, runs)) == {Run}
        and sum(map(len, map(_arguments_of, runs)))
        + sum(map(len, map(_function_of, runs)))
        <= _MAX_BYTES_PER_FRAME
    ):
        # The usual case, by loops that C runs.
        yield list(runs)
        return
    batch: list[_ForMain] = []
    batch_bytes = 0
    for run in runs:
        if type(run) is Run:
            run_bytes = len(run.function) + len(run.arguments)
        else:
            run_bytes = _bytes_of(run)
        if run_bytes > _MAX_RUN_BYTES:
            raise PayloadTooLarge(
                f"Task of {run_bytes} bytes exceeds {_MAX_RUN_BYTES} bytes; "
                "pass large values by file or by reference"
            )
        if batch and (
            batch_bytes + run_bytes > _MAX_BYTES_PER_FRAME
            or len(batch) >= _MAX_RUNS_PER_FRAME
        ):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(run)
        batch_bytes += run_bytes
    if batch:
        yield batch


def _bytes_of(run: _ForMain) -> int:
    match run:
        case Call(_, function, arguments, values):
            dependencies = sum(len(value.payload) for value in values)
            return len(function) + len(arguments.payload) + dependencies
        case Run(_, function, arguments):
            return len(function) + len(arguments)
        case Define(_, function) | HostActor(_, _, function):
            return len(function)
        case Introduce() | Equip():
            return 0


def _is_readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))
