"""No acknowledged record is lost without an error, and none is ever invented.

Whatever happens to the last bytes, to any single bit, or between any two operations on
files: replay yields a prefix of what was appended, with all that was acknowledged in
it, or it refuses.
"""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.journal import (
    Compaction,
    Journal,
    JournalDamaged,
    repair,
    verify,
)
from actors.journal.format import Kind
from tests.fake_disk import FakeDisk, SimulatedCrash
from tests.journal_cases import (
    FOLDER,
    SMALL_SEGMENT_BYTES,
    Noted,
    contents,
    noted,
    opened,
)

LAST_LOG = FOLDER / Kind.LOG.file_name(1)


def numbers(records: list[Noted]) -> list[int]:
    return [record.number for record in records]


# Cuts


def test_a_journal_cut_at_any_byte_yields_the_whole_records_before_the_cut() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    ends = []  # of each record's frame
    for number in range(8):
        journal.append(noted(number))
        ends.append(len(disk.read(LAST_LOG)))
        if number == 3:
            journal.sync(0)
    whole = disk.read(LAST_LOG)
    for cut in range(len(whole) + 1):
        left = FakeDisk()
        left.put(LAST_LOG, whole[:cut])
        expected = [n for n, end in enumerate(ends) if end <= cut]
        journal, records = opened(left)
        assert numbers(records) == expected
        if journal.torn:
            kept = left.read(Path(journal.torn.copy))
            assert whole[:cut].endswith(kept)
            assert len(kept) == journal.torn.cut_bytes
        # It goes on from there.
        journal.append(noted(100))
        journal.close()
        assert numbers(contents(left)) == [*expected, 100]


def test_garbage_behind_the_last_record_is_cut_whatever_it_is() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1, 2))
    whole = disk.read(LAST_LOG)
    chance = random.Random(7)
    tails = [bytes(4096), b"\xff" * 300, b"\xd6\x8a\x9e\xf1" * 9, whole, whole[36:]]
    tails += [chance.randbytes(chance.randint(1, 99)) for _ in range(200)]
    for tail in tails:
        left = FakeDisk()
        left.put(LAST_LOG, whole + tail)
        journal, records = opened(left)
        assert numbers(records) == [1, 2]
        assert journal.torn is not None
        assert left.read(Path(journal.torn.copy)) == tail
        assert left.read(LAST_LOG).startswith(whole)
        journal.close()


# Flipped bits


def refusal(disk: FakeDisk) -> JournalDamaged | None:
    try:
        contents(disk)
    except JournalDamaged as damage:
        return damage
    return None


def flipped(disk: FakeDisk) -> Iterator[tuple[FakeDisk, Path, int]]:
    """Yield a copy of the disk for every bit of its segments, with that bit flipped."""
    for path, content in disk.files().items():
        for offset, bit in itertools.product(range(len(content)), range(8)):
            changed = bytearray(content)
            changed[offset] ^= 1 << bit
            copy = disk.copy()
            copy.put(path, bytes(changed))
            yield copy, path, offset


def test_a_flipped_bit_in_a_closed_journal_is_refused_or_harmless() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    journal.append(noted(1, 2, 3))
    journal.compact(noted(2, 3))
    for number in range(4, 18):
        journal.append(noted(number))
        journal.sync(0)
    journal.close()
    assert len(disk.files()) > 2
    expected = list(range(2, 18))
    last_log = max(path for path in disk.files() if path.name.startswith("log"))
    refused = 0
    for copy, path, offset in flipped(disk):
        before = copy.files()
        damage = refusal(copy)
        if damage is None:
            # Only in the markers at the very end, which hold no record.
            assert numbers(contents(copy)) == expected
            assert path == last_log
            assert offset >= len(before[path]) - 16
        else:
            refused += 1
            assert damage.path == str(path)
            assert damage.offset <= offset
            assert copy.files() == before
    assert refused


def test_a_flipped_bit_in_what_was_synced_is_refused_also_after_a_kill() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1, 2, 3))
    journal.sync(0)
    acknowledged = len(disk.read(LAST_LOG)) - 16
    journal.append(noted(4, 5))
    for copy, _, offset in flipped(disk):
        if offset < acknowledged:
            with pytest.raises(JournalDamaged):
                contents(copy)
        else:
            found = numbers(contents(copy))
            assert found in ([1, 2, 3], [1, 2, 3, 4])


def test_power_loss_takes_nothing_of_a_closed_journal_not_even_its_markers() -> None:
    for seed in range(20):
        disk = FakeDisk()
        journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
        for number in range(20):
            journal.append(noted(number))
        journal.close()
        before = disk.files()
        disk.restart(random.Random(seed))
        assert disk.files() == before


def test_what_was_replayed_after_a_kill_is_guarded_like_what_was_synced() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1, 2))
    disk.restart()
    opened(disk)
    disk.restart()
    for copy, _, offset in flipped(disk):
        if offset < len(disk.read(LAST_LOG)) - 16:
            assert refusal(copy) is not None


