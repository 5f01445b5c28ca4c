"""Promise: who dies for want of memory is told so, and by how much it had."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import actors
from actors.errors import ActorDiedError, OutOfMemoryError, WorkerCrashed
from tests.leaks import no_leaks
from tests.support import eventually

pytestmark = pytest.mark.slow

# What a worker may have in the group, and what it tries to have. A worker that does
# nothing has some 30 MB.
_LIMIT_BYTES = 96 * 2**20
_TOO_MANY_BYTES = 512 * 2**20
# {the memory controller's root: the file with the limit}: of the first version of
# control groups, and of the second.
_CONTROLLERS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=1)
    yield
    actors.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with no_leaks():
        yield


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    """Make a control group with little memory; return its list of processes."""
    for root, limit in _CONTROLLERS.items():
        folder = root / f"actors-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / limit).exists():
                (folder / limit).write_text(str(_LIMIT_BYTES))
                members = folder / "cgroup.procs"
                yield str(members)
                eventually(partial(_is_empty, members))
                return
        finally:
            folder.rmdir()
    pytest.skip("no control group with a memory limit can be made here")


def _is_empty(members: Path) -> bool:
    return not members.read_text()


class Hungry:
    def eat(self, group: str) -> int:
        Path(group).write_text(str(os.getpid()))
        # Swapped out it would live on: every page is written, again and again.
        meal = bytearray(_TOO_MANY_BYTES)
        for start in range(0, len(meal), 4096):
            meal[start] = 1
        return len(meal)

    def ping(self) -> str:
        return "pong"


def eat(group: str) -> int:
    return Hungry().eat(group)


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
