"""A Dask cluster for tests: a scheduler and workers, each a process.

Workers cannot import this package.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.providers.daemons import Daemons
from tests.support import eventually

__all__ = ["DaskCluster", "own_dask"]

WITHIN = 30.0
# Nodes that a worker may run at a time.
SLOTS = 4


class DaskCluster:
    """A scheduler and workers, each a process."""

    def __init__(self, daemons: Daemons) -> None:
        self.daemons = daemons
        self.start_scheduler()

    @property
    def address(self) -> str:
        file = self.daemons.folder / "scheduler.json"
        text = file.read_text() if file.exists() else ""
        # Perhaps it is being written.
        with suppress(json.JSONDecodeError):
            return str(json.loads(text)["address"])
        return ""

    def start_scheduler(self, port: str = "0") -> None:
        file = self.daemons.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.daemons.start(
            "scheduler",
            [
                *(sys.executable, "-m", "distributed.cli.dask_scheduler"),
                *("--host", "127.0.0.1", "--port", port, "--no-dashboard"),
                *("--scheduler-file", str(file)),
            ],
        )
        eventually(lambda: self.address, WITHIN, "the scheduler to serve")

    def start_worker(self, name: str, slots: int = SLOTS) -> None:
        self.daemons.start(
            name,
            [
                *(sys.executable, "-m", "distributed.cli.dask_worker", self.address),
                *("--name", name, "--no-nanny", "--no-dashboard", "--nthreads", "2"),
                *("--resources", f"BLOCK={slots},{name}=1", "--memory-limit", "0"),
                *("--local-directory", str(self.daemons.folder)),
            ],
        )


@contextmanager
def own_dask(folder: Path) -> Iterator[DaskCluster]:
    # Workers on which this package cannot be imported.
    (folder / "path/providers").mkdir(parents=True)
    text = "raise ImportError('a worker has no such package')"
    (folder / "path/providers/__init__.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(folder / "path")}
    with Daemons(folder, environment) as daemons:
        cluster = DaskCluster(daemons)
        cluster.start_worker("first")
        yield cluster
