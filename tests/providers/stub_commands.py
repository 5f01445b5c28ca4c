"""Commands of a batch system that is not there, which answer as its manual has it."""

import os
import shlex
from pathlib import Path

import pytest

__all__ = ["StubCommands"]


class StubCommands:
    """Puts programs into PATH, each with one answer.

    Args:
        folder: for them; new.
        monkeypatch: undoes it.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        path = os.pathsep.join([str(folder), os.environ["PATH"]])
        monkeypatch.setenv("PATH", path)

    def answer(
        self, name: str, stdout: str = "", stderr: str = "", exit_code: int = 0
    ) -> None:
        """Let a command answer so from now on."""
        lines = [
            "#!/bin/sh",
            f"printf '%s\\n' \"$*\" >> {shlex.quote(str(self.folder / 'asked'))}",
            f"printf %s {shlex.quote(stdout)}",
            f"printf %s {shlex.quote(stderr)} >&2",
            f"exit {exit_code}",
        ]
        self.install(name, "\n".join(lines))

    def install(self, name: str, script: str) -> None:
        """Let a command be this script."""
        (self.folder / name).write_text(script)
        (self.folder / name).chmod(0o755)

    def asked(self) -> list[str]:
        """List the arguments of all calls, oldest first."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []
