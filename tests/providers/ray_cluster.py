"""A Ray cluster for tests: a head, and nodes on the same host.

Its nodes cannot import this package.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.providers.daemons import Daemons
from tests.support import eventually, free_port

__all__ = ["RayCluster", "own_ray"]

WITHIN = 60.0
CPUS = 4


class RayCluster:
    """A head, and nodes on the same host."""

    def __init__(self, daemons: Daemons, folder: Path) -> None:
        self.daemons = daemons
        self.address = f"127.0.0.1:{free_port()}"
        self._start(
            "head",
            *("--head", "--port", self.address.partition(":")[2]),
            *("--include-dashboard=false", "--num-cpus", str(CPUS)),
            *("--temp-dir", str(folder)),
        )

    def start_node(self, name: str) -> None:
        """Add a node that has one of the resource of its name."""
        self._start(
            *(name, "--address", self.address, "--num-cpus", "1"),
            *("--resources", f'{{"{name}": 1}}'),
        )

    def _start(self, name: str, *words: str) -> None:
        self.daemons.start(
            name,
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                *("--node-ip-address", "127.0.0.1", "--disable-usage-stats"),
                *("--object-store-memory", "80000000", *words),
            ],
        )
        eventually(
            lambda: "Ray runtime started" in self.daemons.log(name),
            WITHIN,
            f"{name} to run: {self.daemons.log(name)}",
        )

    def pid(self, name: str, executable: str) -> int:
        """Return the pid of a daemon that `ray start` has started."""
        (found,) = [
            process.pid
            for process in psutil.Process(self.daemons.pid(name)).children()
            if executable in process.cmdline()[0]
        ]
        return found


@contextmanager
def own_ray(folder: Path) -> Iterator[RayCluster]:
    # Nodes on which this package cannot be imported.
    (folder / "path/providers").mkdir(parents=True)
    text = "raise ImportError('a node has no such package')"
    (folder / "path/providers/__init__.py").write_text(text)
    # Its sockets' paths must be short.
    sockets = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            # For clients, too; what this user has set up is of no account.
            patch.setenv("RAY_AUTH_MODE", "token")
            patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex())
            environment = {**os.environ, "PYTHONPATH": str(folder / "path")}
            with Daemons(folder, environment) as daemons:
                yield RayCluster(daemons, sockets)
    finally:
        shutil.rmtree(sockets)
