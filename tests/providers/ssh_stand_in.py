"""Hosts of the ssh provider that are this machine, behind an `ssh` that tests control.

The stand-in for `ssh` runs what it was given by bash, here. What runs on a host is the
real thing; what the network does to it is up to the test. With a real sshd the same is
tested in `test_ssh_hosts`.
"""

import os
from pathlib import Path

import pytest

__all__ = ["StandIn"]

# $STAND_IN is the folder; the last two words are the host and what its shell runs.
# `-O exit` closes a shared connection, of which there are none.
_SSH = """#!/bin/bash
case " $* " in *" -O "*) exit 0 ;; esac
host=${@: -2:1}
command=${@: -1}
script=$(cat; echo x)
script=${script%x}
echo "$host" >> "$STAND_IN/asked"
kinds=any
case $script in *$'\\n    start '*) kinds='any start' ;; esac
for kind in $kinds; do
    file=$STAND_IN/$host-$kind
    [ ! -e "$file-hook" ] || bash "$file-hook"
    [ ! -e "$file-problem" ] || { cat "$file-problem" >&2; exit 255; }
    # What it does, it does; its answer is lost.
    [ ! -e "$file-deaf" ] || exec > /dev/null
done
[ ! -e "$STAND_IN/greeting" ] || cat "$STAND_IN/greeting"
cd "$STAND_IN/home" || exit 1
printf %s "$script" | env -u STAND_IN HOME="$PWD" PATH="${HOST_PATH:-$PATH}" \\
    "$BASH" -c "$command"
"""


class StandIn:
    """Puts the stand-in into PATH.

    Args:
        folder: for it; new, or none yet.
        monkeypatch: undoes it.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        (folder / "bin").mkdir(parents=True)
        (folder / "home").mkdir()
        ssh = folder / "bin/ssh"
        ssh.write_text(_SSH)
        ssh.chmod(0o755)
        path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
        monkeypatch.setenv("PATH", path)
        monkeypatch.setenv("STAND_IN", str(folder))

    @property
    def home(self) -> Path:
        return self.folder / "home"

    # What happens to whatever a host is asked, or only if it is to start something.

    def refuse(self, host: str, words: str, kind: str = "any") -> None:
        """Let ssh fail with these words, before it gets through to a host."""
        (self.folder / f"{host}-{kind}-problem").write_text(words)

    def lose_answers(self, host: str, kind: str = "any") -> None:
        """Let a host do what it is asked, and nobody hear of it."""
        (self.folder / f"{host}-{kind}-deaf").touch()

    def do_before(self, host: str, script: str, kind: str = "any") -> None:
        """Let something happen on a host just before it is asked."""
        (self.folder / f"{host}-{kind}-hook").write_text(script)

    def heal(self, host: str) -> None:
        for obstacle in ("problem", "deaf", "hook"):
            for path in self.folder.glob(f"{host}-*-{obstacle}"):
                path.unlink()

    def asked(self) -> list[str]:
        """List the hosts that ssh was called for since this was asked the last time."""
        path = self.folder / "asked"
        found = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return found
