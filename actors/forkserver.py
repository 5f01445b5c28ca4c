"""A small process that makes worker processes, and tells exactly how they ended.

    owner ──Fork + descriptors, KillGroup──► fork server ──fork()──► worker, worker, ...
          ◄──Forked, NotForked, Exited──────

The server imports what workers need once, never opens a socket of nng, and has one
thread, so its copies start in about a millisecond and are sound. It waits for them
with `wait4`: multiprocessing's server would give neither the signal nor the peak memory
which make "out of memory" a verdict instead of a guess.

Who dies with whom: the server watches its owner, and on the owner's end kills the
process group of every worker, then ends. The kernel kills a worker when the server is
gone. Nothing here needs a clean end.

A worker's pid is its process group: what user code starts is killed with it, unless it
leaves the group on purpose. The server alone kills, because it alone waits: until it
has waited, a pid cannot be given to somebody else.
"""

import atexit
import contextlib
import faulthandler
import functools
import gc
import importlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import traceback
import types
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

import msgspec

from actors.errors import ConfigError
from actors.forked import ChildProcess, ForkedChild
from actors.process import die_with_parent, kill_group, name_process
from actors.worker import Progress

__all__ = [
    "FORK_PROTOCOL",
    "WORKER_PROGRAM",
    "Exited",
    "ForkServer",
    "Forked",
    "NotForked",
    "Program",
    "Report",
    "come_in",
    "main",
]

# Ends of pipes, progress cell, log: what a new worker gets, in this order.
_DESCRIPTORS_PER_WORKER = 4

# A request or a report is one packet; the longest carries a worker's name and an error.
_MAX_PACKET_BYTES = 65_536

_STDOUT = 1
_STDERR = 2

# How often to look for the owner where the kernel has no pidfd (before Linux 5.3).
_LOOK_FOR_OWNER = 0.5

# How long `ForkServer.close` waits for the server's end before it kills. Chosen: it has
# to kill and wait for its workers, which takes milliseconds.
_CLOSE_TIMEOUT = 5.0

# What a Python program exits with when an exception ends it.
_EXIT_ERROR = 1

# sys.path comes as arguments: ours may have been changed since our own start, and a
# worker must import what its owner can. What the server itself needs of the standard
# library comes from there, whatever a script beside it is called: a program `queue.py`
# would else be run here, and start the next server, and so on.
_BOOT = """\
import os, sys
library = os.path.dirname(os.__file__)
sys.path[:] = [library, library + "/lib-dynload", *sys.argv[4:]]
from actors.forkserver import main
main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
"""

# What a worker runs: called with its ends of the main and the control pipe and the
# shared cell; returns the exit code. Named as "module:function"; the server imports the
# module of its owner's usual one before it forks, and others when it is told to.
Program = Callable[[socket.socket, socket.socket, Progress], int]
WORKER_PROGRAM = "actors.worker:run_worker"


# What the owner and the server say to each other. Both are of one version and one
# machine: these are no messages of the protocol. Where a server runs in an environment
# with an `actors` of its own (`actors.environment`), this number must be the same:
# raise it with any change to a packet or to what workers and their owner share.
FORK_PROTOCOL = 1


class _Packet(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    pass


class Fork(_Packet, frozen=True, array_like=True, tag=True, gc=False):
    """Make a worker; its descriptors come along."""

    worker_id: str
    program: str
    cores: list[int] = []  # that it may use; empty: all that the server may
    variables: dict[str, str] = {}  # of its environment, beyond the server's


class Terminate(_Packet, frozen=True, array_like=True, tag=True, gc=False):
    """SIGTERM a worker with its process group; nothing if it is gone already."""

    worker_id: str


class KillGroup(_Packet, frozen=True, array_like=True, tag=True, gc=False):
    """Kill a worker with its process group; nothing if it is gone already."""

    worker_id: str


class Preload(_Packet, frozen=True, array_like=True, tag=True, gc=False):
    """Import a module, for all workers that are made from now on."""

    module: str


class Forked(_Packet, frozen=True, array_like=True, tag=True, gc=False):
    """The worker exists."""

    worker_id: str
    pid: int


class NotForked(_Packet, frozen=True, array_like=True, tag=True, gc=False):
    """There is no such worker, and why: processes or memory are short."""

    worker_id: str
    reason: str


class Exited(_Packet, frozen=True, array_like=True, tag=True, gc=False):
    """The worker has ended; its process group has been killed."""

    worker_id: str
    exit_code: int | None  # None: by a signal
    signal: int | None
    peak_rss_bytes: int
    cpu_seconds: float


Report = Forked | NotForked | Exited

_requests: msgspec.msgpack.Decoder[Fork | Terminate | KillGroup | Preload] = (
    msgspec.msgpack.Decoder(Fork | Terminate | KillGroup | Preload)
)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)
_encode: Callable[[_Packet], bytes] = msgspec.msgpack.Encoder().encode


