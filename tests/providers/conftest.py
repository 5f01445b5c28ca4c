"""Local providers for tests, which leave nothing behind."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from providers import LocalProvider
from providers.processes import read_stat
from tests.providers.clusters import end_all
from tests.providers.contract import Connect
from tests.support import eventually

# In the environment of every process that a test starts, with a value of its own.
MARK = "PROVIDER_TEST_MARK"


def marked_processes(mark: str) -> list[int]:
    """List the living processes, other than this one, that a test started."""
    needle = f"{MARK}={mark}\0".encode()
    found = []
    me = read_stat(os.getpid())
    assert me is not None
    for entry in Path("/proc").iterdir():
        process = read_stat(int(entry.name)) if entry.name.isdecimal() else None
        # What is older than this process was not started by it.
        if process is None or process.start_time < me.start_time:
            continue
        if process.pid == me.pid:
            continue
        # A zombie's environment is empty; another user's is not ours to read.
        with suppress(OSError):
            if needle in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Mark all processes of a test; fail if some are left after it."""
    mark = str(tmp_path)
    monkeypatch.setenv(MARK, mark)
    yield mark
    try:
        eventually(lambda: not marked_processes(mark), 5, "no process to be left")
    finally:
        for pid in marked_processes(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def connect(mark: str, tmp_path: Path) -> Iterator[Connect]:
    """Make local providers; at the end, cancel all jobs of the test."""
    providers: list[LocalProvider] = []

    def connect() -> LocalProvider:
        providers.append(LocalProvider(kill_after=2.0))
        return providers[-1]

    yield connect
    sweeper = LocalProvider(kill_after=0.0)
    providers.append(sweeper)
    job_ids = [str(order.parent) for order in tmp_path.rglob("job.json")]
    end_all(sweeper, job_ids, 10)
    for provider in providers:
        # Takes note of ended children, so that no zombie stays.
        provider.status([])
        provider.close()
