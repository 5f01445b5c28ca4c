"""Promise: one question gets one answer, or an end at the deadline; never a hang."""

import random

import pytest

from actors.api.operator import Inquiry
from actors.logic.turn import Answered, Exit, LinkClosed
from actors.messages import (
    Answer,
    Command,
    Goodbye,
    Heartbeat,
    Refused,
    Reregister,
)
from tests.endpoint.talk import Talk, all_of, hello, only, sent_to, welcome

DOOR = "interchange"
QUESTION = Command("q1", "hold", ["block-1"])
YES, NO = Answer("q1", True, "held"), Answer("q1", False, "there is none")


def inquire(command: Command = QUESTION, *, until_gone: bool = False) -> Talk:
    inquiry = Inquiry(
        hello("operator"), command, random.Random(1), 110.0, until_gone=until_gone
    )
    return Talk(inquiry)


def inquiry(talk: Talk) -> Inquiry:
    assert isinstance(talk.machine, Inquiry)
    return talk.machine


def test_who_is_let_in_asks_at_once() -> None:
    assert sent_to(inquire().enter(), DOOR, Command) == [QUESTION]


@pytest.mark.parametrize("answer", [YES, NO])
def test_the_answer_ends_it_in_good_manners(answer: Answer) -> None:
    talk = inquire()
    talk.enter()
    turn = talk.tell(answer, DOOR)
    assert inquiry(talk).answer == answer
    only(sent_to(turn, DOOR, Goodbye))
    only(all_of(turn.effects, Exit))


def test_an_answer_to_another_question_is_none() -> None:
    talk = inquire()
    talk.enter()
    turn = talk.tell(Answer("q0", True, ""), DOOR)
    assert inquiry(talk).answer is None
    assert not turn.effects


def test_heartbeats_are_no_answer() -> None:
    talk = inquire()
    talk.enter()
    assert not talk.tell(Heartbeat(), DOOR).effects


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (LinkClosed(DOOR), ""),
        (Goodbye("the interchange restarts"), DOOR),
        (Reregister("unknown"), DOOR),
    ],
)
def test_a_question_that_was_lost_is_asked_again(message: object, sender: str) -> None:
    talk = inquire()
    talk.enter()
    assert not all_of(talk.tell(message, sender).effects, Exit)
    assert sent_to(talk.enter(), DOOR, Command) == [QUESTION]


def test_an_interchange_that_was_restarted_is_not_asked_to_be_so_again() -> None:
    """It is killed before its answer has left; its successor would be, too."""
    talk = inquire(Command("q1", "restart", ["interchange"]))
    talk.enter()
    talk.tell(LinkClosed(DOOR))
    turn = talk.enter(answer=welcome("its successor"))
    assert not sent_to(turn, DOOR, Command)
    answer = inquiry(talk).answer
    assert answer == Answer("q1", True, "restarting: interchange")
    only(all_of(turn.effects, Exit))


def test_an_interchange_that_was_only_away_is_asked_again_to_restart() -> None:
    question = Command("q1", "restart", ["interchange"])
    talk = inquire(question)
    talk.enter()
    talk.tell(LinkClosed(DOOR))
    assert sent_to(talk.enter(), DOOR, Command) == [question]


def test_at_the_deadline_it_is_over_wherever_it_is() -> None:
    outside, inside = inquire(), inquire()
    inside.enter()
    for talk in (outside, inside):
        assert not all_of(talk.live(109.9 - talk.now).effects, Exit)
        only(all_of(talk.live(1.0).effects, Exit))
        assert inquiry(talk).answer is None
        # And it does not begin again.
        assert not talk.live(100.0).effects


def test_a_final_refusal_ends_it() -> None:
    talk = inquire()
    talk.live(1.0)
    turn = talk.tell(Answered(DOOR, Refused("wrong token")))
    only(all_of(turn.effects, Exit))
    assert inquiry(talk).membership.refusal == "wrong token"


def test_a_refusal_for_now_is_no_end() -> None:
    talk = inquire()
    talk.live(1.0)
    turn = talk.tell(Answered(DOOR, Refused("busy", is_final=False)))
    assert not all_of(turn.effects, Exit)
    assert sent_to(talk.enter(answer=welcome()), DOOR, Command) == [QUESTION]


# Stop


@pytest.mark.parametrize(
    ("end", "sender"), [(Goodbye("the endpoint stops"), DOOR), (LinkClosed(DOOR), "")]
)
def test_who_asked_for_a_stop_sees_the_interchange_go(end: object, sender: str) -> None:
    talk = inquire(until_gone=True)
    talk.enter()
    assert not all_of(talk.tell(YES, DOOR).effects, Exit)
    assert not inquiry(talk).is_gone
    only(all_of(talk.tell(end, sender).effects, Exit))
    assert inquiry(talk).is_gone


def test_a_stop_that_is_refused_is_over() -> None:
    talk = inquire(until_gone=True)
    talk.enter()
    only(all_of(talk.tell(NO, DOOR).effects, Exit))
    assert not inquiry(talk).is_gone


def test_a_stop_that_takes_too_long_ends_with_an_answer_and_no_end() -> None:
    talk = inquire(until_gone=True)
    talk.enter()
    talk.tell(YES, DOOR)
    turn = talk.live(20.0)
    only(all_of(turn.effects, Exit))
    assert inquiry(talk).answer == YES
    assert not inquiry(talk).is_gone
