"""The managers behind one interchange: their leases, their room, and who gets what.

`fill_first`: a manager that is already busy gets the next task before an idle one, so
that idle blocks can drain. But first every worker gets one task; only then do managers
get ahead of their workers, as far as the window that each asks for.
"""

from collections.abc import Callable, Iterator

from actors.logic.block_errors import BadState
from actors.logic.ledger import Entry
from actors.messages import (
    ActorReport,
    BlockId,
    BlockLoad,
    ManagerId,
    TaskId,
    WorkerReport,
)

__all__ = ["Fleet", "ManagerEntry"]


class ManagerEntry:
    """One manager, from its admission until it left or is lost."""

    __slots__ = (
        "actors",
        "block_id",
        "calls",
        "host",
        "idle_since",
        "instance",
        "is_connected",
        "is_draining",
        "is_stopping",
        "leases",
        "manager_id",
        "pid",
        "processes",
        "reserved",
        "slots",
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
        self.reserved = 0  # of the slots, for actors
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

    def release(self, task_id: TaskId, now: float) -> None:
        """End a lease, if there is one."""
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
        """Places of workers that actors have taken."""
        return sum(manager.reserved for manager in self.managers.values())

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
