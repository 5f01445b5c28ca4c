"""Slurm jobs keep what every provider promises, on a real cluster.

What is special here: a controller that does not answer, and may have taken the job all
the same; preempted jobs; nodes that die. Slurm counts walltimes in minutes, so some
tests take more than one.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers import (
    JobSpec,
    JobState,
    Provider,
    ProviderUnavailable,
    SlurmProvider,
    SubmitRejected,
)
from providers.batch_folder import BatchFolder
from providers.batch_script import batch_script, node_script
from providers.slurm import SlurmOptions, slurm_style
from tests.providers.clusters import (
    SCRIPTS,
    SLURM,
    connecting,
    frozen,
    kill_and_recover,
    needs,
    needs_for_all,
    run_script,
    state_of,
    use_slurm,
)
from tests.providers.contract import Connect, ProviderContract, end_of
from tests.providers.stub_commands import StubCommands
from tests.support import eventually

needs_for_all(SLURM)

# Walltimes of a minute, and nodes that are down for a while.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WITHIN = 60.0
# Ends a command that hangs, in a test of a controller that does.
PATIENCE = 2.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_slurm(monkeypatch)


@pytest.fixture
def connect(cluster: Path, tmp_path: Path) -> Iterator[Connect]:
    with connecting(SlurmProvider, tmp_path) as connect:
        yield connect


def controller(cluster: Path) -> int:
    return int((cluster / "run/slurmctld.pid").read_text())


def slurm(*words: str) -> str:
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def queued(job_name: str) -> list[str]:
    """List the jobs of a name, without the end that makes it unique, not yet over."""
    names = slurm("squeue", "--noheader", "--states=PD,R,CG", "--format=%j").split()
    return [name for name in names if name.rpartition("-")[0] == job_name]


def eventually_is(provider: Provider, job_id: str, state: JobState) -> None:
    eventually(lambda: state_of(provider, job_id) is state, WITHIN, f"{state}")


class TestContract(ProviderContract):
    within = WITHIN
    walltime = 60.0
    most_nodes = 2

    @pytest.fixture
    def connect(self, connect: Connect) -> Connect:
        return connect


# Waiting


def test_a_job_that_waits_is_pending_with_slurms_reason_and_can_be_cancelled(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    greedy = SlurmProvider(exclusive=True)
    nodes = ["exec sleep 600"] * 2
    holder = greedy.submit(JobSpec("holder", nodes, tmp_path / "holder"))
    eventually_is(greedy, holder, JobState.RUNNING)
    command = f"touch {tmp_path}/ran"
    waiting = provider.submit(JobSpec("waiting", [command], tmp_path / "waiting"))
    status = provider.status([waiting])[waiting]
    assert status.state is JobState.PENDING
    eventually(lambda: provider.status([waiting])[waiting].message, WITHIN, "a reason")
    provider.cancel([waiting])
    assert end_of(provider, waiting, WITHIN).state is JobState.CANCELLED
    greedy.cancel([holder])
    assert end_of(greedy, holder, WITHIN).state is JobState.CANCELLED
    assert not (tmp_path / "ran").exists()


def test_a_job_submitted_with_a_hold_is_held_until_it_is_released(
    connect: Connect, tmp_path: Path
) -> None:
    provider = SlurmProvider(scheduler_options="#SBATCH --hold\n")
    job_id = provider.submit(JobSpec("held", ["true"], tmp_path / "job"))
    status = provider.status([job_id])[job_id]
    assert (status.state, status.message) == (JobState.HELD, "JobHeldUser")
    slurm("scontrol", "release", job_id.partition(":")[0])
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def test_somebody_elses_cancel_is_told_as_one(connect: Connect, tmp_path: Path) -> None:
    provider = connect()
    job_id = provider.submit(JobSpec("theirs", ["exec sleep 600"], tmp_path / "job"))
    eventually_is(provider, job_id, JobState.RUNNING)
    slurm("scancel", job_id.partition(":")[0])
    status = end_of(provider, job_id, WITHIN)
    assert status.state is JobState.CANCELLED
    assert "somebody cancelled it" in status.message


# What is asked for


def test_what_slurm_refuses_is_rejected_with_its_own_words(
    connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("refused", ["true"], tmp_path / "job")
    with pytest.raises(SubmitRejected, match="[Ii]nvalid partition"):
        SlurmProvider(partition="nowhere").submit(spec)
    provider = connect()
    assert provider.recover(spec) is None
    # Once it is mended, the same job can be submitted.
    job_id = provider.submit(spec)
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def test_options_reach_the_job(connect: Connect, tmp_path: Path) -> None:
    if "gpu" not in slurm("sinfo", "--noheader", "--format=%G"):
        pytest.skip("the cluster was made without --gpus")
    provider = SlurmProvider(
        partition="short",
        cpus_per_node=2,
        gres="gpu:1",
        scheduler_options="#SBATCH --comment=ours",
        worker_init="export GREETING='hello there'",
    )
    shown = (
        '"$SLURM_JOB_PARTITION $SLURM_CPUS_PER_TASK $CUDA_VISIBLE_DEVICES $GREETING"'
    )
    commands = [f"echo {shown} > {tmp_path}/told-{node}" for node in range(2)]
    job_id = provider.submit(JobSpec("rich", commands, tmp_path / "job"))
    comment = slurm("squeue", "--noheader", "--states=all", "--format=%k",
                    f"--jobs={job_id.partition(':')[0]}")  # fmt: skip
    assert comment == "ours"
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED
    for node in range(2):
        assert (tmp_path / f"told-{node}").read_text() == "short 2 0 hello there\n"


def test_a_job_whose_script_was_killed_is_a_failure_that_slurm_explains(
    connect: Connect, tmp_path: Path
) -> None:
    provider = connect()
    # The node's own script, which would have noted the exit code.
    job_id = provider.submit(JobSpec("k", ["kill -KILL $PPID"], tmp_path / "job"))
    status = end_of(provider, job_id, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, 137)
    assert "ended with exit code 137" in status.message


def test_of_jobs_that_the_controller_has_forgotten_the_accounting_tells(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `MinJobAge`, which is minutes."""
    if subprocess.run(["sacct"], capture_output=True, check=False).returncode:
        pytest.skip("this cluster has no accounting: `slurm up ... --dbd`")
    forgetful = StubCommands(tmp_path / "bin", monkeypatch)
    unknown = "slurm_load_jobs error: Invalid job id specified"
    forgetful.answer("scontrol", stderr=unknown, exit_code=1)
    provider = connect()
    killed = provider.submit(JobSpec("k", ["kill -KILL $PPID"], tmp_path / "killed"))
    theirs = provider.submit(JobSpec("c", ["exec sleep 600"], tmp_path / "theirs"))
    eventually_is(provider, theirs, JobState.RUNNING)
    slurm("scancel", theirs.partition(":")[0])
    status = end_of(provider, theirs, WITHIN)
    assert status.state is JobState.CANCELLED
    assert "somebody cancelled it" in status.message
    # It hears of an end later than the controller does.
    words = ("sacct", "-nPX", "--format=State", "-j", killed.partition(":")[0])
    eventually(lambda: slurm(*words) == "FAILED", WITHIN, "a record of its end")
    # Of codes above 128 it keeps what is left without them.
    status = end_of(provider, killed, WITHIN)
    assert (status.state, status.exit_code) == (JobState.FAILED, 137 - 128)
    assert forgetful.asked()


