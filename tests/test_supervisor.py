"""Crashed children start again, as OTP's do, until there are too many of them."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.logic.restarts import RestartScope
from actors.logic.turn import Turn
from actors.messages import PROTOCOL, ActorRestarted, Hello, Notice
from actors.supervisor import (
    AllStopped,
    ChildEnded,
    ChildStarted,
    StartChild,
    StopAll,
    StopChild,
    Supervisor,
    SupervisorSettings,
)

CHILDREN = ("a", "b", "c")
PATIENCE = 5.0


class Group:
    """A supervisor, its clock, and children that do what the test says."""

    def __init__(
        self,
        scope: RestartScope = "one_for_one",
        *,
        max_restarts: int = 3,
        period: float = 30.0,
        children: Sequence[str] = CHILDREN,
        **settings_: Any,
    ) -> None:
        settings = SupervisorSettings(
            children, scope, max_restarts, period, PATIENCE, **settings_
        )
        self.machine = Supervisor(settings, random.Random(0), 100.0)
        self.now = 100.0
        self.alive: dict[str, int] = {}  # {name: pid}
        self.asked: set[str] = set()  # those that were asked to end, or killed
        self.log: list[str] = []  # what the shell was asked for
        self.pids = 0
        self.wait()

    def obey(self, turn: Turn) -> Turn:
        """Do what a shell does at once; children die only when told to."""
        self.machine.check()
        for effect in turn.effects:
            match effect:
                case StartChild(name):
                    self.log.append(f"start {name}")
                    assert name not in self.alive, f"{name} was started twice"
                    self.pids += 1
                    self.alive[name] = self.pids
                    if not self.machine.settings.waits_for_start:
                        self.comes_up(name)
                case StopChild(name, is_kill):
                    self.log.append(f"{'kill' if is_kill else 'ask'} {name}")
                    self.asked.add(name)
                case AllStopped(reason):
                    assert not self.alive, "a child was left behind"
                    self.log.append(f"all stopped: {reason}")
        return turn

    def tell(self, message: object) -> Turn:
        return self.machine.handle(message, "", self.now)

    def wait(self, seconds: float = 0.0) -> Turn:
        """Let time pass with every tick that the supervisor wants."""
        until, whole = self.now + seconds, Turn()
        while (at := max(self.machine.wake_at, self.now)) <= until:
            self.now = at
            whole.effects += self.obey(self.machine.tick(self.now)).effects
        self.now = until
        return whole

    def comes_up(self, name: str) -> None:
        self.obey(self.tell(ChildStarted(name, self.alive[name])))

    def ends(
        self, name: str, how: str = "exit code 1", *, is_normal: bool = False
    ) -> Turn:
        del self.alive[name]
        self.asked.discard(name)
        return self.obey(self.tell(ChildEnded(name, how, is_normal=is_normal)))

    def stop(self, reason: str = "", *, hurry: bool = False) -> Turn:
        return self.obey(self.tell(StopAll(reason, hurry)))

    def said(self) -> list[str]:
        """What the shell was asked for since the last time."""
        log, self.log = self.log, []
        return log


@pytest.fixture
def group() -> Group:
    """Three running children, one_for_one."""
    return started("one_for_one")


def started(scope: RestartScope, *, max_restarts: int = 3) -> Group:
    group = Group(scope, max_restarts=max_restarts)
    assert group.said() == ["start a", "start b", "start c"]
    return group


# Who goes down with a crashed child


def test_one_for_one_crash_restarts_it_alone() -> None:
    for name in CHILDREN:
        group = started("one_for_one")
        group.ends(name)
        group.wait(1.0)
        assert group.said() == [f"start {name}"]


def test_rest_for_one_crash_of_the_first() -> None:
    group = started("rest_for_one")
    group.ends("a")
    assert group.said() == ["ask c", "ask b"]
    group.wait(1.0)
    assert group.said() == [], "nobody starts while somebody is on the way down"
    group.ends("b", "exit code 0")
    group.ends("c", "exit code 0")
    group.wait(1.0)
    assert group.said() == ["start a", "start b", "start c"]


def test_rest_for_one_crash_of_the_middle() -> None:
    group = started("rest_for_one")
    group.ends("b")
    assert group.said() == ["ask c"]
    group.ends("c", "exit code 0")
    group.wait(1.0)
    assert group.said() == ["start b", "start c"]


def test_rest_for_one_crash_of_the_last() -> None:
    group = started("rest_for_one")
    group.ends("c")
    group.wait(1.0)
    assert group.said() == ["start c"]


def test_one_for_all_crash_of_the_first() -> None:
    group = started("one_for_all")
    group.ends("a")
    assert group.said() == ["ask c", "ask b"]
    group.ends("c", "exit code 0")
    group.ends("b", "exit code 0")
    group.wait(1.0)
    assert group.said() == ["start a", "start b", "start c"]


def test_one_for_all_crash_of_the_last() -> None:
    group = started("one_for_all")
    group.ends("c")
    assert group.said() == ["ask b", "ask a"]
    group.ends("b")
    group.ends("a")
    group.wait(1.0)
    assert group.said() == ["start a", "start b", "start c"]


@pytest.mark.parametrize("scope", ["rest_for_one", "one_for_all"])
def test_a_child_that_goes_down_for_anothers_sake_costs_nothing(
    scope: RestartScope,
) -> None:
    group = started(scope, max_restarts=1)
    turn = group.ends("a")
    assert turn.events == [ActorRestarted("a", "exit code 1", 1)]
    for name in ("b", "c"):
        assert not group.ends(name, "signal 9 (SIGKILL)").events
    group.wait(1.0)
    assert group.alive.keys() == set(CHILDREN)


@pytest.mark.parametrize("scope", ["rest_for_one", "one_for_all"])
def test_a_child_that_will_not_go_down_is_killed(scope: RestartScope) -> None:
    group = started(scope)
    group.ends("a")
    group.said()
    group.wait(PATIENCE - 0.1)
    assert group.said() == []
    group.wait(0.2)
    assert sorted(group.said()) == ["kill b", "kill c"]
    group.wait(100.0)
    assert group.said() == [], "once"


def test_two_crashes_at_once_are_two_restarts(group: Group) -> None:
    group.ends("a")
    turn = group.ends("b")
    assert turn.events == [ActorRestarted("b", "exit code 1", 1)]
    group.wait(2.0)
    assert group.said() == ["start a", "start b"]


# How often


def test_a_restart_waits_ever_longer(group: Group) -> None:
    waits = []
    for _ in range(3):
        group.ends("a")
        before = group.now
        waits.append(group.machine.wake_at - before)
        group.wait(waits[-1])
        assert group.said() == ["start a"]
    assert waits == sorted(waits)
    assert waits[0] > 0


def test_too_many_restarts_stop_everybody_in_reverse_order(group: Group) -> None:
    for name in ("a", "b", "a"):
        group.ends(name)
        group.wait(2.0)
    group.said()
    group.ends("b", "signal 11 (SIGSEGV)")
    assert group.said() == ["ask c"]
    group.ends("c", "exit code 0")
    assert group.said() == ["ask a"]
    group.ends("a", "exit code 0")
    reason = "b ended again (signal 11 (SIGSEGV)): more than 3 restarts within 30 s"
    assert group.said() == [f"all stopped: {reason}"]
    assert group.machine.wake_at == float("inf")


def test_restarts_are_counted_within_the_period_only(group: Group) -> None:
    for _ in range(10):
        group.ends("a")
        group.wait(11.0)
        assert group.said() == ["start a"]


def test_a_child_that_cannot_run_is_not_started_again(group: Group) -> None:
    del group.alive["b"]
    group.obey(group.tell(ChildEnded("b", "exit code 3", is_hopeless=True)))
    assert group.said() == ["ask c"]
    group.ends("c")
    group.ends("a")
    assert group.said()[-1] == "all stopped: b cannot run: exit code 3"


# Those that can be done without


@pytest.fixture
def dispensing() -> Group:
    """Three running children; the last is dispensable."""
    group = Group(dispensable=["c"])
    assert group.said() == ["start a", "start b", "start c"]
    return group


def test_a_dispensable_child_is_restarted_on_its_own_account(dispensing: Group) -> None:
    for _ in range(3):
        assert dispensing.ends("c").events
        dispensing.wait(2.0)
        assert dispensing.said() == ["start c"]
    # The others have all their restarts left.
    for _ in range(3):
        dispensing.ends("a")
        dispensing.wait(2.0)
        assert dispensing.said() == ["start a"]


def test_a_dispensable_child_is_given_up_alone(dispensing: Group) -> None:
    for _ in range(3):
        dispensing.ends("c")
        dispensing.wait(2.0)
    dispensing.said()
    turn = dispensing.ends("c", "signal 11 (SIGSEGV)")
    text = "c is given up, everything else goes on: signal 11 (SIGSEGV)"
    assert turn.events == [Notice("error", text)]
    dispensing.wait(100.0)
    assert dispensing.said() == []
    dispensing.ends("a")
    dispensing.wait(2.0)
    assert dispensing.said() == ["start a"]


def test_the_wait_of_a_dispensable_child_is_its_own(dispensing: Group) -> None:
    for _ in range(3):
        dispensing.ends("c")
        dispensing.wait(dispensing.machine.wake_at - dispensing.now)
    dispensing.said()
    dispensing.ends("a")
    due = dispensing.machine.wake_at
    dispensing.wait(due - dispensing.now)
    assert dispensing.said() == ["start a"]


def test_a_dispensable_child_that_cannot_run_stops_nobody(dispensing: Group) -> None:
    del dispensing.alive["c"]
    dispensing.obey(dispensing.tell(ChildEnded("c", "exit code 78", is_hopeless=True)))
    dispensing.wait(100.0)
    assert dispensing.said() == []


@pytest.mark.parametrize("hurry", [False, True])
def test_a_child_that_was_given_up_is_not_waited_for(
    dispensing: Group, hurry: bool
) -> None:
    del dispensing.alive["c"]
    dispensing.obey(dispensing.tell(ChildEnded("c", "exit code 78", is_hopeless=True)))
    dispensing.stop(hurry=hurry)
    for name in ("b", "a"):
        dispensing.ends(name)
    assert dispensing.said()[-1] == "all stopped: "


# Kinds of children


def of_kinds(scope: RestartScope = "one_for_one") -> Group:
    kinds = {"a": "permanent", "b": "transient", "c": "temporary"}
    group = Group(scope, kinds=kinds)
    group.said()
    return group


@pytest.mark.parametrize("is_normal", [False, True])
def test_permanent_transient_and_temporary_ends(*, is_normal: bool) -> None:
    group = of_kinds()
    for name in CHILDREN:
        group.ends(name, is_normal=is_normal)
    group.wait(1.0)
    assert group.said() == (["start a"] if is_normal else ["start a", "start b"])
    assert group.machine.is_up


def test_ends_that_call_for_no_restart_are_not_counted() -> None:
    group = of_kinds()
    for _ in range(3):
        group.ends("a", is_normal=True)
        group.wait(2.0)
    group.ends("b", is_normal=True)
    group.ends("c")
    assert not group.machine.is_stopping


def test_a_transient_child_that_ended_starts_anew_with_all_others() -> None:
    group = of_kinds("one_for_all")
    group.ends("b", is_normal=True)
    group.ends("a")
    assert group.said() == ["ask c"]
    group.ends("c")
    group.wait(1.0)
    assert group.said() == ["start a", "start b"], "what is temporary never does"


# Starting in order


def test_each_child_waits_until_the_one_before_is_up() -> None:
    group = Group(waits_for_start=True)
    for name in CHILDREN:
        assert group.said() == [f"start {name}"]
        assert not group.machine.is_up
        group.comes_up(name)
        group.wait(0.0)
    assert group.machine.is_up


def test_one_that_ends_while_it_starts_is_started_again_before_the_next() -> None:
    group = Group(waits_for_start=True)
    group.comes_up("a")
    group.wait(0.0)
    group.ends("b")
    group.wait(1.0)
    assert group.said() == ["start a", "start b", "start b"]
    group.stop()
    assert group.said() == ["ask b"], "it is on the way, and not up"


def test_the_delays_between_restarts_are_those_that_were_asked_for() -> None:
    group = Group(first_delay=2.0, longest_delay=2.0)
    group.said()
    group.ends("a")
    group.wait(1.9)
    assert group.said() == []
    group.wait(0.7)
    assert group.said() == ["start a"]


# Stopping


def test_children_stop_in_reverse_order_one_after_another(group: Group) -> None:
    group.stop()
    assert group.said() == ["ask c"]
    group.ends("c", "exit code 0")
    assert group.said() == ["ask b"]
    group.ends("b", "exit code 0")
    group.ends("a", "exit code 0")
    assert group.said() == ["ask a", "all stopped: "]


def test_a_child_that_dies_out_of_turn_is_not_asked(group: Group) -> None:
    group.stop()
    group.ends("a")
    group.ends("c")
    group.ends("b")
    assert group.said() == ["ask c", "ask b", "all stopped: "]


def test_a_stop_request_overtakes_a_pending_restart(group: Group) -> None:
    group.ends("b")
    group.stop("asked to")
    group.wait(60.0)
    assert not [line for line in group.said() if line.startswith("start")]
    group.ends("c")
    group.ends("a")
    assert group.said()[-1] == "all stopped: asked to"


def test_a_stop_during_a_restart_of_all_waits_for_who_is_on_the_way_down() -> None:
    group = started("one_for_all")
    group.ends("c")
    group.stop()
    assert group.said() == ["ask b", "ask a"]
    group.ends("b")
    group.ends("a")
    assert group.said() == ["all stopped: "]


def test_a_child_that_ignores_the_request_is_killed(group: Group) -> None:
    group.stop()
    group.wait(PATIENCE + 0.1)
    assert group.said() == ["ask c", "kill c"]


def test_a_hurried_stop_kills_at_once_and_the_first_reason_stays(group: Group) -> None:
    group.stop("the first")
    group.stop("the second", hurry=True)
    assert group.said() == ["ask c", "kill a", "kill b", "kill c"]
    for name in CHILDREN:
        group.ends(name, "signal 9 (SIGKILL)")
    assert group.said() == ["all stopped: the first"]


def test_stopping_before_anything_started_is_stopping() -> None:
    settings = SupervisorSettings(CHILDREN)
    machine = Supervisor(settings, random.Random(0), 100.0)
    assert machine.handle(StopAll(), "", 100.0).effects == [AllStopped("")]
    assert machine.tick(200.0).effects == []
    assert machine.handle(StopAll(), "", 100.0).effects == []


def test_it_admits_nobody(group: Group) -> None:
    hello = Hello("operator", "o", "i", PROTOCOL, "3.11", "t")
    assert not group.machine.admit(hello, group.now)[0].peer


class Chaos(RuleBasedStateMachine):
    """Children crash, dawdle and obey in any order."""

    scope: RestartScope = "one_for_one"

    def __init__(self) -> None:
        super().__init__()
        self.group = Group(self.scope, max_restarts=4, period=10.0)
        self.is_over = False

    @precondition(lambda self: self.group.alive)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.group.ends(data.draw(st.sampled_from(sorted(self.group.alive))))

    @rule(seconds=st.floats(0, 8))
    def wait(self, seconds: float) -> None:
        self.group.wait(seconds)

    @rule()
    def obey(self) -> None:
        """Let whoever was asked or killed end."""
        while names := sorted(self.group.asked & self.group.alive.keys()):
            self.group.ends(names[0], "exit code 0")

    @rule(hurry=st.booleans())
    def stop(self, hurry: bool) -> None:
        self.group.stop("enough", hurry=hurry)

    @invariant()
    def look(self) -> None:
        for line in self.group.said():
            assert not self.is_over or not line.startswith("start")
            self.is_over = self.is_over or line.startswith("all stopped")
        if self.is_over:
            assert not self.group.alive

    def teardown(self) -> None:
        """In the end everybody runs, or everybody has stopped."""
        for _ in range(20):
            self.obey()
            self.group.wait(PATIENCE + 0.1)
        if self.group.machine.is_stopping:
            assert not self.group.alive
        else:
            assert self.group.alive.keys() == set(CHILDREN)


class ChaosForTheRest(Chaos):
    scope = "rest_for_one"


class ChaosForAll(Chaos):
    scope = "one_for_all"


TestChaos = Chaos.TestCase
TestChaosForTheRest = ChaosForTheRest.TestCase
TestChaosForAll = ChaosForAll.TestCase
