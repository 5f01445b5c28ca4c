"""A pool of actors spreads calls over them, one at a time at each."""

from pathlib import Path

import pytest

import actors
from actors.util import ActorPool
from tests.support import eventually

pytestmark = pytest.mark.slow

RUNTIMES = ["embedded", "endpoint"]


class Worker:
    def double(self, value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return 2 * value

    def wait_for(self, path: str) -> str:
        eventually(Path(path).exists)
        return path


def pool_of(count: int) -> ActorPool[int, int]:
    worker = actors.remote(Worker)
    return ActorPool([worker.remote() for _ in range(count)])


def double(worker: object, value: int) -> actors.ObjectRef[int]:
    ref: actors.ObjectRef[int] = worker.double.remote(value)  # type: ignore[attr-defined]
    return ref


def test_results_come_in_order_or_as_they_come() -> None:
    pool = pool_of(2)
    assert list(pool.map(double, range(20))) == [2 * x for x in range(20)]
    assert sorted(pool.map_unordered(double, range(20))) == [2 * x for x in range(20)]
    assert list(pool.map(double, [])) == []


def test_what_is_slow_holds_back_only_what_comes_after_it_in_order(
    tmp_path: Path,
) -> None:
    pool: ActorPool[str, str] = ActorPool(
        [actors.remote(Worker).remote() for _ in range(2)]
    )
    slow, fast = tmp_path / "slow", tmp_path / "fast"
    fast.touch()
    for path in (slow, fast, fast):
        pool.submit(lambda worker, value: worker.wait_for.remote(value), str(path))
    assert pool.get_next_unordered() == str(fast)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05)
    slow.touch()
    assert [pool.get_next(), pool.get_next()] == [str(slow), str(fast)]
    assert not pool.has_next()
    with pytest.raises(StopIteration):
        pool.get_next()


def test_an_exception_is_that_calls_alone_and_its_actor_goes_on() -> None:
    pool = pool_of(1)
    for value in (1, -1, 2):
        pool.submit(double, value)
    assert pool.get_next() == 2
    with pytest.raises(ValueError, match="-1"):
        pool.get_next()
    assert pool.get_next() == 4


def test_actors_come_and_go() -> None:
    pool = pool_of(1)
    assert pool.has_free()
    actor = pool.pop_idle()
    assert not pool.has_free()
    assert pool.pop_idle() is None
    pool.submit(double, 4)
    pool.push(actor)
    with pytest.raises(ValueError, match="already"):
        pool.push(actor)
    assert pool.get_next() == 8


def test_what_was_not_asked_for_is_forgotten_by_the_next_map() -> None:
    pool = pool_of(2)
    pool.submit(double, 100)
    pool.submit(double, -1)
    assert list(pool.map(double, range(3))) == [0, 2, 4]
