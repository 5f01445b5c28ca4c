"""How far the disk is behind an actor, as its recorder tells its machine. Pure.

    written ──► unsynced ──sync begins──► under way ──sync ends──► safe
                   └──── lag: how long what has to be safe waits ────┘

With durability "sync" records have to be safe once somebody waits for them, when their
sync begins; with "interval" all have to be, from when they were written; with "off",
none.
"""

import math

import msgspec

__all__ = ["QUIET_TELL_PERIOD", "TELL_PERIOD", "JournalState", "LagMeter"]

# How often to tell how a journal is: while records come, and while none do; others may
# fill its disk. Chosen: people see no more, and it is less than the load is told.
TELL_PERIOD = 0.5
QUIET_TELL_PERIOD = 10.0


class JournalState(msgspec.Struct, frozen=True):
    """A journal at one moment.

    Args:
        durability: "sync", "interval" or "off", as configured.
        lag: seconds that what has to be safe has waited, or had to, at most, since the
            state before this one.
        unsynced_records: written, not known to be safe; 0 with durability "off".
        unsynced_bytes: the same.
        size_bytes: of the whole journal on disk.
        free_bytes: that its disk has left for us.
        interval: seconds between two syncs that were asked for; 0: none were.
        compacted_at: monotonic seconds; -infinity: not since the process began.
    """

    durability: str
    lag: float = 0.0
    unsynced_records: int = 0
    unsynced_bytes: int = 0
    size_bytes: int = 0
    free_bytes: int = 0
    interval: float = 0.0
    compacted_at: float = -math.inf


class LagMeter:
    """Told of writes and syncs, it knows what waits for the disk, and for how long.

    All times are in monotonic seconds.

    Args:
        durability: as configured.
    """

    def __init__(self, durability: str) -> None:
        self.tell_at = -math.inf  # when somebody should be told
        self.records = 0  # unsynced
        self._durability = durability
        self._syncing = 0  # those of them that the sync under way is about
        self._owed_since = math.inf  # since when the oldest of those wait
        self._dirty_since = math.inf  # when the oldest of the others was written
        self._lag = 0.0  # of syncs that have ended since it was told
        self._is_quiet = False  # nothing has changed since

    def wrote(self, records: int, now: float) -> None:
        """Take note of records that were written, 1 or more."""
        if self._durability == "off":
            return
        self.records += records
        if self._dirty_since == math.inf:
            self._dirty_since = now
        if self._is_quiet:
            self._is_quiet = False
            self.tell_at = min(self.tell_at, now + TELL_PERIOD)

    def sync_began(self, now: float) -> None:
        """Take note that all written so far is being made safe, beside the loop."""
        self._owed_since = now if self._durability == "sync" else self._dirty_since
        self._dirty_since = math.inf
        self._syncing = self.records
        if self._is_quiet:
            self._is_quiet = False
            self.tell_at = min(self.tell_at, now + TELL_PERIOD)

    def sync_ended(self, now: float) -> None:
        """Take note that the sync that was begun has ended."""
        self.records -= self._syncing
        self._syncing = 0
        self._lag = max(self._lag, now - self._owed_since)
        self._owed_since = math.inf

    def synced(self, began: float, now: float) -> None:
        """Take note that all written so far was made safe while the loop waited."""
        self.records = self._syncing = 0
        self._dirty_since = math.inf
        self._lag = max(self._lag, now - began)

    def tell(self, now: float) -> float:
        """Return the lag since the last call, and say when to come again."""
        waiting_since = self._owed_since
        if self._durability == "interval":
            waiting_since = min(waiting_since, self._dirty_since)
        waited = now - waiting_since if waiting_since < math.inf else 0.0
        lag, self._lag = max(self._lag, waited), 0.0
        self._is_quiet = lag == 0.0
        self.tell_at = now + (QUIET_TELL_PERIOD if self._is_quiet else TELL_PERIOD)
        return lag

    def check(self) -> None:
        """Raise AssertionError if it contradicts itself."""
        assert 0 <= self._syncing <= self.records
        assert self._durability != "off" or self.records == 0
