"""The root process keeps its actors alive, tells of it, and ends when asked to."""

import random

import pytest

from actors.endpoint.overseer import (
    ACTORS,
    START_GRACE,
    ChildBeat,
    KillSilent,
    Overseer,
    Ready,
    overseer_hello,
)
from actors.logic.liveness import Tempo
from actors.logic.turn import Answered, Knock, LinkClosed, Turn
from actors.messages import (
    ActorRestarted,
    Heartbeat,
    Quiesce,
    Relay,
    RestartActor,
    StopEndpoint,
)
from actors.supervisor import (
    AllStopped,
    ChildEnded,
    ChildStarted,
    StartChild,
    StopAll,
    StopChild,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    hello,
    only,
    sent_to,
    welcome,
)

DOOR = "interchange"


class Root(Talk):
    """An overseer to talk with; its actors run and it is a member."""

    machine: Overseer

    def __init__(self, *dispensable: str) -> None:
        ours = overseer_hello("i", TOKEN, PYTHON, 7, "h")
        machine = Overseer(
            ours,
            random.Random(0),
            100.0,
            tempo=Tempo(2.0, 8.0),
            patience=5.0,
            dispensable=dispensable,
        )
        super().__init__(machine)
        turn = self.wait(0.0)
        started = [start.name for start in all_of(turn.effects, StartChild)]
        assert started == [*ACTORS, *dispensable]
        assert only(all_of(turn.effects, Knock)).hello == ours
        for name in ACTORS:
            self.tell(ChildStarted(name, 1))
        self.first = self.tell(Answered(DOOR, welcome()))
        self.tell(Heartbeat(), DOOR)

    def stay(self, seconds: float, *names: str) -> Turn:
        """Let time pass while these show life, and the interchange answers."""
        whole = Turn()
        for _ in range(round(seconds)):
            self.tell(Heartbeat(), DOOR)
            for name in names:
                self.tell(ChildBeat(name))
            whole.effects += self.live(1.0).effects
        return whole

    def crash(self, name: str) -> Turn:
        return self.tell(ChildEnded(name, "exit code 1"))


@pytest.fixture
def root() -> Root:
    return Root()


def restarts(turn: Turn) -> list[str]:
    return [
        event.actor
        for relay in sent_to(turn, DOOR, Relay)
        for event in relay.events
        if isinstance(event, ActorRestarted)
    ]


def test_it_introduces_itself_as_the_supervisor_and_admits_nobody(root: Root) -> None:
    ours = overseer_hello("i", TOKEN, PYTHON, 7, "h")
    assert (ours.kind, ours.pid, ours.host) == ("supervisor", 7, "h")
    assert not root.ask(hello("operator", "o"))[0].peer


def test_the_endpoint_is_ready_once(root: Root) -> None:
    assert all_of(root.first.effects, Ready) == [Ready()]
    root.tell(LinkClosed(DOOR))
    assert not all_of(root.enter().effects, Ready)


@pytest.mark.parametrize("name", ["provider", "strategy"])
def test_a_crashed_actor_is_restarted_and_told_of(root: Root, name: str) -> None:
    turn = root.crash(name)
    assert restarts(turn) == [name]
    assert all_of(root.live(1.0).effects, StartChild) == [StartChild(name)]


def test_the_interchanges_own_crash_is_told_to_its_successor(root: Root) -> None:
    assert not restarts(root.crash("interchange"))
    root.tell(LinkClosed(DOOR))
    assert "interchange" in restarts(root.enter())
    root.tell(LinkClosed(DOOR))
    assert not restarts(root.enter()), "once"


def test_an_operator_may_stop_the_endpoint(root: Root) -> None:
    turn = root.tell(StopEndpoint("asked"), DOOR)
    assert turn.effects == [StopChild("strategy", is_kill=False)]
    for name in reversed(ACTORS):
        turn = root.crash(name)
    assert all_of(turn.effects, AllStopped) == [AllStopped("")]


