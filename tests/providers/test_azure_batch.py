"""What Azure Batch is asked, and how its documented answers are read.

There is no real one here. Its own client library talks to a server of the tests, which
answers as Batch's REST interface is documented to.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from providers import (
    JobSpec,
    JobState,
    JobStatus,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.azure_batch import (
    AzureBatchOptions,
    AzureBatchProvider,
    read_task,
    task_order,
)
from providers.cluster import NodeOrder

# Its client library's own.
pytestmark = pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")

SPEC = JobSpec("block-7", ["work 0", "it's 1"], Path("/f"), {"TOKEN": "t"}, walltime=90)
NODE = NodeOrder("block-7-0a1b2c3d4e-1", 1, SPEC)
URL = "https://lab.westeurope.batch.azure.com"


def test_a_node_is_a_task_that_is_not_retried() -> None:
    order = task_order(AzureBatchOptions(account_url=URL, job="actors"), NODE)
    environment = {v["name"]: v["value"] for v in order.pop("environmentSettings")}
    assert order == {
        "id": NODE.name,
        "commandLine": "/bin/bash -c 'eval \"$ACTORS_BLOCK\"'",
        # The script keeps 90 s itself, and has 25 s to end in order.
        "constraints": {"maxTaskRetryCount": 0, "maxWallClockTime": "PT175S"},
        "requiredSlots": 1,
    }
    assert environment["TOKEN"] == "t"
    begin = "set -- 90 25 'it'\"'\"'s 1'\n"
    assert environment["ACTORS_BLOCK"].startswith(begin)


def test_a_container_is_asked_for() -> None:
    options = AzureBatchOptions(
        account_url=URL,
        job="actors",
        image="ours:1",
        container_options="--shm-size=1g",
        slots_per_node=4,
        worker_init="module load x",
    )
    spec = JobSpec("b", ["work"], Path("/f"))
    order = task_order(options, NodeOrder("b-1-0", 0, spec))
    assert order["requiredSlots"] == 4
    assert order["containerSettings"] == {
        "imageName": "ours:1",
        "containerRunOptions": "--shm-size=1g",
    }
    assert order["constraints"] == {"maxTaskRetryCount": 0}
    (script,) = order["environmentSettings"]
    assert script["value"].startswith("set -- 0 25 'module load x\nwork'\n")


def ended(seconds: int = 10, **info: Any) -> dict[str, Any]:
    """Give a task that has ended."""
    times = {
        "startTime": "2026-01-01T00:00:00.1234567Z",
        "endTime": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}.1234567Z",
    }
    return {"state": "completed", "executionInfo": {**times, **info}}


def failure(code: str, message: str = "") -> dict[str, str]:
    return {"category": "usererror", "code": code, "message": message}


EXITED = failure("FailureExitCode", "The task exited with an exit code")


@pytest.mark.parametrize(
    ("task", "status"),
    [
        ({"state": "active"}, JobStatus(JobState.PENDING)),
        ({"state": "preparing"}, JobStatus(JobState.PENDING)),
        ({"state": "running"}, JobStatus(JobState.RUNNING)),
        (ended(exitCode=0), JobStatus(JobState.COMPLETED, 0)),
        (ended(exitCode=3, failureInfo=EXITED), JobStatus(JobState.FAILED, 3)),
        (
            ended(90, exitCode=124, failureInfo=EXITED),
            JobStatus(JobState.TIMEOUT, 124, "Reached its walltime, 90 s"),
        ),
        (
            ended(10, exitCode=124, failureInfo=EXITED),
            JobStatus(JobState.FAILED, 124),
        ),
        (
            ended(failureInfo=failure("TaskEnded", "Ended by user request")),
            JobStatus(JobState.CANCELLED, None, "Ended by user request"),
        ),
        (
            ended(failureInfo=failure("ContainerPullFailed", "no such image")),
            JobStatus(JobState.FAILED, None, "ContainerPullFailed: no such image"),
        ),
        (ended(), JobStatus(JobState.FAILED, None, "Azure Batch tells no reason")),
        (
            {"state": "resting"},
            JobStatus(JobState.UNKNOWN, message="Azure Batch calls its state resting"),
        ),
    ],
)
def test_documented_states_are_read(task: Any, status: JobStatus) -> None:
    assert read_task(task, NODE) == status


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "account_url '' must be that of a Batch account"),
        ({"account_url": URL}, "job '' must be the id of a job"),
        (
            {"account_url": URL, "job": "j", "slots_per_node": 0},
            "slots_per_node 0 must be 1 or more",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        AzureBatchOptions(**options)


# The calls of its library


class Account:
    """A Batch account of one job, as its REST interface has it."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.refusal: tuple[int, str] | None = None
        self.calls: list[str] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.calls.append(f"{method} {path}")
        if self.refusal is not None:
            return self._error(*self.refusal)
        match [method, *path.strip("/").split("/")]:
            case ["POST", "jobs", "actors", "tasks"]:
                task = json.loads(body)
                if task["id"] in self.tasks:
                    return self._error(409, "TaskExists")
                self.tasks[task["id"]] = {**task, "state": "active"}
                return 201, None
            case [_, "jobs", "actors", "tasks", name, *_] if name not in self.tasks:
                return self._error(404, "TaskNotFound")
            case ["GET", "jobs", "actors", "tasks", name]:
                return 200, self.tasks[name]
            case ["POST", "jobs", "actors", "tasks", name, "terminate"]:
                if self.tasks[name]["state"] == "completed":
                    return self._error(409, "TaskCompleted")
                over = ended(failureInfo=failure("TaskEnded", "Ended"), exitCode=143)
                self.tasks[name].update(over)
                return 204, None
            case ["DELETE", "jobs", "actors", "tasks", name]:
                del self.tasks[name]
                return 200, None
            case ["HEAD" | "GET", *_, "files", "stderr.txt"]:
                return 200, b"alas\n"
        raise AssertionError(f"{method} {path}")

    def _error(self, status: int, code: str) -> tuple[int, Any]:
        message = {"lang": "en-us", "value": f"{code} it is"}
        return status, {"code": code, "message": message}


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def provider(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureBatchProvider]:
    pytest.importorskip("azure.batch", reason="the extra azure_batch is missing")

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            status, answer = account.answer(self.command, path, body)
            data = answer if isinstance(answer, bytes) else b""
            if answer is not None and not data:
                data = json.dumps(answer).encode()
            self.send_response(status)
            kind = "octet-stream" if isinstance(answer, bytes) else "json"
            self.send_header("Content-Type", f"application/{kind}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("AZURE_BATCH_ACCESS_KEY", "a2V5")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        made = AzureBatchProvider(account_url=url, job="actors", command_timeout=5)
        yield made
        made.close()
        server.shutdown()
        thread.join()


def spec(folder: Path) -> JobSpec:
    return JobSpec("block-7", ["work"], folder / "job", {"TOKEN": "t"})


def test_a_task_is_made_and_seen_and_removed_when_it_has_ended(
    provider: AzureBatchProvider, account: Account, tmp_path: Path
) -> None:
    job_id = provider.submit(spec(tmp_path))
    ((name, task),) = account.tasks.items()
    assert task["id"] == name
    assert task["constraints"]["maxTaskRetryCount"] == 0
    assert {"name": "TOKEN", "value": "t"} in task["environmentSettings"]
    assert provider.status([job_id])[job_id].state is JobState.PENDING
    task["state"] = "running"
    assert provider.status([job_id])[job_id].state is JobState.RUNNING
    task.update(ended(exitCode=3, failureInfo=EXITED))
    assert provider.status([job_id])[job_id] == JobStatus(
        JobState.FAILED, 3, "Node 0 exited with code 3", "alas\n"
    )
    assert not account.tasks


def test_a_cancelled_task_is_terminated(
    provider: AzureBatchProvider, account: Account, tmp_path: Path
) -> None:
    job_id = provider.submit(spec(tmp_path))
    provider.cancel([job_id])
    (name,) = account.tasks
    assert f"POST /jobs/actors/tasks/{name}/terminate" in account.calls
    assert provider.status([job_id])[job_id].state is JobState.CANCELLED


def test_what_azure_refuses_is_rejected_and_what_it_cannot_answer_is_unknown(
    provider: AzureBatchProvider, account: Account, tmp_path: Path
) -> None:
    account.refusal = (404, "JobNotFound")
    with pytest.raises(SubmitRejected, match="JobNotFound"):
        provider.submit(spec(tmp_path))
    assert provider.recover(spec(tmp_path)) is None
    account.refusal = (503, "ServerBusy")
    with pytest.raises(ProviderUnavailable, match="ServerBusy"):
        provider.submit(spec(tmp_path))
    job_id = provider.recover(spec(tmp_path))
    assert job_id is not None
    assert provider.status([job_id])[job_id].state is JobState.UNKNOWN
