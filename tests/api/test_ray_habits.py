"""Promise: what programs written for Ray take for granted holds here, both ways."""

import functools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import actors
from actors.errors import ConfigError
from tests.both_ways import BOTH_WAYS, initialized

pytestmark = pytest.mark.slow

# Threads of one actor; more than an actor has unless it is told.
THREADS = 80


@pytest.fixture(scope="module", params=BOTH_WAYS, autouse=True)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    with initialized(request.param, endpoint={"workers": {"workers_per_node": 2}}) as w:
        yield w


@actors.remote
def appears(path: str) -> str:
    """Wait until a file exists."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


@actors.remote
def fail() -> int:
    raise ValueError("bad")


@actors.remote
def get_both(path: str) -> str:
    try:
        actors.get([appears.remote(path), fail.remote()])
    except ValueError:
        return "failed first" if not os.path.exists(path) else "failed late"
    return "no failure"


class Meeting:
    def __init__(self, count: int) -> None:
        self.all_here = threading.Barrier(count)

    def join(self) -> int:
        return self.all_here.wait(60)


class Doubling:
    def __call__(self, x: int) -> int:
        return 2 * x


def test_a_failure_is_raised_while_other_values_are_awaited(tmp_path: Path) -> None:
    path = tmp_path / "go"
    waiting = appears.remote(str(path))
    with pytest.raises(ValueError, match="bad"):
        actors.get([waiting, fail.remote()])
    with pytest.raises(ValueError, match="bad"):
        actors.get([waiting, fail.remote()], timeout=60)
    with pytest.raises(actors.GetTimeoutError):
        actors.get([waiting, waiting], timeout=0.01)
    path.touch()
    assert actors.get([waiting, waiting]) == [str(path)] * 2


def test_in_a_task_too(tmp_path: Path) -> None:
    path = tmp_path / "go"
    told = get_both.remote(str(path))
    assert actors.get(told, timeout=60) == "failed first"
    path.touch()


def test_each_ref_has_a_name_of_its_own() -> None:
    refs = [*map(actors.put, range(3)), fail.remote()]
    names = {ref.hex() for ref in refs}
    assert len(names) == len({ref.binary() for ref in refs}) == len(refs)
    assert [ref.hex() for ref in refs] == [ref.binary().hex() for ref in refs]


def test_whatever_can_be_called_and_pickled_can_be_remote() -> None:
    larger: Any = actors.remote(functools.partial(max, 3))
    double: Any = actors.remote(Doubling())
    assert actors.get([larger.remote(2), double.remote(4)]) == [3, 8]


def test_what_cannot_be_remote_is_told_at_once() -> None:
    async def wait() -> None: ...

    wrong: Any
    for wrong in (3, fail, "name"):
        with pytest.raises(ConfigError, match="cannot be made remote"):
            actors.remote(wrong)
    with pytest.raises(ConfigError, match="is async"):
        actors.remote(wait)


def test_an_actor_has_as_many_threads_as_it_is_told() -> None:
    meeting = actors.remote(Meeting).options(max_concurrency=THREADS).remote(THREADS)
    places = actors.get([meeting.join.remote() for _ in range(THREADS)], timeout=60)
    assert sorted(places) == [*range(THREADS)]


def test_so_has_a_concurrency_group_and_others_are_unknown() -> None:
    groups = {"work": THREADS}
    meeting = actors.remote(Meeting).options(concurrency_groups=groups).remote(THREADS)
    join = meeting.join.options(concurrency_group="work")
    places = actors.get([join.remote() for _ in range(THREADS)], timeout=60)
    assert sorted(places) == [*range(THREADS)]
    with pytest.raises(ConfigError, match="no concurrency group 'play'; there are wor"):
        meeting.join.options(concurrency_group="play")


def test_nobody_waits_for_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="timeout -1"):
        actors.wait([actors.put(1)], timeout=-1)
