"""What happens is told once, whether it is heard, stands in a picture, or both."""

import msgspec

from actors.cli.event_memory import EventMemory
from actors.endpoint.pictures import Relayed, Snapshot
from actors.messages import ActorRestarted, Answer, AnyEvent, Published

FIRST = ActorRestarted("strategy", "killed", 1)
SECOND = ActorRestarted("strategy", "killed", 2)


class Told:
    """All that was told, as it was."""

    def __init__(self) -> None:
        self.now = 100.0
        self.seq = 0
        self.memory = EventMemory(lambda: self.now)
        self.events: list[AnyEvent] = []

    def hear(self, event: AnyEvent, epoch: str = "e1") -> None:
        self.seq += 1
        if self.memory.hear(Published(epoch, self.seq, 1.0, "interchange", event)):
            self.events.append(event)

    def see(self, *events: AnyEvent, epoch: str = "e1") -> None:
        relayed = [Relayed(1.0, event) for event in events]
        picture = Snapshot("lab", epoch, 1.0, {}, 0, 0, [], [], [], [], relayed=relayed)
        answer = Answer("r", True, "", msgspec.json.encode(picture))
        self.events += [old.event for old in self.memory.fresh(answer)]


def test_what_was_heard_is_not_told_by_a_picture() -> None:
    told = Told()
    told.hear(FIRST)
    told.see(FIRST, SECOND)
    told.see(FIRST, SECOND)
    assert told.events == [FIRST, SECOND]


def test_what_a_picture_told_first_is_not_told_when_it_is_heard() -> None:
    told = Told()
    told.see(FIRST)
    told.hear(FIRST)
    told.hear(SECOND)
    assert told.events == [FIRST, SECOND]


def test_what_happens_again_is_told_again() -> None:
    told = Told()
    told.see(FIRST)
    told.hear(FIRST)
    told.hear(FIRST)
    told.see(FIRST, FIRST)
    assert told.events == [FIRST, FIRST]
    told.see(FIRST, FIRST, FIRST)
    # Long after a picture: it cannot be what stood there.
    told.now += 60.0
    told.hear(FIRST)
    assert told.events == [FIRST] * 4


def test_another_start_of_the_interchange_is_another_story() -> None:
    told = Told()
    told.see(FIRST)
    told.hear(FIRST, epoch="e2")
    told.see(FIRST, epoch="e2")
    assert told.events == [FIRST, FIRST]
