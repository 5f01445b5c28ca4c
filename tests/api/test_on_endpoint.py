"""A program of remote functions runs on an endpoint as it does embedded."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import actors
from actors import state
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system.tasks import deaf_at_first

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def initialized(running: RunningEndpoint) -> Iterator[None]:
    actors.init(running.folder)
    yield
    actors.shutdown()


@actors.remote
def double(number: int) -> int:
    return 2 * number


@actors.remote
def add(first: int, second: int = 0) -> int:
    return first + second


@actors.remote
def zeros(count: int) -> bytes:
    return bytes(count)


@actors.remote
def length(text: str) -> int:
    return len(text)


@actors.remote
def fail(text: str) -> int:
    raise ValueError(text)


@actors.remote
def count_to(number: int) -> Iterator[int]:
    yield from range(number)


@actors.remote
def wait_for(path: Path) -> str:
    path.with_suffix(".began").touch()
    eventually(path.exists, 60)
    return path.name


def test_calls_run_in_other_processes_and_give_their_values() -> None:
    pid = actors.remote(os.getpid)
    assert actors.get(pid.remote()) != os.getpid()
    assert actors.get([double.remote(n) for n in range(100)]) == list(range(0, 200, 2))


def test_refs_among_the_arguments_are_replaced_by_their_values() -> None:
    total = double.remote(1)
    for _ in range(5):
        total = add.remote(total, second=double.remote(1))
    assert actors.get(total) == 12
    assert actors.get(add.remote(actors.put(40), 2)) == 42


def test_a_failure_is_its_own_exception_for_all_that_depends_on_it() -> None:
    failed = fail.remote("no good")
    for ref in (failed, add.remote(failed), add.remote(double.remote(1), failed)):
        with pytest.raises(ValueError, match="no good"):
            actors.get(ref)


def test_wait_tells_the_known_from_the_others(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waiting, quick = wait_for.remote(gate), double.remote(4)
    assert actors.wait([waiting, quick]) == ([quick], [waiting])
    assert actors.wait([waiting], timeout=0.01) == ([], [waiting])
    with pytest.raises(actors.GetTimeoutError):
        actors.get(waiting, timeout=0.01)
    gate.touch()
    assert list(actors.as_completed([waiting])) == [waiting]
    assert actors.get(waiting) == "gate"


def test_several_results_have_a_ref_each() -> None:
    pair = actors.remote(num_returns=2)(divmod)
    quotient, remainder = pair.remote(17, 5)
    assert actors.get([quotient, remainder]) == [3, 2]
    wrong = actors.remote(num_returns=3)(divmod).remote(17, 5)
    with pytest.raises(ValueError, match="num_returns is 3"):
        actors.get(wrong[0])


def test_what_a_generator_yields_comes_as_refs() -> None:
    assert [actors.get(ref) for ref in count_to.remote(3)] == [0, 1, 2]
    dynamic = count_to.options(num_returns="dynamic")
    assert actors.get(actors.get(dynamic.remote(2))) == [0, 1]


@actors.remote
def count_files(paths: list[Path]) -> Iterator[int]:
    for number, path in enumerate(paths):
        eventually(path.exists, 60)
        yield number


def test_items_come_while_their_task_runs(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    items = count_files.remote(paths)
    for number, path in enumerate(paths):
        path.touch()
        assert actors.get(next(items)) == number
    assert not list(items)


@actors.remote
def total_of(paths: list[Path]) -> int:
    return sum(actors.get(ref) for ref in count_files.remote(paths))


def test_a_task_reads_what_another_one_yields(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths:
        path.touch()
    assert actors.get(total_of.remote(paths)) == 3


@actors.remote
def count_and_die(log: Path) -> Iterator[int]:
    """Yield five numbers; die in the middle of the first try."""
    for number in range(5):
        with log.open("a") as file:
            file.write(str(number))
        if number == 3 and log.read_text() == "0123":
            os.kill(os.getpid(), signal.SIGKILL)
        yield number


def test_an_item_comes_once_though_its_task_is_run_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert actors.get([*count_and_die.remote(log)]) == [0, 1, 2, 3, 4]
    assert log.read_text() == "012301234"


@actors.remote(retries=2, retry_exceptions=[OSError])
def count_and_fail(log: Path) -> Iterator[int]:
    yield 0
    with log.open("a") as file:
        file.write("x")
    if log.read_text() != "xx":
        raise OSError("not yet")
    yield 1


def test_an_item_comes_once_though_its_task_has_failed(tmp_path: Path) -> None:
    items: Any = count_and_fail.remote(tmp_path / "log")
    assert actors.get([*items]) == [0, 1]


@actors.remote
def megabytes(count: int, log: Path) -> Iterator[bytes]:
    for _ in range(count):
        with log.open("a") as file:
            file.write("x")
        yield bytes(1 << 20)


def test_a_generator_does_not_go_far_ahead_of_its_reader(tmp_path: Path) -> None:
    log = tmp_path / "log"
    items = megabytes.remote(60, log)
    next(items)
    # Those beyond that would be in somebody's memory: it has told us of its place.
    assert actors.get([double.remote(n) for n in range(4)]) == [0, 2, 4, 6]
    assert len(log.read_text()) < 40
    assert len([*items]) == 59


def test_who_leaves_with_a_generator_unread_leaves_nothing_behind(
    tmp_path: Path, running: RunningEndpoint
) -> None:
    items = megabytes.remote(60, tmp_path / "log")
    next(items)
    actors.shutdown()
    actors.init(running.folder)
    assert actors.get(double.remote(2)) == 4


def test_who_lets_go_of_a_generator_holds_it_up_no_more(tmp_path: Path) -> None:
    log = tmp_path / "log"
    items = megabytes.remote(60, log)
    next(items)
    del items
    eventually(lambda: len(log.read_text()) == 60, 60)


@actors.remote
def sleep_and_say(folder: Path, how: str) -> str:
    (folder / "began").touch()
    try:
        time.sleep(300)
    except KeyboardInterrupt:
        if how == "raise":
            raise
        if how == "go on":
            time.sleep(300)
    return f"cancelled: {actors.cancelled()}"


def begun(folder: Path, how: str) -> actors.ObjectRef[str]:
    (folder / "began").unlink(missing_ok=True)
    ref = sleep_and_say.remote(folder, how)
    eventually((folder / "began").exists, 60)
    return ref


def test_a_task_that_runs_is_interrupted_by_cancel(tmp_path: Path) -> None:
    ref = begun(tmp_path, "raise")
    actors.cancel(ref)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(ref)
    # What it returns all the same is told.
    ref = begun(tmp_path, "return")
    actors.cancel(ref)
    assert actors.get(ref) == "cancelled: True"
    ref = begun(tmp_path, "go on")
    actors.cancel(ref, grace=0.2)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(ref)
    assert not actors.cancelled()


def test_an_interrupt_that_a_blocking_call_swallowed_comes_again(
    tmp_path: Path,
) -> None:
    ref = actors.remote(deaf_at_first).remote(tmp_path / "begun")
    eventually((tmp_path / "begun").exists, 60)
    actors.cancel(ref)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(ref, timeout=60)


def test_what_a_cancelled_task_has_called_is_cancelled_too(tmp_path: Path) -> None:
    @actors.remote
    def parent(folder: Path) -> str:
        return actors.get(sleep_and_say.remote(folder, "return"))

    actors.cancel(ref := parent.remote(tmp_path), recursive=False)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(ref)

    @actors.remote
    def swallow(folder: Path) -> str:
        child = sleep_and_say.remote(folder, "return")
        try:
            return actors.get(child)
        except KeyboardInterrupt:
            return actors.get(child)

    ref = swallow.remote(tmp_path)
    eventually((tmp_path / "began").exists, 60)
    actors.cancel(ref)
    assert actors.get(ref) == "cancelled: True"


def test_a_task_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    busy = [wait_for.remote(tmp_path / name) for name in ("a", "b")]
    waiting = wait_for.remote(gate)
    actors.cancel(waiting)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(waiting)
    dependant = double.remote(busy[0])
    actors.cancel(dependant)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(dependant)
    actors.cancel(busy[0], force=True)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(busy[0])
    (tmp_path / "b").touch()
    assert actors.get(busy[1]) == "b"


def test_an_exception_of_its_own_is_retried_if_asked(tmp_path: Path) -> None:
    tries = tmp_path / "tries"

    @actors.remote(retries=3, retry_exceptions=[OSError])
    def succeed_later() -> int:
        with tries.open("a") as file:
            file.write("x")
        if len(tries.read_text()) < 3:
            raise OSError("not yet")
        return len(tries.read_text())

    assert actors.get(succeed_later.remote()) == 3
    with pytest.raises(ValueError, match="at once"):
        actors.get(fail.options(retry_exceptions=[OSError]).remote("at once"))


def test_refs_can_be_awaited_and_become_futures() -> None:
    async def use() -> list[int]:
        return [await double.remote(1), await add.remote(double.remote(2))]

    assert asyncio.run(use()) == [2, 4]
    assert double.remote(3).future().result(20) == 6


@actors.remote
def total(parts: list[list[actors.ObjectRef[int]]]) -> int:
    return sum(actors.get([ref for refs in parts for ref in refs]))


@actors.remote
def make(count: int) -> dict[str, list[actors.ObjectRef[int]]]:
    return {"refs": [double.remote(n) for n in range(count)]}


def test_refs_inside_other_values_stay_refs(tmp_path: Path) -> None:
    assert actors.get(total.remote([[double.remote(n) for n in (1, 2)]])) == 6
    made = actors.get(make.remote(3))["refs"]
    assert actors.get(made) == [0, 2, 4]
    assert actors.get(total.remote([made, [actors.put(1)]])) == 7
    gate = tmp_path / "gate"
    late = add.remote(actors.remote(len).remote([wait_for.remote(gate)]), 1)
    ready, _ = actors.wait([late], timeout=0.3)
    assert not ready
    gate.touch()
    assert actors.get(late) == 2


def test_a_failed_ref_inside_a_value_fails_who_asks_for_it() -> None:
    assert actors.get(actors.remote(len).remote([fail.remote("no good")])) == 1
    with pytest.raises(ValueError, match="no good"):
        actors.get(total.remote([[fail.remote("no good")]]))


def test_a_task_that_runs_too_long_is_ended_and_not_tried_again(tmp_path: Path) -> None:
    late = wait_for.options(timeout=0.3, retries=3).remote(tmp_path / "never")
    with pytest.raises(actors.TaskTimeoutError, match="timeout of 0.3 s"):
        actors.get(late)
    assert actors.get(double.options(timeout=60).remote(4)) == 8


def test_a_second_init_is_refused(running: RunningEndpoint) -> None:
    with pytest.raises(RuntimeError, match="before"):
        actors.init(running.folder)
    actors.init(running.folder, ignore_reinit_error=True)


def test_put_keeps_what_a_value_is_now() -> None:
    """What was put was the program's own object, and changed with it."""
    waiting = double.remote(2)
    value: list[Any] = [1, waiting]
    kept = actors.put(value)
    value.append(3)
    assert actors.get(kept) == [1, waiting]
    assert actors.get(total.remote([[waiting]])) == 4
    array = np.zeros(100_000)
    held = actors.put(array)
    array[:] = 1
    assert actors.get(held).sum() == 0
    assert not actors.get(held).flags.writeable
    with pytest.raises(actors.NotSerializable, match="Value"):
        actors.put(threading.Lock())


