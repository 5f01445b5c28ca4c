"""Runs one node of a job as an actor of somebody else's cluster; see `dask` and `ray`.

    Keeper (in a worker of the cluster) ──► the node's command, leader of a session
       │ watches: its end, walltime, orders to end, nobody asking
       └─► a guard: bash, outside of that session; if the keeper's process dies, however
           it does, the pipe between them ends, and the guard kills the session

An instance travels by value: workers need Python, bash and nothing of this package. It
may begin only when it is first asked how it is: then one that was started by a caller
who was gone before he could make it last never runs anything.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

from providers.base import STDERR_TAIL_CHARACTERS
from providers.bash_session import SESSION_FUNCTIONS
from providers.processes import ProcessStat, is_alive, read_stat, session_members

__all__ = ["Keeper"]

_READ_BYTES = 65536
# UTF-8's longest character.
_TAIL_BYTES = STDERR_TAIL_CHARACTERS * 4
# A process that got SIGKILL is gone within milliseconds, unless it waits for a disk.
_SWEEP_PERIOD = 0.01
# What left the session may keep standard error open for ever.
_READER_PATIENCE = 1.0
_SIGNAL_EXIT_CODE = 128

# The command begins when the guard knows of it. What Python ignores, it must not.
_LEADER = 'IFS= read -r _ || exit 1; exec bash -c "$1" < /dev/null'
_GUARD = (
    SESSION_FUNCTIONS
    + """
trap '' HUP INT TERM
read -r leader leader_born || exit 0
# The end of the pipe: the keeper is gone. A line: it is not needed any more.
read -r _ || sweep "$leader" "$leader_born"
"""
)


class Keeper:
    """One node.

    Args:
        command: a shell line.
        environment: variables on top of the worker's.
        walltime: seconds that it may run; None: as long as it likes.
        grace: seconds between SIGTERM and SIGKILL.
        lease: seconds after which it ends if nobody asks how it is.
        begins: whether at once, or when it is first asked how it is.
        owns_process: whether this process is there for it alone, and ends when nobody
            has asked for two leases.
    """

    def __init__(
        self,
        command: str,
        environment: Mapping[str, str],
        *,
        walltime: float | None,
        grace: float,
        lease: float,
        begins: bool = False,
        owns_process: bool = False,
    ) -> None:
        self._command = command
        self._environment = dict(environment)
        self._walltime = math.inf if walltime is None else walltime
        self._grace = grace
        self._lease = lease
        self._owns_process = owns_process
        self._change = threading.Condition()
        self._asked_at = time.monotonic()
        self._begun_at = math.inf
        self._leader: ProcessStat | None = None
        self._why = ""  # it was asked to end
        self._term_at = math.inf
        self._is_killed = False
        self._is_over = False
        self._exit_code: int | None = None
        self._tail = b""
        if begins:
            with self._change:
                self._begin()
        threading.Thread(target=self._keep_time, daemon=True).start()

    def poll(self) -> tuple[str, int | None, str, str]:
        """Say how the node is; it begins if it has not.

        Returns:
            `running` or `over`; its exit code, None if it never ran; why it was asked
            to end: ending, walltime, abandoned, or ""; the end of its standard error.
        """
        with self._change:
            self._asked_at = time.monotonic()
            if self._begun_at == math.inf and not self._is_over:
                self._begin()
            return self._answer()

    def end(self) -> tuple[str, int | None, str, str]:
        """Ask the node to end; one that has not begun never will. As `poll`."""
        with self._change:
            self._asked_at = time.monotonic()
            self._ask_to_end("ending")
            return self._answer()

    def _answer(self) -> tuple[str, int | None, str, str]:
        if not self._is_over:
            return "running", None, "", ""
        tail = self._tail.decode(errors="replace")[-STDERR_TAIL_CHARACTERS:]
        return "over", self._exit_code, self._why, tail

    # Life

    def _begin(self) -> None:
        self._begun_at = time.monotonic()
        self._change.notify_all()
        try:
            guard = subprocess.Popen(
                ["bash", "-c", _GUARD],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
            process = subprocess.Popen(
                ["bash", "-c", _LEADER, "bash", self._command],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        except OSError as error:
            self._tail = f"Cannot start bash: {error}".encode()
            self._is_over = True
            return
        self._leader = read_stat(process.pid)
        assert self._leader is not None, "a child that waits for us is there"
        _write(guard, f"{self._leader.pid} {self._leader.start_time}\n")
        _write(process, "go\n")
        assert process.stdin is not None
        process.stdin.close()
        threading.Thread(target=self._watch, args=(process, guard), daemon=True).start()

    def _watch(
        self, process: "subprocess.Popen[bytes]", guard: "subprocess.Popen[bytes]"
    ) -> None:
        """See a node to its end."""
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        code = process.wait()
        # Again and again: what is killed may just have forked.
        while self._kill():
            time.sleep(_SWEEP_PERIOD)
        reader.join(_READER_PATIENCE)
        _write(guard, "done\n")
        guard.communicate()
        with self._change:
            self._exit_code = code if code >= 0 else _SIGNAL_EXIT_CODE - code
            self._is_over = True
            self._change.notify_all()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        """Pass standard error on to the worker's, and keep its end."""
        assert process.stderr is not None
        with process.stderr as pipe:
            while data := os.read(pipe.fileno(), _READ_BYTES):
                self._tail = (self._tail + data)[-_TAIL_BYTES:]
                # Nobody may read what a worker says.
                with contextlib.suppress(OSError, ValueError):
                    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, data)

    def _kill(self) -> bool:
        """Kill every process of the session; false if there is none."""
        assert self._leader is not None
        members = session_members(self._leader)
        for member in members:
            if is_alive(member):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
        return bool(members)

    # Time

    def _keep_time(self) -> None:
        """End what has to end by the clock."""
        with self._change:
            while not self._is_over:
                now = time.monotonic()
                if now >= self._begun_at + self._walltime:
                    self._ask_to_end("walltime")
                if now >= self._asked_at + self._lease:
                    self._ask_to_end("abandoned")
                if now >= self._term_at + self._grace and not self._is_killed:
                    self._is_killed = True
                    # The leader's end has the rest killed.
                    self._kill()
                if not self._is_over:
                    self._change.wait(self._next_change(now))
            while self._owns_process:
                left = self._asked_at + 2 * self._lease - time.monotonic()
                if left <= 0:
                    os._exit(0)
                self._change.wait(left)

    def _next_change(self, now: float) -> float | None:
        """Seconds until there may be something to do; None: never by itself."""
        moments = [self._asked_at + self._lease]
        if not self._why:
            moments.append(self._begun_at + self._walltime)
        elif not self._is_killed:
            moments = [self._term_at + self._grace]
        else:
            return None
        # What is asked meanwhile moves the lease only to later.
        return max(0.0, min(moments) - now)

    def _ask_to_end(self, why: str) -> None:
        if self._is_over or self._why:
            return
        self._why = why
        if self._leader is None:
            self._is_over = True
        else:
            self._term_at = time.monotonic()
            # It may just have ended.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._leader.pid, signal.SIGTERM)
        self._change.notify_all()


def _write(process: "subprocess.Popen[bytes]", text: str) -> None:
    assert process.stdin is not None
    # Who has ended does not read.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(text.encode())
        process.stdin.flush()
