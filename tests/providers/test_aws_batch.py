"""What AWS Batch is asked, and how its documented answers are read."""

from pathlib import Path
from typing import Any

import pytest

from providers import JobSpec, JobState, JobStatus
from providers.aws_batch import AwsBatchOptions, read_job, submit_request
from providers.cluster import NodeOrder

SPEC = JobSpec(
    "block-7", ["work 0", "work 1"], Path("/f"), {"TOKEN": "a 'b'"}, walltime=90
)
NODE = NodeOrder("block-7-0a1b2c3d4e-1", 1, SPEC)
OPTIONS = AwsBatchOptions(job_queue="queue", job_definition="actors:3")
EXITED = "Essential container in task exited"


def test_a_node_is_a_job_with_a_command_variables_and_a_limit_beyond_its_walltime() -> (
    None
):
    request = submit_request(OPTIONS, NODE)
    overrides = request.pop("containerOverrides")
    assert request == {
        "jobName": "block-7-0a1b2c3d4e-1",
        "jobQueue": "queue",
        "jobDefinition": "actors:3",
        # The container keeps 90 s itself, and has 25 s to end in order.
        "timeout": {"attemptDurationSeconds": 175},
    }
    assert overrides["environment"] == [{"name": "TOKEN", "value": "a 'b'"}]
    assert overrides["command"][-4:] == ["bash", "90", "25", "work 1"]
    assert "resourceRequirements" not in overrides


def test_resources_shares_and_worker_init_are_asked_for() -> None:
    options = AwsBatchOptions(
        job_queue="queue",
        job_definition="actors",
        vcpus=0.5,
        memory_mib=2048,
        gpus=1,
        share_identifier="physics",
        worker_init="module load x\n",
    )
    spec = JobSpec("b", ["work"], Path("/f"))
    request = submit_request(options, NodeOrder("b-1-0", 0, spec))
    assert "timeout" not in request
    assert request["shareIdentifier"] == "physics"
    overrides = request["containerOverrides"]
    assert overrides["command"][-3:] == ["0", "25", "module load x\nwork"]
    assert overrides["resourceRequirements"] == [
        {"type": "VCPU", "value": "0.5"},
        {"type": "MEMORY", "value": "2048"},
        {"type": "GPU", "value": "1"},
    ]


def ended(
    reason: str = EXITED, seconds: float = 10, oom: bool = False, **container: Any
) -> Any:
    if oom:
        container["reason"] = "OutOfMemoryError: Container killed"
    return {
        "status": "FAILED",
        "statusReason": reason,
        "startedAt": 1_700_000_000_000,
        "stoppedAt": 1_700_000_000_000 + int(seconds * 1000),
        "container": container,
    }


@pytest.mark.parametrize(
    ("job", "status"),
    [
        ({"status": "SUBMITTED"}, JobStatus(JobState.PENDING)),
        (
            {"status": "RUNNABLE", "statusReason": "MISCONFIGURATION: too large"},
            JobStatus(JobState.PENDING, message="MISCONFIGURATION: too large"),
        ),
        ({"status": "STARTING"}, JobStatus(JobState.PENDING)),
        ({"status": "RUNNING"}, JobStatus(JobState.RUNNING)),
        (
            {"status": "SUCCEEDED", "container": {"exitCode": 0}},
            JobStatus(JobState.COMPLETED, 0),
        ),
        (ended(exitCode=3), JobStatus(JobState.FAILED, 3)),
        (
            ended(oom=True, exitCode=137),
            JobStatus(JobState.FAILED, 137, "OutOfMemoryError: Container killed"),
        ),
        (
            ended("Host EC2 (instance i-0a1) terminated."),
            JobStatus(JobState.FAILED, None, "Host EC2 (instance i-0a1) terminated."),
        ),
        (ended(""), JobStatus(JobState.FAILED, None, "AWS Batch tells no reason")),
        (
            ended(seconds=90, exitCode=124),
            JobStatus(JobState.TIMEOUT, 124, "Reached its walltime, 90 s"),
        ),
        # Its own timeout(1).
        (ended(seconds=10, exitCode=124), JobStatus(JobState.FAILED, 124)),
        (
            ended("Job attempt duration exceeded timeout", exitCode=137),
            JobStatus(JobState.TIMEOUT, 137, "Job attempt duration exceeded timeout"),
        ),
        (
            ended("not needed", exitCode=143) | {"isTerminated": True},
            JobStatus(JobState.CANCELLED, 143, "not needed"),
        ),
    ],
)
def test_documented_states_are_read(job: Any, status: JobStatus) -> None:
    assert read_job(job, NODE) == status


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "job_queue '' must name one of AWS Batch"),
        ({"job_queue": "q"}, "job_definition '' must name one of AWS Batch"),
        (
            {"job_queue": "q", "job_definition": "d", "vcpus": -1},
            "vcpus -1 must be 0 or more",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        AwsBatchOptions(**options)
