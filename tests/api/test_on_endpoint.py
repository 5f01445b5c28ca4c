"""A program of remote functions runs on an endpoint as it does embedded."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

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


def test_what_an_endpoint_does_not_offer_is_refused_by_name() -> None:
    with pytest.raises(actors.ConfigError, match="double asks for num_gpus"):
        double.options(num_gpus=1).remote(1)


def test_a_second_init_is_refused(running: RunningEndpoint) -> None:
    with pytest.raises(RuntimeError, match="before"):
        actors.init(running.folder)
    actors.init(running.folder, ignore_reinit_error=True)
