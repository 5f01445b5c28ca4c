"""Whoever cancels a call that has not begun harms no other call of its actor."""

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import actors
from tests.both_ways import BOTH_WAYS, initialized

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=BOTH_WAYS, autouse=True)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    with initialized(request.param, embedded={"num_workers": 1}) as way:
        yield way


class Gate:
    """Threads that wait in `enter` until there is a `leave`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.inside = threading.Semaphore(0)

    @actors.method(concurrency_group="work")
    def enter(self) -> int:
        self.inside.release()
        self.gate.wait(60)
        return os.getpid()

    @actors.method(concurrency_group="care")
    def await_inside(self) -> None:
        self.inside.acquire(timeout=60)

    @actors.method(concurrency_group="care")
    def leave(self) -> None:
        self.gate.set()


class AsyncGate:
    """The same on an event loop."""

    def __init__(self) -> None:
        self.gate: asyncio.Event | None = None
        self.inside = False

    async def enter(self) -> int:
        self.gate = self.gate or asyncio.Event()
        self.inside = True
        await self.gate.wait()
        return os.getpid()

    @actors.method(concurrency_group="care")
    async def await_inside(self) -> None:
        while not self.inside:
            await asyncio.sleep(0.01)

    @actors.method(concurrency_group="care")
    async def leave(self) -> None:
        assert self.gate is not None
        self.gate.set()


@pytest.mark.parametrize("how", [{"force": True}, {"grace": 0.0}, {}])
@pytest.mark.parametrize("kind", [Gate, AsyncGate])
def test_an_actor_of_many_calls_lives_on(kind: type, how: dict[str, Any]) -> None:
    """Its process was killed, with all that ran in it."""
    groups = {"care": 2, "work": 1}
    made: Any = actors.remote(kind).options(
        concurrency_groups=groups, max_concurrency=1
    )
    gate: Any = made.remote()
    running = gate.enter.remote()
    actors.get(gate.await_inside.remote())
    unbegun = [gate.enter.remote() for _ in range(3)]
    for ref in unbegun:
        actors.cancel(ref, **how)
    for ref in unbegun:
        with pytest.raises(actors.TaskCancelledError):
            actors.get(ref, timeout=60)
    actors.get(gate.leave.remote())
    assert isinstance(actors.get(running), int)


def test_a_call_that_runs_is_ended_by_force_all_the_same() -> None:
    gate: Any = (
        actors.remote(Gate).options(concurrency_groups={"care": 1, "work": 1}).remote()
    )
    running = gate.enter.remote()
    actors.get(gate.await_inside.remote())
    actors.cancel(running, force=True)
    with pytest.raises(actors.TaskCancelledError):
        actors.get(running, timeout=60)
