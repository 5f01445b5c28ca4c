"""Promise: a ref that outlives its runtime never means the value of another one's."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import actors
from actors.errors import ActorsError
from actors.task_errors import ActorDiedError, RuntimeClosedError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def shut_down() -> Iterator[None]:
    yield
    actors.shutdown()


@actors.remote
def same(value: Any) -> Any:
    return value


@actors.remote
def first(refs: list[Any]) -> Any:
    return actors.get(refs[0])


@actors.remote
def make(x: float) -> Any:
    return [actors.put(np.full(20_000, x))]


@actors.remote
def wait_for_ever() -> None:
    threading.Event().wait()


class Actor:
    def speak(self) -> str:
        return "here"


def session(x: float) -> list[actors.ObjectRef[Any]]:
    """Begin one, and return refs of all sorts that were in other processes."""
    actors.init(num_workers=1)
    small, large = actors.put(x), actors.put(np.full(20_000, x))
    inner = actors.put([small])
    (borrowed,) = actors.get(make.remote(x))
    for ref in small, large, borrowed:
        actors.get(first.remote([ref]))
    return [small, inner, large, borrowed]


WAYS: list[Callable[[Any], Any]] = [
    actors.get,
    lambda ref: actors.get(same.remote(ref), timeout=30),
    lambda ref: actors.get(first.remote([ref]), timeout=30),
]


@pytest.mark.parametrize("use", WAYS, ids=["get", "argument", "inside"])
def test_old_refs_have_their_own_values_or_none(use: Callable[[Any], Any]) -> None:
    small, inner, *large = session(1.0)
    actors.shutdown()
    kept = session(2.0)
    assert use(small) == 1.0
    (again,) = use(inner)
    assert use(again) == 1.0
    for ref in large:
        with pytest.raises(ActorsError, match="gone|freed"):
            use(ref)
    assert use(kept[0]) == 2.0
    assert use(kept[2])[0] == use(kept[3])[0] == 2.0


def test_what_was_not_known_is_told_and_old_actors_are_dead() -> None:
    actors.init(num_workers=1)
    actor = actors.remote(Actor).remote()
    assert actors.get(actor.speak.remote()) == "here"
    waiting = same.remote(wait_for_ever.remote())
    actors.shutdown()
    actors.init(num_workers=1)
    other = actors.remote(Actor).remote()
    assert actors.get(other.speak.remote()) == "here"
    with pytest.raises(RuntimeClosedError):
        actors.get(waiting, timeout=30)
    with pytest.raises(ActorDiedError):
        actors.get(actor.speak.remote(), timeout=30)
