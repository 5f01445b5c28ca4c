"""What a named client leaves behind, a later process of that name finds again. Pure."""

import random

import pytest

from actors.api.session import (
    KEY_MARK,
    Leave,
    Resolve,
    Resumed,
    Session,
    SessionSettings,
    SubmitNow,
)
from actors.logic.turn import Exit, HangUp
from actors.messages import (
    Accepted,
    AckResults,
    ClaimTasks,
    ClientId,
    Goodbye,
    Heartbeat,
    ListTasks,
    Results,
    Submit,
    TaskId,
    TasksListed,
)
from tests.endpoint.talk import (
    PYTHON,
    TOKEN,
    Talk,
    all_of,
    only,
    outcome,
    sent_to,
    task,
)

DOOR = "interchange"
# Ids of an earlier process, of this one, and of a task with a key.
OLD, OLD2 = TaskId("c1-old-1"), TaskId("c1-old-2")
OWN = TaskId("c1-new-1")
KEYED = TaskId(f"c1{KEY_MARK}monday")


class Client(Talk):
    """The session of a client with a name."""

    machine: Session

    def __init__(self, *, resumes: bool) -> None:
        settings = SessionSettings(
            *(ClientId("c1"), "i", TOKEN, PYTHON, "h", 7, 30.0),
            own_prefix="c1-new-",
            resumes=resumes,
        )
        super().__init__(Session(settings, random.Random(0), 100.0))


def test_who_resumes_asks_for_the_tasks_and_takes_over_the_unfinished() -> None:
    client = Client(resumes=True)
    assert sent_to(client.enter(), DOOR, ListTasks) == [ListTasks()]
    turn = client.tell(TasksListed([OLD, OLD2]), DOOR)
    assert all_of(turn.effects, Resumed) == [Resumed([OLD, OLD2], is_all=True)]
    turn = client.tell(Results([outcome(OLD)]), DOOR)
    assert only(all_of(turn.effects, Resolve)).outcomes == [outcome(OLD)]
    assert sent_to(turn, DOOR, AckResults) == [AckResults([OLD])]
    assert client.machine.unfinished == 1


def test_an_outcome_that_comes_before_the_list_is_taken_over_once() -> None:
    client = Client(resumes=True)
    client.enter()
    turn = client.tell(Results([outcome(OLD)]), DOOR)
    assert all_of(
        turn.effects,
        Resumed,
    ) == [Resumed([OLD], is_all=False)]
    assert only(all_of(turn.effects, Resolve)).outcomes == [outcome(OLD)]
    turn = client.tell(Results([outcome(OLD)]), DOOR)
    assert not turn.effects, "a second time"
    turn = client.tell(TasksListed([OLD, OLD2]), DOOR)
    assert all_of(turn.effects, Resumed) == [Resumed([OLD2], is_all=True)]
    assert client.machine.unfinished == 1


def test_what_is_resumed_is_claimed_like_ones_own_after_a_lost_link() -> None:
    client = Client(resumes=True)
    client.enter()
    client.tell(TasksListed([OLD]), DOOR)
    client.tell(Goodbye("a restart"), DOOR)
    turn = client.enter()
    assert sent_to(turn, DOOR, ClaimTasks) == [ClaimTasks([OLD])]
    assert not sent_to(turn, DOOR, ListTasks), "asked once"


def test_who_does_not_resume_leaves_the_outcomes_for_who_will() -> None:
    client = Client(resumes=False)
    assert not sent_to(client.enter(), DOOR, ListTasks)
    turn = client.tell(Results([outcome(OLD), outcome(KEYED)]), DOOR)
    assert not turn.effects
    assert not sent_to(turn, DOOR, AckResults)


@pytest.mark.parametrize("resumes", [True, False])
def test_ones_own_outcome_is_acknowledged_however_often_it_comes(
    *, resumes: bool
) -> None:
    client = Client(resumes=resumes)
    client.enter()
    client.tell(SubmitNow([task(OWN)]))
    for _ in range(2):
        turn = client.tell(Results([outcome(OWN)]), DOOR)
        assert sent_to(turn, DOOR, AckResults) == [AckResults([OWN])]


def test_a_keyed_tasks_outcome_is_never_acknowledged() -> None:
    """Who leaves in order lets the endpoint forget it; who dies has it kept."""
    client = Client(resumes=False)
    client.enter()
    client.tell(SubmitNow([task(KEYED)]))
    turn = client.tell(Results([outcome(KEYED)]), DOOR)
    assert only(all_of(turn.effects, Resolve)).outcomes == [outcome(KEYED)]
    assert not sent_to(turn, DOOR, AckResults)
    assert not client.tell(Results([outcome(KEYED)]), DOOR).effects


def test_who_detaches_leaves_without_a_word_once_all_is_accepted() -> None:
    client = Client(resumes=False)
    client.enter()
    client.tell(Heartbeat(), DOOR)
    assert sent_to(client.tell(SubmitNow([task(OWN)])), DOOR, Submit)
    assert not client.tell(Leave(for_good=False)).effects
    turn = client.tell(Accepted([OWN]), DOOR)
    assert [type(effect) for effect in turn.effects] == [HangUp, Exit]
    assert not sent_to(turn, DOOR, Goodbye)
