"""Whoever dials gets in, stays in, and comes back, unless it is refused for good."""

import math
import random

import pytest

from actors.logic.membership import KNOCK_TIMEOUT, Membership, MembershipState
from actors.logic.turn import Answered, HangUp, Knock, LinkClosed, Turn
from actors.messages import (
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    Refused,
    Reregister,
    Stop,
    Welcome,
)

DOOR = "interchange"
HELLO = Hello("operator", "o1", "i", 1, "3.11", "t")
WELCOME = Welcome("url", "e1", 2.0, 8.0, 4096)


class Guest:
    """A membership and its clock."""

    def __init__(self) -> None:
        self.membership = Membership(DOOR, lambda: HELLO, random.Random(0))
        self.now = 100.0

    @property
    def state(self) -> MembershipState:
        return self.membership.state

    def wait(self, seconds: float = 0.0) -> Turn:
        self.now += seconds
        turn = Turn()
        self.membership.tick(self.now, turn)
        return turn

    def take(self, message: object, sender: str = "") -> tuple[bool, Turn]:
        turn = Turn()
        return self.membership.take(message, sender, self.now, turn), turn

    def send(self, message: Message) -> Turn:
        turn = Turn()
        self.membership.send(message, self.now, turn)
        return turn


@pytest.fixture
def guest() -> Guest:
    """A membership that is in, and has heard so."""
    guest = Guest()
    assert guest.wait().effects == [Knock(DOOR, HELLO)]
    assert guest.take(Answered(DOOR, WELCOME))[0] is False
    assert guest.take(Heartbeat(), DOOR)[0] is True
    return guest


def test_it_knocks_at_once_and_again_if_nobody_answers() -> None:
    guest = Guest()
    assert guest.membership.wake_at == -math.inf
    assert guest.wait().effects == [Knock(DOOR, HELLO)]
    assert guest.state is MembershipState.KNOCKING
    assert guest.wait(KNOCK_TIMEOUT - 0.1).effects == []
    assert guest.wait(0.1).effects == [Knock(DOOR, HELLO)]


def test_a_welcome_tells_what_the_owner_must_know(guest: Guest) -> None:
    assert guest.membership.is_in
    assert (guest.membership.epoch, guest.membership.max_frame_bytes) == ("e1", 4096)


def test_a_final_refusal_bars_for_ever() -> None:
    guest = Guest()
    guest.wait()
    assert guest.take(Answered(DOOR, Refused("no")))[0] is False
    assert (guest.state, guest.membership.refusal) == (MembershipState.BARRED, "no")
    assert guest.membership.wake_at == math.inf
    assert guest.wait(9999.0) == Turn()


def test_a_refusal_for_now_is_kept_from_the_owner_and_tried_again() -> None:
    guest = Guest()
    guest.wait()
    refused = Answered(DOOR, Refused("later", is_final=False))
    assert guest.take(refused)[0] is True
    assert guest.state is MembershipState.AWAY
    guest.now = guest.membership.wake_at
    assert guest.wait().effects == [Knock(DOOR, HELLO)]


def test_nothing_is_sent_before_it_is_in_nor_after() -> None:
    guest = Guest()
    assert guest.send(Heartbeat()) == Turn()
    guest.wait()
    guest.take(Answered(DOOR, WELCOME))
    assert guest.send(Heartbeat()).sends == [(DOOR, Heartbeat())]
    guest.take(LinkClosed(DOOR))
    assert guest.send(Heartbeat()) == Turn()


@pytest.mark.parametrize(
    ("message", "sender", "hangs_up"),
    [
        (LinkClosed(DOOR), "", False),
        (Goodbye("why"), DOOR, True),
        (Reregister("why"), DOOR, True),
    ],
)
def test_who_is_out_hangs_up_if_it_must_and_knocks_again(
    guest: Guest, message: object, sender: str, hangs_up: bool
) -> None:
    is_done, turn = guest.take(message, sender)
    assert is_done is False, "the owner learns of it, too"
    assert turn.effects == ([HangUp(DOOR)] if hangs_up else [])
    assert guest.state is MembershipState.AWAY
    guest.now = guest.membership.wake_at
    assert guest.wait().effects == [Knock(DOOR, HELLO)]


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (LinkClosed("provider"), ""),
        (Goodbye("why"), "provider"),
        (Reregister("why"), "provider"),
        (Answered("provider", Refused("no")), ""),
        (Stop("why"), DOOR),
        (object(), ""),
    ],
)
def test_what_does_not_concern_it_is_left_to_the_owner(
    guest: Guest, message: object, sender: str
) -> None:
    assert guest.take(message, sender) == (False, Turn())
    assert guest.membership.is_in


def test_a_link_over_which_nothing_ever_comes_is_given_up() -> None:
    guest = Guest()
    guest.wait()
    guest.take(Answered(DOOR, WELCOME))
    assert guest.membership.wake_at <= guest.now + KNOCK_TIMEOUT
    assert guest.wait(KNOCK_TIMEOUT).effects == [HangUp(DOOR)]
    assert guest.state is MembershipState.AWAY


def test_silence_beyond_the_threshold_ends_the_membership(guest: Guest) -> None:
    for _ in range(7):
        assert not guest.wait(1.0).effects
    assert guest.wait(1.0).effects == [HangUp(DOOR)]


def test_after_a_suspension_of_its_own_it_listens_first(guest: Guest) -> None:
    guest.wait(1.0)
    assert not guest.wait(1000.0).effects
    assert guest.membership.is_in


def test_it_beats_when_it_said_nothing_for_a_period(guest: Guest) -> None:
    assert not guest.wait(1.9).sends
    guest.send(Stop("anything"))
    assert not guest.wait(1.9).sends
    assert guest.wait(0.1).sends == [(DOOR, Heartbeat())]


def test_tries_grow_rarer_and_start_anew_once_a_link_worked(guest: Guest) -> None:
    def waits() -> list[float]:
        found = []
        for _ in range(5):
            found.append(guest.membership.wake_at - guest.now)
            guest.now = guest.membership.wake_at
            guest.wait()
            guest.take(Answered(DOOR, Refused("later", is_final=False)))
        return found

    guest.take(LinkClosed(DOOR))
    first = waits()
    assert first == sorted(first)
    assert first[-1] > 4 * first[0]
    guest.take(Answered(DOOR, WELCOME))
    guest.take(Heartbeat(), DOOR)
    guest.take(LinkClosed(DOOR))
    assert waits()[0] < first[1]
