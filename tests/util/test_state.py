"""What runs now, and what ran when, can be looked up."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import actors
from actors import state
from actors.errors import ConfigError
from actors.task_errors import ActorDiedError
from tests.support import eventually

pytestmark = pytest.mark.slow


@actors.remote
def wait_for(path: str) -> int:
    eventually(Path(path).exists)
    return 1


@actors.remote
def add(*values: int) -> int:
    return sum(values)


class Waiter:
    def wait_for(self, path: str) -> None:
        eventually(Path(path).exists)

    def crash(self) -> None:
        raise SystemExit(3)


def states() -> dict[str, dict[str, int]]:
    return state.summarize_tasks()


def test_tasks_are_told_by_what_they_wait_for(tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    running = [wait_for.remote(gate) for _ in range(2)]
    blocked = add.remote(*running)
    waiting = wait_for.remote(gate)
    eventually(
        lambda: states().get("wait_for") == {"RUNNING": 2, "PENDING_NODE_ASSIGNMENT": 1}
    )
    assert states()["add"] == {"PENDING_ARGS_AVAIL": 1}
    assert state.available_resources()["CPU"] == 0
    assert state.cluster_resources() == {"CPU": 2}
    tasks = state.list_tasks()
    pids = {worker.pid for worker in state.list_workers() if not worker.is_idle}
    assert {task.worker_pid for task in tasks if task.state == "RUNNING"} == pids
    assert len(state.list_tasks(limit=2)) == 2
    Path(gate).touch()
    assert actors.get([blocked, waiting]) == [2, 1]
    eventually(lambda: not states())


def test_actors_are_listed_until_and_after_their_death(tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    waiter = actors.remote(Waiter).options(name="w", namespace="n").remote()
    refs = [waiter.wait_for.remote(gate) for _ in range(3)]

    def row() -> Any:
        return next(each for each in state.list_actors() if each.name == "w")

    eventually(lambda: row().state == "ALIVE" and row().pending_calls == 3)
    assert (row().class_name, row().ray_namespace) == ("Waiter", "n")
    assert row().pid in [
        w.pid for w in state.list_workers() if w.worker_type == "ACTOR"
    ]
    eventually(lambda: states()["Waiter.wait_for"].get("RUNNING") == 1)
    Path(gate).touch()
    actors.get(refs)
    with pytest.raises(ActorDiedError):
        actors.get(waiter.crash.remote())
    assert (row().state, row().pid) == ("DEAD", 0)
    assert "exited with code 3" in row().death_cause


def test_large_values_are_listed_as_long_as_somebody_has_them() -> None:
    before = {each.object_id for each in state.list_objects()}
    ref = actors.put(bytes(1 << 20))
    (row,) = (each for each in state.list_objects() if each.object_id not in before)
    assert row.object_size >= 1 << 20
    assert row.holders == {"owner": 1}
    del ref
    eventually(lambda: {each.object_id for each in state.list_objects()} <= before)


def test_the_timeline_tells_when_what_ran_where(tmp_path: Path) -> None:
    began = time.time()
    long = actors.remote(time.sleep).options(name="long").remote(0.05)
    actors.get([add.remote(1) for _ in range(500)])
    actors.get(long)
    ended = time.time()
    path = tmp_path / "trace.json"
    assert actors.timeline(path) == json.loads(path.read_text())
    events = [e for e in actors.timeline() if e["ph"] == "X" and e["ts"] >= began * 1e6]
    (span,) = (event for event in events if event["name"] == "long")
    assert 0.05e6 <= span["dur"] < (ended - began) * 1e6
    pids = {worker.pid for worker in state.list_workers()}
    assert {event["tid"] for event in events} <= pids
    assert sum(event["args"]["count"] for event in events) == 501
    named = {e["tid"] for e in actors.timeline() if e["name"] == "thread_name"}
    assert span["tid"] in named


def test_a_task_is_told_to_ask_elsewhere() -> None:
    with pytest.raises(ConfigError, match="in a task return what you need"):
        actors.get(actors.remote(state.list_tasks).remote())
