"""Promise: an operator who stays sees everything anew after each loss, and no order is
given twice or forgotten without a word.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.api.observer import (
    Changed,
    ConnectionState,
    Heard,
    Look,
    Observer,
    Order,
    Told,
    Unanswered,
)
from actors.logic.turn import Answered, Exit, LinkClosed, Quit, Turn
from actors.messages import (
    Answer,
    Command,
    Goodbye,
    Heartbeat,
    Notice,
    Published,
    Refused,
    Reregister,
)
from tests.endpoint.talk import Talk, all_of, hello, only, sent_to

DOOR = "interchange"
STATUS, TASKS = Command("", "status"), Command("", "tasks", [""], 90)
HOLD = Command("mine", "hold", ["block-1"])


class Post(Talk):
    """An observer that polls the status."""

    machine: Observer

    def __init__(self) -> None:
        super().__init__(Observer(hello("operator"), random.Random(1)))
        self.tell(Look(STATUS))

    def answer(self, turn: Turn, text: str = "", body: bytes = b"") -> Turn:
        """Answer the only question of a turn."""
        asked = only(sent_to(turn, DOOR, Command))
        return self.tell(Answer(asked.request_id, True, text, body), DOOR)


def event(seq: int, epoch: str = "e1") -> Published:
    return Published(epoch, seq, 0.0, "interchange", Notice("info", "x"))


@pytest.fixture
def post() -> Post:
    return Post()


def test_who_is_let_in_asks_at_once_and_every_second(post: Post) -> None:
    turn = post.enter()
    assert only(all_of(turn.effects, Changed)).state is ConnectionState.CONNECTED
    told = post.answer(turn, body=b"{}")
    assert only(all_of(told.effects, Told)).command == STATUS
    assert not sent_to(post.live(0.9), DOOR, Command)
    assert sent_to(post.live(0.2), DOOR, Command)


def test_who_polls_nothing_sleeps_after_a_gap_and_after_an_order() -> None:
    talk = Talk(Observer(hello("operator"), random.Random(1)))
    turn = talk.enter()
    talk.tell(event(1), DOOR)
    talk.tell(event(5), DOOR)
    turn = talk.tell(Order(HOLD))
    asked = only(sent_to(turn, DOOR, Command))
    talk.tell(Answer(asked.request_id, True, "done"), DOOR)
    talk.live(0.0)
    assert talk.machine.wake_at > talk.now


def test_large_pictures_are_asked_for_less_often(post: Post) -> None:
    """Drawing one must not take the interchange a hundredth of its time."""
    turn = post.enter()
    post.answer(turn, body=bytes(2_500_000))
    assert not sent_to(post.live(4.0), DOOR, Command)
    assert sent_to(post.live(2.0), DOOR, Command)


def test_a_poll_that_nobody_answers_is_asked_again(post: Post) -> None:
    post.enter()
    turn = Turn()
    for _ in range(12):
        post.tell(Heartbeat(), DOOR)
        turn = post.live(1.0)
        if sent_to(turn, DOOR, Command):
            break
    assert only(sent_to(turn, DOOR, Command)).verb == "status"


def test_a_new_look_is_asked_at_once_and_the_old_ones_answer_is_dropped(
    post: Post,
) -> None:
    post.answer(post.enter())
    first = post.tell(Look(TASKS))
    second = post.tell(Look(Command("", "tasks", ["abc"], 90)))
    assert not all_of(post.answer(first).effects, Told)
    told = only(all_of(post.answer(second).effects, Told))
    assert told.command.names == ["abc"]


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (LinkClosed(DOOR), ""),
        (Goodbye("it restarts"), DOOR),
        (Reregister("unknown"), DOOR),
    ],
)
def test_after_a_loss_everything_is_asked_anew(
    post: Post, message: object, sender: str
) -> None:
    post.enter()
    turn = post.tell(message, sender)
    assert only(all_of(turn.effects, Changed)).state is ConnectionState.LOST
    turn = post.enter()
    assert only(all_of(turn.effects, Changed)).state is ConnectionState.CONNECTED
    assert only(sent_to(turn, DOOR, Command)).verb == "status"


def test_while_it_is_away_that_is_repeated(post: Post) -> None:
    assert len(all_of(post.live(5.0).effects, Changed)) >= 4
    post.enter()
    assert not all_of(post.live(1.0).effects, Changed)


def test_a_final_refusal_is_told_once(post: Post) -> None:
    post.live(1.0)
    turn = post.tell(Answered(DOOR, Refused("wrong token")))
    changed = only(all_of(turn.effects, Changed))
    assert (changed.state, changed.reason) == (ConnectionState.REFUSED, "wrong token")
    assert not post.live(100.0).effects


# Orders


def test_an_order_is_sent_once_and_its_answer_told(post: Post) -> None:
    post.answer(post.enter())
    turn = post.tell(Order(HOLD))
    told = only(all_of(post.answer(turn, "held").effects, Told))
    assert (told.command, told.answer.text) == (HOLD, "held")
    assert only(sent_to(post.live(0.1), DOOR, Command)).verb == "status", "see it"


def test_an_order_while_away_is_refused_at_once(post: Post) -> None:
    turn = post.tell(Order(HOLD))
    assert only(all_of(turn.effects, Unanswered)).command == HOLD
    assert not sent_to(turn, DOOR, Command)


def test_an_order_whose_link_is_lost_is_not_given_again(post: Post) -> None:
    post.enter()
    post.tell(Order(HOLD))
    turn = post.tell(LinkClosed(DOOR))
    assert only(all_of(turn.effects, Unanswered)).command == HOLD
    assert {c.verb for c in sent_to(post.enter(), DOOR, Command)} == {"status"}


def test_an_order_that_nobody_answers_is_given_up(post: Post) -> None:
    post.enter()
    post.tell(Order(HOLD))
    effects = []
    for _ in range(11):
        post.tell(Heartbeat(), DOOR)
        effects += post.live(1.0).effects
    assert only(all_of(effects, Unanswered)).reason == "no answer within 10 s"


# Events


def test_a_gap_is_counted_and_a_new_picture_asked_for(post: Post) -> None:
    post.answer(post.enter())
    for seq, missed in ((5, 0), (6, 0), (9, 2), (10, 0)):
        heard = only(all_of(post.tell(event(seq), "events").effects, Heard))
        assert heard.missed == missed
    assert sent_to(post.live(0.01), DOOR, Command)


def test_another_epoch_begins_its_own_count(post: Post) -> None:
    post.tell(event(50), "events")
    heard = only(all_of(post.tell(event(1, "e2"), "events").effects, Heard))
    assert heard.missed == 0


def test_it_leaves_in_order(post: Post) -> None:
    post.enter()
    turn = post.tell(Quit("enough"))
    only(sent_to(turn, DOOR, Goodbye))
    only(all_of(turn.effects, Exit))
    assert not post.live(100.0).effects


@given(st.lists(st.integers(0, 9), max_size=60))
def test_every_order_ends_exactly_once_whatever_happens(steps: list[int]) -> None:
    post = Post()
    ended: list[str] = []
    asked: list[str] = []
    given_orders = 0

    def note(turn: Turn) -> None:
        asked.extend(c.request_id for c in sent_to(turn, DOOR, Command))
        ended.extend(
            effect.command.request_id
            for effect in turn.effects
            if isinstance(effect, Told | Unanswered) and effect.command.request_id
        )

    for step in steps:
        match step:
            case 0 | 1:
                given_orders += 1
                order = Command(f"o{given_orders}", "hold", ["b"])
                note(post.tell(Order(order)))
            case 2 | 3 if asked:
                answer = Answer(asked.pop(), True, "")
                if post.machine.membership.is_in:
                    note(post.tell(answer, DOOR))
            case 4 if post.machine.membership.is_in:
                note(post.tell(LinkClosed(DOOR)))
            case 5 | 6 if not post.machine.membership.is_in:
                note(post.enter())
            case 7:
                note(post.tell(event(step), "events"))
            case _:
                note(post.live(0.7))
    for _ in range(15):
        note(post.live(1.0))
    assert sorted(ended) == sorted(f"o{n + 1}" for n in range(given_orders))
