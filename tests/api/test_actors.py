"""Actors have state in processes of their own, answer in order, say why they died."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import actors
from actors.errors import (
    ActorAlreadyExistsError,
    ConfigError,
    NoSuchActorError,
    PendingCallsLimitExceeded,
)
from actors.task_errors import (
    ActorDiedError,
    ActorUnavailableError,
    TaskCancelledError,
    TaskTimeoutError,
)
from tests.both_ways import BOTH_WAYS, initialized
from tests.leaks import no_leaks
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True, params=BOTH_WAYS)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    with initialized(request.param) as way:
        yield way


@pytest.fixture(autouse=True)
def nothing_is_left(runtime: str) -> Iterator[None]:
    # An endpoint's actors are looked at by the simulation.
    with no_leaks() if runtime == "embedded" else contextlib.nullcontext():
        yield


class Account:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, by: int = 1) -> int:
        self.count += by
        return self.count

    def pid(self) -> int:
        return os.getpid()

    def items(self, count: int) -> Iterator[int]:
        yield from range(count)

    @actors.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return 1, 2

    def fail(self) -> None:
        raise ValueError("no")

    def crash(self) -> None:
        print("last words", flush=True)
        os._exit(3)

    def crash_once(self, mark: str) -> str:
        if not Path(mark).exists():
            Path(mark).touch()
            os._exit(3)
        return "again"

    def leave(self) -> None:
        actors.exit_actor()

    def wait_for(self, path: str) -> None:
        eventually(Path(path).exists)

    def wait_and_ask(self, path: str) -> None:
        """Hear all that was said to this process until then: its answer comes last."""
        self.wait_for(path)
        actors.get(nothing.remote())


@actors.remote
def nothing() -> None:
    pass


# By hand: type checkers do not look at what a decorator makes of a class.
Counter = actors.remote(Account)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_calls_of_one_caller_run_in_their_order() -> None:
    counter = Counter.remote(10)
    assert actors.get([counter.add.remote(i) for i in range(200)]) == [
        10 + i * (i + 1) // 2 for i in range(200)
    ]


def test_a_call_with_a_failed_argument_fails_as_that_did() -> None:
    counter = Counter.remote()
    failed = counter.fail.remote()
    actors.wait([failed])
    refs = [counter.add.remote(failed), counter.add.remote(by=failed)]
    for ref in refs:
        with pytest.raises(ValueError, match="no"):
            actors.get(ref)
    assert actors.get(counter.add.remote()) == 1


def test_a_call_keeps_its_actor_alive() -> None:
    assert actors.get(Counter.remote(1).add.remote()) == 2


def test_an_actor_has_a_process_of_its_own_which_ends_with_the_last_handle() -> None:
    counter = Counter.remote()
    pid = actors.get(counter.pid.remote())
    assert pid != os.getpid()
    assert alive(pid)
    del counter
    eventually(lambda: not alive(pid))


def test_an_exception_is_the_callers_and_the_actor_lives_on() -> None:
    counter = Counter.remote()
    with pytest.raises(ValueError, match="no"):
        actors.get(counter.fail.remote())
    assert actors.get(counter.add.remote()) == 1


class Ticker:
    """Yields one for each file, and then what it was told."""

    def tick(self, paths: list[str]) -> Iterator[int]:
        for number, path in enumerate(paths):
            eventually(Path(path).exists)
            yield number
        raise ValueError("no more")


class AsyncTicker(Ticker):
    async def tick(self, paths: list[str]) -> Any:
        for number, path in enumerate(paths):
            while not Path(path).exists():
                await asyncio.sleep(0.01)
            yield number
        raise ValueError("no more")


@pytest.mark.parametrize(
    ("class_", "concurrency"), [(Ticker, 1), (Ticker, 2), (AsyncTicker, 1)]
)
def test_items_come_before_their_generator_goes_on(
    tmp_path: Path, class_: Any, concurrency: int
) -> None:
    ticker = actors.remote(class_).options(max_concurrency=concurrency).remote()
    paths = [str(tmp_path / str(number)) for number in range(3)]
    items = ticker.tick.remote(paths)
    for number, path in enumerate(paths):
        # Each but the first waits for this.
        Path(path).touch()
        assert actors.get(next(items)) == number
    with pytest.raises(ValueError, match="no more"):
        actors.get(next(items))
    assert not list(items)


def test_generators_stream_and_methods_may_return_several_values() -> None:
    counter = Counter.remote()
    assert [actors.get(ref) for ref in counter.items.remote(3)] == [0, 1, 2]
    assert actors.get(counter.pair.remote()) == [1, 2]


def test_refs_among_arguments_are_resolved_and_hold_back_later_calls() -> None:
    first, second = Counter.remote(), Counter.remote()
    refs = [second.add.remote(first.add.remote(5)), second.add.remote(1)]
    assert actors.get(refs) == [5, 6]


def test_refs_inside_arguments_stay_refs_and_keep_the_order() -> None:
    class Adder:
        def __init__(self) -> None:
            self.sums: list[int] = []

        def add(self, refs: list[Any]) -> list[int]:
            self.sums.append(sum(actors.get(refs)))
            return self.sums

    adder, counter = actors.remote(Adder).remote(), Counter.remote()
    refs = [adder.add.remote([counter.add.remote(n)]) for n in (1, 2)]
    refs.append(adder.add.remote([]))
    assert actors.get(refs[-1]) == [1, 3, 0]


def test_a_failed_argument_fails_the_call_alone() -> None:
    first, second = Counter.remote(), Counter.remote()
    with pytest.raises(ValueError, match="no"):
        actors.get(second.add.remote(first.fail.remote()))
    assert actors.get(second.add.remote()) == 1


def test_a_large_argument_and_a_large_result_travel() -> None:
    class Echo:
        def echo(self, value: bytes) -> bytes:
            return value

    data = bytes(1 << 20)
    assert actors.get(actors.remote(Echo).remote().echo.remote(data)) == data


def test_a_crash_ends_the_actor_with_its_last_words() -> None:
    counter = Counter.remote()
    died = actors.watch(counter)
    with pytest.raises(ActorDiedError, match="exited with code 3") as caught:
        actors.get(counter.crash.remote())
    assert caught.value.reason == actors.DeathReason.CRASHED
    assert "last words" in str(caught.value)
    with pytest.raises(ActorDiedError):
        actors.get(counter.add.remote())
    told = actors.get(died)
    assert (told.incarnation, told.is_final) == (1, True)
    assert actors.get(actors.watch(counter)) == told


def test_a_constructors_error_reaches_every_caller() -> None:
    counter = Counter.remote(1, 2)
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="constructor failed") as caught:
            actors.get(counter.add.remote())
        assert isinstance(caught.value.__cause__, TypeError)
    assert caught.value.reason == actors.DeathReason.CONSTRUCTOR_FAILED


def test_a_restarted_actor_loses_its_state_and_the_call_that_had_begun() -> None:
    counter = Counter.options(max_restarts=1).remote()
    assert actors.get(counter.add.remote()) == 1
    lost, later = counter.crash.remote(), [counter.add.remote() for _ in range(5)]
    with pytest.raises(ActorUnavailableError, match="may have run"):
        actors.get(lost)
    assert actors.get(later) == [1, 2, 3, 4, 5]
    with pytest.raises(ActorDiedError, match="restarted 1 times") as caught:
        actors.get(counter.crash.remote())
    assert caught.value.reason == actors.DeathReason.RESTARTS_EXCEEDED


def test_a_call_that_may_be_retried_is_run_again_before_later_ones(
    tmp_path: Path,
) -> None:
    counter = Counter.options(max_restarts=1, max_task_retries=1).remote()
    again = counter.crash_once.remote(str(tmp_path / "mark"))
    assert actors.get([again, counter.add.remote()]) == ["again", 1]


def test_calls_fail_at_once_during_a_restart_if_told() -> None:
    counter = Counter.options(max_restarts=-1, on_restart="fail").remote()
    refs = [counter.crash.remote(), counter.add.remote()]
    for ref in refs:
        with pytest.raises(ActorUnavailableError):
            actors.get(ref)


def test_killed_is_dead_for_good_unless_told_otherwise() -> None:
    counter = Counter.options(max_restarts=-1).remote()
    pid = actors.get(counter.pid.remote())
    died = actors.watch(counter)
    actors.kill(counter, no_restart=False)
    assert not actors.get(died).is_final
    assert actors.get(counter.pid.remote()) != pid
    actors.kill(counter)
    with pytest.raises(ActorDiedError, match="killed") as caught:
        actors.get(counter.add.remote())
    assert caught.value.reason == actors.DeathReason.KILLED


def test_exit_actor_is_an_end_that_was_meant() -> None:
    counter = Counter.options(max_restarts=-1).remote()
    with pytest.raises(ActorDiedError) as caught:
        actors.get(counter.leave.remote())
    assert caught.value.reason == actors.DeathReason.EXITED
    with pytest.raises(RuntimeError, match="outside"):
        actors.exit_actor()


def test_a_named_actor_is_found_until_it_is_dead() -> None:
    counter = Counter.options(name="n").remote(7)
    assert actors.get_actor("n") == counter
    with pytest.raises(NoSuchActorError):
        actors.get_actor("n", namespace="other")
    with pytest.raises(ActorAlreadyExistsError):
        Counter.options(name="n").remote()
    same = Counter.options(name="n", get_if_exists=True).remote(9)
    assert actors.get(same.add.remote()) == 8
    actors.kill(counter)
    with pytest.raises(ActorDiedError):
        actors.get(counter.add.remote())
    with pytest.raises(NoSuchActorError):
        actors.get_actor("n")
    assert actors.get(Counter.options(name="n").remote().add.remote()) == 1


def test_tasks_and_actors_use_handles_and_make_actors() -> None:
    @actors.remote
    def use(counter: Any) -> Any:
        return actors.get(counter.add.remote(10))

    @actors.remote
    def make() -> Any:
        counter = Counter.options(name="made").remote(5)
        assert actors.get_actor("made") == counter
        return counter, actors.get(counter.add.remote())

    class Boss:
        def __init__(self) -> None:
            self.counter = Counter.remote(1)

        def ask(self) -> Any:
            return actors.get(self.counter.add.remote())

    counter = Counter.remote(1)
    assert actors.get(use.remote(counter)) == 11
    made, count = actors.get(make.remote())
    assert (count, actors.get(made.add.remote())) == (6, 7)
    assert actors.get(actors.remote(Boss).remote().ask.remote()) == 2


def test_async_methods_run_at_the_same_time() -> None:
    class Signal:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        async def wait(self) -> str:
            await self.event.wait()
            return "set"

        async def send(self) -> None:
            self.event.set()

        def thread(self) -> str:
            return threading.current_thread().name

    both = actors.remote(Signal).remote()
    waiting = [both.wait.remote() for _ in range(50)]
    actors.get(both.send.remote())
    assert actors.get(waiting) == ["set"] * 50
    assert actors.get(both.thread.remote()) != "actors-loop"


def test_threads_and_concurrency_groups_run_at_the_same_time() -> None:
    class Rendezvous:
        def __init__(self) -> None:
            self.barrier = threading.Barrier(2)

        def meet(self) -> int:
            return self.barrier.wait(10)

        @actors.method(concurrency_group="io")
        def meet_aside(self) -> int:
            return self.barrier.wait(10)

    wide = actors.remote(Rendezvous).options(
        max_concurrency=2, concurrency_groups={"io": 1}
    )
    pair = wide.remote()
    assert sorted(actors.get([pair.meet.remote(), pair.meet.remote()])) == [0, 1]
    grouped = wide.options(max_concurrency=1).remote()
    refs = [grouped.meet.remote(), grouped.meet_aside.remote()]
    assert sorted(actors.get(refs)) == [0, 1]


def test_a_full_mailbox_refuses_more_calls(tmp_path: Path) -> None:
    counter = Counter.options(max_pending_calls=2).remote()
    gate = str(tmp_path / "gate")
    refs = [counter.wait_for.remote(gate), counter.add.remote()]
    for _ in range(2):
        with pytest.raises(PendingCallsLimitExceeded, match="max_pending_calls"):
            counter.add.remote()
    Path(gate).touch()
    assert actors.get(refs)[1] == 1
    assert actors.get(counter.add.remote()) == 2


def test_a_full_mailbox_makes_callers_wait_if_told(tmp_path: Path) -> None:
    counter = Counter.options(max_pending_calls=2, on_full="wait").remote()
    gate = tmp_path / "gate"
    refs = [counter.wait_for.remote(str(gate)), counter.add.remote()]
    third: list[Any] = []
    caller = threading.Thread(target=lambda: third.append(counter.add.remote()))
    caller.start()
    # What another caller may still do is done: nobody else is held up.
    assert actors.get(Counter.remote().add.remote()) == 1
    assert not third
    gate.touch()
    caller.join()
    assert actors.get([*refs[1:], *third]) == [1, 2]
    # Far more calls than there is room for, one after the other.
    assert actors.get([counter.add.remote() for _ in range(50)])[-1] == 52
    counter.crash.remote()
    with pytest.raises(ActorDiedError):
        actors.get([counter.add.remote() for _ in range(10)])


def test_a_full_mailbox_makes_tasks_wait_too(tmp_path: Path) -> None:
    @actors.remote
    def call(counter: Any) -> list[int]:
        return actors.get([counter.add.remote() for _ in range(20)])

    @actors.remote
    def call_too_often(counter: Any, gate: str) -> str:
        refs = [counter.wait_for.remote(gate)]
        try:
            counter.add.remote()
        except PendingCallsLimitExceeded:
            Path(gate).touch()
        actors.get(refs)
        return "refused"

    waits = Counter.options(max_pending_calls=2, on_full="wait").remote()
    assert actors.get(call.remote(waits)) == [*range(1, 21)]
    refuses = Counter.options(max_pending_calls=1).remote()
    gate = str(tmp_path / "gate")
    assert actors.get(call_too_often.remote(refuses, gate)) == "refused"


def test_a_method_beyond_its_timeout_is_interrupted() -> None:
    class Sleeper:
        def __init__(self) -> None:
            self.count = 0

        @actors.method(timeout=0.05)
        def sleep(self, seconds: float) -> None:
            time.sleep(seconds)

        def add(self) -> int:
            self.count += 1
            return self.count

    class Rester:
        async def rest(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    sleeper = actors.remote(Sleeper).remote()
    ref, after = sleeper.sleep.remote(1000), sleeper.add.remote()
    with pytest.raises(TaskTimeoutError, match=r"Sleeper.sleep .* timeout of 0.05 s"):
        actors.get(ref)
    assert actors.get(after) == 1
    rester = actors.remote(Rester).remote()
    with pytest.raises(TaskTimeoutError):
        actors.get(rester.rest.options(timeout=0.05).remote(1000))
    assert actors.get(rester.rest.remote(0)) is None
    assert actors.get(sleeper.sleep.options(timeout=0).remote(0.06)) is None


def test_a_method_may_be_retried_after_exceptions_of_its_own(tmp_path: Path) -> None:
    class Flaky:
        def __init__(self) -> None:
            self.starts = 0

        @actors.method(retry_exceptions=[KeyError], max_task_retries=2)
        def try_(self, kind: type[Exception]) -> int:
            self.starts += 1
            if self.starts < 3:
                raise kind(self.starts)
            return self.starts

    flaky = actors.remote(Flaky).remote()
    assert actors.get(flaky.try_.remote(KeyError)) == 3
    other = actors.remote(Flaky).remote()
    with pytest.raises(ValueError, match="1"):
        actors.get(other.try_.remote(ValueError))


def test_a_cancelled_call_is_not_run(tmp_path: Path) -> None:
    counter = Counter.remote()
    gate = str(tmp_path / "gate")
    first, second = counter.wait_and_ask.remote(gate), counter.add.remote()
    actors.cancel(second)
    Path(gate).touch()
    actors.get(first)
    with pytest.raises(TaskCancelledError):
        actors.get(second)
    assert actors.get(counter.add.remote()) == 1


class Stubborn:
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def go_on(self) -> None:
        """Swallow what should end it."""
        is_over = False
        while not is_over:
            # Wherever it comes; there is one only.
            with contextlib.suppress(KeyboardInterrupt):
                (self.folder / "begun").touch()
                while not (self.folder / "end").exists():
                    time.sleep(0.01)
                is_over = True

    def look(self) -> str:
        try:
            (self.folder / "begun").touch()
            time.sleep(1000)
        except KeyboardInterrupt:
            return f"cancelled: {actors.cancelled()}"
        return ""

    def is_cancelled(self) -> bool:
        return actors.cancelled()


def test_a_call_that_goes_on_after_cancel_is_killed_after_the_grace(
    tmp_path: Path,
) -> None:
    stubborn = actors.remote(Stubborn).options(max_restarts=1).remote(str(tmp_path))
    ref, after = stubborn.go_on.remote(), stubborn.is_cancelled.remote()
    eventually((tmp_path / "begun").exists)
    died = actors.watch(stubborn)
    with pytest.raises(ValueError, match="grace"):
        actors.cancel(ref, grace=-1)
    actors.cancel(ref, grace=0.05)
    with pytest.raises(TaskCancelledError):
        actors.get(ref)
    assert "go_on went on after it was told to end" in actors.get(died).message
    assert actors.get(after) is False


def test_a_call_can_look_whether_it_was_cancelled(tmp_path: Path) -> None:
    for concurrency in (1, 2):
        both = actors.remote(Stubborn).options(max_concurrency=concurrency)
        stubborn = both.remote(str(tmp_path))
        # What it returns is told, as it is said here: it did what it was asked for.
        (tmp_path / "begun").unlink(missing_ok=True)
        ref = stubborn.go_on.remote()
        eventually((tmp_path / "begun").exists)
        assert not actors.cancelled()
        actors.cancel(ref)
        (tmp_path / "end").touch()
        assert actors.get(ref) is None
        assert actors.get(stubborn.is_cancelled.remote()) is False
        (tmp_path / "end").unlink()
    stubborn = actors.remote(Stubborn).remote(str(tmp_path))
    (tmp_path / "begun").unlink()
    ref = stubborn.look.remote()
    eventually((tmp_path / "begun").exists)
    actors.cancel(ref)
    assert actors.get(ref) == "cancelled: True"


def test_an_actor_that_is_killed_from_outside_says_by_what() -> None:
    counter = Counter.remote()
    os.kill(actors.get(counter.pid.remote()), signal.SIGKILL)
    with pytest.raises(ActorDiedError, match="SIGKILL"):
        actors.get(counter.add.remote())


def test_wrong_use_is_told_at_the_call(runtime: str) -> None:
    counter = Counter.remote()
    with pytest.raises(AttributeError, match="nothing"):
        counter.nothing.remote()
    with pytest.raises(TypeError, match="remote"):
        counter.add(1)
    with pytest.raises(ConfigError, match="Unknown options"):
        Counter.options(colour="red")
    with pytest.raises(ConfigError, match="handle"):
        actors.kill("counter")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Account needs|needs 1 GPU"):
        Counter.options(num_gpus=1).remote()
    if runtime == "embedded":
        with pytest.raises(ConfigError, match="detached"):
            Counter.options(lifetime="detached").remote()
        with pytest.raises(ConfigError, match="needs"):
            Counter.options(num_cpus=100).remote()


class Ancestor:
    kind = "ancestor"

    def who(self) -> str:
        return f"{type(self).__name__} is an {self.kind}'s"


class Heir(Ancestor):
    @classmethod
    def name(cls) -> str:
        return cls.__name__

    @staticmethod
    def two() -> int:
        return 2

    def __call__(self, x: int) -> int:
        return x + 1


def test_inherited_static_class_and_call_methods_are_called_alike() -> None:
    heir = actors.remote(Heir).remote()
    calls = [heir.who.remote(), heir.name.remote(), heir.two.remote()]
    assert actors.get(calls) == ["Heir is an ancestor's", "Heir", 2]
    assert actors.get(heir.__call__.remote(3)) == 4


class Typed(actors.Actor):
    def __init__(self, start: int = 0) -> None:
        self.count = start

    @actors.method
    def add(self, by: int) -> int:
        self.count += by
        return self.count

    @actors.method(num_returns=2)
    def both(self) -> tuple[int, int]:
        return self.count, self.add(1)


def test_a_class_may_be_an_actors_by_its_base() -> None:
    typed = Typed.remote(5)
    assert actors.get(typed.add.remote(1)) == 6
    assert actors.get(typed.both.remote()) == [6, 7]
    named = Typed.options(name="typed").remote()
    assert actors.get_actor("typed") == named
    assert not {"remote", "options"} & set(dir(named))
    # It is a class like any other besides.
    assert Typed(1).add(2) == 3
