"""Real sshds for tests: where they are, and that they run when a test begins.

ACTORS_TEST_SSHD names the folder of `sshd up`; it has ssh_config, etc/HOST.conf and
log/HOST.log. Hosts other than "local" are those of `netns`, which can be cut off and
crashed; all share this machine's files.
"""

import os
import subprocess
import warnings
from pathlib import Path

import pytest

from tests.providers.clusters import SCRIPTS, needs_for_all, run_script

__all__ = [
    "FOLDER",
    "HOSTS",
    "LOOPBACK",
    "SSHD",
    "SSHD_DIED_IS_TOLD",
    "SshdDied",
    "all_hosts_are_up",
    "quick_logins",
]

SSHD = "ACTORS_TEST_SSHD"

needs_for_all(SSHD)

FOLDER = Path(os.environ[SSHD])
HOSTS = sorted(path.stem for path in (FOLDER / "etc").glob("*.conf"))
# The sshd of the loopback interface cannot be cut off.
LOOPBACK = "local"

_LOG_LINES = 20


class SshdDied(UserWarning):
    """Tell that somebody has ended an sshd between two tests."""


# A filter for `pytest.mark.filterwarnings`: stands in pytest's summary, fails nothing.
SSHD_DIED_IS_TOLD = f"default::{__name__}.SshdDied"


@pytest.fixture(autouse=True)
def all_hosts_are_up() -> None:
    """Start the sshds that do not run, and tell of them, with what they said last."""
    if SCRIPTS not in os.environ:
        return
    told = subprocess.run(
        [Path(os.environ[SCRIPTS]) / "sshd", "status", FOLDER],
        capture_output=True,
        text=True,
        check=False,
    )
    if told.returncode == 0:
        return
    running = {line.split()[0] for line in told.stdout.splitlines() if " up " in line}
    dead = [host for host in HOSTS if host not in running]
    for host in dead:
        log = (FOLDER / "log" / f"{host}.log").read_text(errors="replace")
        tail = "\n".join(log.splitlines()[-_LOG_LINES:])
        warnings.warn(f"The sshd of {host} had died\n{tail}", SshdDied, stacklevel=2)
    run_script("sshd", "up", str(FOLDER), *dead)


@pytest.fixture(scope="module", autouse=True)
def quick_logins() -> None:
    """Have netns hosts read no startup file of this machine's user.

    It may take long, and lock what others need: whoever crashes with pyenv's lock
    leaves it behind, and then each login, on any host, waits a minute.
    """
    startup_file = Path.home() / ".bashrc"
    hosts = [host for host in HOSTS if host != LOOPBACK]
    if SCRIPTS not in os.environ or not startup_file.exists():
        return
    empty = FOLDER / "empty.bashrc"
    empty.touch()
    for host in hosts:
        # A host has mounts of its own, which go with it.
        run_script(
            *("netns", "exec", host, "mount", "--bind", str(empty), str(startup_file))
        )
