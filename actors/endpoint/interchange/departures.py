"""Departures: managers drain, leave, and are lost. Pure.

drain ─► it gets nothing more ─► has nothing left ─Stop─► Goodbye ─► removed
lost: silent or away for too long, replaced, ended with its block ─► removed
"""

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.lease_ends import LeaseEnds
from actors.endpoint.interchange.leasing import Leasing
from actors.logic.fleet import ManagerEntry
from actors.logic.records import ManagerRemoved
from actors.logic.turn import Turn
from actors.messages import Drain, Failure, FailureKind, Stop

__all__ = ["Departures"]


class Departures:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
        leasing: of what they leave behind.
        lease_ends: which says what becomes of that.
    """

    def __init__(self, books: Books, leasing: Leasing, lease_ends: LeaseEnds) -> None:
        self._books = books
        self._leasing = leasing
        self._lease_ends = lease_ends

    def drain(self, manager: ManagerEntry, turn: Turn) -> None:
        """Give a manager nothing more; once it has nothing left, it ends."""
        if not manager.is_draining:
            manager.is_draining = True
            # Whoever gets it knows that no lease is under way any more.
            turn.promise(manager.peer, Drain())
            self.stop_if_drained(manager, turn)

    def drain_again(self, manager: ManagerEntry, now: float, turn: Turn) -> None:
        """Say it to one that has come back: it may not have heard of it."""
        manager.is_stopping = False
        self._books.members.send(manager.peer, Drain(), now, turn)
        self.stop_if_drained(manager, turn)

    @staticmethod
    def stop_if_drained(manager: ManagerEntry, turn: Turn) -> None:
        """End a manager that drains and has nothing left."""
        if manager.is_draining and not manager.is_busy and not manager.is_stopping:
            manager.is_stopping = True
            # It would take unacknowledged outcomes with it.
            turn.promise(manager.peer, Stop("drained"))

    def left(self, manager: ManagerEntry, reason: str, now: float, turn: Turn) -> None:
        """Let a manager go that says goodbye; what it still has is lost."""
        if manager.is_busy:
            self.lose(manager, reason, now, turn)
        else:
            self._remove(manager, reason, turn, is_lost=False)

    def ended(self, manager: ManagerEntry, reason: str, now: float, turn: Turn) -> None:
        """Let a manager go whose block has ended."""
        if manager.is_stopping and not manager.is_busy:
            self._remove(manager, "drained", turn, is_lost=False)
        else:
            self.lose(manager, reason, now, turn)

    def lose(self, manager: ManagerEntry, reason: str, now: float, turn: Turn) -> None:
        """Give up a manager: what it had is started again elsewhere, or fails."""
        where = f"manager {manager.manager_id} on {manager.host or 'an unnamed host'}"
        if now >= manager.drain_at:
            where += (
                f", whose block {manager.block_id} had come to the end of its time,"
            )
        failure = Failure(
            FailureKind.MANAGER_LOST,
            f"{where} was lost while it held the task, which may have run",
            reason,
        )
        self._books.roster.manager_lost(manager, now, turn)
        self._lease_ends.lost(manager, where, failure, now, turn)
        self._remove(manager, reason, turn, is_lost=True)
        self._leasing.place(now, turn)

    def _remove(
        self, manager: ManagerEntry, reason: str, turn: Turn, *, is_lost: bool
    ) -> None:
        books, fleet = self._books, self._books.fleet
        books.waits.manager_gone(manager.manager_id)
        if fleet.managers.pop(manager.manager_id, None) is not None:
            turn.records.append(ManagerRemoved(manager.manager_id))
        fleet.laid_out.discard(manager.manager_id)
        fleet.exclusive.discard(manager.manager_id)
        books.members.leave(manager.peer, reason, turn, is_lost=is_lost)
        books.is_load_news = True
