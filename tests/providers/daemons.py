"""Daemons that a module's tests start for themselves, and that end with them."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from providers.processes import read_stat

__all__ = ["Daemons", "has_ended"]

_STOP_TIMEOUT = 10.0


class Daemons:
    """Processes in the order of their start; stopped the other way round.

    Args:
        folder: for their output; `NAME.log` each.
        environment: all of their variables.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, words: Sequence[str]) -> None:
        """Start one, in a session of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL one, and nothing that it has started; wait for its end."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> None:
        """Ask one to end, and then kill it with its session."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits for a parent that is slow to take notice."""
    process = read_stat(pid)
    return process is None or process.state in "ZX"
