"""What PBS is asked, and how its documented answers are read.

As of PBS Professional 2021.1 (Reference Guide) and Torque 6.1.2 (Administrator Guide);
no real one was there. Scripts are run for real, with a `pbsdsh` of our own.
"""

import os
import subprocess
from pathlib import Path

import pytest

from providers import (
    JobSpec,
    JobState,
    JobStatus,
    PbsProvider,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.batch import Submission
from providers.batch_folder import BatchFolder
from providers.batch_script import batch_script, node_script
from providers.pbs import (
    PbsOptions,
    parse_ends,
    parse_queue,
    pbs_style,
    submit_words,
)
from tests.providers.stub_commands import StubCommands

SPEC = JobSpec(
    "block-7", ["work a", "work b"], Path("/shared/block-7"), walltime=3690.5
)
SUBMISSION = Submission("block-7-1a2b3c4d", Path("/shared/block-7/attempt-1.sh"), SPEC)


# What is asked


def test_pro_is_asked_for_chunks_on_hosts_of_their_own() -> None:
    options = PbsOptions(cpus_per_node=16, resources="mem=4gb")
    assert submit_words(options, SUBMISSION) == [
        *("qsub", "-N", "lock-7-1a2b3c4d", "-S", "/bin/bash", "-r", "n"),
        *("-o", "/shared/block-7/batch.out", "-e", "/shared/block-7/batch.err"),
        *("-l", "select=2:ncpus=16:mpiprocs=1:mem=4gb", "-l", "place=scatter"),
        *("-l", "walltime=01:01:31", "/shared/block-7/attempt-1.sh"),
    ]


def test_torque_is_asked_for_nodes() -> None:
    options = PbsOptions(dialect="torque", cpus_per_node=16, resources="gpus=1")
    words = submit_words(options, SUBMISSION)
    assert words[words.index("-l") + 1] == "nodes=2:ppn=16:gpus=1"
    assert not any(word.startswith(("select", "place")) for word in words)


def test_every_option_reaches_qsub() -> None:
    options = PbsOptions(queue="workq", account="lab", project="physics", rerun=True)
    spec = JobSpec("7", ["work"], Path("/shared/7"))
    words = submit_words(options, Submission("7-1a", Path("/s"), spec))
    assert words[-7:] == ["-q", "workq", "-A", "lab", "-P", "physics", "/s"]
    assert words[words.index("-r") + 1] == "y"
    assert not any(word.startswith("walltime") for word in words)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("7-1a2b3c4d", "j7-1a2b3c4d"),
        ("a-1a2b3c4d", "a-1a2b3c4d"),
        ("lab-block-12-1a2b3c4d", "ock-12-1a2b3c4d"),
        ("lab-endless-1a2b3c4d", "ndless-1a2b3c4d"),
    ],
)
def test_a_name_begins_with_a_letter_and_keeps_the_end_that_is_its_own(
    name: str, expected: str
) -> None:
    spec = JobSpec("7", ["work"], Path("/shared/7"))
    words = submit_words(PbsOptions(), Submission(name, Path("/s"), spec))
    found = words[words.index("-N") + 1]
    assert found.endswith("1a2b3c4d")
    assert found[0].isalpha()
    assert len(found) <= 15
    assert found == expected


def test_a_path_that_pbs_would_misread_is_refused() -> None:
    spec = JobSpec("job", ["work"], Path("/a:b"))
    with pytest.raises(SubmitRejected, match="takes no path with"):
        submit_words(PbsOptions(), Submission("job-1", Path("/s"), spec))


