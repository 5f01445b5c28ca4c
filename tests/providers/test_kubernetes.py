"""What Kubernetes is asked, and how its documented answers are read."""

import copy
from pathlib import Path
from typing import Any

import pytest

from providers import JobSpec, JobState, JobStatus
from providers.cluster import NodeOrder
from providers.kubernetes import KubernetesOptions, job_manifest, newest_pod, read_node

SPEC = JobSpec("block-7", ["work 0", "work 1"], Path("/f"), {"TOKEN": "t"}, walltime=90)
NODE = NodeOrder("block-7-0a1b2c3d4e-1", 1, SPEC)
JOB = {"metadata": {"name": NODE.name}, "spec": {}, "status": {}}


def test_a_node_is_a_job_of_one_pod_that_is_not_retried() -> None:
    manifest = job_manifest(KubernetesOptions(image="ours:1"), NODE, {})
    assert manifest["metadata"]["name"] == NODE.name
    assert manifest["spec"]["backoffLimit"] == 0
    pod = manifest["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 30
    # The container keeps 90 s itself, and has 25 s to end in order.
    assert pod["activeDeadlineSeconds"] == 175
    (container,) = pod["containers"]
    assert container["image"] == "ours:1"
    assert container["command"][-4:] == ["bash", "90", "25", "work 1"]
    assert container["env"] == [{"name": "TOKEN", "value": "t"}]
    assert "resources" not in container


def test_what_is_asked_for_is_added_to_the_users_pod() -> None:
    template = {
        "metadata": {"labels": {"team": "physics"}},
        "spec": {
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "main",
                    "image": "theirs:1",
                    "args": ["ignored"],
                    "env": [
                        {"name": "TOKEN", "value": "old"},
                        {"name": "KEPT", "value": "yes"},
                    ],
                    "resources": {"requests": {"ephemeral-storage": "1Gi"}},
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                },
                {"name": "sidecar", "image": "log:1"},
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    before = copy.deepcopy(template)
    options = KubernetesOptions(
        pod_template="pod.yaml",
        cpus_per_node=0.5,
        memory_per_node="2Gi",
        gpus_per_node=1,
        service_account="runner",
        worker_init="module load x",
    )
    spec = JobSpec("b", ["work"], Path("/f"), {"TOKEN": "new"})
    made = job_manifest(options, NodeOrder("b-1-0", 0, spec), template)
    assert template == before
    assert made["spec"]["template"]["metadata"]["labels"] == {
        "team": "physics",
        "app.kubernetes.io/managed-by": "actors",
    }
    pod = made["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "runner"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert "activeDeadlineSeconds" not in pod
    container, sidecar = pod["containers"]
    assert sidecar == {"name": "sidecar", "image": "log:1"}
    assert (container["name"], container["image"]) == ("main", "theirs:1")
    assert container["command"][-1] == "module load x\nwork"
    assert "args" not in container
    assert container["env"] == [
        {"name": "KEPT", "value": "yes"},
        {"name": "TOKEN", "value": "new"},
    ]
    demand = {"cpu": "0.5", "memory": "2Gi", "nvidia.com/gpu": "1"}
    assert container["resources"] == {
        "requests": {"ephemeral-storage": "1Gi", **demand},
        "limits": demand,
    }
    assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]


def pod(phase: str, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "block"}]},
        "status": {"phase": phase, **status},
    }


def ended(code: int, seconds: int = 10, **more: Any) -> dict[str, Any]:
    """Give the status of a Pod whose container has ended."""
    terminated = {
        "exitCode": code,
        "reason": "Error",
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z",
        **more,
    }
    return {"containerStatuses": [{"state": {"terminated": terminated}}]}


def unready(**more: Any) -> dict[str, Any]:
    """Give the status of a Pod on a host that has stopped to report."""
    return {
        "containerStatuses": [{"state": {"running": {}}}],
        "conditions": [{"type": "Ready", "status": "False"}],
        **more,
    }


