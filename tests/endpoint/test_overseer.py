"""The root process keeps its actors alive, tells of it, and ends when asked to."""

import random

import pytest

from actors.endpoint.overseer import (
    ACTORS,
    KillSilent,
    Overseer,
    Ready,
    overseer_hello,
)
from actors.logic.turn import Answered, Knock, LinkClosed, Turn
from actors.messages import (
    ActorRestarted,
    Heartbeat,
    Quiesce,
    Relay,
    ReplaceActor,
    StopEndpoint,
)
from actors.supervisor import AllStopped, ChildEnded, StartChild, StopAll, StopChild
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

    def __init__(self) -> None:
        ours = overseer_hello("i", TOKEN, PYTHON, 7, "h")
        super().__init__(Overseer(ours, random.Random(0), 100.0, patience=5.0))
        turn = self.wait(0.0)
        assert [s.name for s in all_of(turn.effects, StartChild)] == list(ACTORS)
        assert only(all_of(turn.effects, Knock)).hello == ours
        self.first = self.tell(Answered(DOOR, welcome()))
        self.tell(Heartbeat(), DOOR)

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


def test_an_interchange_that_is_silent_on_an_open_link_is_killed(root: Root) -> None:
    """It may be stopped by SIGSTOP: its end is the only thing that fences it."""
    killed = only(all_of(root.live(9.0).effects, KillSilent))
    assert killed.actor == "interchange"


def test_an_interchange_whose_link_closed_is_left_to_its_end(root: Root) -> None:
    root.tell(LinkClosed(DOOR))
    assert not all_of(root.live(60.0).effects, KillSilent)


def test_an_actor_that_the_interchange_hears_no_more_is_killed(root: Root) -> None:
    turn = root.tell(ReplaceActor("provider", "not heard"), DOOR)
    assert turn.effects == [KillSilent("provider", "not heard")]
    assert not root.tell(ReplaceActor("nobody", "not heard"), DOOR).effects


def test_nobody_is_replaced_while_all_are_stopped(root: Root) -> None:
    root.tell(StopAll())
    assert not root.tell(ReplaceActor("provider", "not heard"), DOOR).effects