def test_proof_of_damage_is_found_wherever_it_lies_between_two_reads() -> None:
    chunk_bytes = 256 * 1024
    for shift in range(-20, 5):
        disk = FakeDisk()
        with Journal[bytes](FOLDER, encode=bytes, decode=bytes, files=disk) as journal:
            assert list(journal.replay()) == []
            start = len(disk.read(LAST_LOG))
            journal.append([b"a", bytes(chunk_bytes + shift - 9 - 8)])
            journal.sync(0)
            content = bytearray(disk.read(LAST_LOG))
        assert len(content) - 16 == start + chunk_bytes + shift
        content[start + 8] ^= 1
        disk.put(LAST_LOG, bytes(content))
        damage = refusal(disk)
        assert damage is not None
        assert damage.offset == start


def test_torn_bytes_kept_aside_survive_power_loss() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    journal.close()
    disk.put(LAST_LOG, disk.read(LAST_LOG) + b"torn")
    for seed, crash_after in itertools.product(range(10), range(20)):
        copy = disk.copy()
        copy.crash_at = len(copy.operations) + crash_after
        with contextlib.suppress(SimulatedCrash):
            opened(copy)
        copy.restart(random.Random(seed))
        contents(copy)
        kept = [data for path, data in copy.files().items() if ".torn-" in path.name]
        assert b"torn" in kept


@pytest.mark.parametrize("keep_later", [False, True])
def test_repair_invents_nothing_and_keeps_all_before_a_flipped_bit(
    keep_later: bool,
) -> None:
    disk = FakeDisk()
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    for number in range(9):
        journal.append(noted(number))
        journal.sync(0)
    journal.close()
    for copy, path, offset in itertools.islice(flipped(disk), 0, None, 11):
        damaged = copy.files()[path]
        report = verify(FOLDER, files=copy)
        done = repair(FOLDER, files=copy, keep_later=keep_later)
        assert done.before.segments == report.segments
        found = numbers(contents(copy))
        assert len(found) == done.records
        assert found == sorted(found)
        assert set(found) <= set(range(9))
        if keep_later and offset >= 36:
            assert len(found) >= 8  # one bit, at most one record
        if not keep_later:
            assert found == list(range(len(found)))
            sound = itertools.takewhile(lambda s: not s.problem, report.segments)
            whole = list(sound)
            whole += report.segments[len(whole) : len(whole) + 1]
            assert len(found) == sum(segment.records or 0 for segment in whole)
        if not report.is_sound:
            assert damaged in [copy.read(Path(name)) for name in done.copies]
        assert verify(FOLDER, files=copy).is_sound


# Crashes between every two operations

LIVE_RECORDS = 5


class History:
    """What was asked of a journal: enough to judge whatever is found later.

    Records are 0, 1, 2, ...; a snapshot keeps the last LIVE_RECORDS of them. So what
    replay may yield is a run of numbers that begins at 0 or at a snapshot's first.
    """

    def __init__(self) -> None:
        self.appended = 0
        self.acknowledged = 0
        self.attempted = 0
        self.starts = {0}

    def append(self, journal: Journal[Noted], count: int) -> None:
        self.attempted = self.appended + count
        journal.append(noted(*range(self.appended, self.attempted)))
        self.appended = self.attempted

    def sync(self, journal: Journal[Noted], now: float = 0) -> None:
        if journal.sync(now):
            self.acknowledged = self.appended

    def start_compaction(
        self, journal: Journal[Noted]
    ) -> tuple[Compaction[Noted], list[Noted]]:
        first = max(0, self.appended - LIVE_RECORDS)
        self.starts.add(first)
        live = noted(*range(first, self.appended))
        return journal.start_compaction(), live

    def judge(self, found: list[int], *, at_least: int) -> None:
        """Check what was found, and take it for the state from now on."""
        if found:
            assert found == list(range(found[0], found[-1] + 1))
            assert found[0] in self.starts
        end = found[-1] + 1 if found else 0
        assert at_least <= end <= self.attempted
        assert end - found[0] >= min(LIVE_RECORDS, end) if found else True
        self.appended = self.attempted = self.acknowledged = end


def live_a_life(disk: FakeDisk, history: History) -> None:
    """Append, sync, rotate, compact with appends between, close and reopen."""
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    for _ in range(3):
        history.append(journal, 4)
        history.append(journal, 1)
        history.sync(journal)
    history.append(journal, 3)
    compaction, live = history.start_compaction(journal)
    compaction.add(live[:2])
    history.append(journal, 2)
    history.sync(journal)
    compaction.add(live[2:])
    history.append(journal, 1)
    compaction.finish()
    history.sync(journal)
    history.append(journal, 9)
    history.append(journal, 1)
    compaction, live = history.start_compaction(journal)
    compaction.add(live)
    history.append(journal, 1)
    compaction.abandon()
    journal.close()
    history.acknowledged = history.appended
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    history.append(journal, 2)
    history.sync(journal)


