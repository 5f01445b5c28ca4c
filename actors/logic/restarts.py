"""When a crashed actor may start again, and when its supervisor gives up.

As in OTP: a supervisor gives up when *more than* `max_restarts` restarts fall into the
last `period` seconds. Ours waits before each restart, longer after each crash, and
starts anew with short waits after a quiet period.
"""

import random
from collections import deque
from collections.abc import Iterable
from typing import Literal

from actors.logic.backoff import Backoff

__all__ = ["RestartBudget", "RestartKind", "RestartScope"]

# OTP's. Who is restarted with a crashed child: nobody; those started after it; all.
RestartScope = Literal["one_for_one", "rest_for_one", "one_for_all"]
# When a child is restarted: whenever it ends; only if it did not mean to; never.
RestartKind = Literal["permanent", "transient", "temporary"]


class RestartBudget:
    """The restarts of one supervised group.

    Args:
        max_restarts: allowed within `period`.
        period: seconds.
        chance: for the jitter of the delays.
        first_delay: seconds before the first restart after a quiet period.
        longest_delay: seconds, without the jitter; None: half the period, at most 5 s.
    """

    def __init__(
        self,
        max_restarts: int,
        period: float,
        chance: random.Random,
        *,
        first_delay: float = 0.05,
        longest_delay: float | None = None,
    ) -> None:
        self.max_restarts = max_restarts
        self.period = period
        self.restarts = 0  # in all
        if longest_delay is None:
            longest_delay = min(5.0, period / 2)
        self._backoff = Backoff(chance, first=first_delay, limit=longest_delay)
        self._recent: deque[float] = deque()

    def standing(self) -> tuple[float, list[float]]:
        """Return the last delay, without jitter, and the crashes that count."""
        return self._backoff.delay, list(self._recent)

    def resume(self, delay: float, crashes: Iterable[float]) -> None:
        """Go on where a predecessor was; see `standing`."""
        self._backoff.delay = delay
        self._recent = deque(crashes)

    def crashed(self, now: float) -> float | None:
        """Note a crash.

        Returns:
            Seconds to wait before the restart; None: give up.
        """
        # As in OTP's add_restart: forget restarts older than the period.
        while self._recent and self._recent[0] <= now - self.period:
            self._recent.popleft()
        if not self._recent:
            self._backoff.reset()
        self._recent.append(now)
        if len(self._recent) > self.max_restarts:
            return None
        self.restarts += 1
        return self._backoff.next()
