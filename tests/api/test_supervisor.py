"""A user's supervisor starts, restarts and stops actors as OTP's would."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import actors
from actors import Child, DeathReason
from actors.errors import (
    ActorAlreadyExistsError,
    ConfigError,
    GetTimeoutError,
    NoSuchActorError,
)
from actors.task_errors import ActorDiedError
from tests.both_ways import BOTH_WAYS, initialized
from tests.leaks import no_leaks
from tests.support import eventually

pytestmark = pytest.mark.slow

BACKOFF = (0.01, 0.02)
# Long against what a busy machine needs for a few restarts.
PERIOD = 60.0


@pytest.fixture(scope="module", autouse=True, params=BOTH_WAYS)
def runtime(request: pytest.FixtureRequest) -> Iterator[str]:
    # The grace that what an actor held has after that actor's end.
    tables = {"heartbeat": {"reconnect_grace": 1.0}}
    with initialized(request.param, endpoint=tables) as way:
        yield way


@pytest.fixture(autouse=True)
def nothing_is_left(runtime: str) -> Iterator[None]:
    if runtime == "embedded":
        with no_leaks():
            yield
        return
    yield
    # An error's traceback may hold handles.
    gc.collect()
    eventually(lambda: not actors.state.list_actors(), what="all actors to be gone")


class Member:
    """Writes down when it begins."""

    def __init__(self, name: str, log: str) -> None:
        self.name = name
        self.count = 0
        with Path(log).open("a") as file:
            file.write(f"{name} ")

    def add(self) -> int:
        self.count += 1
        return self.count

    def pid(self) -> int:
        return os.getpid()

    def crash(self) -> None:
        os._exit(3)

    def leave(self) -> None:
        actors.exit_actor()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def members(log: Path, names: str = "abc", **options: Any) -> list[Child]:
    return [Child(name, Member, (name, str(log)), **options) for name in names]


def crash(handle: Any) -> None:
    died = actors.watch(handle)
    handle.crash.remote()
    actors.get(died)


def test_children_start_in_order_and_stop_in_reverse(log: Path) -> None:
    with actors.Supervisor(members(log)) as supervisor:
        assert log.read_text() == "a b c "
        ends = [actors.watch(supervisor[name]) for name in "abc"]
        handle = supervisor["b"]
        assert actors.get(handle.add.remote()) == 1
        ended = supervisor.watch()
    assert actors.get(ended).reason == DeathReason.EXITED
    assert all(actors.get(end).is_final for end in ends)
    with pytest.raises(ActorDiedError, match="it has ended"):
        actors.get(handle.add.remote())


@pytest.mark.parametrize(
    ("scope", "started"),
    [
        ("one_for_one", "a b c b "),
        ("rest_for_one", "a b c b c "),
        ("one_for_all", "a b c a b c "),
    ],
)
def test_who_is_restarted_with_a_crashed_child(
    log: Path, scope: Any, started: str
) -> None:
    with actors.Supervisor(
        members(log), restart_scope=scope, backoff=BACKOFF
    ) as supervisor:
        handles = {name: supervisor[name] for name in "abc"}
        for handle in handles.values():
            assert actors.get(handle.add.remote()) == 1
        crash(handles["b"])
        # Its handle stays good, and calls wait for the restart.
        again = {name: actors.get(h.add.remote()) for name, h in handles.items()}
        eventually(lambda: log.read_text() == started)
        anew = set(started.split()[3:])
        assert again["b"] == 1
        eventually(lambda: log.read_text() == started)
        for name in anew - {"b"}:
            assert again[name] in (1, 2)  # asked before its end, or after it


def test_what_crashes_too_often_ends_the_supervisor_and_all_siblings(
    log: Path,
) -> None:
    supervisor = actors.Supervisor(
        members(log), max_restarts=2, period=PERIOD, backoff=BACKOFF
    ).start()
    first, last = supervisor["a"], supervisor["c"]
    for _ in range(3):
        crash(first)
    died = actors.get(supervisor.watch())
    assert died.reason == DeathReason.RESTARTS_EXCEEDED
    assert "a ended again" in died.message
    assert "more than 2 restarts within 60 s" in died.message
    with pytest.raises(ActorDiedError, match="more than 2 restarts") as caught:
        actors.get(first.add.remote())
    assert caught.value.reason == DeathReason.RESTARTS_EXCEEDED
    with pytest.raises(ActorDiedError, match="its supervisor ended: a ended") as other:
        actors.get(last.add.remote())
    assert other.value.reason == DeathReason.OWNER_DIED


def test_transient_children_may_end_and_temporary_ones_may_crash(log: Path) -> None:
    children = [
        *members(log, "a", restart="transient"),
        *members(log, "b", restart="temporary"),
        *members(log, "c"),
    ]
    with actors.Supervisor(children, backoff=BACKOFF) as supervisor:
        transient, temporary, permanent = (supervisor[name] for name in "abc")
        crash(transient)
        assert actors.get(transient.add.remote()) == 1
        transient.leave.remote()
        with pytest.raises(ActorDiedError):
            actors.get(transient.add.remote())
        crash(temporary)
        with pytest.raises(ActorDiedError):
            actors.get(temporary.add.remote())
        permanent.leave.remote()
        assert actors.get(permanent.add.remote()) == 1
        assert log.read_text() == "a b c a c "


def test_a_supervisor_is_a_child_that_gives_up_to_its_parent(log: Path) -> None:
    inner = actors.Supervisor(members(log, "bc"), max_restarts=0, backoff=BACKOFF)
    children = [*members(log, "a"), Child("inner", inner), *members(log, "d")]
    with actors.Supervisor(
        children,
        restart_scope="rest_for_one",
        max_restarts=1,
        period=PERIOD,
        backoff=BACKOFF,
    ) as outer:
        assert outer["inner"] is inner
        handles = [outer["a"], inner["b"], inner["c"], outer["d"]]
        crash(handles[1])
        eventually(lambda: log.read_text() == "a b c d b c d ")
        assert actors.get([h.add.remote() for h in handles]) == [1, 1, 1, 1]
        with pytest.raises(ConfigError, match="another one's child"):
            inner.stop()
        crash(handles[2])
        assert actors.get(outer.watch()).reason == DeathReason.RESTARTS_EXCEEDED
        with pytest.raises(ActorDiedError, match="inner ended again"):
            actors.get(handles[0].add.remote())


def test_a_constructor_that_fails_at_the_start_stops_those_before(log: Path) -> None:
    class Broken:
        def __init__(self) -> None:
            raise ValueError("no such file")

    children = [*members(log, "a"), Child("broken", Broken), *members(log, "c")]
    supervisor = actors.Supervisor(children)
    with pytest.raises(ActorDiedError, match="constructor failed") as caught:
        supervisor.start()
    assert isinstance(caught.value.__cause__, ValueError)
    assert log.read_text() == "a "
    assert "broken cannot run" in actors.get(supervisor.watch()).message
    with pytest.raises(ActorDiedError):
        actors.get(supervisor["c"].add.remote())


def test_a_killed_child_comes_back_and_keeps_its_name(log: Path) -> None:
    named = actors.remote(Member).options(name="kept")
    with actors.Supervisor(
        [Child("a", named, ("a", str(log)))], backoff=BACKOFF
    ) as supervisor:
        handle = actors.get_actor("kept")
        assert handle == supervisor["a"]
        with pytest.raises(ActorAlreadyExistsError):
            actors.Supervisor([Child("b", named, ("b", str(log)))]).start()
        os.kill(actors.get(handle.pid.remote()), signal.SIGKILL)
        eventually(lambda: log.read_text() == "a a ")
        died = actors.watch(handle)
        actors.kill(handle)
        assert actors.get(died).reason == DeathReason.KILLED
        assert actors.get(handle.add.remote()) == 1
    with pytest.raises(NoSuchActorError):
        actors.get_actor("kept")


def test_tasks_and_actors_can_supervise_and_children_end_with_them(log: Path) -> None:
    class Boss:
        def __init__(self, log: str) -> None:
            self.supervisor = actors.Supervisor(
                [
                    *members(Path(log), "a"),
                    Child("inner", actors.Supervisor(members(Path(log), "b"))),
                ],
                backoff=BACKOFF,
            ).start()

        def child(self) -> Any:
            return self.supervisor["inner"]["b"]

    boss = actors.remote(Boss).remote(str(log))
    child = actors.get(boss.child.remote())
    crash(child)
    assert actors.get(child.add.remote()) == 1
    assert log.read_text() == "a b b "
    actors.kill(boss)
    died = actors.watch(child)
    assert actors.get(died).is_final

    @actors.remote
    def supervise(log: str) -> Any:
        with actors.Supervisor(members(Path(log), "c")) as supervisor:
            return actors.get(supervisor["c"].add.remote())

    assert actors.get(supervise.remote(str(log))) == 1


def test_a_supervisor_can_be_given_away_and_lives_as_long_as_somebody_has_it(
    log: Path,
) -> None:
    @actors.remote
    def use(supervisor: Any) -> Any:
        return actors.get(supervisor["inner"]["b"].add.remote())

    @actors.remote
    def make(log: str) -> actors.Supervisor:
        return actors.Supervisor(members(Path(log), "c")).start()

    inner = actors.Supervisor(members(log, "b"))
    with actors.Supervisor([*members(log, "a"), Child("inner", inner)]) as mine:
        assert actors.get([use.remote(mine), use.remote(mine)]) in ([1, 2], [2, 1])
    theirs = actors.get(make.remote(str(log)))
    assert actors.get(theirs["c"].add.remote()) == 1
    theirs.stop()
    assert actors.get(theirs.watch()).reason == DeathReason.EXITED


def test_constructors_get_the_values_of_refs(log: Path) -> None:
    @actors.remote
    def name(gate: str, name: str) -> str:
        eventually(Path(gate).exists)
        return name

    @actors.remote
    def fail() -> str:
        raise ValueError("no name")

    gate = log.with_name("gate")
    child = Child("a", Member, (name.remote(str(gate), "x"), str(log)))
    supervisor = actors.Supervisor([child, *members(log, "b")])
    with pytest.raises(GetTimeoutError):
        supervisor.start(timeout=0.1)
    answers = [supervisor[each].add.remote() for each in "ab"]
    gate.touch()
    assert actors.get(answers) == [1, 1]
    assert log.read_text() == "x b "
    supervisor.stop()
    failed = fail.remote()
    for _ in range(2):
        # While that is not known, and when it is.
        last = Child("d", Member, (failed, ""))
        broken = actors.Supervisor([*members(log), last])
        with pytest.raises(ActorDiedError) as caught:
            broken.start()
        assert isinstance(caught.value.__cause__, ValueError)
        with pytest.raises(ActorDiedError):
            actors.get(broken["a"].add.remote())
        assert actors.get(broken.watch()).is_final


def test_children_stop_when_nobody_uses_the_supervisor(log: Path) -> None:
    supervisor = actors.Supervisor(members(log)).start()
    died = actors.watch(supervisor["a"])
    del supervisor
    assert actors.get(died).reason == DeathReason.EXITED


def test_wrong_use_is_told(log: Path) -> None:
    with pytest.raises(ConfigError, match="'a' twice"):
        actors.Supervisor(members(log, "aa"))
    with pytest.raises(ConfigError, match="restart_scope"):
        actors.Supervisor(members(log), restart_scope="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="permanent, transient or temporary"):
        Child("a", Member, restart="always")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="period"):
        actors.Supervisor(members(log), period=0)
    restarting = actors.remote(Member).options(max_restarts=3)
    with pytest.raises(ConfigError, match="leave both to its supervisor"):
        actors.Supervisor([Child("a", restarting)]).start()
    detached = actors.remote(Member).options(name="d", lifetime="detached")
    with pytest.raises(ConfigError, match="ends with it"):
        actors.Supervisor([Child("a", detached)]).start()
    with pytest.raises(ConfigError, match="not started"):
        actors.Supervisor(members(log)).stop()
