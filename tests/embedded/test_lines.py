"""Calls between processes go straight to the actor, and nobody can tell but by speed.

They come in order with those by the owner, their values go wherever a ref goes, and
what becomes of them when an actor dies is what becomes of any other call.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import actors
from actors.embedded.actor_calls import Actor
from actors.errors import DeadlockError, GetTimeoutError
from actors.refs import known
from actors.task_errors import ActorDiedError, ActorUnavailableError, TaskCancelledError
from tests.support import eventually

pytestmark = pytest.mark.slow

# Calls after which a caller has a line, for certain: one to be known, one to be offered
# it, some while the actor begins to listen.
WARM = 20


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=2)
    yield
    actors.shutdown()


class Notes:
    """Writes down what it is called with."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def note(self, what: Any) -> Any:
        self.all.append(what)
        return what

    def note_size(self, what: int, array: bytes) -> int:
        self.all.append(what)
        return len(array)

    def take(self) -> list[Any]:
        taken, self.all = self.all, []
        return taken

    def fail(self) -> None:
        raise ValueError("no")

    def large(self) -> bytes:
        return b"x" * 300_000

    def boxed(self) -> list[Any]:
        return [actors.put("inside")]

    def wait_for(self, path: str) -> str:
        eventually(Path(path).exists, within=30)
        return path

    def square(self, x: int) -> int:
        return int(actors.get(squared.remote(x)))

    def die(self) -> None:
        os._exit(7)

    def die_once(self, mark: str) -> str:
        if not Path(mark).exists():
            Path(mark).touch()
            os._exit(7)
        return "again"

    def call_back(self, other: Any) -> Any:
        return actors.get(other.note.remote("back"))

    def visit(self, other: Any, times: int) -> Any:
        for _ in range(times):
            actors.get(other.note.remote("visit"))
        return actors.get(other.call_back.remote(actors.get_actor("visitor")))


# By hand: type checkers do not look at what a decorator makes of a class.
NotesActor = actors.remote(Notes)


@actors.remote
def squared(x: int) -> int:
    time.sleep(0.02)  # longer than a caller waits before it tells the owner
    return x * x


def warm(notes: Any) -> None:
    for _ in range(WARM):
        assert actors.get(notes.note.remote(None)) is None
    actors.get(notes.take.remote())


def actor_behind(handle: Any) -> Actor:
    runtime: Any = known()
    actor: Actor = handle._anchor.actor
    assert runtime is not None
    return actor


@actors.remote
def call_often(notes: Any, times: int) -> list[int]:
    return [actors.get(notes.note.remote(n)) for n in range(times)]


def test_after_some_calls_the_owner_sees_no_more_of_them() -> None:
    notes = NotesActor.remote()
    assert actors.get(call_often.remote(notes, 300)) == list(range(300))
    seen = sum(count.seen for count in actor_behind(notes).callers.values())
    assert 2 <= seen < 100
    assert actors.get(notes.take.remote()) == list(range(300))


@actors.remote
def call_and_count(notes: Any, times: int) -> int:
    for n in range(times):
        actors.get(notes.note.remote(n))
    borrower: Any = known()
    return len(borrower._straight._values) + len(borrower._gone)


def test_values_of_refs_that_have_gone_are_forgotten_on_the_way() -> None:
    assert actors.get(call_and_count.remote(NotesActor.remote(), 3000)) < 1000


@actors.remote
def call_in_all_ways(notes: Any, seed: int) -> list[int]:
    chance = random.Random(seed)
    warm(notes)
    made = 0
    later: list[Any] = []
    for _ in range(200):
        way = chance.randrange(7)
        if way == 0:  # nobody waits
            later.append(notes.note.remote(made))
        elif way == 1:  # too large for a pipe
            later.append(notes.note_size.remote(made, b"x" * 200_000))
        elif way == 2:  # needs what is not known yet
            later.append(notes.note.remote(squared_now.remote(made)))
        elif way == 3 and later:
            actors.get(later.pop(chance.randrange(len(later))))
        elif way == 4:  # several at once
            refs = [notes.note.remote(made + n) for n in range(5)]
            assert actors.get(refs) == list(range(made, made + 5))
            made += 4
        else:
            assert actors.get(notes.note.remote(made)) == made
        if way != 3:
            made += 1
        elif not later:
            continue
    actors.get(later)
    return list(range(made))


