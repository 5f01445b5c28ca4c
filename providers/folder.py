"""The files that every job's folder has, whoever runs the job.

    job.json       the order, written first and whole. Without it: never submitted
    ending.json    the job was asked to end: which state that will be, since when
    status.json    how the job ended, written last; nothing changes after it

Each file appears under its name with all its content (written aside, then linked), and
is never rewritten: whoever finds it there, finds it whole, and of several who make it
exactly one wins. Nothing is synced to the disk.
"""

import json
import logging
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from providers.base import (
    STDERR_TAIL_CHARACTERS,
    JobSpec,
    JobState,
    JobStatus,
    ProviderError,
)

__all__ = ["Ending", "OrderFolder", "explain_exit_code", "read_tail"]

logger = logging.getLogger(__name__)

# UTF-8's longest character.
_CHARACTER_BYTES = 4
# As shells report a command that a signal ended.
_SIGNAL_EXIT_CODE = 128


class Ending(NamedTuple):
    """A job was asked to end.

    Args:
        state: which it will have: CANCELLED, TIMEOUT or FAILED.
        message: why, in words.
        asked_at: seconds since boot of the machine that asked.
    """

    state: JobState
    message: str
    asked_at: float


class OrderFolder:
    """The files of one job that do not depend on who runs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    # The order

    def order(self, spec: JobSpec) -> JobSpec:
        """Write the job's order, unless there is one.

        Returns:
            The order that is there.

        Raises:
            ProviderError: the folder is another job's.
            OSError: the folder cannot be made or written.
        """
        # Not for others to read: environments hold tokens.
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {
            "job_name": spec.job_name,
            "commands": list(spec.commands),
            "folder": str(self.path),
            "environment": dict(spec.environment),
            "walltime": spec.walltime,
        }
        self._create("job.json", json.dumps(document))
        ordered = self.spec()
        assert ordered is not None
        if ordered.job_name != spec.job_name:
            raise ProviderError(
                f"Folder {self.path} holds job {ordered.job_name}, "
                f"not {spec.job_name}: give every job a folder of its own"
            )
        return ordered

    def spec(self) -> JobSpec | None:
        """Return the order; None if the job was never submitted."""
        text = self._read("job.json")
        if text is None:
            return None
        fields: dict[str, Any] = json.loads(text)
        return JobSpec(**fields | {"folder": Path(fields["folder"])})

    # The end

    def ask_to_end(self, ending: Ending) -> None:
        """Write down that the job has to end, unless that was asked for before."""
        self._create("ending.json", json.dumps(ending))

    def ending(self) -> Ending | None:
        """Tell whether the job was asked to end."""
        text = self._read("ending.json")
        if text is None:
            return None
        state, message, asked_at = json.loads(text)
        return Ending(JobState(state), message, asked_at)

    def status(self) -> JobStatus | None:
        """Return how the job ended; None if that is not known yet."""
        text = self._read("status.json")
        if text is None:
            return None
        fields: dict[str, Any] = json.loads(text)
        return JobStatus(**fields | {"state": JobState(fields["state"])})

    def conclude(self, status: JobStatus) -> None:
        """Write down how the job ended; if that fails, the log says why."""
        try:
            self._create("status.json", json.dumps(asdict(status)))
        except OSError as error:
            # The same can be found out again.
            logger.warning("%s: cannot note how the job ended: %s", self, error)

    # Files

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _create(self, name: str, content: str) -> bool:
        """Make a file appear with its whole content; false if the name is taken."""
        aside = self.path / f"{name}.{os.getpid()}"
        # A predecessor with our pid may have died between link and unlink: then this
        # is the file that we must not rewrite, under its second name.
        aside.unlink(missing_ok=True)
        aside.write_text(content, encoding="utf-8")
        try:
            os.link(aside, self.path / name)
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        return True


def read_tail(path: Path) -> str:
    """Return the last characters of a file; "" if it isn't there."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - STDERR_TAIL_CHARACTERS * _CHARACTER_BYTES))
            tail = file.read()
    except FileNotFoundError:
        return ""
    return tail.decode(errors="replace")[-STDERR_TAIL_CHARACTERS:]


def explain_exit_code(node: int, code: int) -> str:
    """Say what a node's exit code means, for people."""
    try:
        name = signal.Signals(code - _SIGNAL_EXIT_CODE).name
    except ValueError:
        return f"Node {node} exited with code {code}"
    return f"Node {node} was ended by {name} (exit code {code})"