@pytest.mark.slow
@pytest.mark.parametrize(("dialect", "index"), [("pro", 1), ("torque", 4)])
def test_the_script_runs_every_node_and_waits_for_all(
    dialect: str, index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = StubCommands(tmp_path / "bin", monkeypatch)
    # -n INDEX -- PROGRAM ARGUMENTS...
    stubs.install(
        "pbsdsh", f'#!/bin/bash\necho "$1 $2 $3" > {tmp_path}/told\nexec "${{@:4}}"\n'
    )
    options = PbsOptions(dialect=dialect, cpus_per_node=4)
    commands = [f"echo $PBS_JOBID > {tmp_path}/first", "echo second >&2; exit 3"]
    spec = JobSpec("job", commands, tmp_path / "job")
    folder = BatchFolder(spec.folder)
    folder.order(spec)
    attempt = folder.open_attempt("job-1a2b3c4d")
    style = pbs_style(options)
    script = folder.write_scripts(
        attempt, batch_script(style, spec, attempt.index), node_script(style, spec)
    )
    done = subprocess.run(
        ["bash", script], env={**os.environ, "PBS_JOBID": "12.server"}, check=False
    )
    assert done.returncode == 3
    assert (tmp_path / "told").read_text() == f"-n {index} --\n"
    assert (tmp_path / "first").read_text() == "12.server\n"
    assert folder.number(attempt) == "12.server"
    assert folder.last_run(2).exit_codes == [0, 3]
    assert folder.stderr_tail([1]) == "second\n"


# What is answered

# As qstat -f of PBS Professional 2021.1 writes it, shortened; lines wrap with a tab.
PRO = """Job Id: 12.server
    Job_Name = block-7-1a2b3c4
    Job_Owner = ada@login1
    job_state = {state}
    queue = workq
    comment = Not Running: Insufficient amount of resource: ncpus (R: 2 A: 0 T:
\t 0)
    Variable_List = PBS_O_HOME=/home/ada,PBS_O_LANG=en_US.UTF-8,
\tPBS_O_LOGNAME=ada,PBS_O_PATH=/usr/local/bin:/usr/bin:/bin
    Submit_arguments = -N block-7-1a2b3c4 /shared/block-7/attempt-1.sh
{more}
Job Id: 13.server
    Job_Name = other
    job_state = R
"""


@pytest.mark.parametrize(
    ("letter", "state"),
    [
        ("Q", JobState.PENDING),
        ("W", JobState.PENDING),
        ("T", JobState.PENDING),
        ("H", JobState.HELD),
        ("R", JobState.RUNNING),
        ("E", JobState.RUNNING),
        ("S", JobState.RUNNING),
        ("U", JobState.RUNNING),
        ("B", JobState.RUNNING),
    ],
)
def test_the_letters_of_jobs_that_are_not_over(letter: str, state: JobState) -> None:
    found = parse_queue(PRO.format(state=letter, more=""))
    assert set(found) == {"12.server", "13.server"}
    assert found["12.server"].state is state
    assert found["13.server"] == JobStatus(JobState.RUNNING)


def test_a_job_that_waits_says_why_over_two_lines() -> None:
    found = parse_queue(PRO.format(state="Q", more=""))
    assert found["12.server"].message == (
        "Not Running: Insufficient amount of resource: ncpus (R: 2 A: 0 T: 0)"
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("0", JobStatus(JobState.COMPLETED, 0)),
        ("3", JobStatus(JobState.FAILED, 3)),
        # As shells count, and as PBS does.
        ("137", JobStatus(JobState.FAILED, 137)),
        ("265", JobStatus(JobState.FAILED, 137)),
        ("-29", JobStatus(JobState.TIMEOUT, None, "PBS: it reached its walltime")),
    ],
)
def test_the_end_of_a_job_in_pros_history(status: str, expected: JobStatus) -> None:
    text = PRO.format(state="F", more=f"    Exit_status = {status}")
    assert parse_ends(text, "pro") == {"12.server": expected}
    assert set(parse_queue(text)) == {"13.server"}


def test_a_job_that_pbs_could_not_run_has_failed_with_its_comment() -> None:
    text = PRO.format(state="F", more="    Exit_status = -3")
    status = parse_ends(text, "pro")["12.server"]
    assert (status.state, status.exit_code) == (JobState.FAILED, None)
    assert "(Exit_status -3) Not Running: Insufficient" in status.message


def test_a_job_that_was_deleted_before_it_began_is_cancelled() -> None:
    text = PRO.format(state="F", more="")
    assert parse_ends(text, "pro")["12.server"].state is JobState.CANCELLED


