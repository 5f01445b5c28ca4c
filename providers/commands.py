"""Ask a batch system by its commands, and never wait for ever.

A command that does not end in time is killed with everything that it started: on many
sites `sbatch` or `qsub` is a wrapper script of the site's own.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from providers.base import ProviderUnavailable

__all__ = ["Answer", "require_commands", "run_command"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answered.

    Args:
        command: its name.
        exit_code: negative if a signal ended it.
        stdout, stderr: as text; what is no UTF-8 is replaced.
    """

    command: str
    exit_code: int
    stdout: str
    stderr: str

    @property
    def reason(self) -> str:
        """What it has to say about a failure, on one line."""
        text = self.stderr.strip() or self.stdout.strip()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = "; ".join(lines) or "no word"
        return f"{self.command} (exit code {self.exit_code}): {said}"


def run_command(
    words: Sequence[str], timeout: float, environment: Mapping[str, str] | None = None
) -> Answer:
    """Run a command and return its answer, whether it succeeded or not.

    Args:
        words: of the command; no shell looks at them.
        timeout: seconds that it may take.
        environment: all of its variables; None: ours.

    Raises:
        ProviderUnavailable: it took longer, or could not be started.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ProviderUnavailable(f"Cannot start {words[0]}: {error}") from error
    with process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise ProviderUnavailable(
                f"{words[0]} did not answer within {timeout:g} s"
            ) from error
    return Answer(words[0], process.returncode, stdout, stderr)


def require_commands(system: str, *names: str) -> None:
    """See to it that a batch system's commands can be found.

    Raises:
        ValueError: some are not in PATH.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ValueError(
            f"{', '.join(missing)} not found in PATH: start the endpoint on a host "
            f"where {system}'s commands work, with its environment loaded"
        )
