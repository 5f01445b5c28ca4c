"""Promise: a generator waits for its reader, and for nobody once it has none."""

from typing import Any

from actors.api.item_sender import ItemSender
from actors.logic.item_streams import ALL_ITEMS
from actors.messages import Message, Yielded

# More than may be under way at a time, all together.
ITEMS = [bytes(1 << 20)] * 6


class Owner:
    """Counts what it is told, and takes nothing unless it wants to."""

    def __init__(self) -> None:
        self.indexes: list[int] = []
        self.sender = ItemSender(self.say, lambda _: None)

    def say(self, message: Message, message_bytes: int, *, now: bool) -> None:
        assert now
        assert message_bytes > 0
        assert isinstance(message, Yielded)
        self.indexes.append(message.index)

    def send(self, seq: int, items: list[Any]) -> int:
        with self.sender.open(seq, 0):
            return self.sender.send_all(seq, items, 0)


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
