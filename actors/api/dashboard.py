"""Dashboard: what `actors.init(dashboard=True)` starts: `actors web`, for the program.

A process of its own: it neither slows the program nor can break it, and ends with it.
"""

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from actors.errors import ConfigError

__all__ = ["Dashboard", "require_dashboard"]

_NEEDS = "textual_serve"
# How long its end may take, in seconds; chosen: it has nothing to save.
_PATIENCE = 2.0


def require_dashboard() -> None:
    """See to it that there can be one.

    Raises:
        ConfigError: what it needs is not installed.
    """
    if importlib.util.find_spec(_NEEDS) is None:
        raise ConfigError(
            "dashboard=True needs textual-serve: pip install 'actors[web]', or look "
            f"from a terminal: actors tui --pid {os.getpid()}"
        )


class Dashboard:
    """The process; it says on standard error where to look.

    Args:
        words: what it shows, as `actors web` takes it; empty: this program.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        pid = str(os.getpid())
        shown = list(words) or ["--pid", pid]
        url = f"http://127.0.0.1:{_free_port()}"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "actors", "web", *shown),
                *("--listen", url, "--parent", pid),
            ],
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,
            # Ctrl-C is for the program, which may take it for something else.
            start_new_session=True,
        )

    def close(self) -> None:
        """End it, and wait for that."""
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    """Return a port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
