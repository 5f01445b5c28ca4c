"""Promise: a task may fork; what its child does is its own, and no second worker."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import actors
from actors.address import ADDRESS_VARIABLE
from tests.both_ways import BOTH_WAYS, initialized

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=BOTH_WAYS, autouse=True)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    with initialized(request.param, embedded={"num_workers": 1}) as way:
        yield way


def end_by(how: str) -> int:
    if how == "return":
        return 1000  # nobody gets it
    if how == "exit":
        sys.exit(5)
    raise ValueError("the child's own")


def fork_and_wait(how: str) -> int:
    """Return the exit code of a child that ends in one of these ways."""
    child = os.fork()
    if child == 0:
        return end_by(how)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@actors.remote(max_retries=0)
def fork_task(how: str) -> int:
    return fork_and_wait(how)


@actors.remote
class Serial:
    def fork(self, how: str) -> int:
        return fork_and_wait(how)


@actors.remote
class Async:
    async def fork(self, how: str) -> int:
        return fork_and_wait(how)


WAYS = [("return", 0), ("exit", 5), ("raise", 1)]


@pytest.mark.parametrize(("how", "code"), WAYS)
def test_a_child_that_leaves_its_task_ends_as_a_program_does(
    how: str, code: int
) -> None:
    assert actors.get(fork_task.remote(how), timeout=30) == code


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}], ids=str)
def test_so_does_one_that_leaves_its_actors_method(options: dict[str, Any]) -> None:
    actor = Serial.options(**options).remote()  # type: ignore[attr-defined]
    calls = [actor.fork.remote(how) for how, _ in WAYS]
    assert actors.get(calls, timeout=30) == [code for _, code in WAYS]


def test_and_one_that_leaves_a_coroutine() -> None:
    actor = Async.remote()  # type: ignore[attr-defined]
    calls = [actor.fork.remote(how) for how, _ in WAYS]
    assert actors.get(calls, timeout=30) == [code for _, code in WAYS]


def test_a_generator_that_forks_gives_its_items_once() -> None:
    @actors.remote
    def items() -> Iterator[str]:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        yield "child" if child == 0 else "parent"
        yield "end"

    assert [actors.get(ref) for ref in items.remote()] == ["parent", "end"]


def test_a_child_has_no_part_in_what_its_parent_calls() -> None:
    @actors.remote(max_retries=0)
    def ask_in_child() -> int:
        child = os.fork()
        if child == 0:
            # Another program's: embedded, as that of any forked child.
            os.environ.pop(ADDRESS_VARIABLE, None)
            code = actors.get(actors.remote(lambda: 7).remote())
            actors.shutdown()
            os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert actors.get(ask_in_child.remote(), timeout=30) == 7
