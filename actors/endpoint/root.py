"""The root process of an endpoint: what `actors run` is.

It holds the folder's lock, starts the actors, and stops them in reverse order. Nothing
of the endpoint outlives it: the actors die with it by the kernel's hand, managers on
this host watch it, and so their workers end too.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock

from actors.config import EndpointConfig, EndpointPaths, dialled_url, load_config
from actors.endpoint.launch import EXIT_CONFIG_ERROR
from actors.endpoint.overseer import (
    ACTORS,
    PATIENCE,
    ChildBeat,
    KillSilent,
    Overseer,
    Ready,
    overseer_hello,
)
from actors.endpoint.pulse import PulseReader
from actors.endpoint.spares import Spares
from actors.endpoint.surroundings import (
    RunStatus,
    Surroundings,
    boot_id,
    python_version,
)
from actors.errors import ActorsError, ConfigError
from actors.forked import ChildProcess
from actors.inbox import Inbox
from actors.log_lines import log_to_stderr, read_record
from actors.logic.turn import Effect
from actors.messages import to_member
from actors.process import ProcessIdentity, ProcessWatch, become_subreaper
from actors.runtime import Runtime
from actors.store import sweep
from actors.supervisor import (
    AllStopped,
    ChildEnded,
    ChildStarted,
    StartChild,
    StopAll,
    StopChild,
)

__all__ = ["AlreadyRunning", "run_endpoint"]

logger = logging.getLogger(__name__)

# {child: the module that it is}; any other is an actor, and started by `launch`.
_MODULES = {"monitor": "actors.monitor"}
_STDOUT, _STDERR = 1, 2
# What shells say when a signal ended a command.
_SIGNAL_EXIT = 128
# How long a command may take to end once its endpoint has stopped; chosen.
_COMMAND_PATIENCE = 5.0


class AlreadyRunning(ActorsError):
    """Tell that another `actors run` holds the endpoint's folder."""


def run_endpoint(
    path: Path, command: Sequence[str], ready: Callable[[RunStatus], None]
) -> int:
    """Run an endpoint until it is asked to stop, or its command has ended.

    Args:
        path: of endpoint.toml, or its folder.
        command: what the endpoint lives for; it finds it through `ACTORS_ADDRESS`.
            Empty: the endpoint lives until SIGTERM, Ctrl-C or `actors stop`.
        ready: called once clients can come in.

    Returns:
        The command's exit code; without one 0, or 1 if the actors could not be kept
        alive.

    Raises:
        ConfigError: the configuration is wrong.
        AlreadyRunning: the folder is in use.
    """
    _fill_standard_descriptors()
    with Spares(ACTORS) as spares:
        config = load_config(path)
        if config.log.format == "json":
            log_to_stderr("json", level=logging.getLogger().level, actor="supervisor")
        paths = EndpointPaths.of(path, config.transport.socket_dir)
        paths.make_folders()
        with _locked(paths):
            paths.make_token()
            around = Surroundings.of(paths.folder)
            status = _make_status(config, around)
            around.write_status(status)
            try:
                return _Root(around, status, command, ready, spares).run()
            finally:
                _clean_sockets(paths)
                # What those have left that were killed.
                sweep()


