# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What must type-check: `mypy --strict` says nothing about this file."""

from collections.abc import Iterator
from typing import Any, assert_type

import actors
from actors import ObjectRef, ObjectRefGenerator


@actors.remote
def add(a: int, b: int = 0) -> int:
    return a + b


@actors.remote(retries=2, timeout=3.0, num_cpus=0.5, resources={"disk": 1})
def name(of: str) -> str:
    return of


@actors.remote
def count(n: int) -> Iterator[int]:
    yield from range(n)


@actors.remote(num_returns=2)
def both() -> tuple[int, str]:
    return 1, "two"


async def use() -> None:
    ref = add.remote(1, b=2)
    assert_type(ref, ObjectRef[int])
    assert_type(actors.get(ref), int)
    assert_type(actors.get([ref, ref]), list[int])
    assert_type(await ref, int)
    assert_type(ref.future().result(), int)
    assert_type(add.remote(ref, 3), ObjectRef[int])
    assert_type(add.remote(3, ref), ObjectRef[int])
    assert_type(add.function(1), int)
    assert_type(name.options(priority=3).remote("x"), ObjectRef[str])
    assert_type(count.remote(3), ObjectRefGenerator[int])
    for item in count.remote(3):
        assert_type(item, ObjectRef[int])
    assert_type(
        actors.get(count.options(num_returns="dynamic").remote(3)),
        list[ObjectRef[int]],
    )
    assert_type(both.remote(), list[ObjectRef[Any]])
    assert_type(actors.put("text"), ObjectRef[str])
    ready, others = actors.wait([ref], num_returns=1, timeout=1.0)
    assert_type(ready, list[ObjectRef[int]])
    assert_type(others, list[ObjectRef[int]])
    for done in actors.as_completed([ref]):
        assert_type(done, ObjectRef[int])
    for done in actors.as_completed([count.remote(3)]):
        assert_type(done, ObjectRef[int])
    numbers, _ = actors.wait([count.remote(3)])
    assert_type(numbers, list[ObjectRefGenerator[int]])
    some, _ = actors.wait([count.remote(3), ref])
    assert_type(some, list[Any])