@actors.remote
def squared_now(x: int) -> int:
    return x


@pytest.mark.parametrize("seed", range(3))
def test_calls_of_one_caller_run_in_order_whichever_way_they_go(seed: int) -> None:
    notes = NotesActor.remote()
    made = actors.get(call_in_all_ways.remote(notes, seed))
    noted = actors.get(notes.take.remote())
    assert len(noted) >= 100
    assert noted == sorted(noted)
    assert set(noted) <= set(made)


@actors.remote
def add(*numbers: int) -> int:
    return sum(numbers)


@actors.remote
def pass_on(notes: Any) -> tuple[Any, ...]:
    warm(notes)
    ref = notes.note.remote(5)
    assert actors.get(ref) == 5
    assert actors.get(ref) == 5, "a value can be had again"
    other = notes.note.remote(6)
    assert actors.get(other) == 6
    total = actors.get(add.remote(ref, other))
    ready, rest = actors.wait([ref, squared.remote(1)], num_returns=1)
    assert ready == [ref]
    assert len(rest) == 1
    assert actors.get(ref.future().result and ref) == 5
    failed = notes.fail.remote()
    with pytest.raises(ValueError, match="no"):
        actors.get(failed)
    return total, [ref], failed


def test_a_value_that_came_straight_goes_wherever_a_ref_goes() -> None:
    total, (ref,), failed = actors.get(pass_on.remote(NotesActor.remote()))
    assert total == 11
    assert actors.get(ref) == 5
    assert actors.get(add.remote(ref, 1)) == 6
    with pytest.raises(ValueError, match="no"):
        actors.get(failed)


@actors.remote
def fetch(notes: Any) -> tuple[int, str]:
    warm(notes)
    size = len(actors.get(notes.large.remote()))
    (inner,) = actors.get(notes.boxed.remote())
    for _ in range(WARM):
        assert len(actors.get(notes.large.remote())) == size
    return size, actors.get(inner)


def test_large_results_and_refs_in_results_are_counted_by_the_owner() -> None:
    assert actors.get(fetch.remote(NotesActor.remote())) == (300_000, "inside")


@actors.remote
def wait_long(notes: Any, path: str) -> str:
    warm(notes)
    ref = notes.wait_for.remote(path)
    with pytest.raises(GetTimeoutError):
        actors.get(ref, timeout=0.05)
    behind = notes.note.remote("behind")
    Path(path).touch()
    assert actors.get(behind) == "behind"
    return str(actors.get(ref))


def test_a_long_call_goes_on_when_its_caller_waits_no_longer(tmp_path: Path) -> None:
    path = str(tmp_path / "go")
    assert actors.get(wait_long.remote(NotesActor.remote(), path)) == path


@actors.remote
def wait_and_cancel(notes: Any, path: str) -> str:
    warm(notes)
    ref = notes.wait_for.remote(path)
    threading.Timer(0.1, lambda: actors.cancel(ref)).start()
    with pytest.raises(TaskCancelledError):
        actors.get(ref)
    return str(actors.get(notes.note.remote("alive")))


def test_a_long_call_can_be_cancelled_by_another_thread(tmp_path: Path) -> None:
    ref = wait_and_cancel.remote(NotesActor.remote(), str(tmp_path / "never"))
    assert actors.get(ref) == "alive"


@actors.remote
def wait_for_ever(notes: Any, mark: str, path: str) -> None:
    warm(notes)
    Path(mark).touch()
    actors.get(notes.wait_for.remote(path))


def test_a_caller_that_is_cancelled_leaves_the_actor_of_use(tmp_path: Path) -> None:
    notes = NotesActor.remote()
    mark, path = tmp_path / "mark", tmp_path / "go"
    ref = wait_for_ever.remote(notes, str(mark), str(path))
    eventually(mark.exists)
    time.sleep(0.05)
    actors.cancel(ref)
    with pytest.raises(TaskCancelledError):
        actors.get(ref)
    path.touch()
    assert actors.get(notes.note.remote(1)) == 1
    assert actors.get(call_often.remote(notes, 50)) == list(range(50))