# A controller that does not answer


def test_while_the_controller_does_not_answer_jobs_are_unknown_and_go_on(
    cluster: Path, connect: Connect, tmp_path: Path
) -> None:
    provider = SlurmProvider(command_timeout=PATIENCE)
    gate = tmp_path / "gate"
    command = f"until [ -e {gate} ]; do sleep 0.1; done"
    job_id = provider.submit(JobSpec("unseen", [command], tmp_path / "job"))
    eventually_is(provider, job_id, JobState.RUNNING)
    with frozen(controller(cluster)):
        status = provider.status([job_id])[job_id]
        assert status.state is JobState.UNKNOWN
        assert "squeue did not answer within 2 s" in status.message
    gate.touch()
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED


def test_a_cancel_that_was_not_heard_is_said_again(
    cluster: Path, connect: Connect, tmp_path: Path
) -> None:
    provider = SlurmProvider(command_timeout=PATIENCE)
    spec = JobSpec("unheard", ["exec sleep 600"], tmp_path / "job")
    job_id = provider.submit(spec)
    eventually_is(provider, job_id, JobState.RUNNING)
    with frozen(controller(cluster)), pytest.raises(ProviderUnavailable):
        provider.cancel([job_id])
    # Even if whoever said it is gone.
    assert end_of(connect(), job_id, WITHIN).state is JobState.CANCELLED


