"""The managers behind one interchange: their leases, their room, and who gets what.

First every worker gets one task; only then do managers get ahead of their workers, as
far as the window that each asks for. Which manager goes first is the selector's choice,
and what not every manager may have is the business of `placement`.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

from actors.logic.block_errors import BadState
from actors.logic.ledger import Entry
from actors.logic.resources import CPU, ONE_CPU, Capacity, Need
from actors.messages import (
    PLAIN_TYPE,
    ActorReport,
    Amount,
    BlockId,
    BlockLoad,
    ManagerId,
    Needs,
    TaskId,
    TypeSlots,
    WorkerReport,
)

__all__ = ["Fleet", "ManagerEntry", "Order", "Selector", "need_of", "ordering"]

Selector = Literal["fill_first", "random", "deadline"]

# Leases of tasks that ask for something, at one manager. Chosen: as many as it starts
# workers for; those that need no processor would have no other bound.
_MOST_ASKING = 256
# The kind of those that take something for as long as they live.
_ACTOR = "actor"


class ManagerEntry:
    """One manager, from its admission until it left or is lost."""

    __slots__ = (
        "actors",
        "block_id",
        "calls",
        "capacity",
        "cpu_seconds",
        "drain_at",
        "ends_at",
        "host",
        "idle_since",
        "instance",
        "is_connected",
        "is_draining",
        "is_exclusive",
        "is_roomier",
        "is_stopping",
        "layout",
        "leases",
        "manager_id",
        "pid",
        "processes",
        "reserved",
        "resting",
        "rss_bytes",
        "slots",
        "tag",
        "taken",
        "typed",
        "types",
        "used_at",
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
        self.tag = ""  # tasks may ask for it
        self.is_exclusive = False  # it takes those that do, only
        self.instance = ""
        self.host = ""
        self.pid = 0
        self.rss_bytes = 0  # of its process, as it reported last
        self.cpu_seconds = 0.0  # likewise
        self.workers: list[WorkerReport] = []
        self.processes: list[ActorReport] = []  # of actors
        self.types: list[TypeSlots] = []  # as it reports them
        self.ends_at = math.inf  # as its block does; inf: nobody knows
        self.drain_at = math.inf  # from then on it gets nothing
        # {worker type: its slots}; None: all are plain, or of no type yet
        self.layout: dict[str, int] | None = None
        self.typed: dict[str, int] = {}  # {worker type but plain: its leases}
        self.used_at: dict[str, float] = {}  # {worker type: when it had one last}

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
            self.taken[key] = (need, capacity.take(need, lasts=key[0] == _ACTOR))
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
        if task.needs is None:
            return
        if task.needs.amounts is not None:
            self.take_in("task", task.task_id, need_of(task.needs))
        if worker_type := task.needs.worker_type:
            self.typed[worker_type] = self.typed.get(worker_type, 0) + 1

    def take_in(self, kind: str, name: str, need: Need) -> None:
        """Count what a task, or an actor, takes from now on."""
        if (kind, name) not in self.taken:
            gpus = self.capacity.take(need, lasts=kind == _ACTOR)
            self.taken[kind, name] = (need, gpus)
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
        self.capacity.give_back(need, gpus, lasted=kind == _ACTOR)
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
        # Pictures of a thousand managers ask each of them.
        asking = sum(kind == "task" for kind, _ in self.taken) if self.taken else 0
        free = self.capacity.free()
        free[CPU] -= min(len(self.leases) - asking, self.slots)
        if len(free) == 1 and free[CPU] >= 0:
            return free
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
        entry = self.leases.pop(task_id, None)
        if entry is not None:
            if self.typed:
                self._release_type(entry, now)
            if not self.leases:
                self.note_idle(now)
        elif self.calls.pop(task_id, None) is not None:
            self.note_idle(now)

    def _release_type(self, entry: Entry, now: float) -> None:
        needs = entry.task.needs
        if needs is not None and needs.worker_type:
            worker_type = needs.worker_type
            self.used_at[worker_type] = now
            self.typed[worker_type] -= 1
            if not self.typed[worker_type]:
                del self.typed[worker_type]

    def suits(self, needs: Needs | None) -> bool:
        """Tell whether a task may run here, as far as tags go."""
        tag = needs.tag if needs is not None else ""
        return tag == self.tag or not (tag or self.is_exclusive)

    def count_leases(self, worker_type: str) -> int:
        """Count the leases of tasks of one type; "": of plain ones."""
        if worker_type:
            return self.typed.get(worker_type, 0)
        return len(self.leases) - sum(self.typed.values())

    def slots_for(self, worker_type: str) -> int:
        """Count the slots that one type has; "": plain ones."""
        if self.layout is None:
            return 0 if worker_type else self.slots
        return self.layout.get(worker_type, 0)

    def without_idle_types(self, before: float) -> dict[str, int]:
        """Give its layout if slots are plain whose type has no task since a moment."""
        layout = dict(self.layout or {"": self.slots})
        idle = [
            worker_type
            for worker_type in layout
            if worker_type
            and worker_type not in self.typed
            and self.used_at.get(worker_type, before) <= before
        ]
        freed = sum(layout.pop(worker_type) for worker_type in idle)
        return {**layout, "": layout.get("", 0) + freed}

    @property
    def has_plain_leases_only(self) -> bool:
        """Whether a lease's end is of no consequence but for `note_idle`."""
        return not (self.taken or self.typed)

    def note_idle(self, now: float) -> None:
        """Take note if it has nothing any more."""
        if not self.is_busy:
            self.idle_since = now


