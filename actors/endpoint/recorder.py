"""What saves an actor's records: a journal, a thread that syncs it, snapshots.

    write ──► the system has them ──begin_sync──► thread: fdatasync ──bell──► has_synced

One sync secures all that was written before it began, while the loop goes on: however
slow the disk is, heartbeats are in time. When the journal has grown long, a snapshot is
written beside, a portion at a time.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from actors.config import EndpointConfig
from actors.inbox import Bell
from actors.journal import (
    Compaction,
    Journal,
    JournalConfig,
    JournalFailed,
    JournalFull,
)
from actors.logic.journal_state import JournalState, LagMeter

__all__ = ["JournalRecorder", "journal_config"]

logger = logging.getLogger(__name__)
Record = TypeVar("Record")

# A log this long is replaced by a snapshot, if that is shorter. Chosen: it replays in a
# second, and a busy interchange writes it in some seconds.
_COMPACT_BYTES = 64 << 20
# Portions of a snapshot follow each other so slowly. Chosen: one takes about a
# millisecond, so a fifth of the loop's time.
_PORTION_PERIOD = 0.005


def journal_config(config: EndpointConfig) -> JournalConfig:
    """Say how an endpoint's actors keep their journals."""
    journal = config.journal
    return JournalConfig(durability=journal.durability, interval=journal.interval)


