"""What a task is given arrives, and what it returns or raises comes back.

On a real endpoint, whose frames are small: what is too large need not be large.
"""

import functools
import gc
import operator
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from pathlib import Path
from typing import Any

import pytest

import actors
from actors.api.executor import EndpointExecutor
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow

_FRAME_BYTES = 2**20


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    transport = {"max_frame_bytes": _FRAME_BYTES}
    with RunningEndpoint(transport=transport) as endpoint:
        yield endpoint


@pytest.fixture
def executor(running: RunningEndpoint) -> Iterator[EndpointExecutor]:
    with running.executor() as executor:
        yield executor


class Square:
    """Something that can be called, and has methods."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def __call__(self, number: int) -> int:
        return number * number + self.offset

    def shifted(self, number: int) -> int:
        return self(number) + 1

    @classmethod
    def of_class(cls, number: int) -> int:
        return cls()(number)

    @staticmethod
    def of_nobody(number: int) -> int:
        return number * number


def square(number: int) -> int:
    return number * number


class OutOfRange(Exception):
    """An error whose arguments are not those of its constructor."""

    def __init__(self, value: int, *, limit: int) -> None:
        super().__init__(f"{value} exceeds {limit}")
        self.value = value
        self.limit = limit


class HasLock(Exception):
    """An error that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Unloadable:
    """A value that can be pickled, and resists being unpickled."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _raise, (self.kind,)


def _raise(kind: type[BaseException], *args: object) -> None:
    raise kind(*args)


# Calls and results


def test_it_is_an_executor_of_the_standard_library(executor: EndpointExecutor) -> None:
    assert isinstance(executor, StandardExecutor)


def test_a_call_returns_its_value(executor: EndpointExecutor) -> None:
    assert executor.submit(pow, 2, 8).result() == 256


def test_any_name_may_be_a_keyword_argument(executor: EndpointExecutor) -> None:
    future = executor.submit(dict, self=1, fn=2, function=3, args=4, options=5)
    assert future.result() == {
        "self": 1,
        "fn": 2,
        "function": 3,
        "args": 4,
        "options": 5,
    }


def test_results_are_equal_for_values_of_all_kinds(executor: EndpointExecutor) -> None:
    values = [None, (), {"a": [1, 2.5, b"\0"]}, "ü\n", {1, 2}, 10**400, bytes(100_000)]
    assert [executor.submit(_same, value).result() for value in values] == values


def _same(value: Any) -> Any:
    return value


def test_a_task_runs_in_a_worker_of_the_endpoint(
    running: RunningEndpoint, executor: EndpointExecutor
) -> None:
    pid = executor.submit(os.getpid).result()
    assert pid in running.pids("worker")


@pytest.mark.parametrize(
    "function",
    [
        square,
        lambda number: number * number,
        Square(),
        Square().__call__,
        Square(-1).shifted,
        Square.of_class,
        Square.of_nobody,
        functools.partial(pow, exp=2),
        functools.partial(functools.partial(operator.mul, 7), 1).func,
        (7).__mul__,
    ],
)
def test_whatever_can_be_called_can_be_a_task(
    executor: EndpointExecutor, function: Callable[..., int]
) -> None:
    args = (7, 7) if function is operator.mul else (7,)
    assert executor.submit(function, *args).result() == 49


def test_a_local_function_takes_what_it_closes_over(executor: EndpointExecutor) -> None:
    base = [10]

    def add(number: int) -> int:
        return base[0] + number

    assert executor.submit(add, 1).result() == 11
    base[0] = 20
    assert executor.submit(add, 1).result() == 21


def test_functions_of_a_script_can_be_tasks(running: RunningEndpoint) -> None:
    output = run_script(
        running,
        """
        import dataclasses
        import actors

        FACTOR = 3

        @dataclasses.dataclass
        class Point:
            x: int

        def scaled(point):
            return Point(helper(point.x))

        def helper(number):
            return FACTOR * number

        with actors.Executor() as executor:
            result = executor.submit(scaled, Point(14)).result()
            print(result, type(result) is Point)
        """,
    )
    assert output == "Point(x=42) True\n"


def run_script(running: RunningEndpoint, text: str) -> str:
    script = running.folder / "script.py"
    script.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "ACTORS_ADDRESS": str(running.folder)}
        | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# map


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
def test_map_gives_results_in_the_order_of_the_items(
    executor: EndpointExecutor, chunksize: int
) -> None:
    results = executor.map(pow, range(50), range(50), chunksize=chunksize)
    assert list(results) == list(map(pow, range(50), range(50)))


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_ends_with_the_shortest_of_its_iterables(
    executor: EndpointExecutor, chunksize: int
) -> None:
    results = executor.map(pow, range(5), iter([2, 2, 2]), chunksize=chunksize)
    assert list(results) == [0, 1, 4]
    assert list(executor.map(pow, [], [], chunksize=chunksize)) == []


def test_map_over_the_results_of_map_keeps_the_order(
    executor: EndpointExecutor,
) -> None:
    rows = executor.map(_row, range(20))
    sums = executor.map(sum, rows)
    assert list(executor.map(square, sums, chunksize=7)) == [
        (n + n + 1 + n + 2) ** 2 for n in range(20)
    ]


def _row(number: int) -> list[int]:
    return [number, number + 1, number + 2]


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunk_must_hold_something(
    executor: EndpointExecutor, chunksize: int
) -> None:
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        executor.map(square, range(3), chunksize=chunksize)


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_after_its_timeout(
    executor: EndpointExecutor, tmp_path: Path, chunksize: int
) -> None:
    gates = [tmp_path / "open", tmp_path / "open", tmp_path / "shut"]
    gates[0].touch()
    results = executor.map(_wait_for, gates, timeout=1, chunksize=chunksize)
    with pytest.raises(TimeoutError):
        list(results)
    gates[2].touch()


def _wait_for(path: Path) -> bool:
    eventually(path.exists, 60)
    return True


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_raises_what_a_call_raised(
    executor: EndpointExecutor, chunksize: int
) -> None:
    results = executor.map(divmod, [4, 5, 6], [2, 2, 0], chunksize=chunksize)
    with pytest.raises(ZeroDivisionError):
        list(results)


# Many


def test_ten_thousand_tasks_each_give_their_own_result(
    executor: EndpointExecutor,
) -> None:
    futures = [executor.submit(square, number) for number in range(10_000)]
    assert sum(future.result() for future in futures) == sum(map(square, range(10_000)))


def test_many_threads_share_an_executor(executor: EndpointExecutor) -> None:
    found: dict[int, list[int]] = {}

    def submit(index: int) -> None:
        numbers = range(index * 1000, index * 1000 + 200)
        found[index] = [
            f.result() for f in [executor.submit(square, n) for n in numbers]
        ]

    threads = [threading.Thread(target=submit, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {
        i: [square(n) for n in range(i * 1000, i * 1000 + 200)] for i in range(8)
    }


def test_an_executor_has_at_most_max_workers_tasks_at_the_endpoint(
    running: RunningEndpoint, tmp_path: Path
) -> None:
    with running.executor(max_workers=1) as executor:
        peaks = list(executor.map(_count_at_once, [tmp_path] * 20))
    assert max(peaks) == 1


def _count_at_once(folder: Path) -> int:
    mine = folder / f"running-{os.getpid()}"
    mine.touch()
    count = len(list(folder.glob("running-*")))
    mine.unlink()
    return count


# Exceptions


def test_an_exception_is_raised_as_itself_and_its_cause_shows_the_remote_line(
    executor: EndpointExecutor,
) -> None:
    error = executor.submit(_fail).exception()
    assert type(error) is ValueError
    assert error.args == ("no good", 7)
    assert type(error.__cause__) is _RemoteTraceback
    assert 'raise ValueError("no good", 7)  # the remote line' in str(error.__cause__)
    # What happened before it stood in our own code is nobody's business.
    assert "actors/worker.py" not in str(error.__cause__)


def _fail() -> None:
    raise ValueError("no good", 7)  # the remote line


def test_an_error_of_the_user_keeps_its_type_and_attributes(
    executor: EndpointExecutor,
) -> None:
    with pytest.raises(OutOfRange, match="9 exceeds 5") as caught:
        executor.submit(_check_range, 9, 5).result()
    assert (caught.value.value, caught.value.limit) == (9, 5)


def _check_range(value: int, limit: int) -> None:
    if value > limit:
        raise OutOfRange(value, limit=limit)


def test_the_cause_of_an_error_is_in_its_traceback(executor: EndpointExecutor) -> None:
    error = executor.submit(_fail_because).exception()
    assert type(error) is RuntimeError
    assert "ValueError: ('no good', 7)" in str(error.__cause__)


def _fail_because() -> None:
    try:
        _fail()
    except ValueError as reason:
        raise RuntimeError("so this is no good either") from reason


def test_an_error_that_cannot_be_pickled_comes_as_its_type_with_its_text(
    executor: EndpointExecutor,
) -> None:
    error = executor.submit(_raise, HasLock, "locked up").exception()
    assert isinstance(error, Exception)
    assert str(error) == "locked up"
    assert "HasLock" in "".join(error.__notes__)
    assert "HasLock: locked up" in str(error.__cause__)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_ends_a_program_ends_a_task_and_not_its_worker(
    running: RunningEndpoint, executor: EndpointExecutor, kind: type[BaseException]
) -> None:
    workers = running.await_workers(2)
    error = executor.submit(_raise, kind, 3).exception()
    assert type(error) is kind
    assert error.args == (3,)
    assert executor.submit(square, 3).result() == 9
    assert running.pids("worker") == workers


def test_a_task_whose_worker_exits_fails_with_the_exit_code(
    running: RunningEndpoint,
) -> None:
    with running.executor(retries=0) as executor:
        error = executor.submit(os._exit, 7).exception()
    assert isinstance(error, actors.WorkerCrashed)
    assert isinstance(error, BrokenProcessPool)
    assert "exited with code 7" in str(error)


# What cannot travel


def test_an_argument_that_cannot_be_pickled_fails_its_own_future_only(
    executor: EndpointExecutor,
) -> None:
    futures = [executor.submit(_same, arg) for arg in (1, threading.Lock(), 2)]
    error = futures[1].exception()
    assert isinstance(error, actors.NotSerializable)
    assert isinstance(error, TypeError)
    assert "Argument 1 of _same" in str(error)
    assert [futures[0].result(), futures[2].result()] == [1, 2]


def test_a_function_that_cannot_be_pickled_fails_its_own_future_only(
    executor: EndpointExecutor,
) -> None:
    lock = threading.Lock()

    def is_locked() -> bool:
        return lock.locked()

    error = executor.submit(is_locked).exception()
    assert isinstance(error, actors.NotSerializable)
    assert "variable 'lock'" in str(error)


def test_an_error_while_pickling_is_an_instance_of_its_own_type_too(
    executor: EndpointExecutor,
) -> None:
    error = executor.submit(_same, BadReduce()).exception()
    assert isinstance(error, actors.NotSerializable)
    assert isinstance(error, ZeroDivisionError)


class BadReduce:
    def __reduce__(self) -> str:
        return str(1 // 0)


def test_a_result_that_cannot_be_pickled_fails_its_own_future_only(
    executor: EndpointExecutor,
) -> None:
    futures = [executor.submit(_same, 1), executor.submit(threading.Lock)]
    error = futures[1].exception()
    assert isinstance(error, actors.NotSerializable)
    assert "Result" in str(error)
    assert futures[0].result() == 1


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_a_result_that_cannot_be_unpickled_fails_its_own_future_only(
    executor: EndpointExecutor, kind: type[BaseException]
) -> None:
    error = executor.submit(Unloadable, kind).exception(10)
    assert isinstance(error, actors.NotSerializable)
    assert "Result" in str(error)
    assert executor.submit(square, 3).result(10) == 9


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_an_argument_that_a_worker_cannot_unpickle_fails_its_own_future_only(
    executor: EndpointExecutor, kind: type[BaseException]
) -> None:
    error = executor.submit(_same, Unloadable(kind)).exception(10)
    assert isinstance(error, actors.NotSerializable)
    assert executor.submit(square, 3).result(10) == 9


def test_arguments_larger_than_a_frame_are_refused_with_both_sizes(
    executor: EndpointExecutor,
) -> None:
    futures = [executor.submit(len, bytes(n)) for n in (10, 2 * _FRAME_BYTES, 20)]
    error = futures[1].exception(10)
    assert isinstance(error, actors.PayloadTooLarge)
    assert str(_FRAME_BYTES) in str(error)
    assert [futures[0].result(10), futures[2].result(10)] == [10, 20]


def test_a_result_larger_than_a_frame_is_refused_with_both_sizes(
    executor: EndpointExecutor,
) -> None:
    futures = [executor.submit(bytes, n) for n in (10, 2 * _FRAME_BYTES, 20)]
    error = futures[1].exception(10)
    assert isinstance(error, actors.PayloadTooLarge)
    assert str(_FRAME_BYTES) in str(error)
    assert [len(futures[0].result(10)), len(futures[2].result(10))] == [10, 20]


def test_payloads_that_together_exceed_a_frame_travel_in_several(
    executor: EndpointExecutor,
) -> None:
    size = _FRAME_BYTES // 3
    results = executor.map(_same, [bytes([n]) * size for n in range(10)])
    assert [(r[0], len(r)) for r in results] == [(n, size) for n in range(10)]


# Memory


class Thing:
    """Something that tells whether it is still there."""


def test_no_reference_to_arguments_is_kept(executor: EndpointExecutor) -> None:
    thing = Thing()
    alive = weakref.ref(thing)
    future = executor.submit(_same, thing)
    del thing
    future.result()
    gc.collect()
    assert alive() is None


def test_no_reference_to_a_result_is_kept_once_its_future_is_gone(
    executor: EndpointExecutor,
) -> None:
    future = executor.submit(Thing)
    alive = weakref.ref(future.result())
    known = weakref.ref(future)
    assert alive() is not None
    del future
    gc.collect()
    assert (alive(), known()) == (None, None)


def test_no_reference_to_an_argument_that_cannot_be_pickled_is_kept(
    executor: EndpointExecutor,
) -> None:
    thing = BadReduce()
    alive = weakref.ref(thing)
    future = executor.submit(_same, thing)
    future.exception()
    del thing, future
    gc.collect()
    assert alive() is None


def test_map_keeps_no_reference_to_results_that_it_gave(
    executor: EndpointExecutor,
) -> None:
    for chunksize in (1, 3):
        for thing in executor.map(_thing, range(6), chunksize=chunksize):
            alive = weakref.ref(thing)
            del thing
            assert alive() is None


def _thing(_number: int) -> Thing:
    return Thing()


def test_a_worker_keeps_neither_arguments_nor_results(
    executor: EndpointExecutor,
) -> None:
    found = [executor.submit(_count_tracked, Tracked()).result() for _ in range(10)]
    assert [count for _, count in found] == [1] * 10


class Tracked:
    """Counted in the process where it lives."""


def _count_tracked(_thing: Tracked) -> tuple[Tracked, int]:
    gc.collect()
    count = sum(type(o).__name__ == "Tracked" for o in gc.get_objects())
    return Tracked(), count


# Initializer


def test_an_initializer_runs_once_in_each_worker_before_the_first_task(
    running: RunningEndpoint, tmp_path: Path
) -> None:
    with running.executor(initializer=_set_up, initargs=(tmp_path, 5)) as executor:
        assert set(executor.map(_read_set_up, range(20))) == {5}
    calls = sorted(path.name for path in tmp_path.iterdir())
    assert 1 <= len(calls) <= 2
    assert all(name.endswith("-1") for name in calls)


def _set_up(folder: Path, value: int) -> None:
    count = 1 + len(list(folder.glob(f"{os.getpid()}-*")))
    (folder / f"{os.getpid()}-{count}").touch()
    os.environ["TEST_SET_UP"] = str(value)


def _read_set_up(_number: int) -> int:
    return int(os.environ["TEST_SET_UP"])


def test_an_executor_whose_initializer_failed_takes_no_more_tasks(
    running: RunningEndpoint,
) -> None:
    with running.executor(initializer=_fail) as executor:
        error = executor.submit(square, 1).exception()
        assert isinstance(error, BrokenProcessPool)
        assert "no good" in str(error)
        assert "# the remote line" in str(error.__cause__)
        with pytest.raises(BrokenProcessPool, match="no good"):
            executor.submit(square, 2)
    # The workers serve others as before.
    with running.executor() as other:
        assert other.submit(square, 3).result() == 9


def test_an_initializer_must_be_callable(running: RunningEndpoint) -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        running.executor(initializer=7)


def test_a_task_can_use_its_own_executor_of_the_same_endpoint(
    running: RunningEndpoint, executor: EndpointExecutor
) -> None:
    # One of two workers waits, the other one works.
    future = executor.submit(_square_elsewhere, str(running.folder), 6)
    assert future.result(30) == 36


def _square_elsewhere(address: str, number: int) -> int:
    with actors.Executor(address) as executor:
        return executor.submit(square, number).result()  # type: ignore[no-any-return]


def test_futures_cannot_be_sent(executor: EndpointExecutor) -> None:
    error = executor.submit(_same, executor.submit(square, 1)).exception()
    assert isinstance(error, actors.NotSerializable)
    with pytest.raises(TypeError):
        pickle.dumps(executor)


def test_long_tracebacks_that_together_exceed_a_frame_travel_in_several(
    executor: EndpointExecutor,
) -> None:
    mine = [executor.submit(_ping, 400) for _ in range(60)]
    for future in mine:
        error = future.exception(20)
        assert isinstance(error, ZeroDivisionError)
        assert len(str(error.__cause__)) > 40_000


def _ping(depth: int) -> float:
    # Each other's callers: Python shortens the traceback of who calls itself.
    return _pong(depth - 1)


def _pong(depth: int) -> float:
    return _ping(depth - 1) if depth > 0 else 1 / 0
