"""Voice: what the interchange hears of a manager, apart from its actors. Pure.

outcomes ──finish──► outbox ──► Finished     (again after each welcome, until Ack)
leases that have not begun ──give_back──► Returned
"""

from collections.abc import Callable
from operator import attrgetter

from actors.endpoint.manager.dealer import Dealer
from actors.endpoint.manager.outcomes import FRAME_OVERHEAD_BYTES
from actors.endpoint.manager.reports import Reports
from actors.endpoint.manager.worker_care import MeasureWorkers
from actors.logic.membership import Membership
from actors.logic.turn import Turn
from actors.messages import Finished, Holding, Outcome, Returned, TaskId, Waits

__all__ = ["Voice"]

_id_of: Callable[[Outcome], TaskId] = attrgetter("task_id")


class Voice:
    """See the module's docstring.

    Args:
        membership: carries what is said.
        outbox: outcomes until they are acknowledged, {task's id: the outcome}.
        reports: makes reports.
        dealer: which knows how many leases are wanted.
        measures: whether reports need the memory of all that workers have started.
    """

    def __init__(
        self,
        membership: Membership,
        outbox: dict[TaskId, Outcome],
        *,
        reports: Reports,
        dealer: Dealer,
        measures: bool,
    ) -> None:
        self._membership = membership
        self._outbox = outbox
        self._reports = reports
        self._dealer = dealer
        self._measures = measures
        self.is_draining = False  # we want no more leases, ever

    @property
    def payload_limit(self) -> int:
        """Bytes that fit into a message; below 0: any number."""
        return self._membership.max_frame_bytes - FRAME_OVERHEAD_BYTES

    @property
    def window(self) -> int:
        """Leases that we want to have at most; none while we drain."""
        return 0 if self.is_draining else self._dealer.window

    def finish(self, outcomes: list[Outcome], now: float, turn: Turn) -> None:
        """Tell how tasks ended; perhaps there are none."""
        if not outcomes:
            return
        self._outbox.update(zip(map(_id_of, outcomes), outcomes, strict=True))
        self._membership.send(Finished(outcomes), now, turn)
        # The first short tasks show that more may be under way at once.
        if self.window > 2 * self._reports.window:
            self.report(now, turn)

    def give_back(self, held: list[Holding], now: float, turn: Turn) -> None:
        """Tell of leases that have not begun here, and never will; perhaps none."""
        if held:
            self._membership.send(Returned(held), now, turn)

    def report(self, now: float, turn: Turn) -> None:
        """Say how things are, and have the workers measured for the next time."""
        report = self._reports.make(self.window, self.is_draining, now)
        self._membership.send(report, now, turn)
        turn.effects.append(MeasureWorkers(of_all=self._measures))

    def wait(self, wait: Waits | None, now: float, turn: Turn) -> None:
        """Tell who waits for whom, if that is news."""
        if wait is not None:
            self._membership.send(wait, now, turn)
