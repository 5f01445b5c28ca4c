"""How much work to keep waiting at a worker, so that it never waits itself.

For short tasks the way to the worker takes longer than the task: several must be under
way. For long ones a single task under way is right: another could only wait behind it.
So the depth follows from how long tasks took lately.
"""

__all__ = ["Prefetch"]

# Weight of the newest mean; chosen: a change of kind shows within a few batches.
_WEIGHT = 0.3


class Prefetch:
    """The depth of one queue before one worker.

    Args:
        ahead: seconds of work to keep waiting.
        limit: tasks that may wait at most, however short they are.
    """

    __slots__ = ("_ahead", "_limit", "_mean", "depth")

    def __init__(self, ahead: float, limit: int) -> None:
        self._ahead = ahead
        self._limit = limit
        self._mean: float | None = None
        # Tasks that may wait behind the running one; none before anything is known.
        self.depth = 0

    def observed(self, seconds: float, count: int) -> None:
        """Note that `count` tasks together ran for so many seconds; 0: nothing."""
        if count <= 0:
            return
        mean = max(seconds, 0.0) / count
        if self._mean is None or mean > self._mean:
            # Longer than thought: believe it at once, somebody waits behind it.
            self._mean = mean
        else:
            self._mean += _WEIGHT * (mean - self._mean)
        if self._mean <= self._ahead / self._limit:
            self.depth = self._limit
        else:
            self.depth = int(self._ahead / self._mean)
