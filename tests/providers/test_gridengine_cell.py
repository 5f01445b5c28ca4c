"""Grid Engine jobs keep what every provider promises, in a real cell.

What is special here: jobs are warned by SIGUSR2, which reaches programs as SIGTERM; the
queue forgets a job as soon as it has ended; a qmaster that does not answer may have
taken the job all the same.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers import (
    GridEngineProvider,
    JobSpec,
    JobState,
    Provider,
    ProviderUnavailable,
    SubmitRejected,
)
from tests.providers.clusters import (
    GRIDENGINE,
    connecting,
    frozen,
    kill_and_recover,
    needs_for_all,
    state_of,
    use_gridengine,
)
from tests.providers.contract import Connect, ProviderContract, end_of
from tests.support import eventually

needs_for_all(GRIDENGINE)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WITHIN = 60.0
# Ends a command that hangs, in a test of a qmaster that does.
PATIENCE = 2.0


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_gridengine(monkeypatch)


def make() -> Provider:
    return GridEngineProvider(parallel_environment="mpi")


@pytest.fixture
def connect(cell: Path, tmp_path: Path) -> Iterator[Connect]:
    with connecting(make, tmp_path) as connect:
        yield connect


def qmaster(cell: Path) -> int:
    return int((cell / "spool/qmaster/qmaster.pid").read_text())


def run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def eventually_is(provider: Provider, job_id: str, state: JobState) -> None:
    eventually(lambda: state_of(provider, job_id) is state, WITHIN, f"{state}")


class TestContract(ProviderContract):
    within = WITHIN
    walltime = 2.0

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect


# Waiting, and ends by others


def test_a_job_submitted_with_a_hold_is_held_and_can_be_cancelled(
    connect: Connect, tmp_path: Path
) -> None:
    provider = GridEngineProvider(scheduler_options="#$ -h")
    ids = [
        provider.submit(JobSpec(n, [f"touch {tmp_path}/{n}-ran"], tmp_path / n))
        for n in ("freed", "cancelled")
    ]
    states = {status.state for status in provider.status(ids).values()}
    assert states == {JobState.HELD}
    provider.cancel(ids[1:])
    assert end_of(provider, ids[1], WITHIN).state is JobState.CANCELLED
    run("qrls", ids[0].partition(":")[0])
    assert end_of(provider, ids[0], WITHIN).state is JobState.COMPLETED
    assert [path.name for path in tmp_path.glob("*-ran")] == ["freed-ran"]


def test_somebody_elses_deletion_is_told_as_one(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    spec = JobSpec("theirs", ["exec sleep 600"], tmp_path / "job", walltime=600)
    job_id = provider.submit(spec)
    eventually_is(provider, job_id, JobState.RUNNING)
    eventually((tmp_path / "job/run-1").exists, WITHIN, "the job to run")
    run("qdel", job_id.partition(":")[0])
    status = end_of(provider, job_id, WITHIN)
    assert status.state is JobState.CANCELLED
    assert "by somebody else" in status.message


def test_a_program_that_ends_in_order_at_its_walltime_is_a_timeout_all_the_same(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    command = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
    spec = JobSpec("punctual", [command] * 2, tmp_path / "job", walltime=2)
    status = end_of(provider, provider.submit(spec), WITHIN)
    assert (status.state, status.exit_code) == (JobState.TIMEOUT, 0)


def test_a_job_whose_script_was_killed_is_a_failure_by_the_accounting(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    # The node's own script, which would have noted the exit code.
    job_id = provider.submit(JobSpec("k", ["kill -KILL $PPID"], tmp_path / "job"))
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, 137)


# What is asked for


def test_what_grid_engine_refuses_is_rejected_with_its_own_words(
    connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("refused", ["true"], tmp_path / "job")
    with pytest.raises(SubmitRejected, match="unknown queue"):
        GridEngineProvider(queue="nowhere.q").submit(spec)
    provider = connect()
    assert provider.recover(spec) is None
    # Once it is mended, the same job can be submitted.
    job_id = provider.submit(spec)
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def test_nodes_have_their_slots_and_run_worker_init(
    connect: Connect, tmp_path: Path
) -> None:
    provider = GridEngineProvider(
        parallel_environment="mpi",
        slots_per_node=2,
        worker_init="export GREETING='hello there'",
        scheduler_options="#$ -ac ours=yes",
    )
    commands = [f'echo "$GREETING" $NSLOTS > {tmp_path}/told-{n}' for n in range(2)]
    job_id = provider.submit(JobSpec("rich", commands, tmp_path / "job"))
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED
    assert (tmp_path / "told-0").read_text() == "hello there 4\n"
    assert (tmp_path / "told-1").read_text().startswith("hello there")


# A qmaster that does not answer


def test_while_the_qmaster_does_not_answer_jobs_are_unknown_and_go_on(
    cell: Path, connect: Connect, tmp_path: Path
) -> None:
    provider = GridEngineProvider(command_timeout=PATIENCE)
    gate = tmp_path / "gate"
    command = f"until [ -e {gate} ]; do sleep 0.1; done"
    job_id = provider.submit(JobSpec("unseen", [command], tmp_path / "job"))
    eventually_is(provider, job_id, JobState.RUNNING)
    with frozen(qmaster(cell)):
        status = provider.status([job_id])[job_id]
        assert status.state is JobState.UNKNOWN
        assert "qstat did not answer within 2 s" in status.message
    gate.touch()
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


@pytest.mark.parametrize("recovers", ["at once", "afterwards"])
def test_a_submission_without_an_answer_runs_once(
    recovers: str, cell: Path, connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("unsure", [f"echo ran >> {tmp_path}/ran"], tmp_path / "job")
    provider = GridEngineProvider(command_timeout=PATIENCE)
    with frozen(qmaster(cell)):
        with pytest.raises(ProviderUnavailable, match="qsub did not answer"):
            provider.submit(spec)
        if recovers == "at once":
            with pytest.raises(ProviderUnavailable, match="qstat did not answer"):
                provider.recover(spec)
            with pytest.raises(ProviderUnavailable):
                provider.submit(spec)
    # The qmaster may hold the first request, and take the job when it wakes up.
    after = connect()
    job_id = after.recover(spec) or after.submit(spec)
    assert end_of(after, job_id, WITHIN).state is JobState.COMPLETED
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    connect: Connect, tmp_path: Path
) -> None:
    make = "providers.GridEngineProvider(parallel_environment='mpi')"
    results = [
        kill_and_recover(connect, make, tmp_path / str(lines), lines, WITHIN)
        for lines in [*range(0, 240, 24), 100_000]
    ]
    assert results[-1]
    assert not all(results[:3])
