"""The pool: gives tasks to its workers, and tells what becomes of them.

The shell below the manager's machine, and below the embedded runtime. It decides
nothing: it carries out the effects of `actors.logic.workers` and returns its events.
No call but `close` blocks, whatever a worker does: pipes are non-blocking, and what a
worker does not read waits here.

All descriptors are in one epoll, which itself is a descriptor: the owner's selector
watches `fileno()` and calls `read()` when it is readable. Not safe for use by several
threads at once.
"""

import logging
import os
import select
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from actors.errors import MalformedFrame
from actors.forkserver import WORKER_PROGRAM, Exited, Forked, ForkServer, NotForked
from actors.logic.workers import (
    InitializerFailed,
    TasksRan,
    TasksRecalled,
    WorkerEvent,
    WorkerSaid,
    WorkerStarted,
)
from actors.messages import (
    INITIALIZER_SEQ,
    Failure,
    FailureKind,
    FromWorker,
    Gave,
    Message,
    Ran,
    Run,
    WorkerId,
    Wrote,
    encode_frame,
    encode_inline,
    from_worker,
)
from actors.pool.batches import MAX_BYTES_PER_FRAME, ForMain, batches
from actors.pool.deaths import Deaths
from actors.pool.output import Output
from actors.pool.pooled_worker import PooledWorker, open_worker
from actors.pool.server_care import MakeServer, ServerCare, start_server
from actors.pool.usage import WorkerUsage, usage_of
from actors.store.links import Links, SharedDecoder
from actors.worker_log import WorkerLog

__all__ = ["Pool"]

logger = logging.getLogger(__name__)

_READABLE = select.EPOLLIN


