"""Farewell: how a manager ends. Pure.

    idle, or worn ──leave──► draining ──Stop──► over
    asked by an operator, or a batch system ──quit──► draining ──Drain──► over
    wanted by no interchange, or barred ──────────────────────────────► over

Who drains hands back what has not begun, and takes nothing more.
"""

import math

from actors.endpoint.hosts import Hosts
from actors.endpoint.manager.crew import Crew
from actors.endpoint.manager.queues import Queues
from actors.endpoint.manager.voice import Voice
from actors.endpoint.manager.worker_care import WorkerCare
from actors.logic.membership import Membership
from actors.logic.turn import Exit, Turn
from actors.messages import Goodbye, Outcome, TaskId

__all__ = ["ABANDONED_AFTER", "EXIT_AGAIN", "EXIT_BARRED", "Farewell"]

# The exit code that says: begin anew, in the same process. (EX_TEMPFAIL of sysexits.h)
EXIT_AGAIN = 75
# Those that say why nobody wants us. Chosen.
EXIT_BARRED, EXIT_ABANDONED = 3, 4

# A manager that no interchange wants ends itself. Chosen: longer than an operator needs
# to restart an endpoint, shorter than an allocation that nobody uses.
ABANDONED_AFTER = 3600.0
# How long a manager that was asked to end may take to hand back what has not begun.
# Chosen: more than the interchange and the workers need to answer on a busy machine
# with a slow disk, less than any batch system leaves between SIGTERM and SIGKILL.
QUIT_PATIENCE = 4.0


class Farewell:
    """See the module's docstring.

    Args:
        voice: tells the interchange.
        membership: ends with us.
        queues, crew, hosts, outbox: what may end with us.
        care: knows when we should leave.
        termination_grace: seconds that tasks have to end in order; 0: none.
        now: monotonic seconds; nobody has welcomed us yet.
    """

    def __init__(
        self,
        voice: Voice,
        membership: Membership,
        *,
        queues: Queues,
        crew: Crew,
        hosts: Hosts,
        outbox: dict[TaskId, Outcome],
        care: WorkerCare,
        termination_grace: float,
        now: float,
    ) -> None:
        self._voice = voice
        self._membership = membership
        self._queues = queues
        self._crew = crew
        self._hosts = hosts
        self._outbox = outbox
        self._care = care
        self._grace = termination_grace
        self.abandoned_at = now + ABANDONED_AFTER  # while nobody welcomes us
        self.quit_by = math.inf  # we were asked to end, and do so by then
        self._reason = ""
        self._exit_code = 0  # of an end that was asked for
        self._is_drain_told = False  # the interchange leases us no more
        self._is_over = False

    def alone(self, now: float) -> None:
        """Note that the interchange is lost."""
        self.abandoned_at = now + ABANDONED_AFTER

    def tick(self, now: float, turn: Turn) -> None:
        """Leave or end if it is time to."""
        if not self._membership.is_in and now >= self.abandoned_at:
            why = f"no interchange for {ABANDONED_AFTER:.0f} s"
            self.exit(EXIT_ABANDONED, why, turn)
        if self._care.is_idle_due(now):
            reason = self._care.why_leave_idle(now, is_busy=self._is_needed)
            self.leave(reason, now, turn)

    @property
    def _is_needed(self) -> bool:
        """Whether there is something here that ends with us."""
        return bool(
            not self._membership.is_in
            or self._queues
            or self._outbox
            or self._hosts.by_worker
            or self._crew.is_busy
        )

    def drain_as_told(self, now: float, turn: Turn) -> None:
        """Drain, as the interchange says that it leases us nothing more."""
        self._is_drain_told = True
        self.drain(now, turn)

    def drain(self, now: float, turn: Turn) -> None:
        """Hand back what has not begun, and take nothing more."""
        self._voice.is_draining = True
        self._crew.recall_all(turn.effects)
        self.hand_back(now, turn)

    def hand_back(self, now: float, turn: Turn) -> None:
        """Let others have what is in the queues."""
        held = self._queues.held()
        self._queues.hold_only([])
        self._voice.give_back(held, now, turn)

    def leave(self, reason: str, now: float, turn: Turn) -> None:
        """Drain by ourselves: the interchange stops us when we have nothing left.

        Args:
            reason: why; empty: there is none, stay.
            now: monotonic seconds.
            turn: takes what is to be said and done.
        """
        if not reason or self._care.leaves:
            return
        self._care.leave(reason)
        self.drain(now, turn)
        # Who hears it gives us nothing more.
        self._voice.report(now, turn)

    def stop(self, reason: str, now: float, turn: Turn) -> None:
        """End now, as the interchange says."""
        reason = self._care.leaves or reason
        self._membership.send(Goodbye(reason), now, turn)
        self.exit(self._exit_code, reason, turn)

    def quit(self, reason: str, exit_code: int, now: float, turn: Turn) -> None:
        """Hand back what has not begun, then leave; what runs is lost."""
        self._exit_code = exit_code
        self._reason = reason
        self.quit_by = now
        # Who begins anew has the time to say that it wants no more.
        if exit_code or self._queues or self._crew.is_busy:
            self.quit_by += max(QUIT_PATIENCE, self._grace)
            if self._grace:
                self._crew.terminate(reason, turn.effects)
            self.drain(now, turn)
            # Answered with `Drain`: what was leased to us before has come by then.
            self._voice.report(now, turn)

    def quit_if_ready(self, now: float, turn: Turn) -> None:
        """End, as we were asked to, once nobody waits for what is here."""
        is_ready = self._is_drain_told and not any(
            worker.is_recalled or (worker.why_terminated is not None and worker.backlog)
            for worker in self._crew.workers.values()
        )
        if self._grace:
            is_ready = is_ready and not self._outbox
        if is_ready or now >= self.quit_by or not self._membership.is_in:
            self.quit_by = math.inf
            self._membership.send(Goodbye(self._reason), now, turn)
            self.exit(self._exit_code, self._reason, turn)

    def exit(self, code: int, reason: str, turn: Turn) -> None:
        """End the process; twice is once."""
        if not self._is_over:
            self._is_over = True
            turn.effects.append(Exit(code, reason))