# The owner's side


class ForkServer:
    """A running fork server, seen by its owner; no call blocks but `close`.

    Args:
        sys_path: where workers import from; default: as this process.
        log: a descriptor for what the server itself writes, its last words perhaps;
            default: standard output and error of this process.
        program: what workers usually run.
        is_copy: made by fork instead of anew, which takes no imports; sound only in a
            process's first moments, see `actors.forked`. `sys_path` is then ours.
    """

    def __init__(
        self,
        sys_path: Sequence[str] | None = None,
        log: int | None = None,
        program: str = WORKER_PROGRAM,
        *,
        is_copy: bool = False,
    ) -> None:
        python = sys.executable if is_copy else _interpreter()
        path = sys.path if sys_path is None else sys_path
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: ChildProcess
        with theirs:
            if is_copy:
                be_server = functools.partial(
                    _be_copy, ours, theirs, os.getpid(), program, log
                )
                self._process = ForkedChild(be_server)
            else:
                self._process = subprocess.Popen(
                    [
                        python,
                        "-c",
                        _BOOT,
                        str(theirs.fileno()),
                        str(os.getpid()),
                        program,
                        *_absolute(path),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Signals of a terminal go to the owner, who knows what they mean.
                    process_group=0,
                )
        ours.setblocking(False)
        self._socket = ours
        # Requests that found no room, with the descriptors to send along.
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque()
        self.is_lost = False
        self.has_forked = False  # set by the owner: it works

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the descriptor to read from; to write to, if `wants_write`."""
        return self._socket.fileno()

    @property
    def exit_code(self) -> int | None:
        """How the server ended, negative: by a signal; None: unknown, or not yet."""
        return self._process.poll()

    @property
    def wants_write(self) -> bool:
        """Whether requests wait for room: call `flush` when there may be some."""
        return bool(self._waiting)

    def spawn(
        self,
        worker_id: str,
        main: int,
        control: int,
        progress: int,
        log: int,
        program: str = WORKER_PROGRAM,
        *,
        cores: Sequence[int] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Ask for a worker; answered by `Forked` or `NotForked`.

        Args:
            worker_id: who it will be in reports.
            main: the worker's end of the main pipe. All four descriptors are ours
                now, and closed when they have been sent.
            control: the worker's end of the control pipe.
            progress: the shared cell.
            log: standard output and error.
            program: what it runs.
            cores: that it may use; empty: all that this process may.
            variables: of its environment.
        """
        fork = Fork(worker_id, program, list(cores), dict(variables or {}))
        self._send(fork, (main, control, progress, log))

    def terminate(self, worker_id: str) -> None:
        """Ask to SIGTERM a worker and its process group."""
        self._send(Terminate(worker_id), ())

    def kill(self, worker_id: str) -> None:
        """Ask to SIGKILL a worker and its process group; `Exited` follows."""
        self._send(KillGroup(worker_id), ())

    def preload(self, module: str) -> None:
        """Have a module imported once for all workers that are made from now on."""
        self._send(Preload(module), ())

    def flush(self) -> None:
        """Send requests that wait, as far as there is room."""
        while self._waiting and not self.is_lost:
            packet, descriptors = self._waiting[0]
            try:
                socket.send_fds(self._socket, [packet], descriptors)
            except BlockingIOError:
                return
            except OSError:
                # It is gone; what it has still reported comes first, see `read`.
                self._drop_waiting()
                return
            self._waiting.popleft()
            _close_all(descriptors)

    def read(self) -> list[Report]:
        """Return what the server has reported, without waiting.

        When the server is gone, `is_lost` is true after this, and its workers are
        dead or being killed by the kernel; there will be no report on them.
        """
        reports: list[Report] = []
        while not self.is_lost:
            try:
                packet = self._socket.recv(_MAX_PACKET_BYTES)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if packet:
                reports.append(_reports.decode(packet))
            else:
                self.is_lost = True
                self._drop_waiting()
        return reports

    def close(self) -> None:
        """End the server and all its workers, and wait for it; twice is once."""
        if self.is_lost:
            # It has closed its end: whatever it still does, it serves nobody.
            self._process.kill()
        self.is_lost = True
        self._drop_waiting()
        # A child of ours that was forked without us has this end, too.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        try:
            self._process.wait(_CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, packet: _Packet, descriptors: Sequence[int]) -> None:
        if self.is_lost:
            _close_all(descriptors)
            return
        self._waiting.append((_encode(packet), descriptors))
        self.flush()

    def _drop_waiting(self) -> None:
        for _, descriptors in self._waiting:
            _close_all(descriptors)
        self._waiting.clear()


def _interpreter() -> str:
    """Return the Python that runs workers.

    Raises:
        ConfigError: this program was not started by one. A frozen one would start
            itself again, and so on.
    """
    python = sys.executable or ""
    is_frozen = getattr(sys, "frozen", False)
    if not python or (is_frozen and "python" not in os.path.basename(python)):
        raise ConfigError(
            f"sys.executable {python!r} is no Python to run workers with: the program "
            "is frozen, or Python is embedded in another one; set sys.executable to a "
            f"Python {sys.version_info.major}.{sys.version_info.minor} that has the "
            "same packages"
        )
    return python


def _absolute(path: Sequence[str]) -> list[str]:
    """Put the current folder in the place of "", which means it in sys.path."""
    if "" not in path:
        return [*path]
    try:
        here = [os.getcwd()]
    except FileNotFoundError:
        here = []  # removed: nothing can be imported from there
    return [each for entry in path for each in ([entry] if entry else here)]


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


# The server's side


def main(
    descriptor: int, owner_pid: int, program: str, path: Sequence[str] = ()
) -> None:
    """Be the fork server until the owner ends, or closes its end of the socket.

    Args:
        descriptor: of the socket.
        owner_pid: who must live.
        program: what workers run.
        path: what they import from; empty: it is so already.
    """
    channel = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    _be_server(channel, owner_pid, program, path)


def come_in(path: str, program: str) -> None:
    """Be the fork server of an environment, of who listens at a path."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.connect(path)
    _be_server(channel, 0, program)


def _be_server(
    channel: socket.socket, owner_pid: int, program: str, path: Sequence[str] = ()
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name_process("actors-forks")
    _find_program(program)
    if path:
        sys.path[:] = path
    # What exists now is never collected: copies share its memory for good.
    gc.disable()
    gc.collect()
    gc.freeze()
    worker = _Server(channel, owner_pid).serve()
    if worker is not None:
        # Here we are in the worker, and on a shallow stack.
        worker()


def _be_copy(
    ours: socket.socket,
    theirs: socket.socket,
    owner_pid: int,
    program: str,
    log: int | None,
) -> int:
    """Be it in a copy of the owner."""
    ours.close()
    if log is not None:
        os.dup2(log, _STDOUT)
        os.dup2(log, _STDERR)
        os.close(log)
    main(theirs.detach(), owner_pid, program)
    return 0


class _Server:
    def __init__(self, channel: socket.socket, owner_pid: int) -> None:
        self._channel = channel
        self._channel.setblocking(False)
        self._owner_pid = owner_pid
        self._pids: dict[str, int] = {}  # {worker_id: pid}
        self._worker_ids: dict[int, str] = {}  # {pid: worker_id}
        self._waiting: deque[bytes] = deque()  # reports that found no room
        self._poller = select.poll()
        self._poller.register(channel, select.POLLIN)
        self._timeout: float | None = None
        self._owner: int | None = None
        try:
            # Of an owner whose pid means nothing here, the end of its socket tells.
            self._owner = os.pidfd_open(owner_pid) if owner_pid else None
        except OSError:
            # No such call here, or no such process: the latter shows at once.
            self._timeout = _LOOK_FOR_OWNER * 1000
        else:
            if self._owner is not None:
                self._poller.register(self._owner, select.POLLIN)
        # A byte in this pipe for each SIGCHLD makes poll() return.
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poller.register(self._wake_out, select.POLLIN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)

    def serve(self) -> Callable[[], None] | None:
        """Serve until the owner is gone: None. In a new worker: what to do there."""
        while self._owner_pid in (0, os.getppid()):
            ready = dict(self._poller.poll(self._timeout))
            if self._owner in ready:
                break
            if self._wake_out in ready:
                os.read(self._wake_out, select.PIPE_BUF)
                self._reap()
            if ready.get(self._channel.fileno(), 0) & ~select.POLLOUT:
                try:
                    worker = self._read()
                except (EOFError, ConnectionError):
                    break
                if worker is not None:
                    return worker
            try:
                self._flush()
            except ConnectionError:
                break
        for pid in self._worker_ids:
            _kill_group(pid)
        for pid in self._worker_ids:
            os.waitpid(pid, 0)
        return None

    def _read(self) -> Callable[[], None] | None:
        """Carry out one request."""
        packet, descriptors, _, _ = socket.recv_fds(
            self._channel,
            _MAX_PACKET_BYTES,
            _DESCRIPTORS_PER_WORKER,
            socket.MSG_CMSG_CLOEXEC,
        )
        if not packet:
            raise EOFError("The owner has closed its end")
        match _requests.decode(packet):
            case Fork() as order:
                return self._fork(order, descriptors)
            case Terminate(worker_id):
                if worker_id in self._pids:
                    # Not permitted: as in `_kill_group`.
                    with contextlib.suppress(PermissionError, ProcessLookupError):
                        os.killpg(self._pids[worker_id], signal.SIGTERM)
            case KillGroup(worker_id):
                if worker_id in self._pids:
                    _kill_group(self._pids[worker_id])
            case Preload(module):
                importlib.import_module(module)
        return None

    def _fork(self, order: Fork, descriptors: list[int]) -> Callable[[], None] | None:
        worker_id = order.worker_id
        server_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _close_all(descriptors)
            self._report(NotForked(worker_id, f"Cannot fork: {error}"))
            return None
        if pid == 0:
            die_with_parent(server_pid)
            self._leave()
            main, control, progress, log = descriptors
            return lambda: _become_worker(order, main, control, progress, log)
        # Both sides do this: whoever comes first, it holds from now on.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        _close_all(descriptors)
        self._pids[worker_id] = pid
        self._worker_ids[pid] = worker_id
        self._report(Forked(worker_id, pid))
        return None

    def _leave(self) -> None:
        """In a new worker: keep nothing that is the server's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.close(self._wake_out)
        os.close(self._wake_in)
        if self._owner is not None:
            os.close(self._owner)
        self._channel.close()

    def _reap(self) -> None:
        """Wait for all children that have ended; report the workers among them."""
        while True:
            try:
                # First look, then kill what is left of the group, then wait: until
                # then the group's number cannot become somebody else's.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            worker_id = self._worker_ids.pop(ended.si_pid, None)
            if worker_id is not None:
                _kill_group(ended.si_pid)
                del self._pids[worker_id]
            _, status, usage = os.wait4(ended.si_pid, 0)
            if worker_id is None:
                continue
            is_signalled = os.WIFSIGNALED(status)
            self._report(
                Exited(
                    worker_id,
                    exit_code=None if is_signalled else os.WEXITSTATUS(status),
                    signal=os.WTERMSIG(status) if is_signalled else None,
                    peak_rss_bytes=usage.ru_maxrss * 1024,
                    cpu_seconds=usage.ru_utime + usage.ru_stime,
                )
            )

    def _report(self, report: Report) -> None:
        self._waiting.append(_encode(report))

    def _flush(self) -> None:
        while self._waiting:
            try:
                self._channel.send(self._waiting[0])
            except BlockingIOError:
                break
            self._waiting.popleft()
        wanted = select.POLLIN | (select.POLLOUT if self._waiting else 0)
        self._poller.modify(self._channel, wanted)


def _kill_group(pid: int) -> None:
    # Not permitted: user code has changed its user, and is beyond our reach.
    with contextlib.suppress(PermissionError):
        kill_group(pid)


# The worker's side


def _find_program(program: str) -> Program:
    module, _, function = program.partition(":")
    found: Program = getattr(importlib.import_module(module), function)
    return found


def _become_worker(
    order: Fork, main: int, control: int, progress: int, log: int
) -> None:
    """Run as a worker on these descriptors; the process ends here."""
    code = _EXIT_ERROR
    try:
        os.dup2(log, _STDOUT)
        os.dup2(log, _STDERR)
        os.close(log)
        _prepare_interpreter()
        cell = Progress(progress)
        os.close(progress)
        os.environ.update(order.variables)
        if order.cores:
            os.sched_setaffinity(0, order.cores)
        code = _find_program(order.program)(
            socket.socket(fileno=main), socket.socket(fileno=control), cell
        )
        # What user code has asked for at its end; threads of it are not waited for.
        atexit._run_exitfuncs()  # noqa: SLF001  no public name, since Python 3.0
    except BaseException:  # noqa: BLE001  the last line of this process
        traceback.print_exc()
        code = _EXIT_ERROR
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _open_for_lines(descriptor: int) -> TextIO:
    return open(
        descriptor,
        "w",
        buffering=1,
        encoding="utf-8",
        errors="backslashreplace",
        closefd=False,
    )


def _prepare_interpreter() -> None:
    """Make the copy of the fork server look like a program of its own."""
    name_process("actors-worker")
    # Line by line: a block would be lost in a crash. Made anew, as the owner of the
    # server may have had none to inherit.
    sys.stdout = _open_for_lines(_STDOUT)
    sys.stderr = _open_for_lines(_STDERR)
    # A segmentation fault shall leave its stack in the log.
    faulthandler.enable(file=_STDERR)
    sys.argv[:] = ["actors-worker"]
    # Ours holds the boot code; nothing of it shall be found by user code.
    sys.modules["__main__"] = types.ModuleType("__main__")
    # Copies would draw the same numbers.
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    gc.enable()
