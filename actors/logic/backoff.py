"""How long to wait before trying again: exponential, with jitter, bounded."""

import random
from dataclasses import dataclass, field

__all__ = ["Backoff"]


@dataclass(slots=True)
class Backoff:
    """Delays between tries, in seconds.

    Args:
        chance: the caller's own random source: jitter must be repeatable in tests.
        first: the first delay.
        factor: each delay is this much longer than the one before.
        limit: the longest delay.
        jitter: a delay is lengthened by up to this share of itself, so that many
            that were cut off at once do not come back at once.
    """

    chance: random.Random
    first: float = 0.1
    factor: float = 2.0
    limit: float = 30.0
    jitter: float = 0.25
    delay: float = field(default=0.0, init=False)  # the last one, without jitter

    def next(self) -> float:
        """Return the delay before the next try."""
        self.delay = min(
            self.delay * self.factor if self.delay else self.first, self.limit
        )
        return self.delay * (1 + self.jitter * self.chance.random())

    def reset(self) -> None:
        """Forget the failures: the next delay is the first one again."""
        self.delay = 0.0
