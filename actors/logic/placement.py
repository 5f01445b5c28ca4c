"""Placement of tasks on managers, where not every task may run everywhere. Pure.

Where it may, `Fleet.shares` does the same with less work. The rules here:

*Order.* By priority, then as they came; a task that does not fit a manager is passed
over there, and keeps its place. Who is served first among managers is the selector's:
`fill_first`, `random` or `deadline`.

*Tags.* A task that asks for one goes to managers with that tag only; a manager that is
exclusive takes no other. (CodaLab's.)

*Walltime.* A task that names one fits where the block lives on for as long, but for the
margin at its end. It gets a worker at once or waits: prefetched, it might begin late.

*Worker types.* Each manager has a layout: how many of its slots are for which type.
With `soft` placement layouts follow the queue. Every pass is warm: it fills slots of
the types that tasks ask for. At most every `COLD_PERIOD` there is a cold one, which
shares slots out anew in proportion to the types of all tasks, where a type has fewer
than its share; idle slots go first, busy ones when they are free. What is not used for
`IDLE_TYPE_PERIOD` becomes plain again. With `hard` placement a block has one type for
good: that which it was launched for, or else that of the first task that finds no free
slot of its type elsewhere. (The rounds are funcX's.)
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from actors.logic.apportion import apportion
from actors.logic.backlog import Backlog
from actors.logic.demanding import rank
from actors.logic.fleet import Fleet, ManagerEntry, Selector, need_of
from actors.logic.ledger import Entry, Ledger
from actors.messages import PLAIN_TYPE, BlockId, Needs, TypeLoad

__all__ = [
    "COLD_PERIOD",
    "IDLE_TYPE_PERIOD",
    "Placement",
    "PlacementRules",
]

# As in funcX: workers of another type are replaced for a queue at most so often.
COLD_PERIOD = 10.0
# When to look again whether a type has fewer slots than its share, if only one manager
# has room that had none before. Chosen: a look goes through all managers.
LOOK_PERIOD = 1.0
# As in funcX: workers of a type that nobody asks for are kept for so long.
IDLE_TYPE_PERIOD = 60.0

_PLAIN = ""
_NOTHING = Needs()


class PlacementRules(msgspec.Struct, frozen=True):
    """What the operator has chosen.

    Args:
        selector: which manager goes first.
        is_hard: blocks keep the type of their workers.
        worker_types: names that tasks may ask for.
        walltime: seconds that a block lives; inf: nobody knows.
        end_margin: seconds before its end in which a block gets nothing; at most a
            tenth of its life.
    """

    selector: Selector = "fill_first"
    is_hard: bool = False
    worker_types: frozenset[str] = frozenset()
    walltime: float = math.inf
    end_margin: float = 10.0

    @property
    def longest(self) -> float:
        """Seconds that a task may need at most to fit in a block at its start."""
        return self.walltime - self.margin(self.walltime)

    def margin(self, life: float) -> float:
        """Seconds before its end in which a block of such a life gets nothing."""
        return min(self.end_margin, life / 10)


class Placement:
    """Who gets which tasks next; see the module's docstring.

    Args:
        rules: the operator's.
        ledger: whose tasks.
        fleet: on whom.
    """

    def __init__(self, rules: PlacementRules, ledger: Ledger, fleet: Fleet) -> None:
        self.rules = rules
        self._ledger = ledger
        self._fleet = fleet
        self._is_typed = bool(rules.worker_types)
        self._cold_at = -math.inf  # the next cold pass may be then
        self._look_at = -math.inf  # whether one is called for is looked at then
        self._reap_at = math.inf

    @property
    def is_simple(self) -> bool:
        """Whether any task that waits may run on any manager that there is."""
        return not (
            self._ledger.demanding
            or self._fleet.exclusive
            or (self._is_typed and (self.rules.is_hard or self._fleet.laid_out))
        )

    @property
    def _placeable(self) -> int:
        """How many tasks wait, besides those that ask for amounts."""
        return len(self._ledger.backlog) + len(self._ledger.demanding)

    def suits(self, manager: ManagerEntry, needs: Needs, now: float) -> bool:
        """Tell whether a manager is one for such a task, if it has room."""
        if not manager.suits(needs):
            return False
        if needs.walltime and now + needs.walltime > manager.drain_at:
            return False
        if not (self._is_typed and self.rules.is_hard) or manager.layout is None:
            return True
        return needs.worker_type in manager.layout

    def settle(self, manager: ManagerEntry, entry: Entry) -> None:
        """Fix the type of a block whose first task this is, if types are hard."""
        needs = entry.task.needs or _NOTHING
        if self._is_typed and self.rules.is_hard and manager.layout is None:
            self._fleet.give_type(manager.block_id, needs.worker_type)

    # Passes

    def deal(
        self, now: float, only: ManagerEntry | None = None
    ) -> Iterator[tuple[ManagerEntry, list[Entry]]]:
        """Take tasks out of their queues, and say who gets them.

        The caller enters them as leases before it asks for the next ones.

        Args:
            now: monotonic seconds.
            only: who alone may have got room since the last time; None: anybody.
        """
        yield from self._warm_pass(now, only)
        if not self._is_typed or not self._placeable:
            return
        if self.rules.is_hard:
            is_changed = self._give_types(now)
        else:
            is_due = now >= (self._cold_at if only is None else self._cold_due_at)
            is_changed = is_due and self._cold_pass(now)
        if is_changed:
            yield from self._warm_pass(now, None)

    def _warm_pass(
        self, now: float, only: ManagerEntry | None
    ) -> Iterator[tuple[ManagerEntry, list[Entry]]]:
        managers = self._fleet.in_order(self._fleet.find_roomy(only))
        for is_ahead in (False, True):
            for done, manager in enumerate(managers):
                waiting = self._placeable
                if not waiting:
                    return
                room = manager.places - len(manager.leases)
                if is_ahead:
                    # As in `Fleet.shares`: an equal part each.
                    part = -(-waiting // (len(managers) - done))
                    room = min(manager.window - len(manager.leases), part)
                if room > 0:
                    entries = self._take(manager, room, now, is_ahead=is_ahead)
                    if entries:
                        yield manager, entries

    def _take(
        self, manager: ManagerEntry, room: int, now: float, *, is_ahead: bool
    ) -> list[Entry]:
        """Take what fits a manager next; of each type as much as its layout says."""
        free = {
            worker_type: self._limit(manager, worker_type, is_ahead=is_ahead)
            - manager.count_leases(worker_type)
            for worker_type in ("", *self.rules.worker_types)
        }
        queues = self._fitting(manager, now)
        heads = [
            (rank(queue.head), number, wish)
            for number, (wish, queue) in enumerate(queues.items())
        ]
        heapq.heapify(heads)
        taken: list[Entry] = []
        passed_over: list[Entry] = []
        while room > 0 and heads:
            _, number, wish = heads[0]
            if free[wish.worker_type] <= 0:
                heapq.heappop(heads)
                continue
            if is_ahead and wish.walltime:
                # It waits for a worker, and what came after it behind it.
                break
            queue = queues[wish]
            (entry,) = queue.pop(1)
            if queue:
                heapq.heapreplace(heads, (rank(queue.head), number, wish))
            else:
                heapq.heappop(heads)
                self._ledger.demanding.tidy(wish)
            if entry.avoid == manager.block_id and self._fits_elsewhere(entry, now):
                passed_over.append(entry)
                continue
            self._ledger.lease_one(entry, manager.manager_id, now)
            taken.append(entry)
            free[wish.worker_type] -= 1
            room -= 1
        for entry in reversed(passed_over):
            self._ledger.queue_as_before(entry)
        return taken

    def _fitting(
        self, manager: ManagerEntry, now: float
    ) -> dict[Needs, Backlog[Entry]]:
        """Give the queues whose tasks a manager may have, as far as it lives on."""
        queues = {
            wish: queue
            for wish, queue in self._ledger.demanding.queues.items()
            if manager.suits(wish)
            and (not wish.walltime or now + wish.walltime <= manager.drain_at)
        }
        if self._ledger.backlog and manager.suits(None):
            queues[_NOTHING] = self._ledger.backlog
        return queues

    def _fits_elsewhere(self, entry: Entry, now: float) -> bool:
        needs = entry.task.needs or _NOTHING
        return any(
            manager.block_id != entry.avoid
            and self._fleet.is_usable(manager)
            and manager.suits(needs)
            and now + needs.walltime <= manager.drain_at
            and (
                not self.rules.is_hard
                or not self._is_typed
                or self._limit(manager, needs.worker_type, is_ahead=False) > 0
            )
            for manager in self._fleet.managers.values()
        )

    def _limit(self, manager: ManagerEntry, worker_type: str, *, is_ahead: bool) -> int:
        """Count the leases of one type that a manager may have."""
        layout = manager.layout
        if layout is None:
            if self._is_typed and self.rules.is_hard:
                return 0  # it is of no type yet
            if worker_type:
                return 0
            # Those that need no processor leave theirs to others, see `places`.
            return max(manager.window, manager.places)
        slots = layout.get(worker_type, 0)
        if not is_ahead:
            return slots
        return max(slots, slots * manager.window // manager.slots)

    def has_task_for(self, manager: ManagerEntry, now: float) -> bool:
        """Tell whether something waits that a manager could have at once, warm."""
        room = manager.places - len(manager.leases)
        return room > 0 and any(
            self._limit(manager, wish.worker_type, is_ahead=False)
            > manager.count_leases(wish.worker_type)
            and not all(entry.avoid for entry in queue)
            for wish, queue in self._fitting(manager, now).items()
        )

    # Types

    def _waiting(self, managers: Iterable[ManagerEntry], now: float) -> dict[str, int]:
        """Count what waits for some of these managers, by type, first come first."""
        fitting = list(managers)
        latest = max((m.drain_at for m in fitting), default=-math.inf)
        queues = [
            (rank(queue.head), wish.worker_type, len(queue))
            for wish, queue in self._ledger.demanding.queues.items()
            if (not wish.walltime or now + wish.walltime <= latest)
            and any(manager.suits(wish) for manager in fitting)
        ]
        backlog = self._ledger.backlog
        if backlog and any(manager.suits(None) for manager in fitting):
            queues.append((rank(backlog.head), _PLAIN, len(backlog)))
        counts: dict[str, int] = {}
        for _, worker_type, count in sorted(queues):
            counts[worker_type] = counts.get(worker_type, 0) + count
        return counts

    def _cold_pass(self, now: float) -> bool:
        """Share slots out anew among types; tell whether any got more."""
        fleet = self._fleet
        managers = self._fleet.in_order(
            m for m in fleet.managers.values() if fleet.is_usable(m)
        )
        waiting = self._waiting(managers, now)
        leased = {t: sum(m.count_leases(t) for m in managers) for t in self._types}
        wants = {t: n + leased[t] for t, n in waiting.items()}
        wants |= {t: n for t, n in leased.items() if t not in waiting}
        there = {t: sum(m.slots_for(t) for m in managers) for t in self._types}
        targets = apportion(sum(there.values()), wants)
        surplus = {t: n - targets.get(t, 0) for t, n in there.items()}
        lacking = {t: -surplus[t] for t in waiting if surplus[t] < 0}
        self._look_at = now + LOOK_PERIOD
        if not lacking:
            return False
        self._cold_at = now + COLD_PERIOD
        self._reap_at = min(self._reap_at, now + COLD_PERIOD)
        is_changed = False
        for is_busy in (False, True):
            for worker_type, wanted in lacking.items():
                missing = wanted
                for manager in managers:
                    if not self._may_have(worker_type, manager, now):
                        continue
                    missing -= self._move(
                        worker_type, missing, manager, surplus, now, is_busy=is_busy
                    )
                is_changed = is_changed or missing < wanted
                lacking[worker_type] = missing
        return is_changed

    @property
    def _types(self) -> tuple[str, ...]:
        return (_PLAIN, *sorted(self.rules.worker_types))

    def _may_have(self, worker_type: str, manager: ManagerEntry, now: float) -> bool:
        return any(w.worker_type == worker_type for w in self._fitting(manager, now))

    def _move(
        self,
        worker_type: str,
        wanted: int,
        manager: ManagerEntry,
        surplus: dict[str, int],
        now: float,
        *,
        is_busy: bool,
    ) -> int:
        """Give slots of a manager to a type, of others that have too many."""
        moved = 0
        for donor in self._types:
            slots = manager.slots_for(donor)
            if not is_busy:
                slots = max(0, slots - manager.count_leases(donor))
            count = min(wanted - moved, surplus[donor], slots)
            if donor == worker_type or count <= 0:
                continue
            layout = manager.layout or {_PLAIN: manager.slots}
            layout[donor] -= count
            layout[worker_type] = layout.get(worker_type, 0) + count
            manager.used_at[worker_type] = now
            self._fleet.lay_out(manager, layout)
            surplus[donor] -= count
            moved += count
        return moved

    def _give_types(self, now: float) -> bool:
        """Give blocks without a type that of tasks which have found no slot."""
        fleet = self._fleet
        blocks: dict[BlockId, list[ManagerEntry]] = {}
        for manager in self._fleet.in_order(fleet.find_roomy()):
            if manager.layout is None:
                blocks.setdefault(manager.block_id, []).append(manager)
        granted: dict[str, int] = {}
        is_changed = False
        for block_id, managers in blocks.items():
            lacking = [
                worker_type
                for worker_type, count in self._waiting(managers, now).items()
                if count > granted.get(worker_type, 0)
            ]
            if lacking:
                slots = fleet.give_type(block_id, lacking[0])
                granted[lacking[0]] = granted.get(lacking[0], 0) + slots
                is_changed = True
        return is_changed

    # Time

    @property
    def _cold_due_at(self) -> float:
        return max(self._cold_at, self._look_at)

    @property
    def wake_at(self) -> float:
        """When there may be something to do that no message tells of."""
        if self.is_simple:
            return math.inf
        cold_at = math.inf
        if not self.rules.is_hard and self._is_typed and self._placeable:
            cold_at = self._cold_due_at
        return min(cold_at, self._reap_at if self._fleet.laid_out else math.inf)

    def tick(self, now: float) -> None:
        """Make slots plain again whose type nobody has asked for lately.

        With tasks that wait, call `deal` after it.
        """
        if self.rules.is_hard or now < self._reap_at:
            return
        self._reap_at = now + COLD_PERIOD
        for manager_id in list(self._fleet.laid_out):
            manager = self._fleet.managers[manager_id]
            layout = manager.without_idle_types(now - IDLE_TYPE_PERIOD)
            self._fleet.lay_out(manager, layout)

    # What the strategy hears

    def type_loads(self) -> list[TypeLoad]:
        """Sum up tasks by type, where blocks are of one type for good."""
        if not (self._is_typed and self.rules.is_hard):
            return []
        waiting = dict.fromkeys(self._types, 0)
        waiting[_PLAIN] = len(self._ledger.backlog)
        for wish, count in self._ledger.demanding.counts():
            waiting[wish.worker_type] += count
        for wish, count in self._ledger.asking.counts():
            places = self._fleet.places_for(need_of(wish))
            waiting[wish.worker_type] += count * places
        managers = self._fleet.managers.values()
        leased = {t: sum(m.count_leases(t) for m in managers) for t in self._types}
        return [
            TypeLoad(
                worker_type or PLAIN_TYPE, waiting[worker_type], leased[worker_type]
            )
            for worker_type in self._types
            if waiting[worker_type] or leased[worker_type]
        ]

    def count_too_long(self, now: float) -> int:
        """Count tasks that wait, and that no block lives long enough for."""
        demanding, asking = self._ledger.demanding, self._ledger.asking
        if not demanding and not asking:
            return 0
        usable = (m for m in self._fleet.managers.values() if self._fleet.is_usable(m))
        latest = max((m.drain_at for m in usable), default=-math.inf)
        if latest == -math.inf:
            return 0
        counts = chain(demanding.counts(), asking.counts())
        return sum(count for w, count in counts if now + w.walltime > latest)

    def check(self) -> None:
        """Raise AssertionError if a layout is no layout."""
        for manager in self._fleet.managers.values():
            if manager.layout is None:
                continue
            assert sum(manager.layout.values()) == manager.slots, manager.manager_id
            assert min(manager.layout.values()) > 0, manager.manager_id
            is_plain_only = manager.layout.keys() == {_PLAIN}
            assert self.rules.is_hard or not is_plain_only, manager.manager_id
