"""Promise: whatever is done with actors, in whatever order, they do what a model says.

Real processes: actors that are created, called, passed on, crashed, killed, restarted
and dropped, against a model of a counter.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

import actors
from actors import ObjectRef
from actors.errors import NoSuchActorError
from actors.task_errors import ActorDiedError, ActorUnavailableError
from tests.leaks import no_leaks
from tests.support import eventually

pytestmark = pytest.mark.slow

# Over what travels inline.
LARGE = 100_000


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    actors.init(num_workers=2)
    yield
    actors.shutdown()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with no_leaks():
        yield


class Counter:
    def __init__(self) -> None:
        self.total = 0

    def add(self, count: int, ballast: bytes = b"") -> int:
        self.total += count + len(ballast)
        return self.total

    def pid(self) -> int:
        return os.getpid()

    def crash(self) -> None:
        os._exit(9)


@actors.remote
def add_through(handle: Any, count: int) -> int:
    ref: ObjectRef[int] = handle.add.remote(count)
    return actors.get(ref)


@dataclass
class Model:
    """What a counter should be."""

    handle: Any
    name: str
    restarts_left: int
    total: int = 0
    is_dead: bool = False
    pending: list[tuple[ObjectRef[Any], int]] = field(default_factory=list)

    def called(self, ref: ObjectRef[Any], count: int) -> None:
        self.total += count
        self.pending.append((ref, self.total))

    def settle(self) -> None:
        """Look whether all calls so far have answered what they should."""
        pending, self.pending = self.pending, []
        for ref, expected in pending:
            if self.is_dead:
                with pytest.raises(ActorDiedError):
                    actors.get(ref)
            else:
                assert actors.get(ref, timeout=60) == expected

    def ends(self) -> None:
        """Its process is gone, and it was not meant."""
        self.total = 0
        if self.restarts_left:
            self.restarts_left -= 1
        else:
            self.is_dead = True


class Actors(RuleBasedStateMachine):
    models: Bundle[Model] = Bundle("models")
    names = 0

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Model] = []

    @rule(target=models, max_restarts=st.integers(0, 2))
    def create(self, max_restarts: int) -> Model:
        Actors.names += 1
        name = f"counter-{Actors.names}"
        options = {"name": name, "max_restarts": max_restarts}
        handle = actors.remote(Counter).options(**options).remote()
        model = Model(handle, name, max_restarts)
        self.all.append(model)
        return model

    @rule(model=models, counts=st.lists(st.integers(-3, 3), min_size=1, max_size=5))
    def call(self, model: Model, counts: list[int]) -> None:
        for count in counts:
            model.called(model.handle.add.remote(count), count)

    @rule(model=models)
    def call_with_much(self, model: Model) -> None:
        model.called(model.handle.add.remote(1, actors.put(bytes(LARGE))), 1 + LARGE)

    @rule(model=models, other=models)
    def call_with_a_ref(self, model: Model, other: Model) -> None:
        if other.is_dead or model is other:
            return
        given = other.handle.add.remote(2)
        other.called(given, 2)
        model.called(model.handle.add.remote(given), other.total)

    @rule(model=models)
    def call_from_a_task(self, model: Model) -> None:
        model.settle()
        ref = add_through.remote(model.handle, 5)
        model.called(ref, 5)
        model.settle()

    @rule(model=models)
    def find(self, model: Model) -> None:
        model.settle()
        if model.is_dead:
            with pytest.raises(NoSuchActorError):
                actors.get_actor(model.name)
        else:
            assert actors.get_actor(model.name) == model.handle

    @rule(model=models, calls_behind=st.integers(0, 3))
    def crash(self, model: Model, calls_behind: int) -> None:
        model.settle()
        lost = model.handle.crash.remote()
        was_dead = model.is_dead
        if not was_dead:
            model.ends()
        for _ in range(calls_behind):
            # They had not begun: they run in the next incarnation.
            model.called(model.handle.add.remote(1), 1)
        error = ActorDiedError if model.is_dead else ActorUnavailableError
        with pytest.raises(error):
            actors.get(lost)

    @rule(model=models, how=st.sampled_from(["signal", "kill"]))
    def kill(self, model: Model, how: str) -> None:
        model.settle()
        if model.is_dead:
            actors.kill(model.handle)
            return
        pid = actors.get(model.handle.pid.remote())
        died = actors.watch(model.handle)
        if how == "signal":
            os.kill(pid, signal.SIGKILL)
        else:
            actors.kill(model.handle, no_restart=False)
        model.ends()
        assert actors.get(died).is_final == model.is_dead

    @rule(model=models)
    def kill_for_good(self, model: Model) -> None:
        model.settle()
        died = actors.watch(model.handle)
        actors.kill(model.handle)
        model.is_dead = True
        assert actors.get(died).is_final

    @rule(model=consumes(models))
    def drop(self, model: Model) -> None:
        """What was called is answered all the same."""
        model.handle = None
        model.settle()
        if not model.is_dead:
            eventually(lambda: _is_gone(model.name), what=f"end of {model.name}")
        self.all.remove(model)

    @rule(target=models, model=consumes(models))
    def look(self, model: Model) -> Any:
        model.settle()
        return multiple(model)

    @invariant()
    def all_are_listed(self) -> None:
        listed = {row.name: row for row in actors.state.list_actors(limit=1000)}
        for model in self.all:
            if not model.is_dead and not model.pending:
                assert listed[model.name].state != "DEAD"

    def teardown(self) -> None:
        for model in self.all:
            model.settle()
            model.handle = None
        self.all.clear()


def _is_gone(name: str) -> bool:
    try:
        actors.get_actor(name)
    except NoSuchActorError:
        return True
    return False


Actors.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestActors = Actors.TestCase
