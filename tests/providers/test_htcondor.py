"""What HTCondor is asked, and how its documented answers are read.

As of HTCondor 23.0's manual; no real one was there. Scripts are run for real.
"""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from providers import (
    HTCondorProvider,
    JobSpec,
    JobState,
    JobStatus,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.batch import Submission
from providers.batch_folder import BatchFolder
from providers.batch_script import batch_script, node_script
from providers.htcondor import (
    HTCondorOptions,
    htcondor_style,
    parse_ends,
    parse_queue,
    submit_text,
)
from tests.providers.stub_commands import StubCommands
from tests.support import eventually

SPEC = JobSpec("block-7", ["work"], Path("/shared/block-7"), walltime=90.5)
SUBMISSION = Submission("block-7-1a2b3c4d", Path("/shared/block-7/attempt-1.sh"), SPEC)


# What is asked


def test_a_job_asks_for_bash_on_one_host_and_removes_itself_at_its_walltime() -> None:
    assert submit_text(HTCondorOptions(), SUBMISSION).splitlines() == [
        "universe = vanilla",
        "executable = /bin/bash",
        "transfer_executable = false",
        "arguments = \"'/shared/block-7/attempt-1.sh'\"",
        "batch_name = block-7-1a2b3c4d",
        "initialdir = /shared/block-7",
        "output = /shared/block-7/batch.out",
        "error = /shared/block-7/batch.err",
        'environment = "ACTORS_HTCONDOR_JOB=$(ClusterId)"',
        "should_transfer_files = NO",
        "request_cpus = 1",
        "kill_sig = SIGTERM",
        "want_graceful_removal = true",
        "job_max_vacate_time = 30",
        "periodic_remove = JobStatus == 2 && time() - JobCurrentStartDate > 91",
        "queue 1",
    ]


def test_every_option_reaches_the_submit_description() -> None:
    options = HTCondorOptions(
        cpus=8,
        memory="16 GB",
        disk="1 GB",
        gpus=2,
        requirements='OpSysMajorVer == 9 && Machine != "old"',
        accounting_group="physics",
        submit_options='+ProjectName = "x"\nnice_user = true\n',
    )
    lines = submit_text(options, SUBMISSION).splitlines()
    for line in (
        "request_cpus = 8",
        "request_memory = 16 GB",
        "request_disk = 1 GB",
        "request_gpus = 2",
        'requirements = OpSysMajorVer == 9 && Machine != "old"',
        "accounting_group = physics",
    ):
        assert line in lines
    assert lines[-3:] == ['+ProjectName = "x"', "nice_user = true", "queue 1"]


def test_quotes_in_a_path_are_doubled() -> None:
    spec = JobSpec("job", ["work"], Path("/a'b"))
    text = submit_text(HTCondorOptions(), Submission("j", Path("/a'b/\"s"), spec))
    assert "arguments = \"'/a''b/\"\"s'\"" in text


def test_several_nodes_and_paths_with_macros_are_refused() -> None:
    several = JobSpec("job", ["a", "b"], Path("/s"))
    with pytest.raises(SubmitRejected, match="set nodes_per_block = 1"):
        submit_text(HTCondorOptions(), Submission("j", Path("/s"), several))
    macro = JobSpec("job", ["a"], Path("/$(x)"))
    with pytest.raises(SubmitRejected, match="takes no path with"):
        submit_text(HTCondorOptions(), Submission("j", Path("/s"), macro))


@pytest.mark.slow
def test_a_warning_to_the_script_alone_reaches_the_node(tmp_path: Path) -> None:
    command = (
        f"trap 'touch {tmp_path}/tidied; exit 0' TERM; touch {tmp_path}/ready; "
        "while :; do sleep 0.02; done"
    )
    spec = JobSpec("job", [command], tmp_path / "job")
    folder = BatchFolder(spec.folder)
    folder.order(spec)
    attempt = folder.open_attempt("job-1a2b3c4d")
    style = htcondor_style(HTCondorOptions())
    script = folder.write_scripts(
        attempt, batch_script(style, spec, attempt.index), node_script(style, spec)
    )
    environment = {**os.environ, "ACTORS_HTCONDOR_JOB": "12"}
    with subprocess.Popen(["bash", script], env=environment) as process:
        eventually((tmp_path / "ready").exists, what="the node to run")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (tmp_path / "tidied").exists()
    assert folder.number(attempt) == "12"
    assert folder.last_run(1).exit_codes == [0]
    assert folder.last_run(1).warned_after is not None


# What is answered


def queue(**attributes: object) -> str:
    return json.dumps([{"ClusterId": 12, **attributes}], indent=2)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (1, JobState.PENDING),
        (2, JobState.RUNNING),
        (3, JobState.RUNNING),
        (5, JobState.HELD),
        (6, JobState.RUNNING),
        (7, JobState.RUNNING),
    ],
)
def test_the_numbers_of_jobs_in_the_queue(code: int, state: JobState) -> None:
    assert parse_queue(queue(JobStatus=code))["12"].state is state


def test_a_completed_job_in_the_queue_is_over() -> None:
    assert parse_queue(queue(JobStatus=4)) == {}


