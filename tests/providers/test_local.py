"""Local jobs keep what every provider promises, and leave no process behind.

What is special here: jobs live on when their provider is killed at any point, and
nothing of a node's session outlives its command.
"""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from providers import JobSpec, JobState, LocalProvider, Provider, SubmitRejected
from providers.local_job import JobFolder
from providers.processes import is_alive, read_stat
from tests.providers.conftest import marked_processes
from tests.providers.contract import Connect, ProviderContract, end_of
from tests.support import eventually

pytestmark = pytest.mark.slow


class TestContract(ProviderContract):
    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect


def started(provider: Provider, spec: JobSpec) -> str:
    """Submit a job whose nodes each touch `ready-N` next to its folder, and wait."""
    job_id = provider.submit(spec)
    for node in range(spec.nodes):
        ready = spec.folder.parent / f"ready-{node}"
        eventually(ready.exists, what=f"{ready}")
    return job_id


def test_what_a_command_leaves_in_its_session_is_gone_at_its_end(
    connect: Connect, mark: str, tmp_path: Path
) -> None:
    provider = connect()
    # One in the background of the same group, one in a group of its own (`set -m`).
    command = f"sleep 600 & set -m; sleep 601 & touch {tmp_path}/ready-0; exit 0"
    job_id = started(provider, JobSpec("messy", [command], tmp_path / "job"))
    assert end_of(provider, job_id, 10).state is JobState.COMPLETED
    assert marked_processes(mark) == []


def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(
    connect: Connect, mark: str, tmp_path: Path
) -> None:
    provider = LocalProvider(kill_after=0.2)
    command = (
        f"trap '' TERM; sleep 600 & touch {tmp_path}/ready-0; "
        "while :; do sleep 0.05; done"
    )
    spec = JobSpec("stubborn", [command], tmp_path / "job")
    job_id = started(provider, spec)
    began = time.monotonic()
    provider.cancel([job_id])
    assert provider.status([job_id])[job_id].state is JobState.RUNNING
    assert end_of(provider, job_id, 10).state is JobState.CANCELLED
    assert time.monotonic() - began >= 0.2
    assert marked_processes(mark) == []
    provider.close()


def test_a_cancelled_job_is_killed_by_a_successor_after_the_grace(
    connect: Connect, mark: str, tmp_path: Path
) -> None:
    before = LocalProvider(kill_after=60)
    command = f"trap '' TERM; touch {tmp_path}/ready-0; while :; do sleep 0.05; done"
    job_id = started(before, JobSpec("stubborn", [command], tmp_path / "job"))
    before.cancel([job_id])
    before.close()
    after = LocalProvider(kill_after=0.1)
    assert end_of(after, job_id, 10).state is JobState.CANCELLED
    after.close()


def test_a_killed_wrapper_is_a_failure_and_takes_its_session_along(
    connect: Connect, mark: str, tmp_path: Path
) -> None:
    provider = connect()
    command = f"touch {tmp_path}/ready-0; sleep 600; true"
    job_id = started(provider, JobSpec("headless", [command], tmp_path / "job"))
    claim = JobFolder(tmp_path / "job").claim(0)
    assert claim is not None
    assert claim.leader is not None
    assert is_alive(claim.leader)
    os.kill(claim.leader.pid, signal.SIGKILL)
    status = end_of(provider, job_id, 10)
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert "its shell was killed" in status.message
    assert marked_processes(mark) == []


def test_a_claim_from_before_a_reboot_is_over_and_touches_nobody(
    connect: Connect, tmp_path: Path
) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.order(JobSpec("old", ["true"], tmp_path / "job"))
    # This very process has the pid and the start time, in another boot.
    stat = Path(f"/proc/{os.getpid()}/stat").read_text()
    (tmp_path / "job" / "node-0.claim").write_text(f"another-boot\n{stat}")
    provider = connect()
    status = provider.status([str(tmp_path / "job")])[str(tmp_path / "job")]
    assert status.state is JobState.FAILED


def test_the_descriptor_becomes_readable_when_a_node_ends(
    connect: Connect, tmp_path: Path
) -> None:
    before = connect()
    gate = tmp_path / "gate"
    command = f"touch {tmp_path}/ready-0; until [ -e {gate} ]; do sleep 0.02; done"
    job_id = started(before, JobSpec("watched", [command], tmp_path / "job"))
    after = connect()
    assert after.status([job_id])[job_id].state is JobState.RUNNING
    for provider in (before, after):
        descriptor = provider.fileno()
        assert descriptor is not None
        assert select.select([descriptor], [], [], 0)[0] == []
    gate.touch()
    for provider in (before, after):
        descriptor = provider.fileno()
        assert descriptor is not None
        assert select.select([descriptor], [], [], 10)[0] == [descriptor]
        assert end_of(provider, job_id, 10).state is JobState.COMPLETED
        assert select.select([descriptor], [], [], 0)[0] == []


