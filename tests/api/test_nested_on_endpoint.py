"""Tasks on an endpoint call tasks and actors of it, and never wait in vain."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint() as endpoint:
        actors.init(endpoint.folder)
        yield endpoint
        actors.shutdown()


@actors.remote
def fibonacci(number: int) -> int:
    if number < 2:
        return number
    return sum(actors.get([fibonacci.remote(number - n) for n in (1, 2)]))


@actors.remote
def touch(path: Path) -> int:
    path.touch()
    return os.getpid()


def test_calls_that_wait_for_calls_do_not_wait_for_ever() -> None:
    """There are two workers, and calls five deep."""
    assert actors.get(fibonacci.remote(6), timeout=60) == 8


def test_places_of_tasks_that_wait_are_given_back_and_taken_again(
    running: RunningEndpoint,
) -> None:
    @actors.remote
    def wait(depth: int) -> int:
        if not depth:
            time.sleep(0.3)
            return 0
        ready, _ = actors.wait([wait.remote(depth - 1)])
        return 1 + actors.get(ready[0])

    assert actors.get([wait.remote(3) for _ in range(4)], timeout=60) == [3] * 4
    # Those that were started in the place of others go again.
    eventually(lambda: len(running.pids("worker")) == 2, 20)


def test_what_a_task_called_goes_before_what_waits_already(tmp_path: Path) -> None:
    @actors.remote
    def parent() -> float:
        return actors.get(stamp.remote())

    @actors.remote
    def stamp() -> float:
        return time.time()

    @actors.remote
    def busy() -> float:
        time.sleep(0.05)
        return time.time()

    first = parent.remote()
    others = [busy.remote() for _ in range(40)]
    assert actors.get(first) < max(actors.get(others))


def test_a_task_makes_an_actor_and_gives_it_away() -> None:
    class Box:
        def __init__(self) -> None:
            self.items: list[int] = []

        def add(self, item: int) -> list[int]:
            self.items.append(item)
            return self.items

    class Keeper:
        def __init__(self, box: Any) -> None:
            self.box = box

        def add(self, item: int) -> Any:
            return actors.get(self.box.add.remote(item))

    box_class = actors.remote(Box)

    @actors.remote
    def make() -> Any:
        box = box_class.remote()
        actors.get(box.add.remote(1))
        return {"box": box}

    box = actors.get(make.remote())["box"]
    keeper = actors.remote(Keeper).remote(box)
    assert actors.get(keeper.add.remote(2)) == [1, 2]
    del box
    # The keeper's handle keeps it alive.
    time.sleep(3)
    assert actors.get(keeper.add.remote(3)) == [1, 2, 3]


def test_a_queue_and_a_pool_of_actors_are_there_for_tasks_too() -> None:
    class Squares:
        def of(self, number: int) -> int:
            return number * number

    squares = actors.remote(Squares)
    pool: actors.ActorPool[Any, int] = actors.ActorPool(
        [squares.remote() for _ in range(2)]
    )
    assert [*pool.map(lambda a, n: a.of.remote(n), range(5))] == [0, 1, 4, 9, 16]
    queue: actors.Queue[int] = actors.Queue(maxsize=2)

    @actors.remote
    def produce(queue: Any) -> str:
        for number in range(6):
            queue.put(number)
        return "all"

    produced = produce.remote(queue)
    assert [queue.get(timeout=30) for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    assert actors.get(produced) == "all"


def test_a_failure_deep_down_is_told_at_the_top() -> None:
    @actors.remote
    def fail() -> None:
        raise LookupError("deep down")

    @actors.remote
    def middle() -> None:
        actors.get(fail.remote())

    with pytest.raises(LookupError, match="deep down"):
        actors.get(middle.remote())


def test_init_in_a_task_is_the_endpoint_it_runs_on() -> None:
    @actors.remote
    def nested() -> tuple[int, int]:
        actors.init()
        assert actors.is_initialized()
        return os.getpid(), actors.get(actors.remote(os.getppid).remote())

    pid, parent = actors.get(nested.remote())
    assert pid != parent


def test_the_tasks_of_a_task_end_with_its_worker(
    tmp_path: Path, running: RunningEndpoint
) -> None:
    """Else they would run for nobody, for as long as results are kept."""

    @actors.remote(retries=0)
    def parent() -> None:
        actors.remote(eventually).remote((tmp_path / "never").exists, 300)
        (tmp_path / "began").touch()
        time.sleep(300)

    lost = parent.remote()
    eventually((tmp_path / "began").exists, 30)
    interchange = actors.get_actor("interchange", namespace="endpoint")

    def running_tasks() -> int:
        status = actors.get(interchange.status.remote())
        return sum(status.tasks[s] for s in ("running", "waiting-for-launch"))

    eventually(lambda: running_tasks() == 2, 20)
    actors.cancel(lost, force=True)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(lost)
    eventually(lambda: running_tasks() == 0, 60)