def reopen_and_judge(disk: FakeDisk, history: History, at_least: int) -> None:
    journal, records = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    history.judge(numbers(records), at_least=at_least)
    # What was found is durable now, and the journal is in working order.
    history.append(journal, 2)
    history.sync(journal)
    compaction, live = history.start_compaction(journal)
    compaction.add(live)
    compaction.finish()
    journal.close()
    assert contents(disk) == live
    names = [path.name for path in disk.files()]
    assert not [name for name in names if name.endswith(".tmp")], names


def crashed(
    crash_at: int, share: float, life: Callable[[FakeDisk, History], None]
) -> tuple[FakeDisk, History]:
    disk, history = FakeDisk(), History()
    disk.crash_at, disk.crash_share = crash_at, share
    with pytest.raises(SimulatedCrash):
        life(disk, history)
    return disk, history


def operations_of_a_life() -> list[str]:
    disk = FakeDisk()
    live_a_life(disk, History())
    return disk.operations


OPERATIONS = operations_of_a_life()


def test_a_life_has_every_kind_of_operation_in_it() -> None:
    assert {"create", "write", "sync", "rename", "sync_folder", "unlink"} == set(
        OPERATIONS
    )
    assert OPERATIONS.count("rename") > 5


@pytest.mark.parametrize("crash_at", range(len(OPERATIONS)))
def test_a_process_killed_between_any_two_operations_loses_nothing(
    crash_at: int,
) -> None:
    shares = (0.0, 0.3, 0.9) if OPERATIONS[crash_at] == "write" else (0.0,)
    for share in shares:
        disk, history = crashed(crash_at, share, live_a_life)
        disk.restart()
        reopen_and_judge(disk, history, at_least=history.appended)


@pytest.mark.parametrize("crash_at", range(len(OPERATIONS)))
def test_power_lost_between_any_two_operations_takes_nothing_acknowledged(
    crash_at: int,
) -> None:
    for seed in range(25):
        share = random.Random(seed).choice([0.0, 0.3, 0.9])
        disk, history = crashed(crash_at, share, live_a_life)
        disk.restart(random.Random(seed))
        reopen_and_judge(disk, history, at_least=history.acknowledged)


@pytest.mark.parametrize("crash_at", range(0, len(OPERATIONS), 3))
def test_recovery_itself_may_be_cut_off_anywhere_and_still_loses_nothing(
    crash_at: int,
) -> None:
    for seed in range(4):
        is_cut_off = True
        again = 0
        while is_cut_off:
            disk, history = crashed(crash_at, 0.5, live_a_life)
            # Killed, or without power; the process that recovers loses power.
            first = random.Random(seed) if seed % 2 else None
            disk.restart(first)
            disk.crash_at = len(disk.operations) + again
            try:
                opened(disk)
            except SimulatedCrash:
                again += 1
            else:
                is_cut_off = False
            disk.restart(random.Random(seed + again))
            reopen_and_judge(disk, history, at_least=history.acknowledged)


@pytest.mark.parametrize(
    "crash_at",
    [at for at, name in enumerate(OPERATIONS) if name in ("sync_folder", "unlink")],
)
def test_names_that_a_killed_process_left_unsynced_are_durable_once_it_is_replayed(
    crash_at: int,
) -> None:
    for seed in range(40):
        disk, history = crashed(crash_at, 0, live_a_life)
        disk.restart()
        opened(disk)
        disk.restart(random.Random(seed))
        reopen_and_judge(disk, history, at_least=history.appended)


def test_what_a_killed_process_left_unsynced_is_durable_once_it_was_replayed() -> None:
    for seed in range(50):
        disk, history = FakeDisk(), History()
        journal, _ = opened(disk)
        history.append(journal, 5)
        disk.restart()  # killed, before any sync
        _, records = opened(disk)
        assert numbers(records) == [0, 1, 2, 3, 4]
        disk.restart(random.Random(seed))
        assert numbers(contents(disk)) == [0, 1, 2, 3, 4]


def test_without_syncs_a_power_loss_leaves_a_prefix_or_a_journal_to_repair() -> None:
    refused = 0
    for seed in range(300):
        disk, history = FakeDisk(), History()
        journal, _ = opened(disk, durability="off", segment_bytes=SMALL_SEGMENT_BYTES)
        for _ in range(seed % 7):
            history.append(journal, 6)
            history.sync(journal)
        assert history.acknowledged == 0
        disk.restart(random.Random(seed))
        if FOLDER not in disk._folders:
            continue
        try:
            found = numbers(contents(disk))
        except JournalDamaged:
            refused += 1
            repair(FOLDER, files=disk)
            found = numbers(contents(disk))
        history.judge(found, at_least=0)
    assert refused
