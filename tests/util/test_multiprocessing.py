"""The pool does what the standard library's does: each test runs on both."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing import pool as standard
from typing import Any

import pytest

from actors.errors import ConfigError
from actors.task_errors import WorkerCrashed
from actors.util.multiprocessing import Pool

pytestmark = pytest.mark.slow

AnyPool = Pool | standard.Pool


@pytest.fixture(scope="module", params=["actors", "standard"])
def make(request: pytest.FixtureRequest) -> Callable[..., AnyPool]:
    if request.param == "actors":
        return Pool
    return multiprocessing.get_context("spawn").Pool


@pytest.fixture(scope="module")
def pool(make: Callable[..., AnyPool]) -> Iterator[AnyPool]:
    made = make(2)
    yield made
    made.close()
    made.join()


def pid_of(_: int) -> int:
    return os.getpid()


def square(x: int) -> int:
    return x * x


def add(x: int, y: int = 0) -> int:
    return x + y


def fail_at(x: int, bad: int = 3) -> int:
    if x == bad:
        raise KeyError(x)
    return x


def test_one_call_and_its_value(pool: AnyPool) -> None:
    assert pool.apply(add, (1,), {"y": 2}) == 3
    result = pool.apply_async(add, (1, 2))
    assert result.get(30) == 3
    assert result.ready()
    assert result.successful()


def test_callbacks_are_called_before_the_value_is_given(pool: AnyPool) -> None:
    values: list[Any] = []
    pool.apply_async(square, (3,), callback=values.append).wait(30)
    assert values == [9]
    failed = pool.apply_async(fail_at, (3,), error_callback=values.append)
    failed.wait(30)
    assert not failed.successful()
    with pytest.raises(KeyError):
        failed.get()
    assert isinstance(values[1], KeyError)
    pool.map_async(square, [1, 2], callback=values.append).wait(30)
    assert values[2] == [1, 4]


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
def test_map_and_starmap_keep_the_order(pool: AnyPool, chunksize: int | None) -> None:
    assert pool.map(square, range(50), chunksize) == [x * x for x in range(50)]
    pairs = [(x, 1) for x in range(20)]
    assert pool.starmap(add, pairs, chunksize) == [x + 1 for x in range(20)]
    assert pool.map(square, []) == []
    with pytest.raises(KeyError):
        pool.map(fail_at, range(6), chunksize)


def test_imap_gives_values_as_they_come(pool: AnyPool) -> None:
    assert list(pool.imap(square, iter(range(100)), 7)) == [x * x for x in range(100)]
    values = pool.imap_unordered(square, range(100), 3)
    assert sorted(values) == [x * x for x in range(100)]
    values = pool.imap(fail_at, range(5))
    assert [next(values), values.next(30), next(values)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(values)
    assert next(values) == 4
    with pytest.raises(StopIteration):
        next(values)


def test_a_value_that_is_not_there_in_time_is_told(pool: AnyPool) -> None:
    result = pool.apply_async(time.sleep, (0.2,))
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.01)
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    for values in (
        pool.imap(time.sleep, [0.2]),
        pool.imap_unordered(time.sleep, [0.2]),
    ):
        with pytest.raises(multiprocessing.TimeoutError):
            values.next(0.01)
        assert values.next() is None


_there: list[int] = []


def put_there(x: int) -> None:
    _there.append(x)


def is_there() -> list[int]:
    return _there


def test_the_initializer_runs_in_each_worker(make: Callable[..., AnyPool]) -> None:
    with make(1, put_there, (7,)) as pool:
        assert pool.apply(is_there) == [7]


def test_no_calls_after_the_end(make: Callable[..., AnyPool]) -> None:
    with make(1) as pool:
        with pytest.raises(ValueError, match="still running"):
            pool.join()
        last = pool.apply_async(square, (2,))
        pool.close()
        with pytest.raises(ValueError, match="not running"):
            pool.apply(square, (2,))
        pool.join()
        assert last.get() == 4


def test_terminate_ends_what_runs(make: Callable[..., AnyPool]) -> None:
    pool = make(1)
    began = time.monotonic()
    pool.apply_async(time.sleep, (1000,))
    pool.terminate()
    pool.join()
    assert time.monotonic() - began < 500


# Ours alone


def test_an_endless_iterable_is_read_as_the_values_are() -> None:
    def endless() -> Iterator[int]:
        value = 0
        while True:
            yield value
            value += 1

    with Pool(1) as pool:
        values = pool.imap(square, endless())
        assert [next(values) for _ in range(100)] == [x * x for x in range(100)]


def test_a_worker_that_dies_fails_its_call() -> None:
    with Pool(1) as pool:
        with pytest.raises(WorkerCrashed):
            pool.apply(os._exit, (1,))
        assert pool.apply(square, (3,)) == 9


@pytest.mark.parametrize("limit", [1, 3])
def test_a_process_runs_no_more_tasks_than_it_may(
    make: Callable[..., AnyPool], limit: int
) -> None:
    with make(2, maxtasksperchild=limit) as pool:
        pids = pool.map(pid_of, range(7), chunksize=1)
    assert max(map(pids.count, pids)) <= limit
    assert len(pids) == 7


def test_what_it_does_not_do_is_told() -> None:
    with pytest.raises(
        ConfigError, match="5 must be None on an endpoint: set max_task"
    ):
        Pool(1, maxtasksperchild=5, ray_address="lab")
    with pytest.raises(ValueError, match="must be a positive int or None"):
        Pool(1, maxtasksperchild=0)
    with pytest.raises(ValueError, match="at least 1"):
        Pool(0)
