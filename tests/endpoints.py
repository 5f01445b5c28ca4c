"""Real endpoints for system tests: processes, sockets and signals, and no trace after.

    with RunningEndpoint(workers={"workers_per_node": 2}) as endpoint:
        with endpoint.executor() as executor:
            ...
        os.kill(endpoint.pids("worker")[0], signal.SIGKILL)

Every process of an endpoint, and whatever its tasks start, carries the endpoint's
folder in its environment: so it is found, whoever its parent is by now.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import psutil
import pytest

from actors.address import Address
from actors.api.executor import EndpointExecutor
from actors.config import EndpointConfig, EndpointPaths, dialled_url, render_config
from tests.support import eventually

__all__ = ["RunningEndpoint", "endpoint", "no_leftovers", "shared_endpoint"]

_REPOSITORY = Path(__file__).parents[1]
_MARK = "ACTORS_TEST_ENDPOINT"
_SHM = Path("/dev/shm")
# Imports of three actors on a busy machine.
_START_TIMEOUT = 60.0
# The root gives its actors time to say goodbye; it must not need more.
_STOP_TIMEOUT = 30.0
# Specified: a SIGKILL of `actors run` leaves no process behind within 2 s. The rest is
# for machines that run more than this.
_END_TIMEOUT = 15.0
_TAIL_LINES = 30
# `actors` that dies with its parent: a test run that is killed leaves nothing, either.
_BOOT = (
    "import sys; from actors.process import die_with_parent; "
    "die_with_parent(int(sys.argv.pop(1))); "
    "from actors.cli import main; main(prog_name='actors')"
)
# The kernel keeps 15 bytes of a process's name.
_ROLES = {
    "actors-intercha": "interchange",
    "actors-strategy": "strategy",
    "actors-provider": "provider",
    "actors-manager": "manager",
    "actors-forks": "forks",
    "actors-worker": "worker",
}


class RunningEndpoint:
    """An endpoint in a folder of its own, as `actors run` runs it.

    Use it as a context manager: at the end the endpoint is asked to stop, and the test
    fails if it does not, or if a process or a socket of it is left.

    Args:
        command: what the endpoint lives for; empty: until it is stopped.
        environment: variables for `actors run`, beyond those of this process.
        sections: tables of endpoint.toml, such as `blocks={"max_blocks": 2}`. Left
            out: one block of two workers, and a strategy that looks often.
    """

    def __init__(
        self,
        *,
        command: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        **sections: Any,
    ) -> None:
        table = {
            "name": "tested",
            **sections,
            "workers": {"workers_per_node": 2} | sections.get("workers", {}),
            "strategy": {"period": 0.5} | sections.get("strategy", {}),
        }
        self.config = msgspec.convert(table, EndpointConfig)
        # Sockets live in it: their paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
        self.paths = EndpointPaths(self.folder, self.config.transport.socket_dir)
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._environment = environment or {}
        self._executors: weakref.WeakSet[EndpointExecutor] = weakref.WeakSet()
        self._was_killed = False
        (self.folder / "endpoint.toml").write_text(render_config(self.config))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._tidy_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                print(self.tail())
            for executor in list(self._executors):
                executor.shutdown(wait=False, cancel_futures=True)
            self.stop()
        finally:
            self._tidy_up()

    # Life

    def start(self) -> None:
        """Run it, and return once it takes newcomers; again, after a `stop`."""
        assert self.process is None, "it runs already"
        path = [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            **self._environment,
            _MARK: str(self.folder),
        }
        words = [sys.executable, "-c", _BOOT, str(os.getpid()), "run", str(self.folder)]
        if self._command:
            words += ["--", *self._command]
        with (self.folder / "run.log").open("ab") as output:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.folder,
                # Ctrl-C in a test run is for the test, which then ends this.
                start_new_session=True,
            )
        eventually(self._is_serving_or_dead, _START_TIMEOUT, "the endpoint to serve")
        if not self._command:
            assert self.process.poll() is None, self.tail()

    def stop(self) -> int | None:
        """Ask it to stop and wait; fail if somebody stays; nothing if it is over.

        Returns:
            The exit code of `actors run`; None if it did not run.
        """
        process, self.process = self.process, None
        if process is None:
            return None
        process.terminate()
        try:
            code = process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"still there {_STOP_TIMEOUT} s after SIGTERM\n{self.tail()}")
        self._expect_no_process()
        # Who was killed cannot remove anything.
        if not self._was_killed:
            assert not self.paths.sockets.exists(), "it left its sockets behind"
        return code

    def kill(self) -> None:
        """SIGKILL its root process, and wait until all others have followed it."""
        assert self.process is not None, "it does not run"
        self._was_killed = True
        self.process.kill()
        self.process.wait()
        self.process = None
        self._expect_no_process()

    def _is_serving_or_dead(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None or self.is_serving

    def _expect_no_process(self) -> None:
        eventually(
            lambda: not self.processes(),
            _END_TIMEOUT,
            lambda: f"the end of {self.processes()}\n{self.tail()}",
        )

    def _tidy_up(self) -> None:
        """Leave nothing, whatever went wrong."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.paths.sockets, ignore_errors=True)
        shutil.rmtree(self.folder)

    # What it is

    @property
    def root_pid(self) -> int:
        """The process `actors run`."""
        assert self.process is not None, "it does not run"
        return self.process.pid

    @property
    def address(self) -> Address:
        """Where members dial."""
        url = dialled_url(self.config.transport) or f"ipc://{self.paths.sockets}"
        return Address.parse(url)

    @property
    def is_serving(self) -> bool:
        """Whether somebody listens at the interchange's door."""
        url = self.address.door("interchange")
        try:
            if url.startswith("ipc://"):
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(url.removeprefix("ipc://"))
            else:
                host, _, port = url.split("/")[2].rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), 1).close()
        except OSError:
            return False
        return True

    def processes(self) -> list[psutil.Process]:
        """All living processes of it and of its tasks; a zombie does not live."""
        return [p for p in psutil.process_iter() if self._is_ours(p)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.pid != os.getpid() and (
                process.environ().get(_MARK) == str(self.folder)
                or any(str(self.folder) in word for word in process.cmdline())
            )
        except (psutil.Error, OSError):
            # Ended meanwhile, or another user's.
            return False

    def pids(self, role: str) -> list[int]:
        """List the processes of one role, oldest first.

        Args:
            role: root, interchange, strategy, provider, manager, forks (a fork
                server), worker; other: wrappers of blocks, and what tasks started.
        """
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if self._role(process) == role:
                    found.append((process.create_time(), process.pid))
        return [pid for _, pid in sorted(found)]

    def _role(self, process: psutil.Process) -> str:
        if self.process is not None and process.pid == self.process.pid:
            return "root"
        # Not `name()`: psutil completes it from the command line where it can.
        comm = Path(f"/proc/{process.pid}/comm")
        with suppress(FileNotFoundError, ProcessLookupError):
            return _ROLES.get(comm.read_text().strip(), "other")
        return "other"

    def pid(self, role: str) -> int:
        """Return the one process of a role, once there is one."""
        eventually(lambda: self.pids(role), _START_TIMEOUT, f"a process: {role}")
        (found,) = self.pids(role)
        return found

    def await_workers(self, count: int) -> list[int]:
        """Wait for so many worker processes; return their pids, oldest first."""
        eventually(
            lambda: len(self.pids("worker")) >= count,
            _START_TIMEOUT,
            f"{count} workers",
        )
        return self.pids("worker")

    def executor(self, max_workers: int | None = None, **more: Any) -> EndpointExecutor:
        """Make an executor on it; the endpoint's end shuts it down."""
        executor = EndpointExecutor(self.folder, max_workers, **more)
        self._executors.add(executor)
        return executor

    def log(self, actor: str) -> str:
        """Return what an actor had to say: interchange, strategy, provider, run."""
        path = self.folder / "run.log"
        if actor != "run":
            path = self.paths.logs / f"{actor}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self) -> str:
        """Return the ends of all logs, for a failure's message."""
        paths = [
            self.folder / "run.log",
            *sorted(self.paths.logs.glob("*")),
            *sorted(p for p in self.paths.blocks.rglob("*") if p.suffix == ".err"),
        ]
        parts = []
        for path in paths:
            if path.is_file():
                lines = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
                parts += [f"--- {path.relative_to(self.folder)}", *lines]
        return "\n".join(parts)


@pytest.fixture
def endpoint() -> Iterator[RunningEndpoint]:
    """Run an endpoint of two workers for one test."""
    with RunningEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def shared_endpoint() -> Iterator[RunningEndpoint]:
    """Run an endpoint of two workers for all tests of a module."""
    with RunningEndpoint() as running:
        yield running


@pytest.fixture
def no_leftovers() -> Iterator[None]:
    """Fail a test after which shared memory or one of our threads is left.

    What goes on from test to test, an endpoint and its client, may have folders for
    shared memory, with nothing in them.
    Processes and sockets are looked for when their `RunningEndpoint` ends.
    """
    files = set(os.listdir(_SHM))
    threads = set(threading.enumerate())
    yield
    eventually(
        lambda: not [f for f in set(os.listdir(_SHM)) - files if not _is_foreign(f)],
        30,
        "shared memory to be released",
    )
    eventually(
        lambda: (
            not [
                t
                for t in threading.enumerate()
                if t not in threads and t.name.startswith("actors-")
            ]
        ),
        # One whose endpoint was gone before it could say goodbye is patient: for 30 s.
        60,
        "the threads of executors to end",
    )


def _is_foreign(name: str) -> bool:
    """Tell whether an object store is a living program's that is none of ours.

    Or, if it is that of an endpoint or client of ours, whether it is empty.
    """
    if name.startswith("sem."):
        # The standard library's: we make none, other tests' pools beside us do.
        return True
    try:
        inode = (_SHM / name / "lock").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, pid, place, *_ = line.split()
            if kind == "FLOCK" and place.endswith(f":{inode}"):
                above = psutil.Process(int(pid)).parents()
                is_ours = os.getpid() in (int(pid), *(p.pid for p in above))
                return not is_ours or os.listdir(_SHM / name) == ["lock"]
    except (OSError, ValueError, psutil.NoSuchProcess):
        # It goes just now, or is no store.
        return False
    return False