def _fill_standard_descriptors() -> None:
    """Open what is closed of standard input, output and error, on nothing.

    Else sockets would have their numbers, and be taken for them by our children.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= _STDERR:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    for name, number in (("stdout", _STDOUT), ("stderr", _STDERR)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


@contextlib.contextmanager
def _locked(paths: EndpointPaths) -> Iterator[None]:
    lock = filelock.FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        holder = _holder(paths)
        raise AlreadyRunning(
            f"{paths.folder} is in use by `actors run`{holder}: stop that one with "
            f"`actors stop {paths.folder}`, or give this one a folder of its own"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _holder(paths: EndpointPaths) -> str:
    try:
        status = Surroundings.of(paths.folder).read_status()
    except ConfigError:
        return ""
    return f" with pid {status.root_pid} on {status.host}" if status else ""


def _make_status(config: EndpointConfig, around: Surroundings) -> RunStatus:
    root = ProcessIdentity.of(os.getpid())
    workers = config.workers.workers_per_node or len(os.sched_getaffinity(0))
    return RunStatus(
        config.name,
        dialled_url(config.transport) or str(around.local_address),
        around.host,
        boot_id(),
        root.pid,
        root.started_at,
        workers,
        around.folder_id,
    )


def _clean_sockets(paths: EndpointPaths) -> None:
    """Remove what nng left: sockets of actors that were killed."""
    shutil.rmtree(paths.sockets, ignore_errors=True)


class _Root:
    """The overseer's shell."""

    def __init__(
        self,
        around: Surroundings,
        status: RunStatus,
        command: Sequence[str],
        ready: Callable[[RunStatus], None],
        spares: Spares,
    ) -> None:
        self._around = around
        self._spares = spares
        self._status = status
        self._command = command
        self._ready = ready
        self._inbox = Inbox()
        self._children: dict[str, ChildProcess] = {}
        self._starts: dict[str, int] = {}  # {actor: how often it was started}
        self._user: subprocess.Popen[bytes] | None = None
        self._is_interrupted = False
        self._exit_code = 0
        hello = overseer_hello(
            around.instance, around.token, python_version(), os.getpid(), around.host
        )
        machine = Overseer(
            hello,
            around.chance(),
            time.monotonic(),
            tempo=around.tempo,
            patience=PATIENCE,
            dispensable=["monitor"] if around.config.metrics.listen else [],
        )
        self._runtime = Runtime(
            machine,
            self,
            dialing={"interchange": around.dialing(to_member["supervisor"])},
            sources=[self._inbox],
        )

    def run(self) -> int:
        """Run to the end; return the exit code."""
        # Blocks whose provider died become ours, so that somebody reaps them.
        become_subreaper()
        with self._signals():
            if self._command:
                self._start_command()
            try:
                self._runtime.run()
            finally:
                self._kill_all()
        return self._exit_code

    def perform(self, effect: Effect) -> None:
        match effect:
            case StartChild(name):
                self._start(name)
            case StopChild(name, is_kill):
                child = self._children.get(name)
                if child is not None:
                    child.send_signal(signal.SIGKILL if is_kill else signal.SIGTERM)
            case KillSilent(actor, reason):
                child = self._children.get(actor)
                if child is not None:
                    logger.warning("%s is killed: %s", actor, reason)
                    child.kill()
            case Ready():
                self._ready(self._status)
            case AllStopped(reason):
                self._end_command()
                if reason:
                    logger.error("the endpoint stops: %s", reason)
                    self._exit_code = 1
                self._runtime.finish()
            case _:
                raise TypeError(f"the root cannot do {effect!r}")

    # Actors

    def _start(self, name: str) -> None:
        restarts = self._starts.get(name, 0)
        self._starts[name] = restarts + 1
        folder = str(self._around.paths.folder)
        parent = ["--parent", str(os.getpid())]
        log = self._around.paths.logs / f"{name}.log"
        with log.open("ab") as output:
            if name in _MODULES:
                words = [_MODULES[name], folder, *parent]
                child: ChildProcess = _spawn(words, output.fileno())
            else:
                words = [name, folder, "--restarts", str(restarts), *parent]
                child = self._start_actor(name, words, output.fileno())
        self._children[name] = child
        self._watch(child, lambda: self._ended(name, child))
        self._inbox.put(ChildStarted(name, child.pid))

    def _start_actor(self, name: str, words: list[str], log: int) -> ChildProcess:
        ours, theirs = os.pipe()
        child: ChildProcess | None = self._spares.begin(name, words, log, theirs)
        if child is None:
            words = ["actors.endpoint.launch", *words, "--pulse", str(theirs)]
            child = _spawn(words, log, theirs)
        os.close(theirs)
        # The actor's end closes it.
        pulse = PulseReader(ours, ChildBeat(name), self._runtime.remove_source)
        self._runtime.add_source(pulse)
        return child

    def _ended(self, name: str, child: ChildProcess) -> None:
        code = child.wait()
        how = _how(code)
        if code > 0:
            how += self._last_words(name)
        del self._children[name]
        logger.info("%s ended: %s", name, how)
        is_hopeless = code == EXIT_CONFIG_ERROR
        self._inbox.put(ChildEnded(name, how, is_hopeless))

    def _last_words(self, name: str) -> str:
        """Return what an actor that failed wrote last, for whoever reads only us."""
        log = self._around.paths.logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()
        if not lines:
            return ""
        record = read_record(lines[-1])
        return f": {record.message if record else lines[-1].rpartition(' ERROR ')[2]}"

    def _watch(self, child: ChildProcess, ended: Callable[[], None]) -> None:
        watch = _EndWatch(child.pid, self._runtime, ended)
        self._runtime.add_source(watch)

    def _kill_all(self) -> None:
        """Leave nobody behind, whatever went wrong here."""
        for child in [*self._children.values(), *([self._user] if self._user else [])]:
            if child.poll() is None:
                child.kill()
                child.wait()

    # The command

    def _start_command(self) -> None:
        environment = {**os.environ, "ACTORS_ADDRESS": str(self._around.paths.folder)}
        try:
            self._user = subprocess.Popen(self._command, env=environment)
        except OSError as error:
            raise ConfigError(
                f"Cannot run {self._command[0]}: {error.strerror}; give a program "
                "that can be found, after --"
            ) from error
        self._watch(self._user, self._command_ended)

    def _end_command(self) -> None:
        """End a command that lives on when the endpoint stops."""
        if self._user is None or self._user.poll() is not None:
            return
        self._user.terminate()
        try:
            self._user.wait(_COMMAND_PATIENCE)
        except subprocess.TimeoutExpired:
            self._user.kill()
            self._user.wait()
        self._exit_code = _exit_code(self._user.returncode)

    def _command_ended(self) -> None:
        assert self._user is not None
        self._exit_code = _exit_code(self._user.wait())
        self._inbox.put(StopAll())

    # Signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in numbers}
        if before[signal.SIGHUP] == signal.SIG_IGN:
            # Under nohup: it shall live on when its terminal goes.
            del before[signal.SIGHUP]
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: Any) -> None:
        """Stop in order; on the second signal in a hurry."""
        hurry, self._is_interrupted = self._is_interrupted, True
        if self._user is not None and self._user.poll() is None:
            # Ctrl-C reaches the command from the terminal; the endpoint lives for it.
            if number == signal.SIGINT and not hurry:
                return
            self._user.send_signal(signal.SIGKILL if hurry else signal.SIGTERM)
        self._inbox.put(StopAll(hurry=hurry))


def _spawn(words: list[str], log: int, *descriptors: int) -> ChildProcess:
    return subprocess.Popen(
        [sys.executable, *_path_options(), "-m", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # Not Ctrl-C's business: the root decides who stops when.
        process_group=0,
        pass_fds=descriptors,
    )


def _path_options() -> list[str]:
    """Have a child import from where we do.

    By `-m` alone it would look first into the folder that we were started in, and take
    what lies there under one of our names, or the standard library's, for that.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:  # removed since
        return ["-P"]
    return [] if here in sys.path or "" in sys.path else ["-P"]


class _EndWatch:
    """A source that calls back once a child of ours has ended."""

    def __init__(self, pid: int, runtime: Runtime, ended: Callable[[], None]) -> None:
        self._watch = ProcessWatch(ProcessIdentity.of(pid))
        self._runtime = runtime
        self._ended = ended

    def fileno(self) -> int:
        return self._watch.fileno()

    def read(self) -> Sequence[Any]:
        self._runtime.remove_source(self)
        self._watch.close()
        self._ended()
        return []


def _exit_code(code: int) -> int:
    """Turn what subprocess says into what shells say."""
    return code if code >= 0 else _SIGNAL_EXIT - code


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code} ({signal.Signals(-code).name})"
