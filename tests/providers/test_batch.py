"""What all batch systems share keeps every provider's promises, whatever is not heard.

Here with a batch system that can be made to misbehave; the real ones have the same
tests in `test_slurm_cluster` and `test_gridengine_cell`.
"""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from providers import (
    JobSpec,
    JobState,
    JobStatus,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.batch import BatchProvider
from providers.batch_folder import BatchFolder
from tests.providers.clusters import connecting, state_of
from tests.providers.contract import Connect, ProviderContract, end_of
from tests.providers.tiny_cluster import TinyCluster
from tests.support import eventually

pytestmark = pytest.mark.slow

PATIENCE = 0.1


@pytest.fixture
def tiny() -> Iterator[TinyCluster]:
    cluster = TinyCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def connect(tiny: TinyCluster, mark: str, tmp_path: Path) -> Iterator[Connect]:
    with connecting(lambda: BatchProvider(tiny, 1.0, PATIENCE), tmp_path) as connect:
        yield connect
        tiny.is_silent = False


class TestContract(ProviderContract):
    # Warnings are told in whole seconds.
    walltime = 1.0

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect


def ran(tmp_path: Path) -> int:
    path = tmp_path / "ran"
    return len(path.read_text().split()) if path.exists() else 0


@pytest.fixture
def once(tmp_path: Path) -> Callable[[str], JobSpec]:
    """Give a job that notes each time that it runs."""
    return lambda name: JobSpec(name, [f"echo ran >> {tmp_path}/ran"], tmp_path / "job")


# Submissions that are not heard of


def test_a_job_whose_answer_was_lost_is_found_by_its_name(
    tiny: TinyCluster, connect: Connect, once: Callable[[str], JobSpec], tmp_path: Path
) -> None:
    tiny.loses_answers = True
    tiny.starts_at_once = False
    provider = connect()
    with pytest.raises(ProviderUnavailable):
        provider.submit(once("lost"))
    tiny.loses_answers = False
    assert connect().submit(once("lost")) == connect().recover(once("lost"))
    tiny.start("1")
    job_id = provider.recover(once("lost"))
    assert job_id is not None
    assert end_of(provider, job_id, 10).state is JobState.COMPLETED
    assert (ran(tmp_path), tiny.questions.count("submit")) == (1, 1)


def test_a_job_whose_answer_was_lost_and_that_has_ended_is_found_by_what_it_left(
    tiny: TinyCluster, connect: Connect, once: Callable[[str], JobSpec], tmp_path: Path
) -> None:
    tiny.loses_answers = True
    with pytest.raises(ProviderUnavailable):
        connect().submit(once("lost"))
    eventually(lambda: not tiny.list_jobs([]), what="the job to end")
    provider = connect()
    job_id = provider.recover(once("lost"))
    assert job_id is not None
    assert end_of(provider, job_id, 10).state is JobState.COMPLETED
    assert ran(tmp_path) == 1


def test_while_nobody_answers_a_submission_is_neither_repeated_nor_given_up(
    tiny: TinyCluster, connect: Connect, once: Callable[[str], JobSpec], tmp_path: Path
) -> None:
    tiny.is_silent = True
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            connect().submit(once("silent"))
    with pytest.raises(ProviderUnavailable):
        connect().recover(once("silent"))
    tiny.is_silent = False
    assert connect().recover(once("silent")) is None
    provider = connect()
    job_id = provider.submit(once("silent"))
    assert end_of(provider, job_id, 10).state is JobState.COMPLETED
    assert ran(tmp_path) == 1


def test_what_was_rejected_can_be_submitted_again(
    tiny: TinyCluster, connect: Connect, once: Callable[[str], JobSpec], tmp_path: Path
) -> None:
    tiny.refusal = "no such partition"
    with pytest.raises(SubmitRejected, match="no such partition"):
        connect().submit(once("refused"))
    assert connect().recover(once("refused")) is None
    tiny.refusal = ""
    provider = connect()
    job_id = provider.submit(once("refused"))
    assert end_of(provider, job_id, 10).state is JobState.COMPLETED
    assert ran(tmp_path) == 1


def test_a_submission_asks_nothing_else_of_the_batch_system(
    tiny: TinyCluster, connect: Connect, once: Callable[[str], JobSpec]
) -> None:
    connect().submit(once("brief"))
    assert tiny.questions == ["submit"]


def test_a_folder_is_for_one_job_alone(connect: Connect, tmp_path: Path) -> None:
    provider = connect()
    provider.submit(JobSpec("one", ["true"], tmp_path / "job"))
    with pytest.raises(SubmitRejected, match="holds job one, not two"):
        provider.submit(JobSpec("two", ["true"], tmp_path / "job"))


def test_a_variable_that_no_shell_knows_is_rejected(
    tiny: TinyCluster, connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("odd", ["true"], tmp_path / "job", {"A-B": "1"})
    with pytest.raises(SubmitRejected, match="'A-B' has no name for a shell"):
        connect().submit(spec)
    assert tiny.questions == []


def test_a_number_that_cannot_be_written_down_is_no_rejection(
    tiny: TinyCluster, connect: Connect, once: Callable[[str], JobSpec], tmp_path: Path
) -> None:
    # Where the number would be written first.
    (tmp_path / f"job/attempt-1.number.{os.getpid()}").mkdir(parents=True)
    provider = connect()
    job_id = provider.submit(once("mute"))
    assert provider.submit(once("mute")) == connect().recover(once("mute")) == job_id
    assert end_of(provider, job_id, 10).state is JobState.COMPLETED
    assert (ran(tmp_path), tiny.questions.count("submit")) == (1, 1)


# Questions that are not answered


def test_a_batch_system_that_does_not_answer_says_nothing_about_jobs(
    tiny: TinyCluster, connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    ended = provider.submit(JobSpec("ended", ["true"], tmp_path / "ended"))
    end_of(provider, ended, 10)
    runs = provider.submit(JobSpec("runs", ["exec sleep 600"], tmp_path / "runs"))
    tiny.is_silent = True
    statuses = provider.status([ended, runs, "7:/nowhere"])
    assert statuses[ended].state is JobState.COMPLETED
    assert statuses[runs] == JobStatus(JobState.UNKNOWN, message="Tiny does not answer")
    assert statuses["7:/nowhere"].state is JobState.FAILED


def test_a_folder_that_cannot_be_read_says_nothing_about_its_job(
    connect: Connect, once: Callable[[str], JobSpec], tmp_path: Path
) -> None:
    provider = connect()
    job_id = provider.submit(once("hidden"))
    obstacle = tmp_path / "job/status.json"
    obstacle.mkdir()
    status = provider.status([job_id])[job_id]
    assert status.state is JobState.UNKNOWN
    assert "Is a directory" in status.message
    with pytest.raises(ProviderUnavailable, match="Is a directory"):
        provider.cancel([job_id])
    obstacle.rmdir()
    assert end_of(provider, job_id, 10).state is JobState.COMPLETED


def test_a_cancel_that_was_not_heard_is_said_again_by_a_successor(
    tiny: TinyCluster, connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    job_id = provider.submit(JobSpec("runs", ["exec sleep 600"], tmp_path / "job"))
    tiny.is_silent = True
    with pytest.raises(ProviderUnavailable):
        provider.cancel([job_id])
    tiny.is_silent = False
    assert end_of(connect(), job_id, 10).state is JobState.CANCELLED
    assert tiny.questions.count("cancel") == 1


def test_all_jobs_are_asked_about_in_one_question(
    tiny: TinyCluster, connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    ids = [
        provider.submit(JobSpec(name, ["exec sleep 600"], tmp_path / name))
        for name in ("a", "b", "c")
    ]
    tiny.questions.clear()
    assert set(provider.status(ids)) == set(ids)
    assert tiny.questions == ["list_jobs"]


# Ends


def test_a_job_that_vanished_while_it_waited_is_cancelled_after_a_while(
    tiny: TinyCluster, connect: Connect, once: Callable[[str], JobSpec]
) -> None:
    tiny.starts_at_once = False
    provider = connect()
    job_id = provider.submit(once("gone"))
    assert state_of(provider, job_id) is JobState.PENDING
    tiny.drop("1")
    assert state_of(provider, job_id) is JobState.UNKNOWN
    status = end_of(provider, job_id, 10)
    assert status.state is JobState.CANCELLED
    assert "left the queue of Tiny before it started" in status.message


def killed(tmp_path: Path) -> JobSpec:
    """Give a job whose script is killed before it can note anything."""
    return JobSpec("killed", ["kill -KILL 0"], tmp_path / "job")


def test_a_job_that_vanished_while_it_ran_has_failed_after_a_while(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    status = end_of(provider, provider.submit(killed(tmp_path)), 10)
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert "has no record of it" in status.message


def test_the_accounting_is_asked_about_a_job_that_left_no_exit_code(
    tiny: TinyCluster, connect: Connect, tmp_path: Path
) -> None:
    tiny.records["1"] = JobStatus(JobState.FAILED, 137, "out of memory")
    provider = connect()
    status = end_of(provider, provider.submit(killed(tmp_path)), 10)
    assert (status.state, status.exit_code) == (JobState.FAILED, 137)
    assert status.message == "out of memory"


def test_a_job_that_the_batch_system_starts_again_is_judged_by_its_last_run(
    tiny: TinyCluster, connect: Connect, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    command = f"[ -e {gate} ] || exec sleep 600; echo again >&2; exit 6"
    spec = JobSpec("requeued", [command], tmp_path / "job")
    provider = connect()
    job_id = provider.submit(spec)
    claim = tmp_path / "job/run-1"
    eventually(claim.exists, what="the first run")
    first = tiny._jobs["1"].process
    assert first is not None
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    gate.touch()
    tiny.start("1")
    status = end_of(provider, job_id, 10)
    assert (status.state, status.exit_code) == (JobState.FAILED, 6)
    assert status.stderr_tail == "again\n"
    assert sorted(p.name for p in (tmp_path / "job").glob("run-*")) == [
        "run-1",
        "run-2",
    ]


def test_what_the_batch_system_says_is_told_when_the_nodes_said_nothing(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    spec = JobSpec("mute", ["exit 1"], tmp_path / "job")
    job_id = provider.submit(spec)
    with (tmp_path / "job/batch.err").open("a") as errors:
        errors.write("slurmstepd: error: something\n")
    assert end_of(provider, job_id, 10).stderr_tail == "slurmstepd: error: something\n"


# The folder


def test_an_attempt_is_either_sealed_or_claimed(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)
    claimed, sealed = folder.open_attempt("a"), folder.open_attempt("b")
    (tmp_path / "attempt-1.claim").write_text("17\n")
    assert not folder.seal(claimed)
    assert folder.number(claimed) == "17"
    assert folder.seal(sealed)
    assert folder.number(sealed) is None
    assert folder.newest() == sealed


def test_a_folder_keeps_the_jobs_environment_from_other_users(
    connect: Connect, tmp_path: Path
) -> None:
    connect().submit(JobSpec("secret", ["true"], tmp_path / "a" / "job"))
    assert (tmp_path / "a" / "job").stat().st_mode & 0o777 == 0o700
