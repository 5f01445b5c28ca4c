"""What Slurm is asked, and how its documented answers are read."""

from pathlib import Path

import pytest

from providers import JobSpec, JobState, JobStatus, SlurmProvider
from providers.batch import Submission
from providers.batch_script import batch_script, node_script
from providers.slurm import (
    SlurmOptions,
    parse_accounting,
    parse_queue,
    parse_show_job,
    slurm_style,
    submit_words,
)

SPEC = JobSpec("block-7", ["work a", "work b"], Path("/shared/block 7"), walltime=90)
SUBMISSION = Submission("block-7-1a2b3c4d", Path("/shared/block 7/attempt-1.sh"), SPEC)


# What is asked


def test_a_job_asks_for_its_nodes_its_folder_and_its_time_in_whole_minutes() -> None:
    assert submit_words(SlurmOptions(), SUBMISSION) == [
        "sbatch",
        "--parsable",
        "--job-name=block-7-1a2b3c4d",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--chdir=/shared/block 7",
        "--output=/shared/block 7/batch.out",
        "--error=/shared/block 7/batch.err",
        "--open-mode=append",
        "--no-requeue",
        "--time=2",
        "/shared/block 7/attempt-1.sh",
    ]


def test_every_option_reaches_sbatch() -> None:
    options = SlurmOptions(
        partition="compute",
        account="physics",
        qos="high",
        constraint="skylake&ib",
        gres="gpu:2",
        exclusive=True,
        cpus_per_node=8,
        requeue=True,
    )
    words = submit_words(options, SUBMISSION)
    assert words[-9:-1] == [
        "--time=2",
        "--partition=compute",
        "--account=physics",
        "--qos=high",
        "--constraint=skylake&ib",
        "--gres=gpu:2",
        "--exclusive",
        "--cpus-per-task=8",
    ]
    assert "--requeue" in words


def test_without_a_walltime_the_partitions_own_limit_holds() -> None:
    spec = JobSpec("job", ["work"], Path("/shared/job"))
    words = submit_words(SlurmOptions(), Submission("job-1", Path("/s"), spec))
    assert not [word for word in words if word.startswith("--time")]


def test_a_percent_sign_in_a_path_is_no_pattern_of_slurms() -> None:
    spec = JobSpec("job", ["work"], Path("/shared/%j"))
    words = submit_words(SlurmOptions(), Submission("job-1", Path("/s"), spec))
    assert "--output=/shared/%%j/batch.out" in words


def test_the_users_directives_stand_before_the_first_command() -> None:
    options = SlurmOptions(
        scheduler_options="#SBATCH --mail-type=END\n#SBATCH --mem=4G\n"
    )
    script = batch_script(slurm_style(options), SPEC, 1).splitlines()
    # sbatch reads no directive after the first line that is neither comment nor empty.
    assert script[:3] == ["#!/bin/bash", "#SBATCH --mail-type=END", "#SBATCH --mem=4G"]


def test_several_nodes_are_started_by_srun_and_do_not_end_each_other() -> None:
    script = batch_script(slurm_style(SlurmOptions()), SPEC, 3)
    assert "nodes=2\nnumber=$SLURM_JOB_ID\nclaim=$folder/attempt-3.claim" in script
    assert "folder='/shared/block 7'" in script
    assert "--kill-on-bad-exit=0 --wait=0" in script


def test_worker_init_runs_before_each_nodes_command() -> None:
    style = slurm_style(SlurmOptions(worker_init="module load x\n"))
    script = node_script(style, SPEC)
    assert "    0) command='module load x\nwork a' ;;" in script
    assert "    1) command='module load x\nwork b' ;;" in script


# What is answered


def queue(line: str) -> JobStatus:
    (status,) = parse_queue(f"  {line}\n").values()
    return status


