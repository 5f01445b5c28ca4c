# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What must not type-check of actors; see must_not_check."""

import actors
from tests.typed.must_check_actors import Counter


def misuse(counter: Counter) -> None:
    Counter.remote("three")  # type: ignore[arg-type]
    Counter.options(name="c").remote(begin=1)  # type: ignore[call-arg]
    counter.add.remote("one")  # type: ignore[call-overload]
    counter.add.remote()  # type: ignore[call-overload]
    counter.wait.remote("x", silent=True)  # type: ignore[call-overload]
    counter.items.remote("three")  # type: ignore[arg-type]
    counter.nothing.remote()  # type: ignore[attr-defined]
    counter.twice.remote(1)  # type: ignore[attr-defined]
    text: str = actors.get(counter.add.remote(1))  # type: ignore[assignment]
    actors.kill("counter")  # type: ignore[arg-type]
    actors.method(num_returns=2.5)  # type: ignore[call-overload]
    actors.Child("c", Counter, restart="always")  # type: ignore[arg-type]
    actors.Supervisor([], restart_scope="all")  # type: ignore[arg-type]
    del text
