"""Promise: a program of remote functions means what it says, embedded in one process.

Real workers. What a user writes, what comes back, and what an error says.
"""

import asyncio
import contextlib
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import actors
from actors.errors import ConfigError, GetTimeoutError, NotSerializable
from actors.refs import ObjectRef, RefAstray, known
from actors.task_errors import (
    RuntimeClosedError,
    TaskCancelledError,
    TaskTimeoutError,
    WorkerCrashed,
)
from tests.leaks import no_leaks
from tests.support import eventually
from tests.system.tasks import deaf_at_first

pytestmark = pytest.mark.slow

WORKERS = 2


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=WORKERS, num_gpus=2, resources={"disk": 1})
    yield
    actors.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with no_leaks():
        yield


@actors.remote
def nothing() -> None:
    pass


@actors.remote
def add(a: int, b: int = 0) -> int:
    return a + b


@actors.remote
def fail(text: str) -> int:
    raise ValueError(text)


@actors.remote
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@actors.remote
def appears(path: str) -> str:
    """Wait until a file exists."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


@actors.remote
def count_up(n: int) -> Iterator[int]:
    yield from range(n)


# Calls


def test_a_call_gives_a_ref_and_get_its_value() -> None:
    ref = add.remote(1, b=2)
    assert isinstance(ref, ObjectRef)
    assert actors.get(ref) == 3
    assert actors.get(ref) == 3


def test_values_of_a_list_come_in_its_order() -> None:
    refs = [add.remote(i) for i in range(500)]
    assert actors.get(refs) == list(range(500))
    assert actors.get([]) == []


def test_refs_as_arguments_are_replaced_by_their_values() -> None:
    assert actors.get(add.remote(add.remote(1, 2), b=add.remote(3, 4))) == 10


def test_refs_inside_other_values_stay_refs() -> None:
    @actors.remote
    def open_first(refs: list[ObjectRef[int]]) -> int:
        return actors.get(refs[0])

    assert actors.get(open_first.remote([actors.put(42)])) == 42


def test_a_function_called_here_says_how_to_call_it() -> None:
    with pytest.raises(TypeError, match=r"add\(\) is a remote function: call add.remo"):
        add(1, 2)
    assert add.function(1, 2) == 3


def test_closures_and_lambdas_travel() -> None:
    offset = 10

    @actors.remote
    def call(function: Any, x: int) -> int:
        return int(function(x)) + offset

    assert actors.get(call.remote(lambda x: x * 2, 4)) == 18


def test_a_large_function_is_sent_once_and_runs_often() -> None:
    table = list(range(5000))

    @actors.remote
    def look_up(index: int) -> int:
        return table[index]

    refs = [look_up.remote(i) for i in range(1000)]
    assert actors.get(refs) == list(range(1000))


class _Counter:
    def __init__(self) -> None:
        self.count = 0
        self.ballast = "x" * 1000

    def up(self) -> int:
        self.count += 1
        return self.count


def test_what_a_method_is_bound_to_is_as_it_was_at_every_call() -> None:
    up = actors.remote(_Counter().up)
    assert actors.get([up.remote() for _ in range(5)]) == [1] * 5


def test_a_task_that_nobody_holds_a_ref_on_runs_all_the_same(tmp_path: Path) -> None:
    @actors.remote
    def touch(path: Path) -> None:
        path.touch()

    touch.remote(tmp_path / "ran")
    eventually((tmp_path / "ran").exists)


def test_calls_leave_at_once_though_nobody_waits_for_them(tmp_path: Path) -> None:
    """A second call follows so fast that it could be left in the inbox."""

    @actors.remote
    def meet(mine: Path, other: Path) -> None:
        mine.touch()
        while not other.exists():
            time.sleep(0.001)

    a, b = tmp_path / "a", tmp_path / "b"
    meet.remote(a, b)
    meet.remote(b, a)
    eventually(lambda: a.exists() and b.exists())


# Several results


def test_several_results_are_refs_of_their_own() -> None:
    @actors.remote(num_returns=2)
    def both() -> tuple[int, str]:
        return 1, "two"

    first, second = both.remote()
    assert actors.get(first) == 1
    assert actors.get(second) == "two"


def test_a_wrong_number_of_results_is_told() -> None:
    @actors.remote(num_returns=3)
    def two() -> tuple[int, int]:
        return 1, 2

    refs: Any = two.remote()
    with pytest.raises(ValueError, match="returned 2 values, but its num_returns is 3"):
        actors.get(refs[0])


def test_a_generator_gives_its_items_as_they_come(tmp_path: Path) -> None:
    release = tmp_path / "go"

    @actors.remote
    def two_steps(path: Path) -> Iterator[str]:
        yield "first"
        while not path.exists():
            time.sleep(0.005)
        yield "second"

    stream: Any = two_steps.remote(release)
    assert actors.get(next(stream)) == "first"
    release.touch()
    assert actors.get(next(stream)) == "second"
    with pytest.raises(StopIteration):
        next(stream)


@actors.remote
def numbers() -> Iterator[int]:
    yield from range(10**9)


def drain(items: Any) -> str:
    assert actors.get(next(items)) == 0
    actors.cancel(items)
    try:
        for ref in items:
            actors.get(ref)
    except TaskCancelledError:
        return "cancelled"
    return "ended"


def test_a_generator_can_be_cancelled() -> None:
    """It was no ref, and the whole runtime broke."""
    assert drain(numbers.remote()) == "cancelled"
    assert actors.get(actors.remote(lambda: drain(numbers.remote())).remote()) == (
        "cancelled"
    )
    for wrong in (7, numbers, None):
        with pytest.raises(TypeError, match="Expected an ObjectRef"):
            actors.cancel(wrong)  # type: ignore[arg-type]


def test_the_error_of_a_generator_is_its_last_ref() -> None:
    @actors.remote
    def breaks() -> Iterator[int]:
        yield 1
        raise KeyError("no more")

    refs: list[Any] = list(breaks.remote())
    assert actors.get(refs[0]) == 1
    with pytest.raises(KeyError, match="no more"):
        actors.get(refs[1])
    assert len(refs) == 2


def test_a_dynamic_generator_is_one_ref_on_all_its_items() -> None:
    ref = count_up.options(num_returns="dynamic").remote(4)
    items: Any = actors.get(ref)
    assert [actors.get(item) for item in items] == [0, 1, 2, 3]


# Errors


def test_an_exception_comes_as_itself_with_the_remote_traceback() -> None:
    with pytest.raises(ValueError, match="^bad$") as caught:
        actors.get(fail.remote("bad"))
    assert "in fail" in str(caught.value.__cause__)


def test_a_failed_dependency_fails_the_dependant_with_the_original_error() -> None:
    with pytest.raises(ValueError, match="first"):
        actors.get(add.remote(add.remote(fail.remote("first"), 1), 2))


def test_what_cannot_be_pickled_is_named_at_the_call() -> None:
    with pytest.raises(NotSerializable, match=r"Argument 2 of add\(\)"):
        add.remote(1, threading.Lock())  # type: ignore[call-overload]


def test_a_result_that_cannot_be_pickled_is_named() -> None:
    @actors.remote
    def lock() -> Any:
        return {"inner": threading.Lock()}

    with pytest.raises(NotSerializable, match=r"\['inner'\]"):
        actors.get(lock.remote())


def test_an_argument_that_cannot_be_loaded_there_fails_the_task_alone() -> None:
    with pytest.raises(NotSerializable, match="Argument"):
        actors.get(add.remote(_BrokenLoad()))  # type: ignore[call-overload]
    assert actors.get(add.remote(1)) == 1


def _refuse() -> None:
    raise RuntimeError("not here")


class _BrokenLoad:
    def __reduce__(self) -> Any:
        return _refuse, ()


def test_a_crash_says_how_the_worker_died_and_what_it_wrote() -> None:
    @actors.remote(retries=0)
    def crash() -> None:
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerCrashed, match="SIGKILL") as caught:
        actors.get(crash.remote())
    assert "last words" in caught.value.detail


def test_a_crash_is_answered_with_new_starts(tmp_path: Path) -> None:
    @actors.remote(max_retries=2)
    def crash_twice(folder: Path) -> int:
        starts = len(list(folder.iterdir()))
        (folder / str(starts)).touch()
        if starts < 2:
            os._exit(7)
        return starts

    assert actors.get(crash_twice.remote(tmp_path)) == 2


def test_only_the_listed_exceptions_are_answered_with_new_starts(
    tmp_path: Path,
) -> None:
    @actors.remote(retries=3, retry_exceptions=[KeyError])
    def flaky(folder: Path, kind: type[Exception]) -> int:
        starts = len(list(folder.iterdir()))
        (folder / str(starts)).touch()
        if starts < 2:
            raise kind(starts)
        return starts

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert actors.get(flaky.remote(tmp_path / "a", KeyError)) == 2
    with pytest.raises(OSError, match="0"):
        actors.get(flaky.remote(tmp_path / "b", OSError))


def test_a_system_exit_in_a_task_is_the_tasks() -> None:
    @actors.remote
    def leave() -> None:
        sys.exit(3)

    with pytest.raises(SystemExit):
        actors.get(leave.remote())


def test_one_bad_option_is_named_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="Unknown options retires; there are num_ret"):
        add.options(retires=3)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="num_returns 'many' must be dynamic or"):
        add.options(num_returns="many")  # type: ignore[call-overload]


def test_what_can_never_run_is_refused_at_the_call() -> None:
    with pytest.raises(ConfigError, match=r"needs 1 CPU, 3 GPU, but there is 2 GPU"):
        add.options(num_gpus=3).remote(1)
    with pytest.raises(ConfigError, match="there is 0 tape in all"):
        add.options(resources={"tape": 1}).remote(1)


# Waiting


def test_get_gives_up_after_its_timeout_and_the_task_goes_on(tmp_path: Path) -> None:
    ref = appears.remote(str(tmp_path / "go"))
    with pytest.raises(GetTimeoutError, match="not known after 0.05 s"):
        actors.get(ref, timeout=0.05)
    (tmp_path / "go").touch()
    assert actors.get(ref)


def test_wait_tells_the_known_from_the_others(tmp_path: Path) -> None:
    blocked = appears.remote(str(tmp_path / "go"))
    quick = [add.remote(i) for i in range(3)]
    ready, others = actors.wait([blocked, *quick], num_returns=3)
    assert (ready, others) == (quick, [blocked])
    assert actors.wait([blocked, quick[0]], num_returns=2, timeout=0.01) == (
        [quick[0]],
        [blocked],
    )
    assert actors.wait(quick, num_returns=1) == (quick[:1], quick[1:])
    (tmp_path / "go").touch()
    assert actors.wait([blocked]) == ([blocked], [])


def test_wait_refuses_what_makes_no_sense() -> None:
    ref = add.remote(1)
    with pytest.raises(ValueError, match="all different"):
        actors.wait([ref, ref])
    with pytest.raises(TypeError, match="list"):
        actors.wait(ref)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="num_returns 2 must be 1 to 1"):
        actors.wait([ref], num_returns=2)
    with pytest.raises(TypeError, match="not int"):
        actors.get(3)  # type: ignore[call-overload]


def test_as_completed_gives_each_as_it_ends(tmp_path: Path) -> None:
    blocked = appears.remote(str(tmp_path / "go"))
    quick = add.remote(1)
    order = actors.as_completed([blocked, quick])
    assert next(order) is quick
    (tmp_path / "go").touch()
    assert list(order) == [blocked]


def test_many_threads_wait_at_once() -> None:
    results: dict[int, int] = {}

    def work(number: int) -> None:
        for i in range(20):
            results[number * 20 + i] = actors.get(add.remote(number * 20, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: i for i in range(160)}


def test_a_ref_is_awaited_and_becomes_a_standard_future() -> None:
    async def both() -> list[int]:
        return await asyncio.gather(*(_await(add.remote(i, i)) for i in range(50)))

    async def _await(ref: ObjectRef[int]) -> int:
        return await ref

    assert asyncio.run(both()) == [2 * i for i in range(50)]
    assert add.remote(1, 2).future().result(10) == 3
    assert isinstance(fail.remote("x").future().exception(10), ValueError)


def test_an_async_for_gives_the_items_of_a_generator() -> None:
    async def collect() -> list[int]:
        stream: Any = count_up.remote(5)
        return [await ref async for ref in stream]

    assert asyncio.run(collect()) == [0, 1, 2, 3, 4]


# Objects


def test_a_value_that_was_put_is_new_at_each_get() -> None:
    ref = actors.put([1, 2])
    first = actors.get(ref)
    first.append(3)
    assert actors.get(ref) == [1, 2]
    with pytest.raises(TypeError, match="a ref on"):
        actors.put(ref)


def test_large_arrays_are_shared_and_read_only() -> None:
    array = np.arange(200_000)
    ref = actors.put(array)

    @actors.remote
    def look(x: Any) -> tuple[int, bool]:
        return int(x.sum()), bool(x.flags.writeable)

    assert actors.get(look.remote(ref)) == (int(array.sum()), False)
    assert actors.get(look.remote(array)) == (int(array.sum()), False)
    assert (actors.get(ref) == array).all()


def test_large_results_come_back_and_outlive_their_ref() -> None:
    @actors.remote
    def make(n: int) -> Any:
        return np.ones(n), "small"

    value, text = actors.get(make.remote(300_000))
    assert value.sum() == 300_000
    assert text == "small"


def test_the_memory_of_values_that_nobody_holds_is_freed() -> None:
    folders = known()._store.folders  # type: ignore[union-attr]

    @actors.remote
    def same(x: Any) -> Any:
        return x

    for _ in range(3):
        actors.get(same.remote(np.ones(100_000)))

    def is_freed() -> bool:
        actors.get(nothing.remote())
        segments = Path(folders.memory).glob("*/*")
        return all(segment.parent.name == "free" for segment in segments)

    eventually(is_freed)


def test_a_ref_cannot_be_smuggled_out() -> None:
    with pytest.raises(RefAstray, match="use get"):
        pickle.dumps(actors.put(1))


def test_a_task_makes_refs_that_outlive_it() -> None:
    @actors.remote
    def make() -> tuple[list[ObjectRef[int]], ObjectRef[int]]:
        return [actors.put(i) for i in range(3)], add.remote(20, 22)

    put, called = actors.get(make.remote())
    assert actors.get(put) == [0, 1, 2]
    assert actors.get(called) == 42


def test_refs_are_forgotten_when_the_last_handle_anywhere_is_gone() -> None:
    hub: Any = known()._hub  # type: ignore[union-attr]

    @actors.remote
    def pass_on(refs: list[Any]) -> list[Any]:
        return [*refs, actors.put("mine")]

    refs = actors.get(pass_on.remote([actors.put("yours")]))
    assert actors.get(refs) == ["yours", "mine"]
    del refs

    def is_empty() -> bool:
        actors.get(nothing.remote())
        return len(hub.parcels.numbered) == 0

    eventually(is_empty, what="no ref is numbered")


# Cancelling and timeouts


def test_a_task_that_waits_or_runs_is_cancelled(tmp_path: Path) -> None:
    running = [appears.remote(str(tmp_path / "never")) for _ in range(WORKERS)]
    waiting = add.remote(1)
    for ref in (waiting, *running):
        actors.cancel(ref)
        with pytest.raises(TaskCancelledError):
            actors.get(ref)
    assert actors.get(add.remote(1)) == 1


def test_cancelling_what_has_ended_does_nothing() -> None:
    ref = add.remote(1)
    assert actors.get(ref) == 1
    actors.cancel(ref)
    assert actors.get(ref) == 1


def test_force_ends_what_does_not_listen(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    @actors.remote
    def stubborn(path: Path) -> None:
        path.touch()
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(10)

    ref = stubborn.remote(begun)
    eventually(begun.exists)
    actors.cancel(ref, force=True)
    with pytest.raises(TaskCancelledError):
        actors.get(ref)


def test_cancelling_reaches_the_tasks_that_a_task_waits_for(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    @actors.remote
    def inner(path: Path) -> None:
        path.touch()
        time.sleep(100)

    @actors.remote
    def outer(path: Path) -> None:
        actors.get(inner.remote(path))

    ref = outer.remote(begun)
    eventually(begun.exists)
    actors.cancel(ref)
    with pytest.raises(TaskCancelledError):
        actors.get(ref)


def test_an_interrupt_that_a_blocking_call_swallowed_comes_again(
    tmp_path: Path,
) -> None:
    """A signal that comes just before the call is heard after it only."""
    ref = actors.remote(deaf_at_first).remote(tmp_path / "begun")
    eventually((tmp_path / "begun").exists)
    actors.cancel(ref)
    with pytest.raises(TaskCancelledError):
        actors.get(ref, timeout=60)


def test_a_task_beyond_its_timeout_is_ended() -> None:
    with pytest.raises(TaskTimeoutError, match=r"timeout of 0.05 s"):
        actors.get(sleep.options(timeout=0.05).remote(100))


# Tasks that call tasks


@actors.remote
def fibonacci(n: int) -> int:
    if n < 2:
        return n
    first, second = fibonacci.remote(n - 1), fibonacci.remote(n - 2)
    return actors.get(first) + actors.get(second)


def test_tasks_that_wait_for_tasks_never_deadlock() -> None:
    assert actors.get([fibonacci.remote(6) for _ in range(3)]) == [8, 8, 8]


def test_a_task_waits_for_some_of_its_tasks(tmp_path: Path) -> None:
    @actors.remote
    def first_of(path: str) -> tuple[int, int, int]:
        refs: list[ObjectRef[Any]] = [
            appears.remote(path),
            add.remote(1),
            add.remote(2),
        ]
        ready, others = actors.wait(refs, num_returns=2)
        with pytest.raises(GetTimeoutError):
            actors.get(others, timeout=0.01)
        late, _ = actors.wait(others, timeout=0.01)
        open(path, "w").close()
        return sum(actors.get(ready)), len(others), len(late)

    assert actors.get(first_of.remote(str(tmp_path / "go"))) == (3, 1, 0)


def test_a_task_reads_a_generator_of_another() -> None:
    @actors.remote
    def total(n: int) -> int:
        stream: Any = count_up.remote(n)
        return sum(actors.get(ref) for ref in stream)

    assert actors.get(total.remote(5)) == 10


def test_errors_keep_their_type_through_nested_calls() -> None:
    @actors.remote
    def catches() -> str:
        try:
            actors.get(fail.remote("deep"))
        except ValueError as error:
            return f"caught {error}"
        return "nothing"

    assert actors.get(catches.remote()) == "caught deep"


# Resources


def test_tasks_find_their_gpu_and_share_what_is_scarce() -> None:
    @actors.remote(num_gpus=1)
    def gpu() -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]

    @actors.remote
    def after() -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    assert set(actors.get([gpu.remote() for _ in range(4)])) <= {"0", "1"}
    assert actors.get(after.remote()) is None
    disk = add.options(resources={"disk": 1})
    assert actors.get([disk.remote(i) for i in range(5)]) == list(range(5))


def test_no_task_waits_behind_a_long_one_while_a_worker_is_idle(
    tmp_path: Path,
) -> None:
    """By the order of events: the long one ends only after all the short ones."""
    actors.get([add.remote(i) for i in range(500)])
    long = appears.remote(str(tmp_path / "go"))
    short = [add.remote(i) for i in range(200)]
    assert actors.get(short) == list(range(200))
    (tmp_path / "go").touch()
    assert actors.get(long)


def test_init_twice_is_told_and_shutdown_ends_everything() -> None:
    with pytest.raises(RuntimeError, match="call actors.shutdown"):
        actors.init()
    actors.init(ignore_reinit_error=True)
    stuck = sleep.remote(100)
    late = add.remote(stuck)
    actors.shutdown()
    assert not actors.is_initialized()
    actors.init(num_workers=WORKERS, num_gpus=2, resources={"disk": 1})
    for ref in (stuck, late):
        with pytest.raises(RuntimeClosedError, match="shut down"):
            actors.get(ref)