def test_a_held_job_says_why() -> None:
    reason = "Error from slot1@host: Failed to execute '/bin/bash'"
    text = queue(JobStatus=5, HoldReason=reason)
    assert parse_queue(text) == {"12": JobStatus(JobState.HELD, message=reason)}


def test_an_empty_queue_writes_nothing_and_nonsense_is_no_answer() -> None:
    assert parse_queue("\n") == {}
    with pytest.raises(ProviderUnavailable, match="wrote no JSON"):
        parse_queue("-- Failed to fetch ads from: <10.0.0.1:9618>")
    with pytest.raises(ProviderUnavailable, match="wrote no JSON"):
        parse_queue("7")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"JobStatus": 4, "ExitBySignal": False, "ExitCode": 0},
            JobStatus(JobState.COMPLETED, 0),
        ),
        (
            {"JobStatus": 4, "ExitBySignal": False, "ExitCode": 3},
            JobStatus(JobState.FAILED, 3),
        ),
        (
            {"JobStatus": 4, "ExitBySignal": True, "ExitSignal": 9},
            JobStatus(JobState.FAILED, 137),
        ),
        (
            {"JobStatus": 3, "RemoveReason": "via condor_rm (by user ada)"},
            JobStatus(
                JobState.CANCELLED, message="HTCondor: via condor_rm (by user ada)"
            ),
        ),
        (
            {
                "JobStatus": 3,
                "RemoveReason": "The job attribute PeriodicRemove expression "
                "'JobStatus == 2' evaluated to TRUE",
            },
            JobStatus(
                JobState.TIMEOUT,
                message="HTCondor: The job attribute PeriodicRemove expression "
                "'JobStatus == 2' evaluated to TRUE",
            ),
        ),
    ],
)
def test_the_ends_of_jobs_in_the_history(
    attributes: dict[str, object], expected: JobStatus
) -> None:
    assert parse_ends(queue(**attributes)) == {"12": expected}


# The commands


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubCommands:
    stubs = StubCommands(tmp_path / "bin", monkeypatch)
    for name in ("condor_submit", "condor_q", "condor_rm", "condor_history"):
        stubs.answer(name)
    stubs.answer("condor_submit", "12.0 - 12.0\n")
    return stubs


@pytest.mark.slow
def test_a_job_is_submitted_asked_about_and_removed(
    stubs: StubCommands, tmp_path: Path
) -> None:
    stubs.answer("condor_q", queue(JobStatus=2))
    provider = HTCondorProvider()
    job_id = provider.submit(JobSpec("job", ["true"], tmp_path / "job"))
    assert job_id == f"12:{tmp_path}/job"
    assert stubs.asked() == [f"-terse {tmp_path}/job/attempt-1.sub"]
    assert "queue 1" in (tmp_path / "job/attempt-1.sub").read_text()
    assert provider.status([job_id])[job_id].state is JobState.RUNNING
    provider.cancel([job_id])
    assert stubs.asked()[-1] == "12"


@pytest.mark.slow
def test_a_job_without_an_exit_code_is_looked_up_in_the_history(
    stubs: StubCommands, tmp_path: Path
) -> None:
    provider = HTCondorProvider()
    job_id = provider.submit(JobSpec("job", ["true"], tmp_path / "job"))
    stubs.answer("condor_history", queue(JobStatus=4, ExitCode=7, ExitBySignal=False))
    status = provider.status([job_id])[job_id]
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)


@pytest.mark.slow
def test_a_queue_that_does_not_answer_says_nothing_about_jobs(
    stubs: StubCommands, tmp_path: Path
) -> None:
    provider = HTCondorProvider()
    job_id = provider.submit(JobSpec("job", ["true"], tmp_path / "job"))
    silence = "Error: Can't find address of local schedd"
    stubs.answer("condor_q", "", silence, 1)
    assert provider.status([job_id])[job_id].state is JobState.UNKNOWN
    stubs.answer("condor_submit", "", "ERROR: Can't find address of local schedd", 1)
    spec = JobSpec("other", ["true"], tmp_path / "other")
    with pytest.raises(ProviderUnavailable, match="Can't find address"):
        provider.submit(spec)
    # It had been taken.
    stubs.answer("condor_q", queue(JobStatus=1))
    assert provider.recover(spec) == f"12:{tmp_path}/other"


@pytest.mark.slow
def test_what_htcondor_refuses_is_rejected_with_its_own_words(
    stubs: StubCommands, tmp_path: Path
) -> None:
    words = "ERROR: Failed to parse request_memory expression"
    stubs.answer("condor_submit", "", words, 1)
    spec = JobSpec("job", ["true"], tmp_path / "job")
    with pytest.raises(SubmitRejected, match=words):
        HTCondorProvider(memory="much").submit(spec)
    assert HTCondorProvider().recover(spec) is None


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpu": 1}, "cpu is not a known option; did you mean cpus?"),
        ({"cpus": 0}, "cpus 0 must be 1 or more"),
        ({"gpus": -1}, "gpus -1 must be 0 or more"),
        ({"kill_after": 0}, "kill_after 0"),
        ({"submit_options": "+X = 1\nqueue 5"}, "must not hold a line 'queue'"),
    ],
)
def test_options_that_make_no_sense_are_explained(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        HTCondorProvider(**options)
    assert message in str(caught.value)
