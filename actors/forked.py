"""Children made by fork, which need not import again what their parent has imported.

Sound only while the parent has one thread and has opened no socket of nng: a copy has
but the thread that made it, and locks as all others left them. So this is for the first
moments of a process.
"""

import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn, Protocol

__all__ = ["ChildProcess", "ForkedChild"]

# What a Python program exits with when an exception ends it.
_EXIT_ERROR = 1
# Between two looks for a child's end, where somebody waits for a limited time. Chosen:
# nobody notices it.
_LOOK = 0.005


class ChildProcess(Protocol):
    """What `subprocess.Popen` and `ForkedChild` have in common."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class ForkedChild:
    """A copy of this process that runs a function, with the names of `Popen`.

    It leads a process group of its own and reads nothing from standard input. When the
    function has returned the process ends at once: what stands above it on the stack,
    or is registered with `atexit`, is its parent's business.

    Args:
        run: gives the exit code.
    """

    def __init__(self, run: Callable[[], int]) -> None:
        # What is not written yet would be written twice.
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        self.returncode: int | None = None  # negative: the signal that ended it
        if self.pid == 0:
            _run_and_end(run)

    def poll(self) -> int | None:
        """Return how it ended, as `returncode`; None: not yet."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most so many seconds.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        if timeout is None and self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        patience = timeout or 0.0
        deadline = time.monotonic() + patience
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", patience)
            time.sleep(_LOOK)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Send SIGKILL, if it has not ended."""
        self.send_signal(signal.SIGKILL)


def _run_and_end(run: Callable[[], int]) -> NoReturn:
    code = _EXIT_ERROR
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        code = run()
    except BaseException:  # noqa: BLE001  the last line of this process
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
