"""What services have told, kept for those who come later."""

import heapq
from collections import deque
from collections.abc import Iterator
from operator import itemgetter

from actors.messages import AnyEvent, ScalingDecided

__all__ = ["RELAYED_KEPT", "Relays"]

# Decisions, and as many restarts and the like, that an operator finds in a picture.
# Chosen: hours of a busy strategy; a fraction of the picture.
RELAYED_KEPT = 100


class Relays:
    """When events came, and the events; newest last, so many at most of each sort.

    The strategy decides every few seconds, mostly to do nothing: of such decisions in a
    row only the newest is kept. Decisions are kept apart from all else, so that however
    many there are, nobody looks in vain for a restart.
    """

    def __init__(self) -> None:
        self._count = 0  # of all that came, for their order
        self._decisions: deque[tuple[int, float, ScalingDecided]] = deque(
            maxlen=RELAYED_KEPT
        )
        self._others: deque[tuple[int, float, AnyEvent]] = deque(maxlen=RELAYED_KEPT)

    def __len__(self) -> int:
        return len(self._decisions) + len(self._others)

    def __iter__(self) -> Iterator[tuple[float, AnyEvent]]:
        """Go through them as they came."""
        both = heapq.merge(self._decisions, self._others, key=itemgetter(0))
        return ((at, event) for _, at, event in both)

    def note(self, event: AnyEvent, now: float) -> None:
        """Keep an event that came at `now`."""
        self._count += 1
        if not isinstance(event, ScalingDecided):
            self._others.append((self._count, now, event))
            return
        if event.action == "none":
            self._forget_quiet(event.worker_type)
        self._decisions.append((self._count, now, event))

    def clear(self) -> None:
        """Forget all."""
        self._decisions.clear()
        self._others.clear()

    def _forget_quiet(self, worker_type: str) -> None:
        for place in range(len(self._decisions) - 1, -1, -1):
            earlier = self._decisions[place][2]
            if earlier.worker_type == worker_type:
                if earlier.action == "none":
                    del self._decisions[place]
                return
