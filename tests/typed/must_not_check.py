# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What must not type-check: each line is ignored by the name of its error.

`mypy --strict` complains of an `ignore` that is not needed: whatever begins to check
here fails it.
"""

import actors
from tests.typed.must_check import add, both, count, name


def misuse() -> None:
    add.remote("one")  # type: ignore[call-overload]
    add.remote()  # type: ignore[call-overload]
    add.remote(1, c=2)  # type: ignore[call-overload]
    count.remote("three")  # type: ignore[arg-type]
    both.remote(1)  # type: ignore[call-arg]
    text: str = actors.get(add.remote(1))  # type: ignore[assignment]
    refs: list[actors.ObjectRef[int]] = [name.remote("x")]  # type: ignore[list-item]
    actors.get(3)  # type: ignore[call-overload]
    actors.get([1, 2])  # type: ignore[arg-type]
    actors.wait(add.remote(1))  # type: ignore[call-overload]
    add.options(retires=3)  # type: ignore[call-overload]
    add.options(num_returns="many")  # type: ignore[call-overload]
    name.options(priority="high")  # type: ignore[call-overload]
    actors.init(num_workers="two")  # type: ignore[arg-type]
    del text, refs