@pytest.mark.parametrize(
    ("line", "state", "message"),
    [
        ("7|PENDING|Resources", JobState.PENDING, "Resources"),
        ("7|PENDING|None", JobState.PENDING, ""),
        ("7|PENDING|JobHeldUser", JobState.HELD, "JobHeldUser"),
        ("7|PENDING|launch failed requeued held", JobState.HELD, "launch failed"),
        ("7|REQUEUE_HOLD|None", JobState.HELD, ""),
        ("7|SPECIAL_EXIT|None", JobState.HELD, ""),
        ("7|CONFIGURING|None", JobState.PENDING, ""),
        ("7|RUNNING|None", JobState.RUNNING, ""),
        ("7|SUSPENDED|None", JobState.RUNNING, ""),
        ("7|STAGE_OUT|None", JobState.RUNNING, ""),
        ("7|COMPLETING|NonZeroExitCode", JobState.RUNNING, ""),
        ("7|A_STATE_OF_THE_FUTURE|None", JobState.RUNNING, ""),
        ("7|COMPLETED|None", JobState.COMPLETED, ""),
        ("7|FAILED|NonZeroExitCode", JobState.FAILED, ""),
        ("7|FAILED|RaisedSignal:9", JobState.FAILED, "reason RaisedSignal:9"),
        ("7|NODE_FAIL|None", JobState.FAILED, "Slurm: NODE_FAIL, a node failed"),
        ("7|OUT_OF_MEMORY|OutOfMemory", JobState.FAILED, "more memory"),
        ("7|BOOT_FAIL|None", JobState.FAILED, "did not boot"),
        ("7|CANCELLED|None", JobState.CANCELLED, "somebody cancelled it"),
        ("7|PREEMPTED|None", JobState.CANCELLED, "it was preempted"),
        ("7|TIMEOUT|TimeLimit", JobState.TIMEOUT, "reached its time limit"),
        ("7|DEADLINE|None", JobState.TIMEOUT, "reached its deadline"),
    ],
)
def test_a_line_of_squeue(line: str, state: JobState, message: str) -> None:
    status = queue(line)
    assert status.state is state
    assert message in status.message
    assert bool(message) == bool(status.message)


def test_all_lines_of_squeue_are_read_and_none_is_no_job() -> None:
    found = parse_queue("7|RUNNING|None\n\n8|PENDING|Priority\n")
    assert list(found) == ["7", "8"]
    assert parse_queue("") == {}


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("FAILED", "3:0", JobStatus(JobState.FAILED, 3)),
        ("FAILED", "0:9", JobStatus(JobState.FAILED, 137)),
        ("COMPLETED", "0:0", JobStatus(JobState.COMPLETED)),
    ],
)
def test_a_line_of_sacct(state: str, code: str, expected: JobStatus) -> None:
    assert parse_accounting(f"7|{state}|{code}\n") == {"7": expected}


def test_sacct_says_who_cancelled_a_job() -> None:
    status = parse_accounting("7|CANCELLED by 1000|0:15\n")["7"]
    assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)


def test_of_a_requeued_job_sacct_tells_the_last_run_last() -> None:
    text = "7|PREEMPTED|0:0\n7|COMPLETED|0:0\n"
    assert parse_accounting(text)["7"].state is JobState.COMPLETED


def test_a_line_of_scontrol() -> None:
    # As Slurm 22.05 writes it, shortened.
    line = (
        "JobId=12 JobName=a b UserId=root(0) MCS_label=N/A JobState=FAILED "
        "Reason=NonZeroExitCode Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 "
        "ExitCode=137:0 RunTime=00:00:00 NodeList=n[1-2] Command=/tmp/x=y.sh\n"
    )
    assert parse_show_job(line) == {"12": JobStatus(JobState.FAILED, 137)}
    assert parse_show_job("slurm_load_jobs error: Invalid job id specified") == {}


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partion": "x"}, "partion is not a known option; did you mean partition?"),
        ({"zzz": 1}, "zzz is not a known option; known: account, command_timeout"),
        ({"partition": 5}, "partition 5 must be a string"),
        ({"exclusive": "yes"}, "exclusive 'yes' must be true or false"),
        ({"cpus_per_node": True}, "cpus_per_node True must be a whole number"),
        ({"cpus_per_node": -1}, "cpus_per_node -1 must be 0 or more"),
        ({"account": "a\nb"}, r"account 'a\nb' must be printable text"),
        ({"poll_period": 0}, "poll_period 0 must be a number of seconds above 0"),
        ({"command_timeout": float("inf")}, "command_timeout inf must be"),
        ({"scheduler_options": "--mem=4G"}, "must begin with #SBATCH"),
        ({"scheduler_options": "#SBATCH -x\nmodule load y"}, "line 'module load y'"),
    ],
)
def test_options_that_make_no_sense_are_explained(
    options: dict[str, object], message: str
) -> None:
    # Before it looks for Slurm: the same on a host that has none.
    with pytest.raises((TypeError, ValueError)) as caught:
        SlurmProvider(**options)
    assert message in str(caught.value)


def test_without_slurms_commands_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="sbatch, squeue, .* not found in PATH"):
        SlurmProvider()
