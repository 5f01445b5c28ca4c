"""What the system tests run in workers: calls that wait, tell where they are, and die.

Workers import this file, so it imports nothing that they should not have.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

__all__ = [
    "deaf_at_first",
    "die_each_time",
    "echo",
    "exit_at_once",
    "hang_once",
    "hold",
    "note",
    "noted",
    "rest",
    "segfault",
    "square",
    "start_sleepers",
    "wait_for",
]

# Longer than any test: what waits so long is ended by somebody else.
_FOR_EVER = 600.0
_POLL_PERIOD = 0.01


def square(number: int) -> int:
    return number * number


def rest(duration: float) -> int:
    """Take `duration` seconds and no processor; return the worker's pid."""
    threading.Event().wait(duration)
    return os.getpid()


def deaf_at_first(path: Path) -> None:
    """Lose one SIGINT as a call that blocks does, and then sleep."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    path.touch()
    signal.sigwait([signal.SIGINT])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Event().wait(_FOR_EVER)


def note(path: str, line: object) -> None:
    """Add a line to a file that several processes write to."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def noted(path: str, number: int, duration: float = 0.0) -> int:
    """Note that the call began, take `duration` seconds, and return the number."""
    note(path, number)
    if duration:
        rest(duration)
    return number


def echo(number: int, duration: float) -> int:
    """Take `duration` seconds, and return the number."""
    rest(duration)
    return number


def wait_for(gate: str, number: int) -> int:
    """Return the number as soon as there is a file of that name."""
    while not os.path.exists(gate):
        rest(0.01)
    return number


def hang_once(path: str) -> str:
    """Note the worker's pid and hang; return "again" if another start did so before."""
    is_first = not os.path.exists(path)
    note(path, os.getpid())
    if not is_first:
        return "again"
    print("these were its last words", file=sys.stderr, flush=True)
    rest(_FOR_EVER)
    return "never"


def hold(path: str, until: str) -> int:
    """Note the worker's pid, and go on once the file `until` is there."""
    note(path, os.getpid())
    while not Path(until).exists():
        rest(_POLL_PERIOD)
    return os.getpid()


def die_each_time(path: str) -> None:
    """Note the start, and die of SIGKILL."""
    note(path, os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> None:
    ctypes.string_at(0)


def exit_at_once(code: int) -> None:
    os._exit(code)


def start_sleepers(path: str) -> None:
    """Start a program, note its pid, and hang."""
    with subprocess.Popen(["sleep", str(_FOR_EVER)]) as sleeper:
        note(path, sleeper.pid)
