"""Restarts that an operator orders: of services, managers and clients' actors. Pure.

    service   the supervisor kills it and starts it again, as after a crash
    manager   hands back what has not begun, and begins anew in its block: same process,
              other workers
    actor     its process is killed; the next incarnation gets the calls that wait, in
              their order; not counted against max_restarts

All that are named are restarted, or none of them.
"""

from collections.abc import Sequence

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.roster_entry import Actor
from actors.logic.fleet import ManagerEntry
from actors.logic.turn import Turn
from actors.messages import ManagerId, RestartActor, RestartManager

__all__ = ["restart"]

# Those that the supervisor starts again.
_SERVICES = ("interchange", "strategy", "provider")
_THESE_CAN = (
    f"{', '.join(_SERVICES)}, managers by their names, and clients' actors by their "
    "names or ids; for a worker, cancel its task"
)
# Why, for those who are restarted.
_ORDERED = "an operator asked for its restart"


def restart(
    books: Books, names: Sequence[str], now: float, turn: Turn
) -> tuple[bool, str]:
    """Restart what is named.

    Args:
        books: of the interchange.
        names: of services, managers, or clients' actors: their ids, their names if
            those are no one else's, or `namespace/name`.
        now: monotonic seconds.
        turn: what follows goes in here.

    Returns:
        Whether it was begun, and what comes of it, or why not.
    """
    order = _Order(books, names)
    if order.objections:
        return False, "; ".join(order.objections)
    return True, f"restarting: {', '.join(order.carry_out(now, turn))}"


class _Order:
    """What shall be restarted, and what speaks against it."""

    def __init__(self, books: Books, names: Sequence[str]) -> None:
        self._books = books
        self._services: list[str] = []
        self._managers: list[ManagerEntry] = []
        self._actors: list[Actor] = []
        self._supervisor = "".join(books.members.services("supervisor")[:1])
        # The same twice is once.
        found = [self._find(name) for name in dict.fromkeys(names)]
        self.objections = [objection for objection in found if objection]
        if not names:
            self.objections = [f"nothing is named; these can: {_THESE_CAN}"]

    def _find(self, name: str) -> str:
        """Note what a name means; return what speaks against its restart."""
        manager = self._books.fleet.managers.get(ManagerId(name))
        roster = self._books.roster
        if name in _SERVICES:
            self._services.append(name)
            if self._supervisor:
                return ""
            return "the supervisor is not connected: try again in a moment"
        if manager is not None:
            self._managers.append(manager)
            return _objection(manager)
        actors = roster.find(name)
        if not actors:
            return f"{name} cannot be restarted; these can: {_THESE_CAN}"
        if len(actors) > 1:
            ids = ", ".join(actor.actor_id for actor in actors)
            return f"{name} is the name of several actors: {ids}"
        self._actors += actors
        return roster.objection_to_restart(actors[0])

    def carry_out(self, now: float, turn: Turn) -> list[str]:
        """Restart them; return what comes of each."""
        books = self._books
        for name in self._services:
            order = RestartActor(name, _ORDERED)
            books.members.send(self._supervisor, order, now, turn)
        managers = [self._restart(manager, now, turn) for manager in self._managers]
        for actor in self._actors:
            books.roster.restart(actor, now, turn)
        return [*self._services, *managers, *(actor.title for actor in self._actors)]

    def _restart(self, manager: ManagerEntry, now: float, turn: Turn) -> str:
        roster = self._books.roster
        hosted = [roster.actors[actor_id] for actor_id in sorted(manager.actors)]
        lasting = [actor for actor in hosted if actor.may_restart]
        for actor in lasting:
            roster.note_ordered(actor, turn)
        order = RestartManager(_ORDERED)
        self._books.members.send(manager.peer, order, now, turn)
        ended = [f"tasks that begin again, or fail: {len(manager.leases)}"]
        if hosted:
            ended.append(f"actors that begin again: {len(lasting)}")
        if len(lasting) < len(hosted):
            dead = len(hosted) - len(lasting)
            ended.append(f"actors that die, with max_restarts 0: {dead}")
        return f"{manager.manager_id} ({'; '.join(ended)})"


def _objection(manager: ManagerEntry) -> str:
    if not manager.is_connected:
        return f"{manager.manager_id} is away: drain its block, or wait for it"
    if manager.is_draining:
        return f"{manager.manager_id} drains, and ends when it has nothing left"
    return ""
