"""Real batch systems for tests: where they are, and providers that leave nothing there.

A test that needs one is skipped unless a variable says where it is:

    ACTORS_TEST_SLURM       folder of a cluster; has etc/slurm.conf and run/*.pid
    ACTORS_TEST_GRIDENGINE  folder of a cell: has root/, a file port, spool/
    ACTORS_TEST_AWS_BATCH   folder of moto's server; has port, and moto.pid
    ACTORS_TEST_CONTAINERS  folder of a podman's own storage: has containers.conf,
                            storage.conf and an image localhost/hostroot:1
    ACTORS_TEST_KUBERNETES  folder of a cluster of one node; has kubeconfig, run/*.pid
    ACTORS_TEST_DASK, ACTORS_TEST_RAY
                            anything: the tests start clusters of their own
    ACTORS_TEST_CLUSTERS    folder of the scripts `slurm` and `gridengine` that made
                            them, for tests that kill a node
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from providers import JobSpec, JobState, Provider
from tests.providers.contract import Connect
from tests.support import eventually

__all__ = [
    "AWS_BATCH",
    "CONTAINERS",
    "DASK",
    "GRIDENGINE",
    "KUBERNETES",
    "RAY",
    "SCRIPTS",
    "SLURM",
    "connecting",
    "frozen",
    "kill_and_recover",
    "needs",
    "needs_for_all",
    "run_script",
    "state_of",
    "use_gridengine",
    "use_slurm",
]

# Batch systems that are busy with other tests, too.
_END_TIMEOUT = 90.0
_REPOSITORY = Path(__file__).parents[2]


SLURM = "ACTORS_TEST_SLURM"
GRIDENGINE = "ACTORS_TEST_GRIDENGINE"
AWS_BATCH = "ACTORS_TEST_AWS_BATCH"
CONTAINERS = "ACTORS_TEST_CONTAINERS"
KUBERNETES = "ACTORS_TEST_KUBERNETES"
DASK = "ACTORS_TEST_DASK"
RAY = "ACTORS_TEST_RAY"
SCRIPTS = "ACTORS_TEST_CLUSTERS"


def needs(variable: str) -> pytest.MarkDecorator:
    """Skip a test when a variable does not say where the real thing is."""
    return pytest.mark.skipif(not os.environ.get(variable), reason=_reason(variable))


def needs_for_all(variable: str) -> None:
    """Skip the module that calls this when it is imported."""
    if not os.environ.get(variable):
        pytest.skip(_reason(variable), allow_module_level=True)


def _reason(variable: str) -> str:
    return f"{variable} does not say where one is; see CONTRIBUTING.md"


def use_slurm(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make Slurm's commands talk to the tests' cluster; return its folder."""
    folder = Path(os.environ[SLURM])
    monkeypatch.setenv("SLURM_CONF", str(folder / "etc/slurm.conf"))
    return folder


def use_gridengine(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make Grid Engine's commands talk to the tests' cell; return its folder."""
    folder = Path(os.environ[GRIDENGINE])
    port = int((folder / "port").read_text())
    for name, value in {
        "SGE_ROOT": folder / "root",
        "SGE_CELL": "default",
        "SGE_QMASTER_PORT": port,
        "SGE_EXECD_PORT": port + 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    return folder


def run_script(name: str, *words: str) -> None:
    """Run the script that made a cluster."""
    script = Path(os.environ[SCRIPTS]) / name
    subprocess.run([script, *words], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def connecting(make: Connect, tmp_path: Path) -> Iterator[Connect]:
    """Hand out providers; at the end, cancel all jobs of the test and wait for them."""
    providers: list[Provider] = []

    def connect(**options: object) -> Provider:
        providers.append(make(**options))
        return providers[-1]

    yield connect
    sweeper = connect()
    job_ids = [
        f"{number.read_text().strip()}:{number.parent}"
        for name in ("attempt-*.number", "attempt-*.claim", "attempt-*.name")
        for number in tmp_path.rglob(name)
        if number.read_text() != "sealed\n"
        and not number.with_suffix(".refused").exists()
    ]
    end_all(sweeper, job_ids, _END_TIMEOUT)
    for provider in providers:
        provider.close()


def end_all(sweeper: Provider, job_ids: list[str], within: float) -> None:
    """Cancel jobs, and wait at most so many seconds for their ends."""
    sweeper.cancel(job_ids)
    eventually(
        lambda: all(s.state.is_final for s in sweeper.status(job_ids).values()),
        within,
        "all jobs to end",
    )


def state_of(provider: Provider, job_id: str) -> JobState:
    return provider.status([job_id])[job_id].state


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a daemon for as long as the context lasts: it takes no part in anything."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# A provider that kills itself at a line of this package's code, counted from the call
# of `submit`.
_VICTIM = """
import os, signal, sys, threading
from pathlib import Path
import providers
from providers import JobSpec

def trace(frame, event, argument):
    global lines
    if "/providers/" not in frame.f_code.co_filename:
        return None
    if event == "line" and is_submitting:
        lines -= 1
        if lines < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace

folder, lines = Path(sys.argv[1]), int(sys.argv[2])
is_submitting = False
# Those that it starts, too.
threading.settrace(trace)
provider = eval(sys.argv[3])
spec = JobSpec("victim", sys.argv[4:], folder / "job")
sys.settrace(trace)
is_submitting = True
provider.submit(spec)
is_submitting = False
sys.settrace(None)
print("survived")
"""


def kill_and_recover(
    connect: Connect, make: str, folder: Path, lines: int, within: float
) -> bool:
    """Check that a provider killed while it submits loses and doubles nothing.

    Args:
        connect: makes a provider.
        make: an expression that makes it, for another process.
        folder: for the job, and what it tells; new.
        lines: of our code that the first provider may run.
        within: seconds that the job may take.

    Returns:
        Whether the first provider got through to its end.
    """
    folder.mkdir()
    commands = [f"echo {node} >> {folder}/ran" for node in range(2)]
    victim = subprocess.run(
        [sys.executable, "-c", _VICTIM, str(folder), str(lines), make, *commands],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=_REPOSITORY,
    )
    survived = "survived" in victim.stdout
    assert survived or victim.returncode == -signal.SIGKILL
    provider = connect()
    spec = JobSpec("victim", commands, folder / "job")
    job_id = provider.recover(spec) or provider.submit(spec)
    assert provider.recover(spec) == job_id
    eventually(lambda: state_of(provider, job_id).is_final, within, "the job to end")
    assert state_of(provider, job_id) is JobState.COMPLETED
    assert sorted((folder / "ran").read_text().split()) == ["0", "1"]
    return survived
