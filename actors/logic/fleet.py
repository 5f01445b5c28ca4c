"""The managers behind one interchange: their leases, their room, and who gets what.

`fill_first`: a manager that is already busy gets the next task before an idle one, so
that idle blocks can drain. But first every worker gets one task; only then do managers
get ahead of their workers, as far as the window that each asks for.
"""

import math
from collections.abc import Callable, Iterable, Iterator

from actors.logic.block_errors import BadState
from actors.logic.ledger import Entry
from actors.logic.resources import CPU, ONE_CPU, Capacity, Need
from actors.messages import (
    ActorReport,
    Amount,
    BlockId,
    BlockLoad,
    ManagerId,
    Needs,
    TaskId,
    WorkerReport,
)

__all__ = ["Fleet", "ManagerEntry", "need_of"]

# Leases of tasks that ask for something, at one manager. Chosen: as many as it starts
# workers for; those that need no processor would have no other bound.
_MOST_ASKING = 256


class ManagerEntry:
    """One manager, from its admission until it left or is lost."""

    __slots__ = (
        "actors",
        "block_id",
        "calls",
        "capacity",
        "host",
        "idle_since",
        "instance",
        "is_connected",
        "is_draining",
        "is_roomier",
        "is_stopping",
        "leases",
        "manager_id",
        "pid",
        "processes",
        "reserved",
        "resting",
        "slots",
        "taken",
        "window",
        "workers",
    )

    def __init__(
        self, manager_id: ManagerId, block_id: BlockId, slots: int, now: float
    ) -> None:
        self.manager_id = manager_id
        self.block_id = block_id
        self.slots = slots
        self.window = slots  # leases it wants at most
        self.leases: dict[TaskId, Entry] = {}
        self.calls: dict[TaskId, Entry] = {}  # leases of actors' calls
        self.actors: set[str] = set()  # that live there, or shall
        self.reserved = 0  # of the slots, beyond those that leases without needs take
        self.capacity = Capacity({CPU: slots})
        # {("task" or "actor", id): what it has taken of that}
        self.taken: dict[tuple[str, str], tuple[Need, list[int]]] = {}
        self.resting: set[str] = set()  # tasks among them that need no processor now
        self.is_roomier = True  # there may be room for what asks for something
        self.idle_since = now
        self.is_connected = True
        self.is_draining = False
        self.is_stopping = False
        self.instance = ""
        self.host = ""
        self.pid = 0
        self.workers: list[WorkerReport] = []
        self.processes: list[ActorReport] = []  # of actors

    @property
    def peer(self) -> str:
        return f"manager:{self.manager_id}"

    @property
    def places(self) -> int:
        """Workers that run tasks at a time."""
        return self.slots - self.reserved

    @property
    def is_busy(self) -> bool:
        """Whether it has anything that its end would end, too."""
        return bool(self.leases or self.calls or self.actors)

    @property
    def all_leases(self) -> dict[TaskId, Entry]:
        """Tasks and calls; the very leases if there are no calls."""
        return {**self.leases, **self.calls} if self.calls else self.leases

    def equip(self, resources: Iterable[Amount]) -> None:
        """Take note of what the node has besides processors."""
        total = {each.name: each.amount for each in resources} | {CPU: self.slots}
        capacity = Capacity(total)
        for key, (need, _) in self.taken.items():
            self.taken[key] = (need, capacity.take(need))
        self.capacity = capacity
        self.resting.clear()
        self.is_roomier = True
        self._recount()

    def hold(self, entry: Entry) -> None:
        """Begin a lease; of a call, too."""
        task = entry.task
        if task.actor is not None:
            self.calls[task.task_id] = entry
            return
        self.leases[task.task_id] = entry
        if task.needs is not None and task.needs.amounts is not None:
            self.take_in("task", task.task_id, need_of(task.needs))

    def take_in(self, kind: str, name: str, need: Need) -> None:
        """Count what a task, or an actor, takes from now on."""
        if (kind, name) not in self.taken:
            self.taken[kind, name] = (need, self.capacity.take(need))
            self._recount()

    def let_out(self, kind: str, name: str) -> None:
        """Count no longer what a task, or an actor, has taken."""
        taken = self.taken.pop((kind, name), None)
        if taken is None:
            return
        need, gpus = taken
        if kind == "task" and name in self.resting:
            self.resting.remove(name)
            self.capacity.take(need.processors)
        self.capacity.give_back(need, gpus)
        self.is_roomier = True
        self._recount()

    def note_resting(self, task_ids: Iterable[TaskId]) -> None:
        """Take its word on which tasks wait for others, and need no processor."""
        resting: set[str] = {t for t in task_ids if ("task", t) in self.taken}
        for task_id in resting ^ self.resting:
            processors = self.taken["task", task_id][0].processors
            if task_id in resting:
                self.capacity.give_back(processors, ())
            else:
                self.capacity.take(processors)
        self.resting = resting
        self.is_roomier = True
        self._recount()

    def free(self) -> dict[str, float]:
        """Return what nobody takes of what there is."""
        asking = sum(kind == "task" for kind, _ in self.taken)
        busy = min(len(self.leases) - asking, self.slots)
        free = self.capacity.free()
        free[CPU] -= busy
        return {name: max(0.0, free[name]) for name in self.capacity.total()}

    def _recount(self) -> None:
        asking = sum(kind == "task" for kind, _ in self.taken)
        # A lease without needs takes a processor; what these take stands there.
        self.reserved = self.capacity.taken_cpus - asking

    @property
    def has_room_for_asking(self) -> bool:
        """Whether it may have one more lease of a task that asks for something."""
        return len(self.taken) < _MOST_ASKING

    def release(self, task_id: TaskId, now: float) -> None:
        """End a lease, if there is one."""
        if self.taken:
            self.let_out("task", task_id)
        if self.leases.pop(task_id, None) is not None:
            if not self.leases:
                self.note_idle(now)
        elif self.calls.pop(task_id, None) is not None:
            self.note_idle(now)

    def note_idle(self, now: float) -> None:
        """Take note if it has nothing any more."""
        if not self.is_busy:
            self.idle_since = now


