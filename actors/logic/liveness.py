"""Who is alive: both directions of a link, by one's own clock.

Any received message is life. A peer whose link closed has a short grace to come back
before the threshold; a peer that is silent has the whole threshold. A judge that was
itself suspended (its own clock jumped) grants everybody a new period first: what they
sent meanwhile may still lie in its inbox.
"""

import math

import msgspec

__all__ = ["Liveness", "Tempo"]


# Who is due within so much of a period hears from us together with those who are now:
# each look goes through all peers, and of a thousand each would have a look of its own.
# Chosen: sixteen looks in a period.
_COMPANY = 1 / 16


class Tempo(msgspec.Struct, frozen=True):
    """How often to beat, and how long to wait: seconds.

    Args:
        period: a peer hears from us at least this often.
        threshold: silence that makes a peer lost; at least two periods.
        reconnect_grace: how long a closed link may take to come back.
    """

    period: float = 30.0
    threshold: float = 120.0
    reconnect_grace: float = 5.0

    @property
    def beats_apart(self) -> float:
        """How late a tick may come before the judge takes itself for suspended."""
        return self.threshold / 2


class _Pulse(msgspec.Struct):
    heard_at: float
    sent_at: float
    closed_at: float = math.inf


class Liveness:
    """The pulses of all peers of one actor."""

    def __init__(self, tempo: Tempo) -> None:
        self.tempo = tempo
        self._pulses: dict[str, _Pulse] = {}  # {peer: pulse}
        self._judged_at = -math.inf
        # What `wake_at` said last, while that holds: messages only put it off, and to
        # wake too early does no harm. Asked after each message, with all peers to go
        # through, it took a tenth of the time of a task alone.
        self._wake_at: float | None = None

    def joined(self, peer: str, now: float) -> None:
        """Begin to watch a peer; again: it came back."""
        self._wake_at = None
        self._pulses[peer] = _Pulse(now, now)

    def left(self, peer: str) -> None:
        """Watch it no longer; unknown: nothing happens."""
        self._wake_at = None
        self._pulses.pop(peer, None)

    def heard(self, peer: str, now: float) -> None:
        """Note a message from a peer; unknown: nothing happens."""
        pulse = self._pulses.get(peer)
        if pulse is not None:
            pulse.heard_at = now

    def sent(self, peer: str, now: float) -> None:
        """Note a message to a peer; unknown: nothing happens."""
        pulse = self._pulses.get(peer)
        if pulse is not None:
            pulse.sent_at = now

    def closed(self, peer: str, now: float) -> None:
        """Note that a peer's link closed; unknown: nothing happens."""
        pulse = self._pulses.get(peer)
        if pulse is not None:
            pulse.closed_at = min(pulse.closed_at, now)
            self._wake_at = None

    def is_connected(self, peer: str) -> bool:
        """Tell whether a watched peer has an open link."""
        pulse = self._pulses.get(peer)
        return pulse is not None and pulse.closed_at == math.inf

    def due(self, now: float) -> list[str]:
        """Name the connected peers that must hear from us now, or very soon."""
        self._wake_at = None
        due_before = now - self.tempo.period
        soon_before = due_before + self.tempo.period * _COMPANY
        due = [
            peer
            for peer, pulse in self._pulses.items()
            if pulse.sent_at <= soon_before and pulse.closed_at == math.inf
        ]
        is_time = any(self._pulses[peer].sent_at <= due_before for peer in due)
        return due if is_time else []

    def lost(self, now: float) -> list[str]:
        """Name the peers to be given up; call it at each tick.

        After a suspension of our own nobody is lost before another grace has passed.
        """
        self._wake_at = None
        was_suspended = now - self._judged_at > self.tempo.beats_apart
        if was_suspended and self._judged_at != -math.inf:
            for pulse in self._pulses.values():
                pulse.heard_at = now
                if pulse.closed_at != math.inf:
                    pulse.closed_at = now
        self._judged_at = now
        return [p for p, pulse in self._pulses.items() if now >= self._deadline(pulse)]

    def wake_at(self) -> float:
        """Say when `due` or `lost` may have something next; infinity: never.

        Never too late, and too early once at most.
        """
        if self._wake_at is None:
            self._wake_at = self._find_wake_at()
        return self._wake_at

    def _find_wake_at(self) -> float:
        if not self._pulses:
            return math.inf
        period = self.tempo.period
        soonest = min(
            min(
                self._deadline(pulse),
                pulse.sent_at + period if pulse.closed_at == math.inf else math.inf,
            )
            for pulse in self._pulses.values()
        )
        # Judging at least this often is what makes a suspension visible.
        return min(soonest, max(self._judged_at, 0.0) + self.tempo.beats_apart / 2)

    def silence(self, peer: str, now: float) -> float:
        """Seconds since a peer was heard; 0 for an unknown one."""
        pulse = self._pulses.get(peer)
        return max(0.0, now - pulse.heard_at) if pulse else 0.0

    def _deadline(self, pulse: _Pulse) -> float:
        return min(
            pulse.heard_at + self.tempo.threshold,
            pulse.closed_at + self.tempo.reconnect_grace,
        )
