"""Promise: what an operator asks of a running endpoint happens, and can be seen."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.api.executor import EndpointExecutor
from actors.messages import MemberLeft, TaskState, published
from actors.transport import Subscriber
from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leftovers")]

MAX_EVENT_BYTES = 1 << 20


def status(endpoint: RunningEndpoint) -> dict[str, Any]:
    result = actors("status", "--json", endpoint.folder)
    assert result.exit_code == 0, result.stdout
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] is True
    return answer


def done(*words: object, address: object = "") -> str:
    """Call a command that must be obeyed; return what it said."""
    result = actors(*words, address=address)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.strip()


def active_blocks(endpoint: RunningEndpoint) -> list[str]:
    return [
        block["block_id"]
        for block in status(endpoint)["blocks"]
        if block["state"] in ("pending", "running")
    ]


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


def is_complete(picture: dict[str, Any]) -> bool:
    running = [b for b in picture["blocks"] if b["state"] == "running"]
    return len(picture["services"]) == 3 and [b["managers"] for b in running] == [1]


@pytest.fixture
def executor(shared_endpoint: RunningEndpoint) -> Iterator[EndpointExecutor]:
    """A client of an endpoint whose one block is there and has shown it."""
    with shared_endpoint.executor() as executor:
        assert executor.submit(abs, -1).result(30) == 1
        eventually(lambda: is_complete(status(shared_endpoint)), what="all to be there")
        yield executor


@pytest.mark.usefixtures("executor")
def test_status_shows_the_block_its_manager_and_the_client(
    shared_endpoint: RunningEndpoint,
) -> None:
    picture = status(shared_endpoint)
    assert picture["name"] == "tested"
    assert picture["services"] == ["supervisor", "strategy", "provider"]
    assert picture["tasks"]["success"] >= 1
    assert picture["tasks"]["running"] == 0
    (block,) = [b for b in picture["blocks"] if b["state"] == "running"]
    assert (block["managers"], block["exit_code"]) == (1, None)
    (manager,) = picture["managers"]
    assert manager["block_id"] == block["block_id"]
    assert (manager["state"], manager["slots"]) == ("ready", 2)
    assert manager["pid"] in shared_endpoint.pids("manager")
    (client,) = [c for c in picture["clients"] if c["pid"] == os.getpid()]
    assert client["is_connected"]

    text = done("status", shared_endpoint.folder)
    assert text.startswith("tested: up ")
    for name in (block["block_id"], manager["manager_id"], client["client_id"]):
        assert name in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.usefixtures("executor")
def test_status_names_the_workers_soon_and_not_with_the_next_heartbeat(
    shared_endpoint: RunningEndpoint,
) -> None:
    def workers() -> list[dict[str, Any]]:
        return [w for m in status(shared_endpoint)["managers"] for w in m["workers"]]

    eventually(
        lambda: len([w for w in workers() if w["rss_bytes"] > 0]) == 2,
        5,
        "both workers to be reported",
    )
    assert {w["pid"] for w in workers()} <= set(shared_endpoint.pids("worker"))


def test_the_address_may_stand_in_the_environment(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor
) -> None:
    text = done("status", address=shared_endpoint.folder)
    assert text.startswith("tested: up ")
    (block,) = active_blocks(shared_endpoint)
    assert done("hold", block, address=shared_endpoint.folder) == f"held: {block}"
    assert done("resume", shared_endpoint.folder, block) == f"resumed: {block}"
    assert executor.submit(abs, -1).result(30) == 1


def test_tasks_of_a_held_block_wait_until_it_is_resumed(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor
) -> None:
    (block,) = active_blocks(shared_endpoint)
    done("hold", shared_endpoint.folder, block)
    assert f"{block}  running, on hold" in done("status", shared_endpoint.folder)
    future = executor.submit(abs, -2)
    eventually(
        lambda: status(shared_endpoint)["tasks"]["waiting-for-nodes"] == 1,
        what="the task to wait",
    )
    assert not future.done()
    answer = json.loads(done("resume", shared_endpoint.folder, block, "--json"))
    assert answer == {"ok": True, "text": f"resumed: {block}"}
    assert future.result(10) == 2


def test_a_name_that_nobody_has_is_answered_with_those_there_are(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor
) -> None:
    (block,) = active_blocks(shared_endpoint)
    result = actors("hold", shared_endpoint.folder, "block-99")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no block or manager is called block-99" in result.stderr
    assert block in result.stderr
    result = actors("drain", shared_endpoint.folder, "block-99", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert executor.submit(abs, -1).result(10) == 1


def test_a_queued_and_a_running_task_are_cancelled(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor, tmp_path: Path
) -> None:
    never = str(tmp_path / "never")
    futures = [executor.submit(wait_for, never) for _ in range(4)]

    def running() -> set[str]:
        return {
            worker["task_id"]
            for manager in status(shared_endpoint)["managers"]
            for worker in manager["workers"]
        } - {""}

    eventually(lambda: len(running()) == 2, what="two tasks to run")
    assert running() <= {future.task_id for future in futures}
    one = next(iter(running()))
    (queued,) = [f.task_id for f in futures if f.task_id not in running()][:1]
    text = done("cancel", shared_endpoint.folder, queued, one)
    assert text == f"cancelled: {queued}, {one}"
    for future in futures:
        if future.task_id in (queued, one):
            with pytest.raises(CancelledError):
                future.result(10)
            assert future.history[-1].state is TaskState.CANCELLED
    # The killed worker has a successor, and the others go on.
    eventually(lambda: len(running()) == 2, what="the next task to run")
    result = actors("cancel", shared_endpoint.folder, queued)
    assert result.exit_code == 1
    assert f"not among the unfinished tasks: {queued}" in result.stderr
    Path(never).touch()
    for future in futures:
        if future.task_id not in (queued, one):
            assert future.result(10) is None


def test_blocks_come_and_go_as_asked(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor
) -> None:
    done("scale", shared_endpoint.folder, 2)
    eventually(
        lambda: len(status(shared_endpoint)["managers"]) == 2, 20, "another block"
    )
    done("scale", 1, address=shared_endpoint.folder)
    eventually(
        lambda: len(active_blocks(shared_endpoint)) == 1, 20, "one block to be left"
    )
    assert executor.submit(abs, -1).result(10) == 1


def test_a_quiesced_endpoint_takes_nothing_until_it_is_resumed(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor, tmp_path: Path
) -> None:
    folder, gate = shared_endpoint.folder, tmp_path / "gate"
    runs = executor.submit(wait_for, str(gate))
    eventually(runs.running, what="the task to run")
    assert done("quiesce", folder).startswith("quiesced: tasks with managers (1) go on")
    late = executor.submit(abs, -4)
    gate.touch()
    assert runs.result(20) is None
    assert done("status", folder).splitlines()[1].startswith("quiesced: ")
    tasks = status(shared_endpoint)["tasks"]
    assert sum(tasks[s] for s in tasks if s.startswith("waiting")) == 0
    assert late.history[-1].state is TaskState.WAITING_FOR_ENDPOINT
    assert done("resume", folder).startswith("resumed")
    assert late.result(20) == 4
    again = actors("resume", folder)
    assert again.exit_code == 1
    assert "neither quiesced nor" in again.stderr


def test_quiesce_may_wait_until_nothing_runs(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    runs = executor.submit(wait_for, str(gate))
    eventually(runs.running, what="the task to run")
    words = [sys.executable, "-m", "actors", "quiesce", "--wait", "--json"]
    with subprocess.Popen(
        [*words, shared_endpoint.folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == b"tasks that go on: 1\n"
        gate.touch()
        assert json.load(process.stdout)["ok"] is True
        assert process.wait(20) == 0
    assert runs.done() or runs.result(10) is None
    assert status(shared_endpoint)["is_quiesced"]
    done("resume", shared_endpoint.folder)


def test_a_drained_block_finishes_and_ends_in_order(
    shared_endpoint: RunningEndpoint, executor: EndpointExecutor, tmp_path: Path
) -> None:
    url = shared_endpoint.address.events("interchange")
    left: list[MemberLeft] = []
    with closing(Subscriber(url, None, MAX_EVENT_BYTES)) as events:

        def read() -> bool:
            while (frame := events.receive()) is not None:
                bodies = [event.body for event in published.decode(frame)]
                left.extend(
                    body
                    for body in bodies
                    if isinstance(body, MemberLeft) and body.kind == "manager"
                )
            return bool(left)

        (block,) = active_blocks(shared_endpoint)
        gate = tmp_path / "gate"
        future = executor.submit(wait_for, str(gate))
        eventually(future.running, what="the task to run")
        assert done("drain", shared_endpoint.folder, block) == f"draining: {block}"
        assert f"{block}  running, draining" in done("status", shared_endpoint.folder)
        gate.touch()
        assert future.result(10) is None
        eventually(read, 20, "the manager to leave")

    (manager,) = left
    assert (manager.member_id, manager.is_lost) == (f"{block}.0", False)
    assert {step.attempt for step in future.history} == {1}

    def ended() -> dict[str, Any]:
        (seen,) = [
            b for b in status(shared_endpoint)["blocks"] if b["block_id"] == block
        ]
        return seen if seen["state"] not in ("pending", "running") else {}

    eventually(ended, what="the block to end")
    assert (ended()["state"], ended()["exit_code"]) == ("completed", 0)
    # And whoever comes next gets a new one.
    assert executor.submit(abs, -3).result(30) == 3
    assert block not in active_blocks(shared_endpoint)
