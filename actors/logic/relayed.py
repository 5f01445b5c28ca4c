"""What services have told, kept for those who come later."""

from collections import deque

from actors.messages import AnyEvent, ScalingDecided

__all__ = ["RELAYED_KEPT", "Relays"]

# Decisions and restarts that an operator finds in a picture. Chosen: hours of a busy
# strategy; a fraction of the picture.
RELAYED_KEPT = 100


class Relays(deque[tuple[float, AnyEvent]]):
    """When events came, and the events; newest last, so many at most.

    The strategy decides every few seconds, mostly to do nothing: of such decisions in a
    row only the newest is kept.
    """

    def __init__(self) -> None:
        super().__init__(maxlen=RELAYED_KEPT)

    def note(self, event: AnyEvent, now: float) -> None:
        """Keep an event that came at `now`."""
        if isinstance(event, ScalingDecided) and event.action == "none":
            self._forget_quiet(event.worker_type)
        self.append((now, event))

    def _forget_quiet(self, worker_type: str) -> None:
        for place in range(len(self) - 1, -1, -1):
            earlier = self[place][1]
            if (
                isinstance(earlier, ScalingDecided)
                and earlier.worker_type == worker_type
            ):
                if earlier.action == "none":
                    del self[place]
                return
