"""What Grid Engine is asked, and how its documented answers are read."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from providers import (
    GridEngineProvider,
    JobSpec,
    JobState,
    JobStatus,
    SubmitRejected,
)
from providers.batch import Submission
from providers.batch_script import batch_script, node_script
from providers.gridengine import (
    GridEngineOptions,
    gridengine_style,
    parse_accounting,
    parse_queue,
    submit_words,
)

SPEC = JobSpec("block-7", ["work a", "work b"], Path("/shared/block-7"), walltime=90.5)
SUBMISSION = Submission("block-7-1a2b3c4d", Path("/shared/block-7/attempt-1.sh"), SPEC)
SINGLE = JobSpec("7", ["work"], Path("/shared/7"))


# What is asked


def test_a_job_asks_for_slots_its_folder_and_its_time_in_whole_seconds() -> None:
    options = GridEngineOptions(parallel_environment="mpi", slots_per_node=16)
    assert submit_words(options, SUBMISSION) == [
        *("qsub", "-terse", "-notify", "-N", "block-7-1a2b3c4d"),
        *("-S", "/bin/bash", "-r", "n", "-wd", "/shared/block-7"),
        *("-o", "/shared/block-7/batch.out", "-e", "/shared/block-7/batch.err"),
        *("-l", "h_rt=91", "-pe", "mpi", "32", "/shared/block-7/attempt-1.sh"),
    ]


def test_every_option_reaches_qsub() -> None:
    options = GridEngineOptions(
        queue="all.q", project="physics", resources="mem_free=4G,gpu=1", rerun=True
    )
    words = submit_words(options, Submission("job-1", Path("/s"), SINGLE))
    assert words[-7:] == [
        *("-l", "mem_free=4G,gpu=1", "-q", "all.q", "-P", "physics"),
        "/s",
    ]
    assert words[words.index("-r") + 1] == "y"
    assert "-pe" not in words


def test_a_name_that_begins_with_a_digit_gets_a_letter() -> None:
    words = submit_words(GridEngineOptions(), Submission("7-1a", Path("/s"), SINGLE))
    assert words[words.index("-N") + 1] == "j7-1a"


@pytest.mark.parametrize("path", ["/a:b", "/a,b", "/a$b"])
def test_a_path_that_grid_engine_would_misread_is_refused(path: str) -> None:
    spec = JobSpec("job", ["work"], Path(path))
    with pytest.raises(SubmitRejected, match="takes no path with"):
        submit_words(GridEngineOptions(), Submission("job-1", Path("/s"), spec))


def test_several_nodes_need_a_parallel_environment() -> None:
    with pytest.raises(SubmitRejected, match="2 nodes need the option parallel_env"):
        submit_words(GridEngineOptions(), SUBMISSION)


def test_the_warning_reaches_programs_as_sigterm() -> None:
    script = node_script(gridengine_style(GridEngineOptions()), SPEC)
    assert "trap 'warn; kill -TERM 0' USR2" in script
    assert "trap '' USR2" in script


def test_the_nodes_are_every_so_many_slots() -> None:
    options = GridEngineOptions(parallel_environment="mpi", slots_per_node=4)
    script = batch_script(gridengine_style(options), SPEC, 1)
    assert "awk -v each=4 " in script
    assert "'{ for (i = 0; i < $2; i++) if (slot++ % each == 0) print $1 }'" in script
    assert "number=$JOB_ID" in script


# What is answered

# As SGE 8.1.9 writes it, shortened.
QUEUE = """<?xml version='1.0'?>
<job_info  xmlns:xsd="http://example.org/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>3</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>block-1-0a1b2c3d</JB_name>
      <JB_owner>root</JB_owner>
      <state>{running}</state>
      <queue_name>all.q@host</queue_name>
      <slots>1</slots>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>5</JB_job_number>
      <JB_name>block-2-0a1b2c3d</JB_name>
      <state>{pending}</state>
    </job_list>
  </job_info>
</job_info>
"""


@pytest.mark.parametrize("letters", ["r", "t", "Rr", "s", "S", "T", "hr", "dr"])
def test_what_has_begun_is_running(letters: str) -> None:
    (running, _) = parse_queue(QUEUE.format(running=letters, pending="qw"))
    assert running[:2] == ("3", "block-1-0a1b2c3d")
    assert running[2].state is JobState.RUNNING
    assert bool(running[2].message) == ("d" in letters)


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("qw", JobState.PENDING),
        ("Rq", JobState.PENDING),
        ("dqw", JobState.PENDING),
        ("hqw", JobState.HELD),
        ("hRwq", JobState.HELD),
        ("Eqw", JobState.HELD),
    ],
)
def test_what_waits_is_pending_or_held(letters: str, state: JobState) -> None:
    (_, waiting) = parse_queue(QUEUE.format(running="r", pending=letters))
    assert (waiting[0], waiting[2].state) == ("5", state)


def test_a_job_in_the_error_state_says_what_to_do() -> None:
    (_, (_, _, status)) = parse_queue(QUEUE.format(running="r", pending="Eqw"))
    assert "`qstat -j 5` tells why" in status.message


def test_an_answer_that_is_no_xml_is_none() -> None:
    with pytest.raises(ElementTree.ParseError):
        list(parse_queue("error: commlib error"))


def record(failed: str, exit_status: str) -> str:
    return (
        "==============================================================\n"
        "qname        all.q               \n"
        "jobnumber    4                   \n"
        f"failed       {failed}\n"
        f"exit_status  {exit_status}\n"
        "ru_wallclock 4s\n"
    )


@pytest.mark.parametrize(
    ("failed", "exit_status", "expected"),
    [
        ("0    ", "0                   ", JobStatus(JobState.COMPLETED, 0)),
        ("0    ", "3                   ", JobStatus(JobState.FAILED, 3)),
        (
            "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit",
            "137                  (Killed)",
            JobStatus(
                JobState.TIMEOUT,
                137,
                "Grid Engine: qmaster enforced h_rt, h_cpu, or h_vmem limit",
            ),
        ),
        (
            "100 : assumedly after job",
            "137                  (Killed)",
            JobStatus(JobState.FAILED, 137, "Grid Engine: assumedly after job"),
        ),
        (
            "26  : opening input/output file",
            "0",
            JobStatus(JobState.FAILED, 0, "Grid Engine: opening input/output file"),
        ),
    ],
)
def test_a_record_of_qacct(failed: str, exit_status: str, expected: JobStatus) -> None:
    assert parse_accounting(record(failed, exit_status)) == expected


def test_the_worst_record_of_a_job_of_several_nodes_counts() -> None:
    text = record("0", "0") + record("0", "5") + record("0", "0")
    assert parse_accounting(text) == JobStatus(JobState.FAILED, 5)
    assert parse_accounting("error: job id 5 not found") is None


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"que": "x"}, "que is not a known option; did you mean queue?"),
        ({"slots_per_node": 0}, "slots_per_node 0 must be 1 or more"),
        ({"slots_per_node": 4}, "slots_per_node 4 needs parallel_environment"),
        ({"rerun": 1}, "rerun 1 must be true or false"),
        ({"scheduler_options": "-l x=1"}, "must begin with #$"),
    ],
)
def test_options_that_make_no_sense_are_explained(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        GridEngineProvider(**options)
    assert message in str(caught.value)