# As the Torque manual's chapter "Job Exit Status" prints it, shortened.
TORQUE = """Job Id: 179.host
    Job_Name = STDIN
    Job_Owner = user@host
    job_state = C
    Variable_List = PBS_O_HOME=/home/user,PBS_O_LOGNAME=user,
\tPBS_O_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:,
    sched_hint = Post job file processing error; job 179.host on host node1/0Ba
\td UID for job execution REJHOST=pala.cridomain MSG=cannot find user
    etime = Fri Aug 29 14:55:55 2008
    exit_status = {status}
"""


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("0", JobState.COMPLETED),
        ("-1", JobState.FAILED),
        ("-11", JobState.TIMEOUT),
        ("271", JobState.FAILED),
    ],
)
def test_the_end_of_a_job_that_torque_keeps(status: str, state: JobState) -> None:
    text = TORQUE.format(status=status)
    assert parse_ends(text, "torque")["179.host"].state is state
    assert parse_queue(text) == {}


# The commands


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubCommands:
    stubs = StubCommands(tmp_path / "bin", monkeypatch)
    for name in ("qsub", "qstat", "qselect", "qdel"):
        stubs.answer(name)
    return stubs


@pytest.mark.slow
def test_a_job_is_submitted_asked_about_and_deleted(
    stubs: StubCommands, tmp_path: Path
) -> None:
    stubs.answer("qsub", "Welcome\n12.server\n")
    # The other one is not known any more: 15001 % 256.
    stubs.answer(
        "qstat", PRO.format(state="R", more=""), "qstat: Unknown Job Id 9.server", 153
    )
    provider = PbsProvider()
    job_id = provider.submit(JobSpec("job", ["true"], tmp_path / "job"))
    assert job_id == f"12.server:{tmp_path}/job"
    assert provider.status([job_id])[job_id].state is JobState.RUNNING
    provider.cancel([job_id])
    assert stubs.asked()[-1] == "12.server"
    assert "-f 12.server" in stubs.asked()


@pytest.mark.slow
def test_a_job_without_an_exit_code_is_looked_up_in_the_history(
    stubs: StubCommands, tmp_path: Path
) -> None:
    stubs.answer("qsub", "12.server\n")
    provider = PbsProvider()
    job_id = provider.submit(JobSpec("job", ["true"], tmp_path / "job"))
    ended = PRO.format(state="F", more="    Exit_status = -29")
    stubs.answer("qstat", ended)
    assert provider.status([job_id])[job_id].state is JobState.TIMEOUT
    assert "-x -f 12.server" in stubs.asked()


@pytest.mark.slow
def test_a_server_that_does_not_answer_says_nothing_about_jobs(
    stubs: StubCommands, tmp_path: Path
) -> None:
    stubs.answer("qsub", "12.server\n")
    provider = PbsProvider()
    job_id = provider.submit(JobSpec("job", ["true"], tmp_path / "job"))
    silence = "Connection refused\nqstat: cannot connect to server pbs (errno=111)"
    stubs.answer("qstat", "", silence, 255)
    assert provider.status([job_id])[job_id].state is JobState.UNKNOWN
    stubs.answer("qsub", "", silence, 255)
    spec = JobSpec("other", ["true"], tmp_path / "other")
    with pytest.raises(ProviderUnavailable, match="cannot connect"):
        provider.submit(spec)
    # The server had taken it.
    stubs.answer("qselect", "14.server\n")
    assert provider.recover(spec) == f"14.server:{tmp_path}/other"


@pytest.mark.slow
def test_what_pbs_refuses_is_rejected_with_its_own_words(
    stubs: StubCommands, tmp_path: Path
) -> None:
    stubs.answer("qsub", "", "qsub: Unknown queue", 170)
    with pytest.raises(SubmitRejected, match="qsub: Unknown queue"):
        PbsProvider(queue="nowhere").submit(JobSpec("j", ["true"], tmp_path / "job"))


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dialect": "openpbs"}, "dialect 'openpbs' must be one of pro, torque"),
        ({"que": "x"}, "que is not a known option; did you mean queue?"),
        ({"cpus_per_node": 0}, "cpus_per_node 0 must be 1 or more"),
        ({"dialect": "torque", "project": "x"}, "project 'x' is only for dialect pro"),
        ({"scheduler_options": "-l x=1"}, "must begin with #PBS"),
    ],
)
def test_options_that_make_no_sense_are_explained(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        PbsProvider(**options)
    assert message in str(caught.value)