Order = Callable[[Iterable[ManagerEntry]], list[ManagerEntry]]


def ordering(selector: Selector, chance: random.Random) -> Order:
    """Return what puts managers in the order in which they are served.

    Args:
        selector: `fill_first`: who is busy goes before who is idle, so that idle blocks
            can drain; `random`; `deadline`: whose block ends first goes first.
        chance: for `random`.
    """
    match selector:
        case "fill_first":
            return _fill_first
        case "random":
            return lambda managers: sorted(managers, key=lambda _: chance.random())
        case "deadline":
            return lambda ms: sorted(ms, key=lambda m: (m.drain_at, -len(m.leases)))


def _fill_first(managers: Iterable[ManagerEntry]) -> list[ManagerEntry]:
    return sorted(managers, key=lambda m: -len(m.leases))


class Waiting(Protocol):
    """Those who wait."""

    count: int


class Fleet:
    """All managers, and which of them, or whether all, are held.

    Args:
        in_order: puts them in the order in which they are served.
    """

    def __init__(self, in_order: Order = _fill_first) -> None:
        self.in_order = in_order
        self.managers: dict[ManagerId, ManagerEntry] = {}
        self.held: set[str] = set()  # manager ids and block ids that get nothing
        self.retired: set[BlockId] = set()  # blocks that end: nobody joins from there
        self.is_quiesced = False  # by an operator: no task is taken, nor handed out
        # All tasks are for a successor: none is taken, nor handed out.
        self.is_ending = False
        self.bad_state: BadState | None = None  # block after block failed: all tasks do
        # {block: the type of its workers, for good}; "": plain
        self.types: dict[BlockId, str] = {}
        self.laid_out: set[ManagerId] = set()  # whose slots are not all plain
        self.exclusive: set[ManagerId] = set()  # that take tagged tasks, only
        self.drain_at = math.inf  # when the next one is to drain, or a little earlier

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

    def give_type(self, block_id: BlockId, worker_type: str) -> int:
        """Fix the type of a block's workers; return its slots."""
        self.types[block_id] = worker_type
        managers = self.of_block(block_id)
        for manager in managers:
            self.keep_type(manager)
        return sum(manager.slots for manager in managers)

    def type_of(self, block_id: BlockId) -> str:
        """Name the only type of a block's workers, or PLAIN_TYPE; "": any."""
        worker_type = self.types.get(block_id)
        return "" if worker_type is None else worker_type or PLAIN_TYPE

    def keep_type(self, manager: ManagerEntry) -> None:
        """Let a manager be of its block's type, if that is fixed."""
        worker_type = self.types.get(manager.block_id)
        if worker_type is not None:
            manager.layout = {worker_type: manager.slots}

    def lay_out(self, manager: ManagerEntry, layout: dict[str, int]) -> None:
        """Share a manager's slots out among types."""
        layout = {worker_type: slots for worker_type, slots in layout.items() if slots}
        is_plain = layout.keys() == {""}
        manager.layout = None if is_plain else layout
        (self.laid_out.discard if is_plain else self.laid_out.add)(manager.manager_id)

    def end_at(self, manager: ManagerEntry, ends_at: float, margin: float) -> None:
        """Note when a manager's block ends, and that it drains by the margin before."""
        manager.ends_at, manager.drain_at = ends_at, ends_at - margin
        self.drain_at = min(self.drain_at, manager.drain_at)

    def take_ending(self, now: float) -> list[BlockId]:
        """List the blocks that are to drain, as their end is near; each once."""
        if now < self.drain_at:
            return []
        # Of a block of several managers all drain together.
        ending = {m.block_id: None for m in self.managers.values() if m.drain_at <= now}
        self.drain_at = min(
            (m.drain_at for m in self.managers.values() if m.drain_at > now),
            default=math.inf,
        )
        return [block_id for block_id in ending if block_id not in self.retired]

    def of_block(self, block_id: BlockId) -> list[ManagerEntry]:
        return [m for m in self.managers.values() if m.block_id == block_id]

    def shares(
        self,
        waiting: Waiting,
        only: ManagerEntry | None = None,
    ) -> Iterator[tuple[ManagerEntry, int]]:
        """Share waiting tasks out.

        The caller leases before it takes the next share: each looks at the leases, and
        at what still waits, then. (A manager may pass over tasks that avoid its block.)

        Args:
            waiting: tasks that wait; `count` is how many there are now.
            only: who alone may have got room since the last time; None: anybody.

        Yields:
            A manager, and how many tasks it gets at most, at least 1.
        """
        usable = self.find_roomy(only)
        if len(usable) == 1:
            manager = usable[0]
            room = max(manager.window, manager.places) - len(manager.leases)
            if waiting.count:
                yield manager, min(room, waiting.count)
            return
        usable = self.in_order(usable)
        for manager in usable:
            count = min(manager.places - len(manager.leases), waiting.count)
            if count > 0:
                yield manager, count
        ahead = [m for m in usable if len(m.leases) < m.window]
        # Who has little room comes first: what it cannot take is the others'.
        ahead.sort(key=lambda m: m.window - len(m.leases))
        for done, manager in enumerate(ahead):
            # An equal part each, rounded up, so that nobody starves the others.
            part = -(-waiting.count // (len(ahead) - done))
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
        # For every task there is; `any` takes twice as long.
        for manager in self.managers.values():
            if manager.block_id != block_id and self.is_usable(manager):
                return True
        return False

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
                self.type_of(block_id),
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
