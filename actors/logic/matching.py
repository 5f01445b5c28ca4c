"""Which manager gets a task that asks for something. Pure.

Tasks go in their turn, whatever they ask for. One that fits nowhere now has a claim on
the manager that lacks least: what it waits for is not given to younger ones, or it
might wait for ever. Room for it is what others like it, and actors, have left; tasks
that ask for nothing make way as they end. Where actors leave too little there is no
claim: nobody knows how long they live.
"""

from collections.abc import Callable, Iterator

from actors.logic.demanding import rank
from actors.logic.fleet import Fleet, ManagerEntry, need_of
from actors.logic.ledger import Entry, Ledger
from actors.logic.resources import Capacity, Need
from actors.messages import ManagerId, Needs

__all__ = ["Matching"]


_NOTHING = Needs()


class Matching:
    """One pass over those who wait; while it lasts nobody gets more room.

    Args:
        ledger: where they wait.
        fleet: who may get them.
        tell: called with the first of those that ask for the same and have to wait.
        suits: tells whether a manager is one for such needs, besides amounts.
    """

    def __init__(
        self,
        ledger: Ledger,
        fleet: Fleet,
        tell: Callable[[Entry, Need], None],
        suits: Callable[[ManagerEntry, Needs], bool] = lambda _manager, _needs: True,
    ) -> None:
        self._ledger = ledger
        self._tell = tell
        self._suits = suits
        self._usable = [m for m in fleet.managers.values() if fleet.is_usable(m)]
        self._claims: dict[ManagerId, Capacity] = {}
        self._searches: dict[Needs, _Search] = {}
        self._alone: set[Needs] = set()  # of no interest to tasks that ask for nothing
        self.waits_for_others = False  # some go behind tasks that ask for nothing

    def matches(self) -> Iterator[tuple[ManagerEntry, Entry]]:
        """Give managers what they get; the caller leases it before it goes on.

        Yields:
            A manager, and a task that was taken out of its queue.
        """
        asking, plain = self._ledger.asking, self._ledger.backlog.peek()
        blocked: set[Needs] = set()
        while True:
            turns = [each for each in asking.by_turn() if each[0] not in blocked]
            if not turns:
                return
            needs, entry = turns[0]
            need = need_of(needs)
            if (
                plain is not None
                and need.cpu_parts
                and rank(plain) < rank(entry)
                and self._contends(needs)
            ):
                # It would take a processor before its turn.
                self.waits_for_others = True
                blocked.add(needs)
                continue
            manager = self._manager_for(needs, need, entry)
            if manager is None:
                blocked.add(needs)
                self._tell(entry, need)
                continue
            taken = asking.pop(needs)
            claimed = self._claims.get(manager.manager_id)
            if claimed is not None:
                claimed.take(need)
            yield manager, taken

    def _contends(self, needs: Needs) -> bool:
        """Tell whether tasks that ask for nothing could run in the same place."""
        suits = self._suits
        if needs in self._alone:
            return False
        if any(suits(m, needs) and suits(m, _NOTHING) for m in self._usable):
            return True
        # What is given away in this pass suits nobody better than before.
        self._alone.add(needs)
        return False

    def _manager_for(
        self, needs: Needs, need: Need, entry: Entry
    ) -> ManagerEntry | None:
        search = self._searches.get(needs)
        if search is None:
            able = [
                m
                for m in self._usable
                if not m.capacity.lack(need, of_all=True) and self._suits(m, needs)
            ]
            search = self._searches[needs] = _Search(need, able)
        manager = search.find(entry, self._claims)
        if manager is not None and not self._suits(manager, needs):
            # What others got in this pass has made it another one.
            del self._searches[needs]
            return self._manager_for(needs, need, entry)
        if manager is not None:
            return manager
        # Where actors leave too little, it would wait as long as they live.
        coming = [m for m in search.able if m.capacity.will_have(need)]
        if coming:
            most = min(coming, key=lambda m: m.capacity.shortfall(need))
            claimed = self._claims.get(most.manager_id)
            if claimed is None:
                claimed = self._claims[most.manager_id] = most.capacity.copy()
            claimed.take(need)
        return None


class _Search:
    """Who may have room for one need: first without waiting for others, then at all."""

    def __init__(self, need: Need, able: list[ManagerEntry]) -> None:
        self._need = need
        # The busiest first, so that idle blocks can drain.
        self.able = sorted(able, key=lambda m: -len(m.leases))
        self._skipped = [0, 0]  # of them, in either round

    def find(
        self, entry: Entry, claims: dict[ManagerId, Capacity]
    ) -> ManagerEntry | None:
        elsewhere = not entry.avoid or any(m.block_id != entry.avoid for m in self.able)
        for is_patient in (False, True):
            index = self._skipped[is_patient]
            while index < len(self.able):
                manager = self.able[index]
                if not self._has_room(manager, claims, is_patient=is_patient):
                    # Nor will it have any in this pass.
                    if index == self._skipped[is_patient]:
                        self._skipped[is_patient] += 1
                elif manager.block_id != entry.avoid or not elsewhere:
                    return manager
                index += 1
        return None

    def _has_room(
        self,
        manager: ManagerEntry,
        claims: dict[ManagerId, Capacity],
        *,
        is_patient: bool,
    ) -> bool:
        capacity = claims.get(manager.manager_id, manager.capacity)
        if not manager.has_room_for_asking or capacity.lack(self._need):
            return False
        idle = manager.places - len(manager.leases)
        return is_patient or self._need.fits_cpus(idle)
