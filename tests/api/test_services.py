"""The endpoint's own actors have handles like any other; a refused order raises."""

import functools
import os
from collections import Counter
from collections.abc import Iterator

import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint() as endpoint:
        actors.init(endpoint.folder)
        endpoint.await_workers(2)
        yield endpoint
        actors.shutdown()


def test_the_interchange_reports_and_takes_orders(running: RunningEndpoint) -> None:
    interchange = actors.get_actor("interchange", namespace="endpoint")
    actors.get(actors.remote(os.getpid).options(name="busy").remote())
    status = actors.get(interchange.status.remote())
    assert (status.name, status.finished > 0) == ("tested", True)
    listed = actors.get(interchange.tasks.remote("busy", states=["success"]))
    (task,) = listed.tasks
    story = actors.get(interchange.story.remote(task.task_id))
    assert [step.state for step in story.steps][-1] == "success"
    with pytest.raises(actors.TaskFailed, match="no block or manager is called nobody"):
        actors.get(interchange.hold.remote("nobody"))
    with pytest.raises(TypeError, match="scale"):
        interchange.scale.remote()
    with pytest.raises(actors.ConfigError, match="interchange.scale.*int"):
        interchange.scale.remote("many")


def test_an_endpoint_that_takes_no_tasks_takes_orders() -> None:
    interchange = actors.get_actor("interchange", namespace="endpoint")
    actors.get(interchange.quiesce.remote())
    late = actors.remote(os.getpid).remote()
    actors.get(interchange.resume.remote())
    assert actors.get(late, timeout=30) > 0


def test_a_manager_is_steered_by_its_name() -> None:
    interchange = actors.get_actor("interchange", namespace="endpoint")
    (known,) = actors.get(interchange.status.remote()).managers
    manager = actors.get_actor(known.manager_id, namespace="endpoint")
    assert actors.get(manager.hold.remote()) == f"held: {known.manager_id}"
    assert actors.get(manager.status.remote()).state == "held"
    assert actors.get(manager.resume.remote()) == f"resumed: {known.manager_id}"
    assert actors.get(manager.status.remote()).state == "ready"


def test_tasks_of_executors_are_called_by_what_they_call(
    running: RunningEndpoint,
) -> None:
    interchange = actors.get_actor("interchange", namespace="endpoint")
    (manager,) = actors.get(interchange.status.remote()).managers
    actors.get(interchange.hold.remote(manager.manager_id))

    def names() -> Counter[str]:
        listed = actors.get(interchange.tasks.remote(states=["waiting-for-nodes"]))
        return Counter(task.name for task in listed.tasks)

    with running.executor() as executor, running.executor(initializer=len) as other:
        executor.submit(tasks.square, 1)
        executor.submit(functools.partial(tasks.square, 2))
        executor.map(tasks.noted, "ab", "cd", chunksize=2)
        other.submit(lambda: 1)
        where = "test_tasks_of_executors_are_called_by_what_they_call.<locals>"
        wanted = {"square": 2, "noted": 1, f"{where}.<lambda>": 1}
        eventually(lambda: names() == wanted)
        for each in executor, other:
            each.shutdown(wait=False, cancel_futures=True)
        actors.get(interchange.resume.remote(manager.manager_id))


def test_the_other_services_report_what_is_theirs() -> None:
    provider = actors.get_actor("provider", namespace="endpoint")
    eventually(
        lambda: [b.state for b in actors.get(provider.status.remote())] == ["running"]
    )
    strategy = actors.get_actor("strategy", namespace="endpoint")
    eventually(
        lambda: (
            "launch" in {r.event.action for r in actors.get(strategy.status.remote())}
        )
    )
    supervisor = actors.get_actor("supervisor", namespace="endpoint")
    assert actors.get(supervisor.status.remote()) == []
    assert actors.get(strategy.scale.remote(1)) == "the strategy was asked for 1 blocks"


def test_a_handle_tells_its_methods_and_knows_no_others() -> None:
    handle = actors.get_actor("interchange", namespace="endpoint")
    assert {"status", "tasks", "story", "cancel", "scale", "stop"} <= {*dir(handle)}
    with pytest.raises(AttributeError, match="Interchange has no method 'explode'"):
        _ = handle.explode
    assert handle == actors.get_actor("interchange", namespace="endpoint")


def test_a_name_that_is_nobodys_is_answered_with_those_there_are() -> None:
    with pytest.raises(actors.NoSuchActorError, match="there are interchange, "):
        actors.get_actor("nobody", namespace="endpoint")
