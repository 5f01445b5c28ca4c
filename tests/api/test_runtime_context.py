"""Code can ask where it runs, for whom, and what there is, here and on an endpoint."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
from actors import state
from tests.both_ways import BOTH_WAYS, initialized
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True, params=BOTH_WAYS)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    """One with a namespace of its own."""
    with initialized(request.param, namespace="mine") as way:
        yield way


@actors.remote
def ids() -> dict[str, str | None]:
    here = actors.get_runtime_context()
    assert here.get_actor_id() is None
    assert here.get_actor_name() is None
    assert not here.was_current_actor_reconstructed
    return {
        "job": here.get_job_id(),
        "node": here.get_node_id(),
        "worker": here.get_worker_id(),
        "task": here.get_task_id(),
        "namespace": here.namespace,
    }


@actors.remote
def greet_by_name(name: str) -> str:
    greeter = actors.get_actor(name)
    answer: str = actors.get(greeter.greet.remote())
    return answer


@actors.remote
def names() -> Iterator[str]:
    yield actors.get_runtime_context().namespace


@actors.remote
def wait_for(path: Path) -> None:
    eventually(path.exists)


class Greeter:
    def greet(self) -> str:
        return "hello"

    def who(self) -> tuple[str | None, str | None, str, bool]:
        here = actors.get_runtime_context()
        return (
            here.get_actor_id(),
            here.get_actor_name(),
            here.namespace,
            here.was_current_actor_reconstructed,
        )

    def greet_another(self, name: str) -> str:
        answer: str = actors.get(actors.get_actor(name).greet.remote())
        return answer

    def crash(self) -> None:
        os._exit(1)

    def wait_for(self, path: Path) -> None:
        eventually(path.exists)


def test_every_task_has_an_id_of_its_own_and_all_have_one_job() -> None:
    told = actors.get([ids.remote() for _ in range(20)])
    assert len({each["task"] for each in told}) == 20
    assert len({each["job"] for each in told}) == 1
    here = actors.get_runtime_context()
    assert here.get_job_id() == told[0]["job"]
    assert here.get_task_id() is None
    assert here.namespace == told[0]["namespace"] == "mine"
    assert here.get_worker_id() not in {each["worker"] for each in told}


def test_nodes_are_listed_under_the_names_that_tasks_see() -> None:
    actors.get(ids.remote())
    (node,) = actors.nodes()
    assert node["Alive"]
    assert node["NodeManagerHostname"] == socket.gethostname()
    assert node["Resources"] == {"CPU": 2.0}
    assert actors.get(ids.remote())["node"] == node["NodeID"]


def test_an_actor_knows_its_id_its_name_and_whether_it_was_restarted() -> None:
    greeter = actors.remote(Greeter).options(name="known", max_restarts=1).remote()
    actor_id, name, namespace, is_restarted = actors.get(greeter.who.remote())
    assert (name, namespace, is_restarted) == ("known", "mine", False)
    assert actor_id in {each.actor_id for each in state.list_actors()}
    with pytest.raises(actors.ActorUnavailableError):
        actors.get(greeter.crash.remote())
    assert actors.get(greeter.who.remote())[3]


def test_names_are_looked_up_in_the_programs_namespace_unless_told() -> None:
    mine = actors.remote(Greeter).options(name="greeter").remote()
    assert actors.get(mine.greet.remote()) == "hello"
    assert actors.get(greet_by_name.remote("greeter")) == "hello"
    asker = actors.remote(Greeter).remote()
    assert actors.get(asker.greet_another.remote("greeter")) == "hello"
    assert actors.get_actor("greeter", namespace="mine") is not None
    with pytest.raises(actors.NoSuchActorError):
        actors.get_actor("greeter", namespace="")
    other = actors.remote(Greeter).options(name="greeter", namespace="other").remote()
    # Where it was named is not where it looks.
    assert actors.get(other.greet_another.remote("greeter")) == "hello"
    assert [actors.get(ref) for ref in names.remote()] == ["mine"]


def test_what_runs_is_listed(tmp_path: Path) -> None:
    greeter = actors.remote(Greeter).options(name="listed").remote()
    actors.get(greeter.greet.remote())
    task = wait_for.options(name="waiting task").remote(tmp_path / "go")
    call = greeter.wait_for.remote(tmp_path / "go")

    def rows() -> dict[str, state.TaskState]:
        return {each.name: each for each in state.list_tasks()}

    eventually(lambda: rows().get("waiting task", None) is not None)
    eventually(lambda: rows()["waiting task"].state == "RUNNING", within=10)
    assert rows()["waiting task"].type == "NORMAL_TASK"
    (listed,) = [each for each in state.list_actors() if each.name == "listed"]
    eventually(
        lambda: any(
            each.type == "ACTOR_TASK" and each.actor_id == listed.actor_id
            for each in state.list_tasks()
        )
    )
    assert (listed.class_name, listed.state, listed.ray_namespace) == (
        "Greeter",
        "ALIVE",
        "mine",
    )
    kinds = [each.worker_type for each in state.list_workers()]
    assert kinds.count("WORKER") >= 2
    assert "ACTOR" in kinds
    assert state.summarize_tasks()["waiting task"] == {"RUNNING": 1}
    (tmp_path / "go").touch()
    actors.get([task, call])
    eventually(lambda: not state.list_tasks())


def test_the_timeline_shows_what_ran(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    actors.get(wait_for.options(name="traced").remote(tmp_path / "there"))
    events = actors.timeline(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text()) == events
    spans = [e for e in events if e["ph"] == "X" and e["name"].startswith("traced")]
    assert spans
    assert all(span["dur"] >= 0 for span in spans)
    names = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names


def test_a_program_without_gpus_has_none() -> None:
    assert actors.get_gpu_ids() == []


def test_an_endpoint_lets_nobody_choose_its_workers(runtime: str) -> None:
    if runtime == "embedded":
        pytest.skip("its workers are the program's")
    actors.shutdown()
    try:
        with pytest.raises(actors.ConfigError, match="num_cpus, resources cannot be"):
            actors.init("nowhere", num_cpus=2, resources={"a": 1})
    finally:
        # What follows, if anything does, has a runtime of its own.
        actors.shutdown()