UNSCHEDULED = {
    "type": "PodScheduled",
    "status": "False",
    "message": "0/3 nodes are available: 3 Insufficient cpu.",
}
UNPULLED = {"reason": "ErrImageNeverPull", "message": "not present"}


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (None, JobStatus(JobState.PENDING, message="It has no Pod yet")),
        (
            pod("Pending", conditions=[UNSCHEDULED]),
            JobStatus(JobState.PENDING, message=UNSCHEDULED["message"]),
        ),
        (
            pod("Pending", containerStatuses=[{"state": {"waiting": UNPULLED}}]),
            JobStatus(JobState.PENDING, message="ErrImageNeverPull: not present"),
        ),
        (pod("Running"), JobStatus(JobState.RUNNING)),
        (
            pod("Running", **unready()),
            JobStatus(
                JobState.UNKNOWN, message="Kubernetes does not hear from its host"
            ),
        ),
        (pod("Succeeded", **ended(0)), JobStatus(JobState.COMPLETED, 0)),
        (pod("Failed", **ended(3)), JobStatus(JobState.FAILED, 3)),
        (
            pod("Failed", **ended(137, reason="OOMKilled")),
            JobStatus(JobState.FAILED, 137, "OOMKilled"),
        ),
        (
            pod("Failed", **ended(124, 90)),
            JobStatus(JobState.TIMEOUT, 124, "Reached its walltime, 90 s"),
        ),
        (pod("Failed", **ended(124, 10)), JobStatus(JobState.FAILED, 124)),
        (
            pod("Failed", reason="DeadlineExceeded", message="Pod was active too long"),
            JobStatus(JobState.TIMEOUT, None, "Pod was active too long"),
        ),
        (
            pod("Failed", reason="Evicted", message="The node was low on memory"),
            JobStatus(JobState.FAILED, None, "Evicted; The node was low on memory"),
        ),
        (
            pod("Failed"),
            JobStatus(JobState.FAILED, None, "Kubernetes tells no reason"),
        ),
    ],
)
def test_documented_states_are_read(
    found: dict[str, Any] | None, status: JobStatus
) -> None:
    assert read_node(JOB, found, NODE) == status


def test_a_pod_that_is_being_deleted_runs_until_it_has_ended() -> None:
    found = pod("Running", **unready())
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    assert read_node(JOB, found, NODE) == JobStatus(JobState.RUNNING)


def test_a_pod_that_failed_as_its_job_was_deleted_is_cancelled() -> None:
    job = {**JOB, "metadata": {"name": NODE.name, "deletionTimestamp": "2026"}}
    found = pod("Failed", **ended(143))
    assert read_node(job, found, NODE) == JobStatus(
        JobState.CANCELLED, 143, "Somebody deleted it"
    )


def test_kubernetes_expands_nothing_in_what_it_is_given() -> None:
    spec = JobSpec("b", ["echo $$ $(date)"], Path("/f"), {"PRICE": "$(TOKEN) $$"})
    options = KubernetesOptions(image="ours:1")
    made = job_manifest(options, NodeOrder("b-1-0", 0, spec), {})
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["command"][-1] == "echo $$$$ $$(date)"
    assert container["env"] == [{"name": "PRICE", "value": "$$(TOKEN) $$$$"}]


def test_a_job_whose_pod_is_gone_tells_its_end_itself() -> None:
    failed = {"type": "Failed", "status": "True", "message": "Backoff limit reached"}
    job = {**JOB, "status": {"conditions": [failed]}}
    assert read_node(job, None, NODE) == JobStatus(
        JobState.FAILED, None, "Backoff limit reached"
    )
    job = {**JOB, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert read_node(job, None, NODE) == JobStatus(JobState.COMPLETED, 0)


def test_a_suspended_job_is_held() -> None:
    job = {**JOB, "spec": {"suspend": True}}
    assert read_node(job, None, NODE).state is JobState.HELD


def test_of_the_pods_that_a_job_had_the_newest_counts() -> None:
    older, newer = pod("Failed"), pod("Running")
    newer["metadata"]["creationTimestamp"] = "2026-01-01T00:00:01Z"
    assert newest_pod([newer, older]) is newer
    assert newest_pod([]) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "image '' must be that of a container"),
        ({"image": "i", "namespace": ""}, "namespace '' must name one"),
        (
            {"image": "i", "image_pull_policy": "never"},
            "image_pull_policy 'never' must be Always, IfNotPresent or Never",
        ),
        ({"image": "i", "gpus_per_node": -1}, "gpus_per_node -1 must be 0 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        KubernetesOptions(**options)