class Fleet:
    """All managers, and which of them, or whether all, are held."""

    def __init__(self) -> None:
        self.managers: dict[ManagerId, ManagerEntry] = {}
        self.held: set[str] = set()  # manager ids and block ids that get nothing
        self.retired: set[BlockId] = set()  # blocks that end: nobody joins from there
        self.is_quiesced = False  # by an operator: no task is taken, nor handed out
        self.bad_state: BadState | None = None  # block after block failed: all tasks do

    def is_usable(self, manager: ManagerEntry) -> bool:
        """Tell whether a manager may get leases."""
        return (
            manager.is_connected
            and not manager.is_draining
            and manager.manager_id not in self.held
            and manager.block_id not in self.held
            and manager.block_id not in self.retired
        )

    @property
    def reserved(self) -> int:
        """Places of workers that are taken beyond one for each lease."""
        return sum(manager.reserved for manager in self.managers.values())

    def places_for(self, need: Need) -> int:
        """Return how many workers' places something is worth, to size the endpoint by.

        What takes a node's only GPU needs a node of its own, however many workers it
        has.
        """
        if need == ONE_CPU:
            return 1
        managers = self.managers.values()
        able = [m for m in managers if not m.capacity.lack(need, of_all=True)]
        shares = [m.capacity.share(need) * m.slots for m in able]
        scarcest = math.ceil(min(shares, default=0.0))
        return max(1, need.whole_cpus, scarcest)

    def explain_wait(self, need: Need) -> str:
        """Say why nobody has room; empty: there is nobody."""
        usable = [m for m in self.managers.values() if self.is_usable(m)]
        if not usable:
            return ""
        able = [m for m in usable if not m.capacity.lack(need, of_all=True)]
        best = min(able or usable, key=lambda m: m.capacity.shortfall(need))
        text = f"manager {best.manager_id} has {best.capacity.describe(need)}"
        if not able:
            return f"none of {len(usable)} managers has so much: {text}"
        return text

    def look_again(self) -> None:
        """Note that managers may have room that had none before."""
        for manager in self.managers.values():
            manager.is_roomier = True

    def take_roomier(self) -> bool:
        """Tell whether any may have more room than at the last call."""
        is_any = False
        for manager in self.managers.values():
            is_any = is_any or manager.is_roomier
            manager.is_roomier = False
        return is_any

    def of_block(self, block_id: BlockId) -> list[ManagerEntry]:
        return [m for m in self.managers.values() if m.block_id == block_id]

    def shares(
        self, waiting: Callable[[], int], only: ManagerEntry | None = None
    ) -> Iterator[tuple[ManagerEntry, int]]:
        """Share waiting tasks out.

        The caller leases before it takes the next share: each looks at the leases, and
        at what still waits, then. (A manager may pass over tasks that avoid its block.)

        Args:
            waiting: how many tasks wait now.
            only: who alone may have got room since the last time; None: anybody.

        Yields:
            A manager, and how many tasks it gets at most, at least 1.
        """
        usable = self.find_roomy(only)
        if len(usable) == 1:
            manager = usable[0]
            room = max(manager.window, manager.places) - len(manager.leases)
            if waiting():
                yield manager, min(room, waiting())
            return
        usable.sort(key=lambda m: -len(m.leases))
        for manager in usable:
            count = min(manager.places - len(manager.leases), waiting())
            if count > 0:
                yield manager, count
        ahead = [m for m in usable if len(m.leases) < m.window]
        # Who has little room comes first: what it cannot take is the others'.
        ahead.sort(key=lambda m: m.window - len(m.leases))
        for done, manager in enumerate(ahead):
            # An equal part each, rounded up, so that nobody starves the others.
            part = -(-waiting() // (len(ahead) - done))
            count = min(manager.window - len(manager.leases), part)
            if count > 0:
                yield manager, count

    def find_roomy(self, only: ManagerEntry | None = None) -> list[ManagerEntry]:
        """List who may get leases and has room, among all or of one alone."""
        return [
            m
            for m in ((only,) if only else self.managers.values())
            if len(m.leases) < max(m.window, m.places) and self.is_usable(m)
        ]

    def has_other_block(self, block_id: BlockId) -> bool:
        """Tell whether a usable manager stands outside the block."""
        return any(
            m.block_id != block_id and self.is_usable(m) for m in self.managers.values()
        )

    def loads(self, now: float) -> list[BlockLoad]:
        """Sum up the managers by block; blocks without managers are not listed."""
        blocks: dict[BlockId, list[ManagerEntry]] = {}
        for manager in self.managers.values():
            blocks.setdefault(manager.block_id, []).append(manager)
        return [
            BlockLoad(
                block_id,
                len(managers),
                sum(m.slots for m in managers),
                sum(len(m.leases) + len(m.calls) + len(m.actors) for m in managers),
                0.0
                if any(m.is_busy for m in managers)
                else now - max(m.idle_since for m in managers),
                not any(self.is_usable(m) for m in managers),
            )
            for block_id, managers in blocks.items()
        ]

    def check(self) -> None:
        """Raise AssertionError if a manager has more than it may."""
        for manager_id, manager in self.managers.items():
            assert manager_id == manager.manager_id
            assert manager.window >= 0
            assert manager.slots > 0
            needy = {t for t, e in manager.leases.items() if e.task.asks}
            asking = {name for kind, name in manager.taken if kind == "task"}
            assert needy == asking, manager_id
            assert manager.resting <= asking, manager_id
            there = Capacity(manager.capacity.total())
            for (kind, name), (need, _) in manager.taken.items():
                is_resting = kind == "task" and name in manager.resting
                there.take(need.besides_processors if is_resting else need)
            assert there.is_as_free_as(manager.capacity), manager_id


def need_of(needs: Needs) -> Need:
    """Return what of a node's resources a task takes."""
    return Need.of_amounts(needs.amounts)
