"""What commands do that write for long: notice that nobody reads any more."""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator

import click

__all__ = ["INTERRUPTED", "is_reader_gone", "quiet_end"]

# What shells say when Ctrl-C ended a command.
INTERRUPTED = 128 + signal.SIGINT


@contextlib.contextmanager
def quiet_end() -> Iterator[None]:
    """End without a noise: with 130 at Ctrl-C, in order when nobody reads any more."""
    try:
        yield
    except KeyboardInterrupt:
        click.get_current_context().exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever reads has had enough. What is left in the buffer goes nowhere; Python
        # would complain about it at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def is_reader_gone(timeout: float) -> bool:
    """Wait, but not longer than there is somebody at the other end of the pipe."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file: a test's
        select.select([], [], [], timeout)
        return False
    poller = select.poll()
    # Errors and hang-ups are told without being asked for.
    poller.register(descriptor, 0)
    return bool(poller.poll(timeout * 1000))
