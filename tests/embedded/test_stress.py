"""Promise: workers that are killed at random cost nothing but time.

Actors that are killed cost the calls that had begun, and no order.
"""

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import actors
from actors.refs import known
from actors.task_errors import ActorUnavailableError
from tests.leaks import no_leaks

pytestmark = pytest.mark.slow

TASKS = 3000


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=2)
    yield
    actors.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with no_leaks():
        yield


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
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
    assert actors.get(refs) == [2 * i for i in range(TASKS)]
    hub.check()


class Ledger:
    """Keeps what it was given, in a file as large as an actor's memory is short."""

    def __init__(self, path: str) -> None:
        self.path = path

    def note(self, number: int) -> int:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{number}\n")
        return number

    def note_through(self, number: int) -> int:
        return actors.get(double.remote(number))


CALLS = 600


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("retries", [0, -1])
def test_calls_of_actors_that_are_killed_keep_order_and_are_never_lost(
    tmp_path: Path, seed: int, retries: int
) -> None:
    """Actors and workers are killed under load, from outside and by actors.kill."""
    chance = random.Random(seed)
    hub: Any = known()._hub  # type: ignore[union-attr]
    class_ = actors.remote(Ledger).options(max_restarts=-1, max_task_retries=retries)
    paths = [tmp_path / str(index) for index in range(3)]
    ledgers = [class_.remote(str(path)) for path in paths]
    refs: list[list[actors.ObjectRef[int]]] = [[] for _ in ledgers]
    for number in range(CALLS):
        index = number % len(ledgers)
        ledger = ledgers[index]
        refs[index].append(ledger.note.remote(number))
        if number % 50 == 0:
            refs[index].append(ledger.note_through.remote(number))
        if chance.random() < 0.01:
            processes = [*hub.workers.values(), *hub.guests.values()]
            victim = chance.choice([process.pid for process in processes])
            if victim:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
        elif chance.random() < 0.005:
            actors.kill(ledger, no_restart=False)
    for path, made in zip(paths, refs, strict=True):
        answers = [_outcome(ref) for ref in made]
        noted = [int(line) for line in path.read_text().split()]
        if retries == 0:
            assert len(noted) == len(set(noted)), "at most once"
        # The first time that each was noted: in the order of the calls.
        assert list(dict.fromkeys(noted)) == sorted(set(noted))
        assert {x for x in answers if x is not None and x % 50} <= set(noted)
        assert retries == 0 or None not in answers


def _outcome(ref: actors.ObjectRef[int]) -> int | None:
    try:
        return actors.get(ref, timeout=60)
    except ActorUnavailableError:
        return None  # it had begun, and may have run