def test_a_folder_is_for_one_job_alone(connect: Connect, tmp_path: Path) -> None:
    provider = connect()
    provider.submit(JobSpec("one", ["true"], tmp_path / "job"))
    with pytest.raises(SubmitRejected, match="holds job one, not two"):
        provider.submit(JobSpec("two", ["true"], tmp_path / "job"))


def test_other_users_cannot_read_a_jobs_environment(
    connect: Connect, tmp_path: Path
) -> None:
    connect().submit(JobSpec("secret", ["true"], tmp_path / "a" / "job"))
    assert (tmp_path / "a" / "job").stat().st_mode & 0o777 == 0o700


def test_a_negative_grace_is_refused() -> None:
    with pytest.raises(ValueError, match="kill_after -1"):
        LocalProvider(kill_after=-1)


def test_no_zombie_stays_after_a_job(connect: Connect, tmp_path: Path) -> None:
    provider = connect()
    job_id = provider.submit(JobSpec("short", ["true"], tmp_path / "job"))
    end_of(provider, job_id, 10)
    claim = JobFolder(tmp_path / "job").claim(0)
    assert claim is not None
    assert claim.leader is not None
    wrapper = claim.leader.pid

    def is_reaped() -> bool:
        provider.status([])
        return read_stat(wrapper) is None

    eventually(is_reaped, what="the wrapper to be reaped")


# A provider that is killed. It kills itself: at a line of this package's code, counted
# from the first call of `submit`, or at a moment.
_VICTIM = """
import os, random, signal, sys, threading, time
from pathlib import Path
from providers import JobSpec, LocalProvider

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def trace(frame, event, argument):
    global lines
    if "/providers/" not in frame.f_code.co_filename:
        return None
    if event == "line":
        lines -= 1
        if lines < 0:
            die()
    return trace

folder, how, number = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
command = sys.argv[4]
provider = LocalProvider()
specs = [
    JobSpec(f"job-{job}", [command.format(job=job, node=n) for n in "01"], folder / job)
    for job in "012"
]
if how == "lines":
    lines = int(number)
    sys.settrace(trace)
else:
    threading.Timer(number, die).start()
for spec in specs:
    provider.submit(spec)
sys.settrace(None)
print("survived", flush=True)
die()
"""


def kill_a_provider_and_recover(
    connect: Connect, mark: str, folder: Path, how: str, number: float
) -> bool:
    """Check that after a kill every node runs exactly once, and can be cancelled.

    Returns:
        Whether the provider got through to its end before it was killed.
    """
    folder.mkdir()
    # `sleep` in the foreground and as a child: an orphan would be seen.
    command = f"echo {{job}} {{node}} >> {folder}/ran; sleep 600; true"
    victim = subprocess.run(
        [sys.executable, "-c", _VICTIM, str(folder), how, str(number), command],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert victim.returncode == -signal.SIGKILL
    provider = connect()
    specs = [
        JobSpec(
            f"job-{job}",
            [command.format(job=job, node=node) for node in range(2)],
            folder / str(job),
        )
        for job in range(3)
    ]
    job_ids = [provider.recover(spec) or provider.submit(spec) for spec in specs]
    expected = sorted(f"{job} {node}" for job in range(3) for node in range(2))

    def ran() -> list[str]:
        path = folder / "ran"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    eventually(lambda: len(ran()) >= len(expected), what="all nodes to run")
    # Late wrappers are gone once nobody but the six nodes' own processes is left:
    # wrapper, command and sleep of each.
    eventually(
        lambda: len(marked_processes(mark)) == 3 * len(expected),
        what="late wrappers to leave",
    )
    assert ran() == expected
    statuses = provider.status(job_ids)
    assert {status.state for status in statuses.values()} == {JobState.RUNNING}
    provider.cancel(job_ids)
    for job_id in job_ids:
        assert end_of(provider, job_id, 10).state is JobState.CANCELLED
    assert marked_processes(mark) == []
    return "survived" in victim.stdout


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    connect: Connect, mark: str, tmp_path: Path
) -> None:
    # One `submit` runs some 160 lines; the second one's first are there, too.
    for lines in range(0, 180, 8):
        kill_a_provider_and_recover(
            connect, mark, tmp_path / str(lines), "lines", lines
        )


def test_a_provider_killed_at_any_moment_loses_and_doubles_nothing(
    connect: Connect, mark: str, tmp_path: Path
) -> None:
    chance = random.Random(1)
    for number in range(8):
        kill_a_provider_and_recover(
            connect, mark, tmp_path / str(number), "moment", chance.uniform(0, 0.02)
        )


def test_a_provider_killed_after_submit_left_running_jobs(
    connect: Connect, mark: str, tmp_path: Path
) -> None:
    assert kill_a_provider_and_recover(connect, mark, tmp_path / "0", "lines", 1e9)
