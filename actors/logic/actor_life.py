"""An actor's life: its incarnations, why each ended, and whether another follows.

    starting ──constructed──► alive ──ended──► restarting ──(delay)──► starting
        │                       │                                        │
        └──────── ended ────────┴──► dead ◄── restarts exceeded ─────────┘

Pure. What the first constructor raises is final; what it raises during a restart counts
as one more crash. An end that was meant (killed, exited, nobody left) is final, too.
One that an operator has ordered, to have another incarnation, is no crash.
"""

import enum
import random
from collections import deque

import msgspec

from actors.logic.backoff import Backoff

__all__ = ["ActorLife", "DeathReason", "Died", "LifeState"]

# Delays between crash and restart, in seconds. Chosen: nobody notices the first, and a
# machine bears the last for ever.
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 30.0
# After so long without a crash the next delay is the first again. Chosen: the longest
# delay, twice.
_QUIET_PERIOD = 60.0


class DeathReason(enum.StrEnum):
    """Why an actor, or one incarnation of it, is dead."""

    EXITED = "exited"  # by itself, or as nobody has a handle on it
    KILLED = "killed"  # by `actors.kill`
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    CONSTRUCTOR_FAILED = "constructor_failed"
    OWNER_DIED = "owner_died"
    NODE_LOST = "node_lost"
    RESTARTED = "restarted"  # by an operator; another incarnation follows
    RESTARTS_EXCEEDED = "restarts_exceeded"
    UNPICKLABLE = "unpicklable"  # its class cannot be loaded in its process


class Died(msgspec.Struct, frozen=True):
    """What `actors.watch` tells of an incarnation's end.

    Args:
        actor: its id.
        incarnation: 1 is the first.
        reason: why.
        is_final: whether there will be no other incarnation.
        message: for people.
    """

    actor: str
    incarnation: int
    reason: DeathReason
    is_final: bool
    message: str


class LifeState(enum.Enum):
    """Where an actor is in its life."""

    STARTING = "starting"
    ALIVE = "alive"
    RESTARTING = "restarting"
    DEAD = "dead"


class ActorLife:
    """The machine; see the module's docstring.

    Args:
        max_restarts: allowed within `period`; -1: any number.
        period: seconds; 0: all its life.
        chance: for the jitter of the delays.
    """

    def __init__(self, max_restarts: int, period: float, chance: random.Random) -> None:
        self.max_restarts = max_restarts
        self.period = period
        self.state = LifeState.STARTING
        self.incarnation = 1
        self.restarts = 0
        self.reason: DeathReason | None = None  # of its last end
        self._backoff = Backoff(chance, first=_FIRST_DELAY, limit=_LONGEST_DELAY)
        self._recent: deque[float] = deque()  # crashes within the period
        self.ordered: set[int] = set()  # incarnations whose end was ordered
        self._crashed_at = 0.0

    @property
    def may_restart(self) -> bool:
        """Whether a crash may ever be followed by another incarnation."""
        return self.max_restarts != 0

    def restore(
        self, incarnation: int, reason: DeathReason | None, *, is_over: bool, now: float
    ) -> None:
        """Take up a life that began elsewhere, where this incarnation was the last.

        Args:
            incarnation: 1 is the first.
            reason: why it, or the one before, ended.
            is_over: whether it has ended, and the next has not begun.
            now: monotonic seconds; earlier crashes count as if they came now.
        """
        self.incarnation, self.restarts = incarnation, incarnation - 1
        self.reason = reason
        self.state = LifeState.RESTARTING if is_over else LifeState.STARTING
        if self.max_restarts > 0:
            ended = self.restarts + is_over
            ended -= sum(number <= ended for number in self.ordered)
            crashes = min(ended, self.max_restarts)
            self._recent = deque([now] * crashes)
            self._crashed_at = now

    def constructed(self) -> None:
        """Note that the constructor has returned."""
        assert self.state is LifeState.STARTING
        self.state = LifeState.ALIVE

    def started_again(self) -> None:
        """Begin the next incarnation."""
        assert self.state is LifeState.RESTARTING
        self.state = LifeState.STARTING
        self.incarnation += 1
        self.restarts += 1

    def order_restart(self) -> None:
        """Have the end of this incarnation followed by another, and not counted."""
        assert self.may_restart
        self.ordered.add(self.incarnation)

    def never_began(self) -> None:
        """Note that nothing of this incarnation was: it need not end to begin anew."""
        self.ordered.discard(self.incarnation)

    @property
    def is_ordered(self) -> bool:
        """Whether this incarnation ends, or has ended, by an operator's order."""
        return self.incarnation in self.ordered

    def ended(
        self, reason: DeathReason, now: float, *, is_meant: bool = False
    ) -> float | None:
        """Note the end of an incarnation.

        Args:
            reason: why.
            now: monotonic seconds.
            is_meant: whether nobody wants another one.

        Returns:
            Seconds to wait before the restart; None: it is dead for good.
        """
        assert self.state is not LifeState.DEAD, "it died twice"
        self.reason = reason
        if is_meant or not self.may_restart or self._is_hopeless(reason):
            self.state = LifeState.DEAD
            return None
        if self.is_ordered:
            self.reason = DeathReason.RESTARTED
            self.state = LifeState.RESTARTING
            return 0.0
        # As in OTP's add_restart: forget restarts older than the period.
        while self.period and self._recent and self._recent[0] <= now - self.period:
            self._recent.popleft()
        if self._recent and now - self._crashed_at > _QUIET_PERIOD:
            self._backoff.reset()
        self._crashed_at = now
        if self.max_restarts > 0:
            self._recent.append(now)
            if len(self._recent) > self.max_restarts:
                self.state = LifeState.DEAD
                self.reason = DeathReason.RESTARTS_EXCEEDED
                return None
        self.state = LifeState.RESTARTING
        return self._backoff.next()

    def ended_supervised(self, reason: DeathReason, *, may_return: bool) -> None:
        """Note the end of an incarnation whose supervisor decides what follows."""
        assert self.state is not LifeState.DEAD, "it died twice"
        self.reason = reason
        self.state = LifeState.RESTARTING if may_return else LifeState.DEAD

    def _is_hopeless(self, reason: DeathReason) -> bool:
        is_first = self.incarnation == 1 and self.state is LifeState.STARTING
        return is_first and reason in (
            DeathReason.CONSTRUCTOR_FAILED,
            DeathReason.UNPICKLABLE,
        )

    def check(self) -> None:
        """Raise AssertionError if it contradicts itself."""
        assert self.incarnation == self.restarts + 1
        if self.max_restarts > 0 and self.state is not LifeState.DEAD:
            assert len(self._recent) <= self.max_restarts
        if self.state is LifeState.ALIVE:
            assert self.max_restarts < 0 or not self.period or self._recent is not None
