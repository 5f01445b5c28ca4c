"""Environments: another interpreter, or a container, whose fork server comes to us.

    owner ──starts──► words of the environment ──► fork server, in there
      │                                                 │
      └── listens in a folder of its own ◄──connects────┘   workers' descriptors go in

A virtual environment's fork server could inherit a socket; one in a container cannot,
and comes by a folder that the container sees. Descriptors pass between namespaces as
between any two processes of a kernel, so all that follows is as everywhere.

What is wrong with an environment its boot code says as its last words: they are the
reason that a task is told.
"""

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.forkserver import FORK_PROTOCOL, Forked, ForkServer, Report
from actors.messages import PROTOCOL
from actors.process import find_outer_pid, kill_group

__all__ = ["FOLDER_FIELD", "Environment", "HousedForkServer"]

# Stands in an environment's words for the folder that its fork server comes to.
FOLDER_FIELD = "{folder}"

_SOCKET = "forks"
# pid, user, group: from <sys/socket.h>.
_CREDENTIALS = struct.Struct("3i")

# Runs before anything of ours can be imported.
_BOOT = """\
import json, os, sys
spec = json.loads(sys.argv[1])
found = "%d.%d" % sys.version_info[:2]
if found != spec["python"]:
    sys.exit(
        "its Python is %s (%s), and this endpoint's is %s: pickles of one cannot be "
        "trusted to load in the other" % (found, sys.executable, spec["python"])
    )
os.environ.update(spec["variables"])
sys.path[:] = [entry for entry in sys.path if entry] + spec["path"]
for more in ([], spec["fallback"]):
    sys.path += more
    try:
        from actors.forkserver import FORK_PROTOCOL, come_in
        from actors.messages import PROTOCOL
    except ImportError as error:
        reason = error
    else:
        break
else:
    sys.exit(
        "its Python (%s) cannot import what it needs of actors: %s; install the "
        "endpoint's version there, or let path name a folder that has it"
        % (sys.executable, reason)
    )
if [PROTOCOL, FORK_PROTOCOL] != spec["protocols"]:
    sys.exit(
        "its actors speaks protocols %s, and this endpoint %s: install the same "
        "version there" % ([PROTOCOL, FORK_PROTOCOL], spec["protocols"])
    )
come_in(spec["socket"], spec["program"])
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where workers run, if not as their owner does.

    Args:
        words: of the command that runs an interpreter in it; `FOLDER_FIELD` in them
            stands for the folder that it must see.
        path: folders from which it imports, too.
        variables: of the environment, beyond its own.
        is_here: whether it sees this process's files, so that it may import `actors`
            from where we do.
    """

    words: Sequence[str]
    path: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    is_here: bool = True


class HousedForkServer(ForkServer):
    """A fork server in an environment, seen by its owner; see `ForkServer`.

    Args:
        environment: where it runs.
        log: a descriptor for what it, and what starts it, has to say.
        program: what its workers usually run.

    Raises:
        OSError: the first of the words is no program.
    """

    def __init__(self, environment: Environment, log: int | None, program: str) -> None:
        self._waiting = deque()
        self._program = program
        self.is_lost = False
        self.has_forked = False
        self._peer_pid = 0
        self._is_in = False
        self._folder = tempfile.mkdtemp(prefix="actors-forks-", dir="/tmp")
        path = os.path.join(self._folder, _SOCKET)
        # The listener first, then who has come.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._poller = select.epoll()
        self._death_watch = -1
        try:
            self._socket.bind(path)
            self._socket.listen(1)
            self._socket.setblocking(False)
            self._process = _launch(environment, self._folder, path, log, program)
        except BaseException:
            self._release()
            raise
        self._death_watch = os.pidfd_open(self._process.pid)
        self._poller.register(self._socket, select.EPOLLIN)
        self._poller.register(self._death_watch, select.EPOLLIN)

    def fileno(self) -> int:
        """Return the descriptor to read from."""
        return self._poller.fileno()

    @property
    def wants_write(self) -> bool:
        """False: it looks for room by itself."""
        return False

    def flush(self) -> None:
        """Send requests that wait, as far as there is room, if it has come in."""
        if self._is_in:
            super().flush()
            wanted = select.EPOLLOUT if self._waiting and not self.is_lost else 0
            self._poller.modify(self._socket, select.EPOLLIN | wanted)

    def read(self) -> list[Report]:
        """Return what the server has reported; see `ForkServer.read`."""
        if not self._is_in and not self._let_in():
            return []
        reports = super().read()
        self.flush()
        return [
            Forked(report.worker_id, find_outer_pid(self._peer_pid, report.pid))
            if type(report) is Forked
            else report
            for report in reports
        ]

    def _let_in(self) -> bool:
        """Take the server's connection, if it is there."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            if self._process.poll() is not None:
                self.is_lost = True
                self._drop_waiting()
            return False
        self._poller.unregister(self._death_watch)
        self._poller.unregister(self._socket)
        self._socket.close()
        connection.setblocking(False)
        self._socket = connection
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
        )
        self._peer_pid = _CREDENTIALS.unpack(credentials)[0]
        self._poller.register(connection, select.EPOLLIN)
        self._is_in = True
        shutil.rmtree(self._folder, ignore_errors=True)
        return True

    def close(self) -> None:
        """End the server and all its workers, and wait for it; twice is once."""
        if not self._is_in:
            # It would wait for what starts it, such as the download of an image.
            kill_group(self._process.pid)
        super().close()
        self._release()

    def _release(self) -> None:
        self._socket.close()
        self._poller.close()
        if self._death_watch >= 0:
            os.close(self._death_watch)
            self._death_watch = -1
        shutil.rmtree(self._folder, ignore_errors=True)


def _launch(
    environment: Environment, folder: str, path: str, log: int | None, program: str
) -> "subprocess.Popen[bytes]":
    spec = {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "protocols": [PROTOCOL, FORK_PROTOCOL],
        "variables": dict(environment.variables),
        "path": list(environment.path),
        "fallback": _our_path() if environment.is_here else [],
        "socket": path,
        "program": program,
    }
    words = [word.replace(FOLDER_FIELD, folder) for word in environment.words]
    return subprocess.Popen(
        [*words, "-c", _BOOT, json.dumps(spec)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # As of every fork server: signals of a terminal go to the owner.
        process_group=0,
    )


def _our_path() -> list[str]:
    """Say where this process imports `actors`, and what that needs, from."""
    ours = str(Path(__file__).parents[1])
    installed = (sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    return list(dict.fromkeys([ours, *installed]))
