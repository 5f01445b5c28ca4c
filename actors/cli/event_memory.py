"""What `actors events` has told, so that it tells everything once."""

import time
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from actors.endpoint.pictures import Relayed, Snapshot
from actors.messages import Answer, AnyEvent, Published

__all__ = ["EventMemory"]

# Events that are known to have been told; chosen: many times what is remembered.
_TOLD_KEPT = 2000
# What stands in a picture may still be on its way by another link, for so many seconds.
# Chosen: more than a busy machine needs, less than until the same happens again.
_UNDER_WAY = 5.0


class EventMemory:
    """Knows what was told of one start of the interchange.

    Of what happens one hears; of what has happened, a picture tells, too. What it
    remembers has no number: equal events are told apart by their count.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._epoch = ""
        self._heard_epoch = ""
        self._told: deque[AnyEvent] = deque(maxlen=_TOLD_KEPT)
        # Told by a picture, and perhaps still to be heard until this moment.
        self._ahead: list[AnyEvent] = []
        self._ahead_until = 0.0

    def hears_another_start(self, event: Published) -> bool:
        """Tell whether it is the first that is heard of a further start."""
        return self._heard_epoch not in ("", event.epoch)

    def hear(self, event: Published) -> bool:
        """Note an event that was heard; false: a picture has told it already."""
        self._heard_epoch = event.epoch
        self._begin(event.epoch)
        if self._clock() < self._ahead_until and event.body in self._ahead:
            self._ahead.remove(event.body)
            return False
        self._told.append(event.body)
        return True

    def fresh(self, answer: Answer) -> Iterator[Relayed]:
        """Give what a picture remembers that nobody told here, oldest first."""
        picture = msgspec.json.decode(answer.body, type=Snapshot)
        self._begin(picture.epoch)
        now = self._clock()
        if now >= self._ahead_until:
            self._ahead.clear()
        self._ahead_until = now + _UNDER_WAY
        told = list(self._told)
        for old in picture.relayed:
            if old.event in told:
                told.remove(old.event)
            else:
                self._told.append(old.event)
                self._ahead.append(old.event)
                yield old

    def _begin(self, epoch: str) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._told.clear()
            self._ahead.clear()