@pytest.mark.parametrize("actor", ACTORS)
def test_an_operator_may_have_an_actor_restarted(root: Root, actor: str) -> None:
    turn = root.tell(RestartActor(actor, "asked"), DOOR)
    assert only(all_of(turn.effects, KillSilent)) == KillSilent(actor, "asked")


def test_nobody_else_is_killed_for_an_operator(root: Root) -> None:
    assert not root.tell(RestartActor("monitor", "asked"), DOOR).effects
    root.tell(StopEndpoint("asked"), DOOR)
    turn = root.tell(RestartActor("strategy", "asked"), DOOR)
    assert not all_of(turn.effects, KillSilent), "it stops"


def test_before_all_stops_no_more_tasks_are_taken(root: Root) -> None:
    """Whatever stops it: what came in late would go to managers that end."""
    assert sent_to(root.tell(StopAll()), DOOR, Quiesce)
    assert not sent_to(root.tell(StopAll()), DOOR, Quiesce), "once"


def test_when_it_gives_up_no_more_tasks_are_taken_either(root: Root) -> None:
    turn = root.tell(ChildEnded("provider", "exit code 78", is_hopeless=True))
    assert sent_to(turn, DOOR, Quiesce)
    assert StopChild("strategy", is_kill=False) in turn.effects


def test_a_signal_may_stop_it_and_a_second_one_in_a_hurry(root: Root) -> None:
    root.tell(StopAll())
    turn = root.tell(StopAll(hurry=True))
    assert turn.effects == [StopChild(name, is_kill=True) for name in ACTORS]


def test_it_keeps_its_membership_alive(root: Root) -> None:
    assert sent_to(root.live(2.1), DOOR, Heartbeat)


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_that_shows_no_life_is_killed_once(root: Root, actor: str) -> None:
    """It may be stopped by SIGSTOP: its end is the only thing that fences it."""
    for name in ACTORS:
        root.tell(ChildBeat(name))
    others = [name for name in ACTORS if name != actor]
    killed = only(all_of(root.stay(30.0, *others).effects, KillSilent))
    assert killed.actor == actor
    assert killed.reason.startswith("no sign of life for 8.")


def test_an_actor_is_killed_too_that_never_showed_life(root: Root) -> None:
    """It may have been stopped before it came to joining anybody."""
    effects = root.stay(START_GRACE + 7.0, "provider", "strategy").effects
    assert not all_of(effects, KillSilent), "imports take their time"
    effects = root.stay(2.0, "provider", "strategy").effects
    assert only(all_of(effects, KillSilent)).actor == "interchange"


def test_a_child_that_is_no_actor_need_not_show_life() -> None:
    root = Root("monitor")
    root.tell(ChildStarted("monitor", 9))
    assert not all_of(root.stay(60.0, *ACTORS).effects, KillSilent)


def test_a_successor_is_given_its_time(root: Root) -> None:
    killed = all_of(root.stay(20.0, "provider", "strategy").effects, KillSilent)
    assert killed
    root.crash("interchange")
    assert all_of(root.live(1.0).effects, StartChild)
    root.tell(ChildStarted("interchange", 2))
    root.tell(ChildBeat("interchange"))
    assert not all_of(root.stay(60.0, *ACTORS).effects, KillSilent)


def test_an_interchange_whose_link_is_silent_is_left_alone_if_it_lives(
    root: Root,
) -> None:
    """Its loop turns; the link will be made anew."""
    whole = Turn()
    for _ in range(60):
        for name in ACTORS:
            root.tell(ChildBeat(name))
        whole.effects += root.live(1.0).effects
    assert not all_of(whole.effects, KillSilent)
    assert all_of(whole.effects, Knock)


def test_nobody_is_killed_by_a_root_that_was_stopped_itself(root: Root) -> None:
    for name in ACTORS:
        root.tell(ChildBeat(name))
    assert not all_of(root.wait(1000.0).effects, KillSilent)
    # What they said meanwhile is heard after that.
    assert not all_of(root.stay(20.0, *ACTORS).effects, KillSilent)


def test_nobody_is_replaced_while_all_are_stopped(root: Root) -> None:
    root.tell(StopAll())
    assert not all_of(root.live(60.0).effects, KillSilent)
