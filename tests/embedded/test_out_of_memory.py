"""Promise: who dies for want of memory is told so, and by how much it had."""

from collections.abc import Iterator

import pytest

import actors
from actors.task_errors import ActorDiedError, OutOfMemoryError, WorkerCrashed
from tests.leaks import no_leaks
from tests.little_memory import Hungry, eat, group

__all__ = ["group"]  # a fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=1)
    yield
    actors.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with no_leaks():
        yield


def test_a_task_that_wants_too_much_memory_fails_with_its_peak(group: str) -> None:
    task = actors.remote(eat).options(retries=0)
    with pytest.raises(OutOfMemoryError, match="peak memory [0-9]+ MiB") as caught:
        actors.get(task.remote(group))
    assert isinstance(caught.value, WorkerCrashed | MemoryError)
    assert "memory ran out" in str(caught.value)
    assert actors.get(actors.remote(len).remote(b"ab")) == 2


def test_an_actor_that_wants_too_much_memory_dies_of_it(group: str) -> None:
    hungry = actors.remote(Hungry).remote()
    assert actors.get(hungry.ping.remote()) == "pong"
    died = actors.watch(hungry)
    with pytest.raises(ActorDiedError, match="its own peak was [0-9]+ MiB") as caught:
        actors.get(hungry.eat.remote(group))
    assert caught.value.reason == actors.DeathReason.OUT_OF_MEMORY
    assert actors.get(died).reason == actors.DeathReason.OUT_OF_MEMORY
