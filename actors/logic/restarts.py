"""When a crashed actor may start again, and when its supervisor gives up.

As in OTP: a supervisor gives up when *more than* `max_restarts` restarts fall into the
last `period` seconds. Ours waits before each restart, longer after each crash, and
starts anew with short waits after a quiet period.
"""

import random
from collections import deque

from actors.logic.backoff import Backoff

__all__ = ["RestartBudget"]


class RestartBudget:
    """The restarts of one supervised group.

    Args:
        max_restarts: allowed within `period`.
        period: seconds.
        chance: for the jitter of the delays.
    """

    def __init__(self, max_restarts: int, period: float, chance: random.Random) -> None:
        self.max_restarts = max_restarts
        self.period = period
        self.restarts = 0  # in all
        self._backoff = Backoff(chance, first=0.05, limit=min(5.0, period / 2))
        self._recent: deque[float] = deque()

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