@actors.remote
def look_at(array: Any) -> tuple[bool, Any]:
    return array.flags.writeable, array + 1


def test_large_arrays_can_only_be_read() -> None:
    is_writeable, result = actors.get(look_at.remote(np.zeros(100_000)))
    assert not is_writeable
    assert not result.flags.writeable
    assert result.sum() == 100_000


def test_a_generator_can_be_cancelled() -> None:
    items = count_to.remote(10**9)
    assert actors.get(next(items)) == 0
    actors.cancel(items)
    with pytest.raises(actors.TaskCancelledError):
        for ref in items:
            actors.get(ref)
    wrong: Any = 7
    with pytest.raises(TypeError, match="not int"):
        actors.cancel(wrong)


def test_what_is_unknown_when_the_runtime_closes_fails(
    running: RunningEndpoint, tmp_path: Path
) -> None:
    """One that was to be tried again without end was, when there was no endpoint."""
    waiting = wait_for.options(retry_exceptions=True, retries=-1)
    refs = [waiting.remote(tmp_path / "never"), double.remote(2)]
    refs += [actors.remote(len).remote([wait_for.remote(tmp_path / "never")])]
    actors.get(refs[1])
    actors.shutdown()
    actors.init(running.folder)
    for ref in (refs[0], refs[2]):
        with pytest.raises(actors.RuntimeClosedError):
            actors.get(ref)


