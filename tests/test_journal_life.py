"""Whatever is done to a journal, in whatever order, a simple list predicts its content.

The list is what was appended; a snapshot shortens it. A killed process loses nothing of
it, a power loss only what `sync` had not confirmed.
"""

import contextlib
import random
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from actors.journal import (
    Compaction,
    Durability,
    Journal,
    JournalConfig,
    JournalDamaged,
    JournalFull,
    read_journal,
    repair,
    verify,
)
from tests.fake_disk import FakeDisk, SimulatedCrash
from tests.journal_cases import FOLDER

batches = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40),
        # What markers, frames and torn disks look like.
        st.sampled_from([b"\xd6\x8a\x9e\xf1" * 4, bytes(64), b"\xff" * 9, b"\1\0\0\0"]),
        st.integers(200, 3000).map(lambda size: b"long" * size),
    ),
    max_size=5,
)


class JournalLife(RuleBasedStateMachine):
    """The machine holds lists; `history` and `snapshot` are what may be found."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = FakeDisk()
        self.journal: Journal[bytes] | None = None
        self.compaction: Compaction[bytes] | None = None
        self.unsaved: list[bytes] = []
        self.now = 0.0
        # All records since the base that counts, and how many of them are safe.
        self.content: list[bytes] = []
        self.safe = 0
        # A batch that was on its way when the process died.
        self.on_its_way: list[bytes] = []
        # What the snapshot in progress stands for, and of how many records.
        self.snapshot: list[bytes] = []
        self.covered = 0
        self.may_be_compacted = False

    @initialize(
        durability=st.sampled_from(["sync", "sync", "interval", "off"]),
        segment_bytes=st.sampled_from([128, 1000, 1 << 20]),
    )
    def start(self, durability: Durability, segment_bytes: int) -> None:
        self.config = JournalConfig(
            durability=durability, interval=5, segment_bytes=segment_bytes
        )
        self.open()

    def open(self) -> None:
        self.journal = Journal(
            FOLDER, encode=bytes, decode=bytes, config=self.config, files=self.disk
        )
        self.take_over(list(self.journal.replay()))

    def possible(self) -> list[list[bytes]]:
        """Return the whole contents that replay may yield, were nothing lost."""
        found = [self.content]
        if self.may_be_compacted:
            found.append(self.snapshot + self.content[self.covered :])
        return found

    def take_over(self, found: list[bytes]) -> None:
        """Check what was replayed; it is the content from now on."""
        matching = []
        for number, whole in enumerate(self.possible()):
            least = self.safe
            if number:  # of the snapshot, all; of what follows, what is safe
                least = len(self.snapshot) + max(0, self.safe - self.covered)
            on_its_way = whole + self.on_its_way
            if least <= len(found) and found == on_its_way[: len(found)]:
                matching.append(number)
        assert matching, (found, self.possible(), self.on_its_way, self.safe)
        self.content = found
        self.safe = len(found) if self.config.durability != "off" else 0
        self.on_its_way = []
        self.forget_compaction()

    def forget_compaction(self) -> None:
        self.compaction = None
        self.unsaved = []
        self.snapshot = []
        self.covered = 0
        self.may_be_compacted = False

    def running(self) -> Journal[bytes]:
        assert self.journal is not None
        return self.journal

    def dies(self, *, power_loss: int | None = None) -> None:
        """Open anew after the process, or its machine, has died."""
        if power_loss is None:
            self.disk.restart()
            self.safe = len(self.content)
        else:
            self.disk.restart(random.Random(power_loss))
        try:
            self.open()
        except JournalDamaged:
            # Only without syncs, and then whatever was lost is a suffix.
            assert self.config.durability == "off"
            assert power_loss is not None
            self.disk.restart()
            repair(FOLDER, files=self.disk)
            self.open()

    # What a process does

    @rule(batch=batches)
    def append(self, batch: list[bytes]) -> None:
        self.running().append(batch)
        self.content += batch

    @rule(step=st.floats(0, 4))
    def sync(self, step: float) -> None:
        self.now += step
        if self.running().sync(self.now):
            self.safe = len(self.content)
            assert self.config.durability != "off"

    @precondition(lambda self: self.compaction is None)
    @rule(keep=st.integers(0, 10))
    def start_compaction(self, keep: int) -> None:
        self.compaction = self.running().start_compaction()
        self.covered = len(self.content)
        self.snapshot = self.content[-keep:] if keep else []
        self.unsaved = list(self.snapshot)

    @precondition(lambda self: self.compaction is not None)
    @rule(count=st.integers(1, 4))
    def add(self, count: int) -> None:
        assert self.compaction is not None
        self.compaction.add(self.unsaved[:count])
        del self.unsaved[:count]

    @precondition(lambda self: self.compaction is not None)
    @rule()
    def finish(self) -> None:
        assert self.compaction is not None
        self.compaction.add(self.unsaved)
        self.compaction.finish()
        self.apply_compaction()

    def apply_compaction(self) -> None:
        safe_behind = max(0, self.safe - self.covered)
        self.content = self.snapshot + self.content[self.covered :]
        self.safe = len(self.snapshot) + safe_behind
        self.forget_compaction()

    @precondition(lambda self: self.compaction is not None)
    @rule()
    def abandon(self) -> None:
        assert self.compaction is not None
        self.compaction.abandon()
        self.forget_compaction()

    @rule()
    def close_and_open(self) -> None:
        self.running().close()
        self.safe = len(self.content)
        self.forget_compaction()
        self.open()

    # What befalls it

    @rule()
    def is_killed(self) -> None:
        self.dies()

    @rule(seed=st.integers(0, 1 << 30))
    def loses_power(self, seed: int) -> None:
        self.dies(power_loss=seed)

    @rule(
        batch=batches,
        after=st.integers(0, 8),
        share=st.floats(0, 0.99),
        seed=st.one_of(st.none(), st.integers(0, 1 << 30)),
    )
    def dies_while_it_appends_and_syncs(
        self, batch: list[bytes], after: int, share: float, seed: int | None
    ) -> None:
        self.disk.crash_at = len(self.disk.operations) + after
        self.disk.crash_share = share
        self.on_its_way = batch
        with contextlib.suppress(SimulatedCrash):
            self.running().append(batch)
            self.content += batch
            self.on_its_way = []
            self.sync(9)
        self.dies(power_loss=seed)

    @precondition(lambda self: self.compaction is not None)
    @rule(after=st.integers(0, 12), seed=st.one_of(st.none(), st.integers(0, 1 << 30)))
    def dies_while_it_compacts(self, after: int, seed: int | None) -> None:
        assert self.compaction is not None
        self.disk.crash_at = len(self.disk.operations) + after
        self.may_be_compacted = True
        with contextlib.suppress(SimulatedCrash):
            self.compaction.add(self.unsaved)
            self.compaction.finish()
            self.apply_compaction()
        self.dies(power_loss=seed)

    @rule(batch=batches.filter(bool), share=st.floats(0, 0.99))
    def has_no_room(self, batch: Sequence[bytes], share: float) -> None:
        used = sum(map(len, self.disk.files().values()))
        needed = sum(8 + len(record) for record in batch)
        self.disk.capacity = used + int(needed * share)
        try:
            self.running().append(batch)
        except JournalFull:
            self.disk.capacity = None
            self.running().append(batch)
        self.disk.capacity = None
        self.content += batch

    @invariant()
    def a_reader_sees_all(self) -> None:
        if self.journal is not None:
            found = list(read_journal(FOLDER, bytes, files=self.disk))
            assert found == self.content

    @invariant()
    def it_is_sound(self) -> None:
        if self.journal is not None:
            report = verify(FOLDER, files=self.disk)
            assert report.is_sound
            assert report.records == len(self.content)
            assert not any(segment.is_torn for segment in report.segments)


JournalLife.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestJournalLife = JournalLife.TestCase
