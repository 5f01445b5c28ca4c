"""Promise: workers that are killed at random cost nothing but time."""

import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import actors
from actors.refs import known

pytestmark = pytest.mark.slow

TASKS = 3000


@pytest.fixture(autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=2)
    yield
    actors.shutdown()


@actors.remote(retries=-1)
def double(x: int) -> int:
    return 2 * x


@actors.remote(retries=-1)
def through(x: int) -> int:
    return actors.get(double.remote(x))


@pytest.mark.parametrize("seed", range(3))
def test_every_result_comes_once_though_workers_are_killed(seed: int) -> None:
    chance = random.Random(seed)
    hub: Any = known()._hub  # type: ignore[union-attr]
    refs = []
    for i in range(TASKS):
        refs.append((through if i % 10 == 0 else double).remote(i))
        if chance.random() < 0.01:
            pids = [worker.pid for worker in list(hub.workers.values())]
            victim = chance.choice(pids)
            if victim:
                os.kill(victim, signal.SIGKILL)
    assert actors.get(refs) == [2 * i for i in range(TASKS)]
    hub.check()