class Pool:
    """Worker processes of this process; they die with it, however it ends.

    Args:
        log_dir: folder for `<worker_id>.log`, made if missing; None: logs are in
            memory, see `read_output`, and end with their worker.
        initializer: what `dump_call` returns; called in each worker before its first
            task. If it fails the worker runs nothing and dies.
        sys_path: where workers import from; default: as this process.
        program: what workers run, as `forkserver.Program` says.
        starts_as_copy: make the fork server now, by fork; see `ForkServer.is_copy`.
        make_server: makes what makes the workers; None: one as this process.
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
        make_server: MakeServer | None = None,
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
        self._program = program
        server_log = self._log(server_name)
        server: ForkServer | None = None
        if starts_as_copy:
            # Before there is anything that it should not have.
            copy = partial(ForkServer, sys_path, program=program, is_copy=True)
            server = start_server(copy, server_log)
        self._epoll = select.epoll()
        self._server_care = ServerCare(
            self._epoll,
            make_server or partial(ForkServer, sys_path, program=program),
            log=server_log,
            server=server,
        )
        self._workers: dict[WorkerId, PooledWorker] = {}
        self._output = Output(self._workers)
        self._deaths = Deaths()
        # {descriptor of a main or control pipe, or a death watch: its worker}
        self._by_descriptor: dict[int, PooledWorker] = {}
        # {descriptor of somebody else's: what to call when it is readable}
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._events: list[WorkerEvent] = []  # not yet read
        # Whoever was asked last had answered when we looked.
        self._is_answered_at_once = False
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
        self._server_care.running()

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
        self._server_care.running()
        worker, ends = open_worker(
            worker_id,
            self._log(worker_id),
            epoll=self._epoll,
            by_descriptor=self._by_descriptor,
            is_actor=is_actor,
        )
        self._workers[worker_id] = worker
        self._output.begins(worker)
        self._server_care.spawn(
            worker_id,
            ends,
            program or self._program,
            cores=cores,
            variables=variables,
        )
        if self._initializer is not None:
            self.assign(worker_id, [Run(INITIALIZER_SEQ, *self._initializer)])

    def __contains__(self, worker_id: object) -> bool:
        """Tell whether a worker is ours and its death has not been told."""
        return worker_id in self._workers

    def preload(self, module: str) -> None:
        """Have a module imported once for all workers that are made from now on."""
        self._server_care.preload(module)

    def assign(self, worker_id: WorkerId, runs: Sequence[ForMain]) -> None:
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
                if type(run) is Run and len(run.arguments) < MAX_BYTES_PER_FRAME:
                    worker.writer.write(worker.main, self._encode(runs), runs)
                    runs = ()
            for batch in batches(runs):
                worker.writer.write(worker.main, self._encode(batch), batch)
        except OSError:
            # It is dead or dying; its end is told when everything has been read.
            return
        if not worker.writer.is_empty:
            worker.watch()

    def recall(self, worker_id: WorkerId) -> None:
        """Take back what has not begun; `TasksRecalled` answers, or `WorkerDied`.

        What is assigned before the answer has been read may come back with it.
        """
        worker = self._workers.get(worker_id)
        if worker is not None and worker.is_control_open:
            worker.recall()

    def tell(self, worker_id: WorkerId, message: Message) -> None:
        """Say something to a worker that it hears while a task runs, too.

        Raises:
            PayloadTooLarge: longer than a frame can be.
        """
        worker = self._workers.get(worker_id)
        if worker is not None and worker.is_control_open:
            worker.tell(message)

    def stop(self, worker_id: WorkerId) -> None:
        """Let a worker end when all it was assigned has run; exit code 0."""
        worker = self._workers.get(worker_id)
        if worker is not None and not worker.is_stopping:
            worker.is_stopping = True
            worker.flush()

    def terminate(self, worker_id: WorkerId) -> None:
        """SIGTERM a worker and its process group: its task may end in order."""
        if worker_id in self._workers:
            self._server_care.terminate(worker_id)

    def kill(self, worker_id: WorkerId) -> None:
        """SIGKILL a worker and its process group; `WorkerDied` follows."""
        if worker_id in self._workers:
            self._server_care.kill(worker_id)

    def usage(self, *, of_all: bool = False) -> dict[WorkerId, WorkerUsage]:
        """Return what the living workers take, and how far they are.

        Args:
            of_all: whether the memory of what they have started counts, too.
        """
        measured = {
            worker_id: usage_of(worker, of_all=of_all)
            for worker_id, worker in self._workers.items()
        }
        return {worker_id: usage for worker_id, usage in measured.items() if usage}

    def read_output(self) -> Iterator[tuple[int, bytes]]:
        """Give what workers have written since the last call, dead ones too.

        Of logs in memory only.

        Returns:
            (pid, bytes) of each; nothing for who wrote nothing.
        """
        return self._output.read()

    def watch_output(self, *, is_wanted: bool, is_shared: bool = True) -> None:
        """Tell what workers write from now on, by `WorkerWrote`, or do not any more.

        Of logs in files only. What tasks have written is told before their results;
        `look_at_output` tells it sooner.

        Args:
            is_wanted: whether.
            is_shared: whether words of different tasks are to be told apart. Before
                tasks are assigned whose words are nobody else's business.
        """
        self._output.watch(is_wanted=is_wanted, is_shared=is_shared)

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
                self._events += self._output.so_far(worker, seq)

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
            elif descriptor == self._server_care.descriptor:
                self._take_reports()
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
            writer.write(worker.main, encode_frame((run,)), [run])
        except OSError:
            return None  # dead or dying; its end is told when all has been read
        if not writer.is_empty:
            worker.watch()
            return None
        if brisk:
            # Who is asked may well be waiting for this very processor.
            os.sched_yield()
        # As the last time: to look first would cost more than to read in vain.
        is_hasty = brisk and self._is_answered_at_once
        frames = self._receive(worker) if is_hasty else None
        if frames is None:
            ready = self._epoll.poll(0)
            self._is_answered_at_once = bool(ready)
            if not ready:
                ready = self._poll(longest, brisk)
            if ready != [(worker.main_descriptor, _READABLE)]:
                return None  # it will still be so when it is looked at again
            frames = self._receive(worker)
        if frames and len(frames) == 1 and len(frames[0]) == 1:
            message = frames[0][0]
            if type(message) is Ran:
                return message
        for messages in frames or ():
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
        self._server_care.close()
        for worker in list(self._workers.values()):
            self._forget(worker)
        self._events.clear()
        self._epoll.close()
        if remove_logs and self._log_dir is not None:
            shutil.rmtree(self._log_dir, ignore_errors=True)

    # Workers

    def _serve(self, worker: PooledWorker, descriptor: int, ready: int) -> None:
        if descriptor == worker.death_watch:
            # The number may be new and the event of an old descriptor: look again.
            if worker.has_died():
                self._bury(worker)
            return
        if ready & select.EPOLLOUT:
            worker.flush()
        if ready & ~select.EPOLLOUT:
            if descriptor == worker.main_descriptor:
                self._read_main(worker)
            elif worker.is_control_open and descriptor == worker.control.fileno():
                self._read_control(worker)

    def _read_main(self, worker: PooledWorker) -> bool:
        """Read once; return whether there may be more."""
        frames = self._receive(worker)
        if worker.tells_at_once and frames:
            self._events += self._output.so_far(worker, 0)
        for messages in frames or ():
            self._take_results(worker, messages)
        return frames is not None

    def _receive(self, worker: PooledWorker) -> list[list[FromWorker]] | None:
        """Read once, frame by frame; None: there is nothing, or an end of it."""
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

    def _take_results(
        self, worker: PooledWorker, messages: Sequence[FromWorker]
    ) -> None:
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
                    wrote = self._output.up_to(worker, message.seq, message.end)
                    self._events.append(wrote)
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

    def _read_control(self, worker: PooledWorker) -> bool:
        """Read once; return whether there may be more."""
        answers = worker.read_control()
        for seqs in answers or ():
            self._events.append(TasksRecalled(worker.worker_id, seqs))
        return answers is not None

    def _close_main(self, worker: PooledWorker) -> None:
        worker.close_main()
        if worker.is_orphan:
            if worker.death_watch < 0:
                self._bury(worker)
        elif not worker.is_stopping:
            # Usually it is dead. If it is not, user code has closed the pipe, and
            # nothing will ever come of it.
            self._server_care.kill(worker.worker_id)

    def _bury(self, worker: PooledWorker, exited: Exited | None = None) -> None:
        """Tell of a death, after all that the worker had written."""
        while worker.is_main_open and self._read_main(worker):
            pass
        if worker.worker_id not in self._workers:
            return  # reading its last word has buried it
        while worker.is_control_open and self._read_control(worker):
            pass
        if worker.log.is_watched:
            begun_last = worker.progress.read()[0]
            self._events.append(self._output.up_to(worker, begun_last))
        if self._links is not None:
            self._links.worker_ended(worker.pid)
        self._events.append(self._deaths.report(worker, exited))
        self._forget(worker)

    def _forget(self, worker: PooledWorker) -> None:
        self._output.ends(worker)
        worker.close()
        del self._workers[worker.worker_id]

    def _log(self, name: str) -> WorkerLog:
        path = None if self._log_dir is None else self._log_dir / f"{name}.log"
        return WorkerLog(path, name)

    # The fork server

    def _take_reports(self) -> None:
        for report in self._server_care.read():
            worker = self._workers.get(WorkerId(report.worker_id))
            if worker is None:
                continue
            match report:
                case Forked(_, pid):
                    worker.pid = pid
                    self._events.append(WorkerStarted(worker.worker_id, pid))
                case NotForked(_, reason):
                    worker.fault = reason
                    self._bury(worker)
                case Exited():
                    self._bury(worker, report)
        if self._server_care.is_lost:
            self.give_up()

    def give_up(self, why: str = "") -> None:
        """End the fork server and all workers; `WorkerDied` of each says why."""
        loss = self._server_care.let_go(why)
        if loss is None:
            return
        for worker in list(self._workers.values()):
            # Else of an earlier server.
            if not worker.is_orphan and not worker.orphan(
                loss.fault, is_impossible=loss.is_impossible
            ):
                self._bury(worker)
