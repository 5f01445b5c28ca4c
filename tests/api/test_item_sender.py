"""Promise: a generator waits for its reader, and for nobody once it has none."""

import threading
from typing import Any

import pytest

from actors.api.item_sender import ItemSender
from actors.errors import NotSerializable
from actors.logic.item_streams import ALL_ITEMS
from actors.messages import Message, Yielded
from tests.support import eventually

# More than may be under way at a time, all together.
ITEMS = [bytes(1 << 20)] * 6


class Owner:
    """Counts what it is told, and takes nothing unless it wants to."""

    def __init__(self) -> None:
        self.indexes: list[int] = []
        self.waits: list[bool] = []
        self.sender = ItemSender(self.say, self.waits.append)

    def say(self, message: Message, message_bytes: int, *, now: bool) -> None:
        assert now
        assert message_bytes > 0
        assert isinstance(message, Yielded)
        self.indexes.append(message.index)

    def send(self, seq: int, items: list[Any], first: int = 0) -> int:
        with self.sender.open(seq, first):
            return self.sender.send_all(seq, items, first)


def test_a_generator_that_lost_its_reader_before_it_began_does_not_wait() -> None:
    owner = Owner()
    owner.sender.taken(7, ALL_ITEMS)
    assert owner.send(7, ITEMS) == len(ITEMS)
    assert not owner.indexes, "nobody wants them"
    # Only that one.
    assert owner.send(8, [b"a", b"b"]) == 2
    assert owner.indexes == [0, 1]


def test_what_was_taken_of_one_that_is_over_is_of_no_effect_on_the_next() -> None:
    owner = Owner()
    assert owner.send(7, [b"a"]) == 1
    owner.sender.taken(7, 1)
    assert owner.send(8, [b"b"]) == 1
    assert owner.indexes == [0, 0]


def test_what_is_known_is_not_sent_and_counts() -> None:
    owner = Owner()
    assert owner.send(7, [b"a"] * 5, first=3) == 5
    assert owner.indexes == [3, 4]


def test_it_waits_when_it_is_far_ahead_until_items_were_taken() -> None:
    owner = Owner()
    thread = threading.Thread(target=owner.send, args=(7, ITEMS * 2))
    thread.start()
    eventually(lambda: len(owner.indexes) == 4)
    owner.sender.taken(7, 3)
    eventually(lambda: len(owner.indexes) == 7)
    owner.sender.taken(7, ALL_ITEMS)
    thread.join()
    assert owner.indexes == [*range(7)], "nobody wants the others"


def test_its_place_is_anothers_while_its_task_waits_for_the_reader() -> None:
    owner = Owner()
    timer = threading.Timer(0.05, owner.sender.taken, (7, ALL_ITEMS))
    timer.start()
    owner.send(7, ITEMS)
    timer.join()
    assert owner.waits == [True, False]


def test_an_item_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(NotSerializable, match="Item 0"):
        Owner().send(7, [threading.Lock()])
