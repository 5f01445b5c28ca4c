"""What tests of several parts need."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["eventually", "free_port", "pass_in_own_process"]

# nng 1.11 may end a process when a websocket ends (see actors.transport), perhaps once
# in a thousand times. Then such tests start again. Chosen: five in a row are no
# accident.
_ATTEMPTS = 5

# Short against everything that is waited for, long against a switch of processes.
_POLL_PERIOD = 0.005


def eventually(
    condition: Callable[[], object], within: float = 10, what: str = ""
) -> None:
    """Wait until a condition holds, and fail if it never does.

    Args:
        condition: called again and again; any true value will do.
        within: seconds.
        what: what is waited for, in the failure's message.
    """
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(_POLL_PERIOD)


def free_port() -> int:
    """Return a port of the loopback interface that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def pass_in_own_process(
    file: Path, environment: Mapping[str, str] | None = None, selection: str = ""
) -> None:
    """Run tests in a process that nng may end, and fail if they do.

    Args:
        file: of the tests, not collected by itself.
        environment: variables on top of ours.
        selection: as for `pytest -k`.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            [*command, "-k", selection, str(file)],
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode >= 0:
            break
    assert done.returncode == 0, done.stdout
