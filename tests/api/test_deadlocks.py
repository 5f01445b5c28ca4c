"""Actors that would wait for each other for ever are told so, and by name."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

import actors
from actors import ObjectRef
from actors.errors import DeadlockError, GetTimeoutError
from tests.both_ways import BOTH_WAYS, initialized
from tests.leaks import no_leaks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True, params=BOTH_WAYS)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    with initialized(request.param) as way:
        yield way


_links: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_is_left(runtime: str) -> Iterator[None]:
    with no_leaks() if runtime == "embedded" else contextlib.nullcontext():
        yield
        # They hold handles on each other, in a circle: nobody else would end them.
        while _links:
            actors.kill(_links.pop())


class Link:
    """Part of a chain of actors that ask each other."""

    def __init__(self) -> None:
        self.other: Any = None

    def follow(self, other: Any) -> None:
        self.other = other

    def ask(self, depth: int, timeout: float | None = None) -> int:
        if not depth:
            return 0
        ref: ObjectRef[int] = self.other.ask.remote(depth - 1)
        return 1 + actors.get(ref, timeout=timeout)

    def ask_by_wait(self, depth: int) -> int:
        ref: ObjectRef[int] = self.other.ask.remote(depth)
        actors.wait([ref, actors.put(1)], num_returns=2)
        return actors.get(ref)

    def ask_by_task(self, depth: int) -> int:
        return actors.get(_ask.remote(self.other, depth))

    def ask_and_catch(self) -> str:
        try:
            return str(self.ask(3))
        except DeadlockError:
            return "caught"

    def items(self, depth: int) -> Iterator[int]:
        yield self.ask(depth)

    def ask_for_items(self) -> list[int]:
        return [actors.get(ref) for ref in self.other.items.remote(3)]

    def flood(self) -> int:
        refs: list[ObjectRef[int]] = [self.other.ask.remote(2) for _ in range(3)]
        return sum(actors.get(refs))

    def count(self) -> int:
        return 1


@actors.remote
def _ask(other: Any, depth: int) -> int:
    ref: ObjectRef[int] = other.ask.remote(depth)
    return actors.get(ref)


Chain = actors.remote(Link)


def circle(length: int, **options: Any) -> list[Any]:
    links = [Chain.options(**options).remote() for _ in range(length)]
    _links.extend(links)
    following = zip(links, [*links[1:], links[0]], strict=True)
    actors.get([one.follow.remote(other) for one, other in following])
    return links


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_calls_that_wait_is_told_with_all_names(length: int) -> None:
    links = circle(length, name="")
    with pytest.raises(DeadlockError, match="Waiting would never end: Actor") as caught:
        actors.get(links[0].ask.remote(10))
    assert str(caught.value).count("Link") == length + 1
    # Nobody is stuck.
    assert actors.get([link.ask.remote(0) for link in links]) == [0] * length


def test_a_chain_without_a_circle_is_no_deadlock() -> None:
    links = circle(4)
    assert actors.get(links[0].ask.remote(3)) == 3


def test_wait_tasks_and_generators_close_circles_too() -> None:
    for method in ("ask_by_wait", "ask_by_task"):
        links = circle(2)
        with pytest.raises(DeadlockError):
            actors.get(getattr(links[0], method).remote(10))
        assert actors.get(links[0].count.remote()) == 1
    links = circle(2)
    with pytest.raises(DeadlockError):
        actors.get(links[0].ask_for_items.remote())


def test_the_error_can_be_answered() -> None:
    links = circle(2)
    assert actors.get(links[1].ask_and_catch.remote()) == "caught"


def test_a_wait_that_ends_by_itself_is_no_deadlock() -> None:
    links = circle(2)
    with pytest.raises(GetTimeoutError):
        actors.get(links[0].ask.remote(10, 0.2))


def test_an_actor_that_takes_several_calls_is_not_full() -> None:
    links = circle(2, max_concurrency=4)
    assert actors.get(links[0].ask.remote(4)) == 4


def test_waiting_for_room_closes_a_circle_too() -> None:
    links = circle(2, max_pending_calls=1, on_full="wait")
    with pytest.raises(DeadlockError):
        actors.get(links[0].flood.remote())
    assert actors.get(links[0].count.remote()) == 1
