"""What tests of several parts need."""

import socket
import time
from collections.abc import Callable

__all__ = ["eventually", "free_port"]

# Short against everything that is waited for, long against a switch of processes.
_POLL_PERIOD = 0.005


def eventually(
    condition: Callable[[], object],
    within: float = 30,
    what: str | Callable[[], str] = "",
) -> None:
    """Wait until a condition holds, and fail if it never does.

    Args:
        condition: called again and again; any true value will do.
        within: seconds. What takes a moment may take many on a machine with a dozen
            other tests; only who waits in vain waits so long.
        what: what is waited for, in the failure's message; called when it has failed.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() >= deadline:
            text = what() if callable(what) else what
            raise AssertionError(f"not within {within} s: {text}")
        time.sleep(_POLL_PERIOD)


def free_port() -> int:
    """Return a port of the loopback interface that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
