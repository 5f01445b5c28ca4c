"""How an actor gets to a door, through it, and back when its link is lost.

    away ──knock──► knocking ──Welcome──► in ──link closed, silence, Reregister──► away
                       │
                       └──Refused──► barred (the reason is final) or away again

Everybody who dials uses it: managers, strategy, provider, supervisor, clients.
"""

import enum
import math
import random
from collections.abc import Callable

from actors.logic.backoff import Backoff
from actors.logic.liveness import Liveness, Tempo
from actors.logic.turn import Answered, HangUp, Knock, LinkClosed, Turn
from actors.messages import (
    Goodbye,
    Heartbeat,
    Hello,
    Message,
    Refused,
    Reregister,
    Welcome,
)

__all__ = ["Membership", "MembershipState"]

# How long a door may take to answer, and a new link to bring its first message.
# Chosen: an interchange that replays a long journal answers nobody for seconds.
KNOCK_TIMEOUT = 5.0


# What a door says to the membership; all else is the owner's.
_OURS = frozenset({Goodbye, Reregister, Heartbeat})


class MembershipState(enum.Enum):
    AWAY = "away"
    KNOCKING = "knocking"
    IN = "in"
    BARRED = "barred"


# Looked up once: in Python 3.11 that takes long, and each message asks.
_AWAY, _KNOCKING = MembershipState.AWAY, MembershipState.KNOCKING
_IN, _BARRED = MembershipState.IN, MembershipState.BARRED


def _ignore(*_: object) -> None:
    """Stand for a callback that an owner does not need."""


class Membership:
    """One actor's membership behind one door.

    The owner passes every message through `take` first and every send through `send`.

    Args:
        door: the door's name, which is also the peer's name.
        hello: makes the current `Hello`: what a manager holds changes.
        chance: for the jitter of the waits.
        entered: called with the moment and the turn when we are in.
        left: called with the interchange's reason, if it gave one, the moment and the
            turn when we are no longer, and will knock again.
        barred: called with the reason and the turn when we will never be.
    """

    def __init__(
        self,
        door: str,
        hello: Callable[[], Hello],
        chance: random.Random,
        *,
        entered: Callable[[float, Turn], object] = _ignore,
        left: Callable[[str, float, Turn], object] = _ignore,
        barred: Callable[[str, Turn], object] = _ignore,
    ) -> None:
        self.door = door
        self.state = _AWAY
        self.epoch = ""
        self.max_frame_bytes = 0
        self.refusal = ""  # what the door said last, if it was a no
        self._hello = hello
        self._entered, self._left, self._barred = entered, left, barred
        # The waits stay below the time that an interchange gives to the cut off.
        self._backoff = Backoff(chance, first=0.05, limit=5.0)
        self._liveness = Liveness(Tempo())
        self._next_knock = -math.inf
        self._knocked_at = -math.inf
        self._is_confirmed = False  # something came over the link

    @property
    def is_in(self) -> bool:
        return self.state is _IN

    @property
    def is_barred(self) -> bool:
        return self.state is _BARRED

    def take(self, message: object, sender: str, now: float, turn: Turn) -> bool:
        """Take what concerns the membership.

        Returns:
            Whether the owner need not look at the message. A `Welcome` is for both:
            the owner is told false, and finds itself `is_in`.
        """
        if sender == self.door and type(message) not in _OURS:
            self._heard(now)
            return False
        match message:
            case Answered(door=self.door, answer=Welcome() as welcome):
                self._enter(welcome, now, turn)
                return False
            case Answered(door=self.door, answer=Refused() as refused):
                self._refused(refused, now, turn)
                return not refused.is_final
            case LinkClosed(peer=self.door):
                self._lose(now, turn, hang_up=False)
                return False
            case Goodbye(reason) if sender == self.door:
                # Hanging up tells the other side that its last words were read.
                self._lose(now, turn, hang_up=True, reason=reason)
                return False
            case Reregister() if sender == self.door:
                self._lose(now, turn, hang_up=True)
                return False
            case Heartbeat() if sender == self.door:
                self._heard(now)
                return True
        return False

    def _heard(self, now: float) -> None:
        self._liveness.heard(self.door, now)
        if not self._is_confirmed:
            self._is_confirmed = True
            self._backoff.reset()

    def send(self, message: Message, now: float, turn: Turn) -> None:
        """Send if we are in; otherwise drop: the owner resends what matters."""
        if self.is_in:
            self._liveness.sent(self.door, now)
            turn.sends.append((self.door, message))

    def tick(self, now: float, turn: Turn) -> None:
        """Knock, beat, or give the link up, as time demands."""
        if self.state is _IN:
            unconfirmed = now >= self._knocked_at + KNOCK_TIMEOUT
            if self._liveness.lost(now) or (unconfirmed and not self._is_confirmed):
                self._lose(now, turn, hang_up=True)
            elif self._liveness.due(now):
                self.send(Heartbeat(), now, turn)
        elif now >= self.wake_at:
            self._knock(now, turn)

    @property
    def wake_at(self) -> float:
        if self.state is _IN:
            at = self._liveness.wake_at()
            if self._is_confirmed:
                return at
            return min(at, self._knocked_at + KNOCK_TIMEOUT)
        if self.state is _AWAY:
            return self._next_knock
        if self.state is _KNOCKING:
            return self._knocked_at + KNOCK_TIMEOUT
        return math.inf

    def _knock(self, now: float, turn: Turn) -> None:
        self.state = _KNOCKING
        self._knocked_at = now
        turn.effects.append(Knock(self.door, self._hello()))

    def _enter(self, welcome: Welcome, now: float, turn: Turn) -> None:
        self.state = _IN
        self.epoch = welcome.epoch
        self.refusal = ""
        self.max_frame_bytes = welcome.max_frame_bytes
        self._knocked_at = now
        self._is_confirmed = False
        self._liveness = Liveness(
            Tempo(welcome.heartbeat_period, welcome.heartbeat_threshold)
        )
        self._liveness.joined(self.door, now)
        self._entered(now, turn)

    def _refused(self, refused: Refused, now: float, turn: Turn) -> None:
        self.refusal = refused.reason
        if refused.is_final:
            self.state = _BARRED
            self._barred(refused.reason, turn)
        else:
            self.state = _AWAY
            self._next_knock = now + self._backoff.next()

    def _lose(self, now: float, turn: Turn, *, hang_up: bool, reason: str = "") -> None:
        if not self.is_in:
            return
        self.state = _AWAY
        self._liveness.left(self.door)
        self._next_knock = now + self._backoff.next()
        if hang_up:
            turn.effects.append(HangUp(self.door))
        self._left(reason, now, turn)
