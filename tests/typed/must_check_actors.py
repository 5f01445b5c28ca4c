# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What must type-check of actors; never run, but for `mypy` and `pyright`."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import actors
from actors import ObjectRef, ObjectRefGenerator


class Counter(actors.Actor):
    def __init__(self, start: int = 0) -> None:
        self.total = start

    @actors.method
    def add(self, count: int) -> int:
        self.total += count
        return self.total

    @actors.method
    async def wait(self, text: str, *, loud: bool = False) -> str:
        return text

    @actors.method
    def items(self, count: int) -> Iterator[int]:
        yield from range(count)

    @actors.method
    async def async_items(self, count: int) -> AsyncIterator[str]:
        yield str(count)

    @actors.method(num_returns=2)
    def both(self) -> tuple[int, str]:
        return 1, "two"

    @actors.method(timeout=1.0, concurrency_group="io")
    def slow(self, seconds: float) -> float:
        return seconds

    def twice(self, count: int) -> int:
        # Inside, methods are what they are.
        return self.add(count) + self.add(count)


class Plain:
    def method(self) -> int:
        return 1


def use() -> None:
    counter = Counter.remote(3)
    assert_type(counter, Counter)
    assert_type(Counter.options(name="c", max_restarts=3).remote(start=1), Counter)
    assert_type(counter.add.remote(1), ObjectRef[int])
    assert_type(actors.get(counter.add.remote(1)), int)
    assert_type(actors.get([counter.add.remote(1)]), list[int])
    assert_type(counter.wait.remote("x", loud=True), ObjectRef[str])
    assert_type(counter.items.remote(3), ObjectRefGenerator[int])
    assert_type(counter.async_items.remote(3), ObjectRefGenerator[str])
    assert_type(counter.both.remote(), list[ObjectRef[Any]])
    assert_type(counter.slow.remote(1.5), ObjectRef[float])
    assert_type(counter.slow.options(timeout=3.0).remote(1.5), ObjectRef[float])
    # A ref may stand for an argument.
    assert_type(counter.add.remote(actors.put(3)), ObjectRef[int])
    actors.kill(counter)
    assert_type(actors.get(actors.watch(counter)), actors.Died)
    plain = actors.remote(Plain).remote()
    actors.get(plain.method.remote())
    actors.kill(plain)
    supervisor = actors.Supervisor([actors.Child("counter", Counter, (3,))])
    with supervisor as started:
        assert_type(started, actors.Supervisor)


async def await_them(counter: Counter) -> None:
    assert_type(await counter.add.remote(1), int)
    assert_type(await counter.wait("inside"), str)