def test_the_values_that_a_program_has_refs_on_can_be_listed(tmp_path: Path) -> None:
    waiting = wait_for.remote(tmp_path / "go")
    depends = length.remote(waiting)
    large = zeros.remote(1 << 20)
    put = actors.put(bytes(1 << 10))
    failed = fail.remote("no")
    parts = actors.remote(lambda: (7, 3)).options(num_returns=2).remote()
    item = next(count_to.remote(1))
    actors.wait([large, put, *parts, item], num_returns=5)
    with pytest.raises(ValueError, match="no"):
        actors.get(failed)

    def rows() -> list[tuple[str, str, int]]:
        return [(r.state, r.where, r.object_size) for r in state.list_objects()]

    largest, *others = rows()
    assert largest[:2] == ("READY", "program")
    assert 1 << 20 <= largest[2] < (1 << 20) + 1000
    assert 1 << 10 <= others[0][2] < (1 << 10) + 1000
    assert ("FAILED", "program", -1) in others
    assert ("PENDING", "endpoint", -1) in others
    assert ("PENDING", "", -1) in others
    assert len({r.object_id for r in state.list_objects()}) == len(others) + 1
    assert all(r.holders == {"owner": 1} for r in state.list_objects())
    assert state.list_objects(limit=1)[0].object_size == largest[2]
    before = len(others) + 1
    del large
    assert len(rows()) == before - 1
    (tmp_path / "go").touch()
    assert actors.get(depends) == len(actors.get(waiting))


def test_a_task_lists_its_own_values() -> None:
    @actors.remote
    def list_mine() -> list[tuple[str, int]]:
        ref = actors.put("x" * 100)
        rows = [(r.state, r.object_size) for r in state.list_objects()]
        del ref
        return rows

    ((what, size),) = actors.get(list_mine.remote())
    assert what == "READY"
    assert size > 100
