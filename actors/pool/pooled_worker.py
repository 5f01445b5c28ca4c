"""One worker, as its pool knows it: its pipes, its progress, its log.

    pool ──main──► tasks, and what they refer to        results ──main──► pool
    pool ──control──► recalls, words for a task that runs; answers ──control──► pool

The worker reads its main pipe between two tasks, its control pipe at any time. Our ends
never block: what the worker does not read waits here, and the epoll tells of room.
"""

import contextlib
import os
import select
import socket
from collections import deque
from typing import NamedTuple

import msgspec

from actors.errors import MalformedFrame
from actors.messages import (
    Message,
    Recall,
    Recalled,
    WorkerId,
    encode_frame,
    from_worker,
)
from actors.pipe import FrameReader, FrameWriter
from actors.pool.batches import Unnumbered
from actors.process import kill_group
from actors.worker import PROGRESS_BYTES, Progress
from actors.worker_log import WorkerLog

__all__ = ["Ends", "PooledWorker", "open_worker"]

_RECALL_FRAME = encode_frame([Recall()])


class Ends(NamedTuple):
    """The worker's side: descriptors, owned by who has this."""

    main: int
    control: int
    progress: int
    log: int


class PooledWorker(msgspec.Struct):
    """What the pool keeps of one worker, until its death has been told."""

    worker_id: WorkerId
    main: socket.socket
    main_descriptor: int  # -1 once it is closed
    control: socket.socket
    progress: Progress
    log: WorkerLog
    epoll: select.epoll  # of the pool
    by_descriptor: dict[int, "PooledWorker"]  # of the pool
    is_actor: bool  # all that it writes is of one origin
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
    tells_at_once: bool = False  # what an actor has written, before its results
    is_control_open: bool = True
    # For each recall not yet answered: what never left this process.
    taken_back: deque[list[int]] = msgspec.field(default_factory=deque)

    # To the worker

    def recall(self) -> None:
        """Ask for what has not begun; `read_control` has the answer."""
        seqs: list[int] = []
        for batch in self.writer.take_back():
            assert isinstance(batch, list)
            seqs += [r.seq for r in batch if not isinstance(r, Unnumbered)]
        self.taken_back.append(seqs)
        try:
            self.control_writer.write(self.control, _RECALL_FRAME)
        except OSError:
            return
        self.watch()

    def tell(self, message: Message) -> None:
        """Say something that it hears while a task runs, too.

        Raises:
            PayloadTooLarge: longer than a frame can be.
        """
        try:
            self.control_writer.write(self.control, encode_frame([message]))
        except OSError:
            return
        if not self.control_writer.is_empty:
            self.watch()

    def flush(self) -> None:
        """Send what waits; when all has gone to a stopping worker, say so."""
        if self.is_main_open:
            try:
                self.writer.flush(self.main)
                if self.is_stopping and self.writer.is_empty:
                    self.main.shutdown(socket.SHUT_WR)
            except OSError:
                # Dead; there may still be results to read.
                self.writer.take_back()
        if self.is_control_open:
            with contextlib.suppress(OSError):
                self.control_writer.flush(self.control)
        self.watch()

    def watch(self) -> None:
        """Ask to be told of room in a pipe exactly when something waits for it."""
        if self.is_main_open:
            wanted = 0 if self.writer.is_empty else select.EPOLLOUT
            self.epoll.modify(self.main.fileno(), select.EPOLLIN | wanted)
        if self.is_control_open:
            wanted = 0 if self.control_writer.is_empty else select.EPOLLOUT
            self.epoll.modify(self.control.fileno(), select.EPOLLIN | wanted)

    # From the worker

    def read_control(self) -> list[list[int]] | None:
        """Read the control pipe once, and close it at its end.

        Returns:
            For each recall that is answered now, what has not begun; None: there is
            nothing to read.
        """
        answers: list[list[int]] = []
        try:
            for frame in self.control_reader.receive(self.control):
                for message in from_worker.decode(frame):  # type: ignore[arg-type]
                    if isinstance(message, Recalled):
                        kept = self.taken_back.popleft() if self.taken_back else []
                        answers.append([*message.seqs, *kept])
        except BlockingIOError:
            return None
        except (EOFError, MalformedFrame, OSError):
            self._release(self.control)
            self.is_control_open = False
        return answers

    # Its end

    def close_main(self) -> None:
        """Close the main pipe, which is open."""
        self._release(self.main)
        self.is_main_open = False
        self.main_descriptor = -1

    def orphan(self, fault: str, *, is_impossible: bool) -> bool:
        """Kill it, whose fork server is lost: that one can no longer tell of its death.

        Args:
            fault: what its death's report should say.
            is_impossible: no such worker can be made, ever.

        Returns:
            Whether the epoll will tell of its death; false: it is dead.
        """
        self.is_orphan = True
        self.fault = fault
        self.is_impossible = is_impossible
        if not self.pid:
            # It was never made, or dies before we could know it: its end of the
            # pipe closes.
            return self.is_main_open
        with contextlib.suppress(PermissionError):
            kill_group(self.pid)
        try:
            self.death_watch = os.pidfd_open(self.pid)
        except OSError:
            # Gone already; or no such call here, but then it has its SIGKILL.
            return False
        self.by_descriptor[self.death_watch] = self
        self.epoll.register(self.death_watch, select.EPOLLIN)
        return True

    def has_died(self) -> bool:
        """Look at the death watch: the epoll may have told of its number's last use."""
        poller = select.poll()
        poller.register(self.death_watch, select.POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Release everything; call it once."""
        if self.is_main_open:
            self._release(self.main)
        if self.is_control_open:
            self._release(self.control)
        if self.death_watch >= 0:
            self.epoll.unregister(self.death_watch)
            del self.by_descriptor[self.death_watch]
            os.close(self.death_watch)
        self.progress.close()
        self.log.close()

    def _release(self, stream: socket.socket) -> None:
        self.epoll.unregister(stream.fileno())
        del self.by_descriptor[stream.fileno()]
        stream.close()


def open_worker(
    worker_id: WorkerId,
    log: WorkerLog,
    *,
    epoll: select.epoll,
    by_descriptor: dict[int, PooledWorker],
    is_actor: bool,
) -> tuple[PooledWorker, Ends]:
    """Make the pipes and the cell of a worker that is to be made.

    Args:
        worker_id: who it will be.
        log: of its own; closed with the worker, or if this fails.
        epoll: tells of its pipes from now on.
        by_descriptor: has it from now on.
        is_actor: whether all that it runs is of one actor.

    Raises:
        OSError: no descriptors left, or the log cannot be written to.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(log.close)
        main, their_main = _pipe(undo)
        control, their_control = _pipe(undo)
        memory = os.memfd_create(f"actors-{worker_id}", os.MFD_CLOEXEC)
        undo.callback(os.close, memory)
        os.truncate(memory, PROGRESS_BYTES)
        log_file = log.open_to_write()
        undo.callback(os.close, log_file)
        for stream in (main, control):
            epoll.register(stream.fileno(), select.EPOLLIN)
        worker = PooledWorker(
            worker_id,
            main,
            main.fileno(),
            control,
            Progress(memory),
            log,
            epoll,
            by_descriptor,
            is_actor,
        )
        undo.pop_all()
    for stream in (main, control):
        by_descriptor[stream.fileno()] = worker
    return worker, Ends(their_main.detach(), their_control.detach(), memory, log_file)


def _pipe(undo: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Make a pipe: our end, which never blocks, and the worker's."""
    ours, theirs = socket.socketpair()
    undo.callback(ours.close)
    undo.callback(theirs.close)
    ours.setblocking(False)
    return ours, theirs