@pytest.mark.parametrize("recovers", ["at once", "afterwards"])
def test_a_submission_without_an_answer_runs_once(
    recovers: str, cluster: Path, connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("unsure", [f"echo ran >> {tmp_path}/ran"], tmp_path / "job")
    provider = SlurmProvider(command_timeout=PATIENCE)
    with frozen(controller(cluster)):
        with pytest.raises(ProviderUnavailable, match="sbatch did not answer"):
            provider.submit(spec)
        if recovers == "at once":
            with pytest.raises(ProviderUnavailable, match="squeue did not answer"):
                provider.recover(spec)
            with pytest.raises(ProviderUnavailable):
                provider.submit(spec)
    # The controller may hold the first request, and take the job when it wakes up.
    after = connect()
    job_id = after.recover(spec) or after.submit(spec)
    assert end_of(after, job_id, WITHIN).state is JobState.COMPLETED
    eventually(lambda: not queued("unsure"), WITHIN, "nothing of it to be queued")
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_job_that_was_given_up_leaves_without_a_trace_when_it_starts_after_all(
    connect: Connect, tmp_path: Path
) -> None:
    spec = JobSpec("late", [f"echo ran >> {tmp_path}/ran"], tmp_path / "job")
    style = slurm_style(SlurmOptions())
    folder = BatchFolder(tmp_path / "job")
    folder.order(spec)
    attempt = folder.open_attempt("late-00000000")
    script = folder.write_scripts(
        attempt, batch_script(style, spec, attempt.index), node_script(style, spec)
    )
    # A provider that died before it could submit: nobody has such a job.
    assert connect().recover(spec) is None
    # But its sbatch was still on its way.
    number = slurm("sbatch", "--parsable", f"--output={tmp_path}/late.out", str(script))
    eventually(
        lambda: slurm("squeue", "--noheader", "--states=all", f"--jobs={number}",
                      "--format=%T") == "COMPLETED",
        WITHIN,
        "the late job to leave",
    )  # fmt: skip
    assert not (tmp_path / "ran").exists()
    provider = connect()
    job_id = provider.submit(spec)
    assert job_id.partition(":")[0] != number
    assert end_of(provider, job_id, WITHIN).state is JobState.COMPLETED
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_provider_killed_at_any_line_of_submit_loses_and_doubles_nothing(
    connect: Connect, tmp_path: Path
) -> None:
    # One `submit` runs some 230 lines; most surround the call of sbatch.
    results = [
        kill_and_recover(
            connect, "providers.SlurmProvider()", tmp_path / str(lines), lines, WITHIN
        )
        for lines in [*range(0, 240, 12), 100_000]
    ]
    assert results[-1]
    assert not all(results[:5])


# Preemption, and nodes that die


def test_a_preempted_job_ends_unless_it_may_be_requeued(
    connect: Connect, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def spec(name: str) -> JobSpec:
        command = (
            f"echo {name} >> {tmp_path}/ran; until [ -e {gate} ]; do sleep 0.1; done"
        )
        return JobSpec(name, [command], tmp_path / name)

    frail = SlurmProvider(partition="spot", exclusive=True)
    tough = SlurmProvider(partition="spot", exclusive=True, requeue=True)
    frail_id, tough_id = frail.submit(spec("frail")), tough.submit(spec("tough"))
    eventually_is(frail, frail_id, JobState.RUNNING)
    eventually_is(tough, tough_id, JobState.RUNNING)
    # Slurm says that it runs some time before its first line does.
    ran = tmp_path / "ran"
    eventually(lambda: ran.exists() and "tough" in ran.read_text(), WITHIN)
    lord = SlurmProvider(partition="debug", exclusive=True)
    lord_id = lord.submit(JobSpec("lord", ["exec sleep 600"] * 2, tmp_path / "lord"))
    eventually_is(lord, lord_id, JobState.RUNNING)
    status = end_of(frail, frail_id, WITHIN)
    assert (status.state, "preempted" in status.message) == (JobState.CANCELLED, True)
    eventually_is(tough, tough_id, JobState.PENDING)
    lord.cancel([lord_id])
    eventually_is(tough, tough_id, JobState.RUNNING)
    gate.touch()
    assert end_of(tough, tough_id, WITHIN).state is JobState.COMPLETED
    assert ran.read_text().split().count("tough") == 2
    assert (tmp_path / "tough/run-2/node-0.exit").read_text() == "0\n"


@needs(SCRIPTS)
def test_a_node_that_dies_fails_the_job_or_has_it_requeued(
    cluster: Path, connect: Connect, tmp_path: Path
) -> None:
    node = "n2"
    gate = tmp_path / "gate"
    command = f"until [ -e {gate} ]; do sleep 0.1; done"
    there = f"#SBATCH --nodelist={node}"
    frail = SlurmProvider(scheduler_options=there)
    tough = SlurmProvider(scheduler_options=there, requeue=True)
    frail_id = frail.submit(JobSpec("frail", [command], tmp_path / "frail"))
    tough_id = tough.submit(JobSpec("tough", [command], tmp_path / "tough"))
    eventually_is(frail, frail_id, JobState.RUNNING)
    eventually_is(tough, tough_id, JobState.RUNNING)
    run_script("slurm", "node-kill", str(cluster), node)
    try:
        status = end_of(frail, frail_id, WITHIN)
        assert status.state is JobState.FAILED
        assert "a node failed" in status.message
        eventually_is(tough, tough_id, JobState.PENDING)
    finally:
        run_script("slurm", "node-start", str(cluster), node)
    gate.touch()
    assert end_of(tough, tough_id, 2 * WITHIN).state is JobState.COMPLETED
