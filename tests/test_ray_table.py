"""Every name of Ray's that the README's table claims is there, and no row is unchecked.

What they do is tested by the programs in tests/ray_programs, and beside what does it.
"""

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import actors
import actors.actor
import actors.exceptions
import actors.util.multiprocessing
import actors.util.queue
from actors.api.actor_class import ActorClass
from actors.api.options import Options
from actors.messages import ActorOptions
from actors.runtime_context import RuntimeContext

_README = (Path(__file__).parents[1] / "README.md").read_text()
_NAME = re.compile(r"`([^`]+)`")


def _rows() -> dict[str, str]:
    """Return {what of Ray's: what is here}."""
    table = _README.partition("| Ray | here |\n|---|---|\n")[2].partition("\n\n")[0]
    lines = [line.strip("| ").partition(" | ") for line in table.splitlines()]
    return {of_ray: here for of_ray, _, here in lines}


ROWS = _rows()


def claimed(text: str) -> list[str]:
    """Return the names in backquotes of what is said to be there."""
    return _NAME.findall(re.sub(r"\bnot?:? .*?(;|$)", "", text))


def parameters(function: Callable[..., Any]) -> set[str]:
    return {*inspect.signature(function).parameters}


def test_each_row_is_looked_at() -> None:
    assert len(ROWS) == 13
    checked = set().union(*(CHECKS, {"two budgets", "impossible demands", "not there"}))
    assert {*ROWS} == checked


def _of_actors(row: str) -> None:
    """The names of the row itself are those of the package."""
    for name in claimed(row):
        if name.isidentifier():
            assert callable(getattr(actors, name)), name


def _init(here: str) -> None:
    assert {n for n in claimed(here) if n.isidentifier()} <= parameters(actors.init)


def _functions(here: str) -> None:
    known = {*Options.__dataclass_fields__, "max_retries"}
    assert {n for n in claimed(here) if n.isidentifier()} <= known
    double = actors.remote(abs)
    assert callable(double.remote)
    with pytest.raises(actors.ConfigError, match="Unknown options"):
        double.options(bogus=1)  # type: ignore[call-overload]


def _refs(here: str) -> None:
    assert "grace" in here
    assert {"force", "recursive", "grace"} <= parameters(actors.cancel)
    assert {"num_returns", "timeout", "fetch_local"} <= parameters(actors.wait)
    assert "timeout" in parameters(actors.get)


def _ref(here: str) -> None:
    assert callable(actors.as_completed)
    for name in ("future", "__await__"):
        assert callable(getattr(actors.ObjectRef, name)), name
    for name in ("__next__", "__anext__"):
        assert callable(getattr(actors.ObjectRefGenerator, name)), name


def _classes(here: str) -> None:
    class Plain:
        pass

    made: Any = actors.remote(Plain)
    assert isinstance(made, ActorClass)
    given = {"name": "n", "namespace": "s", "get_if_exists": True, "max_restarts": 1}
    given |= {"max_task_retries": 1, "max_concurrency": 2, "num_cpus": 1}
    given |= {"concurrency_groups": {"io": 1}, "max_pending_calls": 1}
    assert {n for n in claimed(here) if n.isidentifier()} == {*given}
    assert isinstance(made.options(**given, lifetime="detached"), ActorClass)
    assert ActorOptions("C").is_detached is False
    assert actors.actor.exit_actor is actors.exit_actor
    assert {"name", "namespace"} <= parameters(actors.get_actor)
    assert "no_restart" in parameters(actors.kill)


def _exceptions(here: str) -> None:
    # Those that the text names beside the module's are the package's own.
    for name in claimed(here):
        if name.endswith("Error"):
            assert issubclass(getattr(actors, name), actors.ActorsError), name
    assert not hasattr(actors.exceptions, "RayTaskError")
    for name in actors.exceptions.__all__:
        kind = getattr(actors.exceptions, name)
        assert issubclass(kind, actors.exceptions.RayError), name
    assert issubclass(actors.exceptions.GetTimeoutError, TimeoutError)
    assert issubclass(actors.exceptions.ActorDiedError, actors.exceptions.RayActorError)


def _util(here: str) -> None:
    assert actors.util.ActorPool is actors.ActorPool
    assert actors.util.queue.Queue is actors.Queue
    assert {"Empty", "Full"} <= {*dir(actors.util.queue)}
    assert actors.util.multiprocessing.Pool is actors.Pool
    pytest.importorskip("joblib", reason="joblib is not installed")
    backend = importlib.import_module("actors.util.joblib")
    assert callable(backend.register_actors)


def _context(here: str) -> None:
    names = [n for n in claimed(here) if n.isidentifier()]
    assert len(names) == 10
    for name in names:
        assert hasattr(RuntimeContext, name), name


def _nodes(here: str) -> None:
    source = inspect.getsource(importlib.import_module("actors.runtime_context"))
    for name in claimed(here):
        assert f'"{name}"' in source, name


CHECKS: dict[str, Callable[[str], None]] = {
    "`init`, `is_initialized`, `shutdown`": _init,
    "`remote`, `.remote`, `.options`": _functions,
    "`get`, `wait`, `put`, `cancel`": _refs,
    "`ObjectRef`, `await ref`, `ref.future()`, `ObjectRefGenerator`": _ref,
    "classes: `remote`, `options`, `method`, `get_actor`, `kill`, `actor.exit_actor`": (
        _classes
    ),
    "`ray.exceptions`": _exceptions,
    "`cluster_resources`, `available_resources`, `timeline`": lambda _: None,
    "`ray.util`: `ActorPool`, `queue.Queue`, `multiprocessing.Pool`, `joblib`": _util,
    "`get_runtime_context`": _context,
    "`nodes`, `get_gpu_ids`": _nodes,
}


@pytest.mark.parametrize("row", CHECKS)
def test_what_a_row_claims_is_there(row: str) -> None:
    if not row.startswith(("classes", "`ray.")):
        _of_actors(row)
    CHECKS[row](ROWS[row])
