"""The interchange with its journal on a disk: it dies, also in the middle of a write.

What dies is the process, and then the disk has all that was written; or the machine,
and then the disk has what was synced, and of the rest any torn part.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from actors.endpoint.interchange import Interchange
from actors.journal import Compaction, Journal, JournalConfig
from actors.logic.records import InterchangeRecord, decode_record, encode_record
from actors.messages import Message
from tests.fake_disk import FakeDisk, SimulatedCrash
from tests.simulation.network import Node, Surroundings, Wire

__all__ = ["CenterWorld", "InterchangeNode", "open_journal"]

_FOLDER = Path("/journal")
# How long the disk may take to sync: less than a message, or much more.
_SYNC_SECONDS = (0.0001, 0.001, 0.05)
# Promises, and records on which nothing stands, wait for company so long at most.
_COMPANY_SECONDS = 0.02
# How often they do not wait at all.
_HURRY_RATE = 0.5
# How often, of all rounds, a snapshot is begun.
_COMPACTION_RATE = 0.02


class CenterWorld(Surroundings, Protocol):
    """What an interchange needs of its world."""

    def crash(self, node: Node) -> None: ...
    def dies_in_write(self, node: Node) -> bool: ...


def open_journal(disk: FakeDisk, chance: random.Random) -> Journal[InterchangeRecord]:
    """Open the journal that is on a disk, or a new one."""
    return Journal(
        _FOLDER,
        encode=encode_record,
        decode=decode_record,
        config=JournalConfig(segment_bytes=chance.choice((500, 5000, 50_000))),
        files=disk,
    )


class InterchangeNode(Node):
    """An interchange that saves its records like the real one.

    Args:
        disk: where earlier ones have left their journal.
    """

    machine: Interchange
    world: CenterWorld

    def __init__(
        self, world: CenterWorld, name: str, machine: Interchange, disk: FakeDisk
    ) -> None:
        super().__init__(world, name, machine)
        self._disk = disk
        self._journal = open_journal(disk, world.chance)
        machine.restore(self._journal.replay(), world.now)
        machine.check()
        self._sync_seconds = world.chance.choice(_SYNC_SECONDS)
        self._promises: list[tuple[str, Wire, Message]] = []
        self._awaited: list[tuple[str, Wire, Message]] = []
        self._sync: Callable[[], None] | None = None  # under way
        self._is_putting_off = False  # what waits for company
        self._compaction: Compaction[InterchangeRecord] | None = None
        self._portions: Iterator[Sequence[InterchangeRecord]] = iter(())

    def save(self, records: list[InterchangeRecord]) -> None:
        if not records or not self.is_alive:
            return
        disk = self._disk
        if self.world.dies_in_write(self):
            disk.crash_at = len(disk.operations)
            disk.crash_share = self.world.chance.random()
        try:
            self._journal.append(records)
        except SimulatedCrash:
            self.world.crash(self)

    def promise(self, peer: str, message: Message) -> None:
        if peer in self.links:
            self._promises.append((peer, self.links[peer], message))

    def finish_round(self) -> None:
        if not self._is_putting_off and (self._promises or self.has_unsaved):
            chance = self.world.chance
            if chance.random() < _HURRY_RATE:
                self._sync_now()
            else:
                self._is_putting_off = True
                delay = _COMPANY_SECONDS * chance.random()
                self.world.heart.after(delay, lambda: self.happens(self._look_again))
        if self._sync is None and self._compacts_now():
            # What builds on a record must not be on the disk before it.
            self.save_now()
            if self.is_alive:
                self._compact()

    def _look_again(self) -> None:
        self._is_putting_off = False
        self._sync_now()

    def _sync_now(self) -> None:
        """Save all, and begin to sync it if promises stand on it."""
        self.save_now()
        if not self.is_alive or not self._promises or self._sync is not None:
            return
        self._awaited, self._promises = self._promises, []
        sync = self._sync = self._journal.begin_sync()
        if sync is None:
            self._keep()
            return
        seconds = self._sync_seconds * self.world.chance.random()
        # As in the runtime, a suspended process takes note of it when it wakes up.
        self.world.heart.after(seconds, lambda: self.happens(lambda: self._end(sync)))

    def settle(self) -> None:
        """Do as the runtime before it lets somebody in."""
        self.save_now()
        if not self.is_alive:
            return
        if self._sync is not None:
            self._end(self._sync)
        self._awaited, self._promises = self._promises, []
        self._journal.sync(self.world.now)
        self._keep()

    def _end(self, sync: Callable[[], None]) -> None:
        if self._sync is sync:
            sync()
            self._journal.end_sync(self.world.now)
            self._sync = None
            self._keep()

    def _keep(self) -> None:
        kept, self._awaited = self._awaited, []
        for peer, wire, message in kept:
            if self.links.get(peer) is wire:
                wire.send(self, message)

    def _compacts_now(self) -> bool:
        if self._compaction is not None:
            return True
        return self.world.chance.random() < _COMPACTION_RATE

    def _compact(self) -> None:
        if self._compaction is None:
            self._compaction = self._journal.start_compaction()
            self._portions = iter(self.machine.snapshot())
            return
        portion = next(self._portions, None)
        if portion is None:
            self._compaction.finish()
            self._compaction = None
        else:
            self._compaction.add(portion)