class JournalRecorder(Generic[Record]):
    """Saves records in a journal that stays short; belongs to one thread.

    Args:
        journal: replayed to its end. `close` closes it.
        snapshot: gives the records that stand for all before them, in portions. Turns
            come between two portions, and their records behind all of them.
        compact_bytes: how long the log may become.
        tells: whether `tick` gives the machine a `JournalState` now and then.
    """

    def __init__(
        self,
        journal: Journal[Record],
        snapshot: Callable[[], Iterator[Sequence[Record]]],
        *,
        compact_bytes: int = _COMPACT_BYTES,
        tells: bool = False,
    ) -> None:
        self._journal = journal
        self._snapshot = snapshot
        self._durability = journal.config.durability
        self._compact_bytes = compact_bytes
        self._compact_above = compact_bytes
        self._bell = Bell()
        self._is_syncing = False
        self._is_done = threading.Event()  # the sync that was begun
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._thread.start()
        self._compaction: Compaction[Record] | None = None
        self._portions: Iterator[Sequence[Record]] = iter(())
        self._portion_at = math.inf
        self._finisher: threading.Thread | None = None
        self._compacted_at = -math.inf
        self._meter = LagMeter(self._durability) if tells else None

    # The loop's calls

    def write(self, records: Sequence[Record], *, must_sync: bool) -> None:
        """Append records; with `must_sync` wait until they are safe.

        Raises:
            JournalFull: nothing was written; try the same again.
            JournalFailed: the disk failed: end this process.
        """
        self._journal.append(records)
        if self._meter is not None:
            self._meter.wrote(len(records), time.monotonic())
        if must_sync:
            self._sync_here()
        if not self._is_syncing:
            self._compact_if_long()

    def begin_sync(self) -> bool:
        """Begin to make safe what was written; false: it is as safe as it must be.

        Raises:
            JournalFailed: the disk failed: end this process.
        """
        return self._durability == "sync" and self._begin_sync()

    def _begin_sync(self) -> bool:
        sync = self._journal.begin_sync()
        if sync is None:
            return False
        if self._meter is not None:
            self._meter.sync_began(time.monotonic())
        self._is_syncing = True
        self._is_done.clear()
        self._jobs.put(sync)
        return True

    def has_synced(self) -> bool:
        """Tell, once, that the sync which was begun is done.

        Raises:
            JournalFailed: the disk failed: end this process.
        """
        self._bell.hear()
        if not self._is_syncing or not self._is_done.is_set():
            return False
        self._end_sync()
        return self._durability == "sync"

    def _end_sync(self) -> None:
        self._is_syncing = False
        now = time.monotonic()
        self._journal.end_sync(now)
        if self._meter is not None:
            self._meter.sync_ended(now)
        self._compact_if_long()

    def settle(self) -> None:
        """Wait until all that was written is as safe as it must be.

        Raises:
            JournalFailed: the disk failed: end this process.
        """
        if self._is_syncing:
            self._is_done.wait()
            self._end_sync()
        if self._durability == "sync":
            self._sync_here()

    def _sync_here(self) -> None:
        began = time.monotonic()
        if self._journal.sync(began) and self._meter is not None:
            self._meter.synced(began, time.monotonic())

    def fileno(self) -> int:
        """Return a descriptor that is readable when a sync is done."""
        return self._bell.fileno()

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted; infinity: not."""
        at = self._portion_at
        if self._meter is not None:
            at = min(at, self._meter.tell_at)
        return min(at, self._sync_at()) if self._durability == "interval" else at

    def _sync_at(self) -> float:
        if self._durability != "interval" or self._is_syncing:
            return math.inf
        return self._journal.sync_at

    def tick(self, now: float) -> Sequence[JournalState]:
        """Begin the sync that is due, write the next portion of a snapshot.

        Returns:
            What the machine is to be told.

        Raises:
            JournalFailed: the disk failed: end this process.
        """
        if self._sync_at() <= now:
            self._begin_sync()
        if self._portion_at <= now:
            self._portion_at = now + _PORTION_PERIOD
            if self._finisher is None:
                self._write_portion()
            elif not self._finisher.is_alive():
                self._end_compaction()
        if self._meter is not None and self._meter.tell_at <= now:
            return [self._state(self._meter, now)]
        return ()

    def _state(self, meter: LagMeter, now: float) -> JournalState:
        journal = self._journal
        disk = os.statvfs(journal.folder)
        return JournalState(
            self._durability,
            meter.tell(now),
            meter.records,
            journal.unsynced_bytes if meter.records else 0,
            journal.base_bytes + journal.log_bytes,
            disk.f_bavail * disk.f_frsize,
            journal.config.interval if self._durability == "interval" else 0.0,
            self._compacted_at,
        )

    def close(self) -> None:
        """Make all durable, as far as it must be, and close the journal."""
        self._jobs.put(None)
        self._thread.join()
        if self._finisher is not None:
            self._finisher.join()
        self._journal.close()
        self._bell.close()

    # The thread

    def _serve(self) -> None:
        while (sync := self._jobs.get()) is not None:
            sync()
            self._is_done.set()
            self._bell.ring()

    # Compaction

    def _compact_if_long(self) -> None:
        if self._compaction is not None:
            return
        if self._journal.log_bytes <= self._compact_above:
            return
        try:
            self._compaction = self._journal.start_compaction()
        except JournalFull as error:
            self._put_off(error)
            return
        self._portions = iter(self._snapshot())
        self._portion_at = -math.inf

    def _write_portion(self) -> None:
        compaction = self._compaction
        assert compaction is not None
        try:
            portion = next(self._portions, None)
            if portion is not None:
                compaction.add(portion)
                return
        except (JournalFull, JournalFailed) as error:
            self._put_off(error)
            return
        # Its sync may take long.
        self._finisher = threading.Thread(
            target=_finish, args=(compaction,), name="journal-compaction", daemon=True
        )
        self._finisher.start()

    def _end_compaction(self) -> None:
        if self._compaction is not None and self._compaction.is_done:
            self._compacted_at = time.monotonic()
        self._finisher = self._compaction = None
        self._portion_at = math.inf
        # A long snapshot is not to be written again for a short log.
        base_bytes, log_bytes = self._journal.base_bytes, self._journal.log_bytes
        self._compact_above = log_bytes + max(self._compact_bytes, base_bytes)
        logger.debug("a snapshot of %d bytes, and %d since", base_bytes, log_bytes)

    def _put_off(self, error: JournalFull | JournalFailed) -> None:
        logger.warning("The journal stays as long as it is for now: %s", error)
        self._compaction = None
        self._portion_at = math.inf
        self._compact_above = self._journal.log_bytes + self._compact_bytes


def _finish(compaction: Compaction[Record]) -> None:
    try:
        compaction.finish()
    except (JournalFull, JournalFailed) as error:
        logger.warning("The journal stays as long as it is for now: %s", error)