@actors.remote
def square_all(notes: Any, count: int) -> list[int]:
    warm(notes)
    return [actors.get(notes.square.remote(n)) for n in range(count)]


def test_a_task_that_waits_for_a_call_gives_its_place_to_what_that_calls() -> None:
    refs = [square_all.remote(NotesActor.remote(), 5) for _ in range(4)]
    assert actors.get(refs) == [[0, 1, 4, 9, 16]] * 4


@actors.remote
def call_what_dies(notes: Any, how: str, *args: Any) -> Any:
    warm(notes)
    return actors.get(getattr(notes, how).remote(*args))


def test_the_death_of_an_actor_reaches_who_has_called_it_straight() -> None:
    with pytest.raises(ActorDiedError, match="exit"):
        actors.get(call_what_dies.remote(NotesActor.remote(), "die"))


def test_a_call_that_had_begun_is_not_run_again_unasked(tmp_path: Path) -> None:
    notes = NotesActor.options(max_restarts=1).remote()
    mark = str(tmp_path / "mark")
    with pytest.raises(ActorUnavailableError, match="may have run"):
        actors.get(call_what_dies.remote(notes, "die_once", mark))
    assert actors.get(call_often.remote(notes, 50)) == list(range(50))


def test_a_call_that_may_be_retried_is_run_by_the_next_incarnation(
    tmp_path: Path,
) -> None:
    notes = NotesActor.options(max_restarts=1, max_task_retries=1).remote()
    mark = str(tmp_path / "mark")
    ref = call_what_dies.remote(notes, "die_once", mark)
    assert actors.get(ref) == "again"
    assert actors.get(call_often.remote(notes, 50)) == list(range(50))


def test_a_circle_of_calls_is_told_even_if_they_go_straight() -> None:
    visitor = NotesActor.options(name="visitor").remote()
    host = NotesActor.remote()
    with pytest.raises(DeadlockError):
        actors.get(visitor.visit.remote(host, WARM))
    assert actors.get(visitor.note.remote(1)) == 1
    assert actors.get(host.note.remote(2)) == 2


def test_many_callers_at_the_same_time_all_get_their_own_answers() -> None:
    notes = NotesActor.remote()
    refs = [call_often.remote(notes, 200) for _ in range(6)]
    assert actors.get(refs) == [list(range(200))] * 6
    assert len(actors.get(notes.take.remote())) == 1200


class Ledger:
    """Writes each number into a file, where it outlives the actor."""

    def __init__(self, path: str) -> None:
        self.path = path

    def pid(self) -> int:
        return os.getpid()

    def enter(self, number: int) -> int:
        with open(self.path, "a") as file:
            file.write(f"{number}\n")
        return number


LedgerActor = actors.remote(Ledger)


@actors.remote
def enter_all(ledger: Any, first: int, count: int) -> list[int]:
    entered = []
    for number in range(first, first + count):
        try:
            entered.append(actors.get(ledger.enter.remote(number)))
        except ActorUnavailableError:
            continue  # it may have been entered
    return entered


def test_an_actor_that_is_killed_at_random_runs_no_call_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    options = {"max_restarts": -1, "max_concurrency": 1}
    ledger = LedgerActor.options(**options).remote(str(path))
    refs = [enter_all.remote(ledger, first, 1000) for first in (0, 10_000)]
    chance = random.Random(0)
    for kills in range(1, 6):
        pid = actors.get(ledger.pid.remote())
        lines = kills * chance.randrange(100, 200)
        eventually(lambda: path.exists() and len(path.read_text()) > lines, within=30)  # noqa: B023
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ActorUnavailableError):
            actors.get(ledger.pid.remote())
    answered = [number for ref in refs for number in actors.get(ref)]
    entered = [int(line) for line in path.read_text().split()]
    assert len(entered) == len(set(entered)), "a call ran twice"
    assert set(answered) <= set(entered)
    assert len(answered) >= 2000 - 2 * 5, "more than what ran was lost"
