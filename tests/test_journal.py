"""A journal gives back what it was given, in order, and says so when it cannot."""

import contextlib
import errno
import pickle
import resource
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from actors.errors import ActorsError, BrokenInvariant, ConfigError, PayloadTooLarge
from actors.journal import (
    FileSystem,
    Journal,
    JournalConfig,
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalFull,
    JournalLocked,
    JournalTooNew,
    RealFiles,
    inspect,
    read_journal,
    repair,
    verify,
)
from actors.journal.format import Header, Kind
from tests.fake_disk import FAKE_PID, FakeDisk, SimulatedCrash
from tests.journal_cases import (
    FOLDER,
    SMALL_SEGMENT_BYTES,
    Noted,
    contents,
    decode,
    encode,
    noted,
    opened,
)

Place = tuple[FileSystem, Path]


@pytest.fixture(params=["real", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    files: FileSystem = RealFiles() if request.param == "real" else FakeDisk()
    return files, tmp_path / "journal"


def log(sequence: int) -> Path:
    return FOLDER / Kind.LOG.file_name(sequence)


def base(sequence: int) -> Path:
    return FOLDER / Kind.BASE.file_name(sequence)


def segments(files: FileSystem, folder: Path = FOLDER) -> list[str]:
    return sorted(name for name in files.names(folder) if name.endswith(".journal"))


# Both file systems


def test_a_new_journal_is_empty(place: Place) -> None:
    files, folder = place
    journal, records = opened(files, folder)
    assert records == []
    assert journal.torn is None
    journal.close()
    assert contents(files, folder) == []


def test_records_come_back_in_order_from_one_process_after_another(
    place: Place,
) -> None:
    files, folder = place
    expected: list[Noted] = []
    for start in range(0, 40, 10):
        journal, records = opened(files, folder, segment_bytes=SMALL_SEGMENT_BYTES)
        assert records == expected
        for number in range(start, start + 10, 2):
            journal.append(noted(number, number + 1))
            assert journal.sync(0)
        expected += noted(*range(start, start + 10))
        journal.close()
    assert contents(files, folder) == expected
    assert len(segments(files, folder)) > 3


def test_records_of_any_size_come_back(place: Place) -> None:
    files, folder = place
    sizes = [0, 1, 255, 256, 65_535, 65_536, 262_130, 262_144, 300_000, 1_000_000, 3]
    expected = [Noted(number, "y" * size) for number, size in enumerate(sizes)]
    journal, _ = opened(files, folder)
    journal.append(expected)
    journal.close()
    assert contents(files, folder) == expected
    assert list(read_journal(folder, decode, files=files)) == expected


def test_compaction_replaces_what_was_and_keeps_what_comes_meanwhile(
    place: Place,
) -> None:
    files, folder = place
    journal, _ = opened(files, folder, segment_bytes=SMALL_SEGMENT_BYTES)
    for number in range(30):
        journal.append(noted(number))
    before = journal.log_bytes
    was_compacting = [journal.is_compacting]
    compaction = journal.start_compaction()
    was_compacting.append(journal.is_compacting)
    journal.append(noted(30))
    compaction.add(noted(28))
    journal.append(noted(31))
    compaction.add(noted(29))
    compaction.finish()
    was_compacting.append(journal.is_compacting)
    assert was_compacting == [False, True, False]
    journal.append(noted(32))
    assert journal.log_bytes < before / 2
    assert 0 < journal.base_bytes < before / 2
    assert len(segments(files, folder)) == 2
    sizes = journal.base_bytes, journal.log_bytes
    journal.close()
    journal, records = opened(files, folder)
    assert records == noted(28, 29, 30, 31, 32)
    assert journal.base_bytes == sizes[0]
    assert journal.log_bytes >= sizes[1]
    journal.close()


def test_another_thread_may_compact_while_this_one_appends(place: Place) -> None:
    files, folder = place
    journal, _ = opened(files, folder, segment_bytes=SMALL_SEGMENT_BYTES)
    journal.append(noted(*range(100)))
    compaction = journal.start_compaction()

    def drive() -> None:
        for number in range(50, 100):
            compaction.add(noted(number))
        compaction.finish()

    thread = threading.Thread(target=drive)
    thread.start()
    last = 100
    while thread.is_alive() or last < 150:
        journal.append(noted(last))
        last += 1
    thread.join()
    assert journal.base_bytes == compaction.size_bytes
    journal.close()
    assert contents(files, folder) == noted(*range(50, last))


def test_a_journal_may_be_compacted_to_nothing_again_and_again(place: Place) -> None:
    files, folder = place
    journal, _ = opened(files, folder)
    for number in range(5):
        journal.compact([])
        journal.append(noted(number))
    journal.compact(noted(7))
    journal.compact(noted(8))
    journal.close()
    assert contents(files, folder) == noted(8)
    assert len(segments(files, folder)) == 2


def test_the_second_to_open_is_refused_and_told_who_holds_it(place: Place) -> None:
    files, folder = place
    journal, _ = opened(files, folder)
    with pytest.raises(JournalLocked) as refused:
        opened(files, folder)
    holder = files.holder(folder)
    assert holder is not None
    assert refused.value.pid == holder.pid
    assert str(holder.pid) in str(refused.value)
    journal.append(noted(1))
    journal.close()
    assert contents(files, folder) == noted(1)


def test_a_reader_needs_no_lock_and_sees_what_was_appended_so_far(
    place: Place,
) -> None:
    files, folder = place
    journal, _ = opened(files, folder, segment_bytes=SMALL_SEGMENT_BYTES)
    for number in range(20):
        journal.append(noted(number))
        found = list(read_journal(folder, decode, files=files))
        assert found == noted(*range(number + 1))
    reading = read_journal(folder, decode, files=files)
    assert next(reading) == Noted(0)
    journal.compact(noted(19))
    assert list(reading) == noted(*range(1, 20))
    assert list(read_journal(folder, decode, files=files)) == noted(19)
    journal.close()


def test_a_torn_tail_is_kept_aside_and_told(place: Place) -> None:
    files, folder = place
    journal, _ = opened(files, folder)
    journal.append(noted(1))
    journal.close()
    file = files.open(folder / log(1).name, writable=True)
    size = file.size()
    file.write(b"torn")
    file.close()
    assert list(read_journal(folder, decode, files=files)) == noted(1)
    report = verify(folder, files=files)
    assert report.is_sound
    assert [segment.is_torn for segment in report.segments] == [True]
    journal, records = opened(files, folder)
    assert records == noted(1)
    assert journal.torn is not None
    assert (journal.torn.offset, journal.torn.cut_bytes) == (size, 4)
    journal.close()
    copy = files.open(Path(journal.torn.copy))
    assert copy.read_at(0, 100) == b"torn"
    copy.close()
    assert inspect(folder, files=files).kept_aside == [f"{log(1).name}.torn-{size}"]


# Use


def test_only_a_journal_replayed_to_its_end_takes_records() -> None:
    disk = FakeDisk()
    contents(disk)
    journal = Journal[Noted](FOLDER, encode=encode, decode=decode, files=disk)
    with pytest.raises(BrokenInvariant, match="replay it once"):
        journal.append(noted(1))
    replay = journal.replay()
    assert list(replay) == []
    with pytest.raises(BrokenInvariant):
        list(journal.replay())
    journal.append(noted(1))
    journal.close()
    journal.close()
    with pytest.raises(BrokenInvariant, match="closed"):
        journal.append(noted(2))


def test_leaving_the_context_lets_go_also_when_replay_was_left_early() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1, 2, 3))
    journal.close()
    with Journal[Noted](FOLDER, encode=encode, decode=decode, files=disk) as journal:
        assert next(journal.replay()) == Noted(1, "x")
    assert contents(disk) == noted(1, 2, 3)


def test_an_error_while_encoding_writes_nothing_of_the_batch() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    with pytest.raises(TypeError):
        journal.append([Noted(1), object()])  # type: ignore[list-item]
    journal.append(noted(2))
    journal.close()
    assert contents(disk) == noted(2)


def test_an_empty_record_is_refused_with_its_batch() -> None:
    disk = FakeDisk()
    with Journal[bytes](FOLDER, encode=bytes, decode=bytes, files=disk) as journal:
        assert list(journal.replay()) == []
        with pytest.raises(PayloadTooLarge, match="0 bytes"):
            journal.append([b"a", b""])
        journal.append([b"b"])
    assert list(read_journal(FOLDER, bytes, files=disk)) == [b"b"]


def test_no_records_are_no_write() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    before = len(disk.operations)
    journal.append([])
    assert journal.sync(0)
    assert len(disk.operations) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"durability": "often"}, "often"),
        ({"interval": 0.0}, "above 0"),
        ({"interval": float("nan")}, "above 0"),
        ({"segment_bytes": 1}, "at least 128"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        JournalConfig(**settings)  # type: ignore[arg-type]


def test_a_second_compaction_waits_for_the_first() -> None:
    journal, _ = opened(FakeDisk())
    journal.append(noted(1))
    first = journal.start_compaction()
    with pytest.raises(BrokenInvariant):
        journal.start_compaction()
    first.abandon()
    first.abandon()
    journal.start_compaction().finish()


def test_closing_abandons_a_compaction() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1, 2))
    journal.start_compaction().add(noted(2))
    journal.close()
    assert not [path for path in disk.files() if path.name.endswith(".tmp")]
    assert contents(disk) == noted(1, 2)


# Durability


def test_sync_costs_one_sync_for_all_batches_since_the_last() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    disk.operations.clear()
    journal.append(noted(*range(100)))
    journal.append(noted(*range(100)))
    assert journal.sync_at < 0
    assert journal.sync(5)
    assert journal.sync_at == float("inf")
    # The second write is the marker.
    assert disk.operations == ["write", "write", "sync", "write"]
    assert journal.sync(6)
    assert disk.operations.count("sync") == 1


def test_interval_syncs_when_it_is_due_and_at_the_end() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk, durability="interval")
    disk.operations.clear()
    outcomes = []
    for now in (100, 101, 109.9, 110, 111):
        journal.append(noted(1))
        outcomes.append(journal.sync(now))
    assert outcomes == [True, False, False, True, False]
    assert journal.sync_at == 120
    assert disk.operations.count("sync") == 2
    journal.close()
    assert disk.operations.count("sync") > 2


def test_off_never_syncs_an_append() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk, durability="off", segment_bytes=SMALL_SEGMENT_BYTES)
    for number in range(30):
        journal.append(noted(number))
        assert not journal.sync(number)
        assert journal.sync_at == float("inf")
    journal.close()
    assert not {"sync", "sync_folder"} & set(disk.operations)
    assert len(segments(disk)) > 2
    assert contents(disk) == noted(*range(30))


# A full disk


def test_a_full_disk_refuses_a_batch_and_takes_it_when_there_is_room() -> None:
    for room in range(60):
        disk = FakeDisk()
        journal, _ = opened(disk)
        journal.append(noted(1))
        assert journal.sync(0)
        disk.capacity = len(disk.read(log(1))) + room
        before = disk.read(log(1))
        with pytest.raises(JournalFull) as full:
            journal.append(noted(*range(2, 9)))
        assert full.value.needed_bytes > room
        assert disk.read(log(1)) == before
        assert list(read_journal(FOLDER, decode, files=disk)) == noted(1)
        disk.capacity = None
        journal.append(noted(*range(2, 9)))
        assert journal.sync(1)
        journal.close()
        assert contents(disk) == noted(*range(1, 9))


def test_no_room_for_a_marker_is_no_harm() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    disk.capacity = len(disk.read(log(1))) + 5
    assert journal.sync(0)
    disk.capacity = None
    journal.append(noted(2))
    journal.close()
    assert contents(disk) == noted(1, 2)


def test_no_room_for_a_new_segment_lets_the_old_one_grow() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    journal.append(noted(*range(20)))
    disk.capacity = len(disk.read(log(1))) + 30
    journal.append(noted(20))
    assert segments(disk) == [log(1).name]
    disk.capacity = None
    for number in range(21, 30):
        journal.append(noted(number))
    assert segments(disk)[:2] == [log(1).name, log(2).name]
    journal.close()
    assert contents(disk) == noted(*range(30))


def test_no_room_to_compact_leaves_the_journal_as_it_is() -> None:
    for room in range(0, 150, 3):
        disk = FakeDisk()
        journal, _ = opened(disk)
        journal.append(noted(*range(10)))
        disk.capacity = sum(map(len, disk.files().values())) + room
        with pytest.raises(JournalFull):
            journal.compact(noted(*range(10)))
        assert not journal.is_compacting
        disk.capacity = None
        journal.append(noted(10))
        journal.compact(noted(9, 10))
        journal.close()
        assert contents(disk) == noted(9, 10)


def test_a_full_disk_does_not_keep_a_sound_journal_from_opening() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    disk.restart()
    disk.capacity = 0
    journal, records = opened(disk)
    assert records == noted(1)
    with pytest.raises(JournalFull):
        journal.append(noted(2))


def test_a_full_disk_keeps_a_torn_tail_from_being_cut() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    journal.close()
    disk.put(log(1), disk.read(log(1)) + b"torn")
    disk.capacity = 0
    with pytest.raises(JournalFull):
        opened(disk)
    disk.capacity = None
    journal, records = opened(disk)
    assert records == noted(1)
    assert journal.torn is not None


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    journal, _ = opened(RealFiles(), tmp_path)
    journal.append(noted(1))
    path = tmp_path / log(1).name
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(JournalFull):
            journal.append(noted(*range(2, 100)))
        assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append(noted(2))
    journal.close()
    assert contents(RealFiles(), tmp_path) == noted(1, 2)


# Records that are not copied to be written


def long_ones() -> list[Noted]:
    """Make records of which two take a write of their own, or more."""
    return [Noted(n, "x" * (1_100_000 if n in (3, 5) else n)) for n in range(2, 8)]


def test_long_records_come_back_among_short_ones() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    journal.append(long_ones())
    journal.append(noted(8))
    journal.close()
    assert contents(disk) == [*noted(1), *long_ones(), *noted(8)]


def test_a_disk_that_fills_up_between_long_records_has_none_of_them() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    before = disk.read(log(1))
    disk.capacity = len(before) + 1_500_000
    with pytest.raises(JournalFull):
        journal.append(long_ones())
    assert disk.read(log(1)) == before
    disk.capacity = None
    journal.append(long_ones())
    journal.close()
    assert contents(disk) == [*noted(1), *long_ones()]


def test_a_crash_between_long_records_leaves_those_before_it() -> None:
    found = set()
    for number in range(20):
        disk = FakeDisk()
        journal, _ = opened(disk)
        journal.append(noted(1))
        disk.crash_at, disk.crash_share = len(disk.operations) + number, 0.5
        with contextlib.suppress(SimulatedCrash):
            journal.append(long_ones())
        disk.restart()
        records = contents(disk)
        assert records == [*noted(1), *long_ones()][: len(records)]
        found.add(len(records))
    assert {1, 7} < found


# A disk that fails


def test_after_a_failed_sync_nothing_is_taken_any_more() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    disk.failures["sync"] = errno.EIO
    with pytest.raises(JournalFailed, match="sync fails"):
        journal.sync(0)
    calls: list[Callable[[], object]] = [
        lambda: journal.append(noted(2)),
        lambda: journal.sync(1),
        journal.start_compaction,
    ]
    for call in calls:
        with pytest.raises(JournalFailed):
            call()
    journal.close()
    assert contents(disk) == noted(1)


def test_a_failed_write_that_cannot_be_undone_ends_the_journal() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    disk.capacity = len(disk.read(log(1))) + 20
    disk.failures["truncate"] = errno.EIO
    with pytest.raises(JournalFailed):
        journal.append(noted(2, 3, 4, 5))
    with pytest.raises(JournalFailed):
        journal.append(noted(2))
    journal.close()
    disk.capacity = None
    assert contents(disk)[0] == Noted(1, "x")


@pytest.mark.parametrize("operation", ["sync", "rename", "sync_folder"])
def test_a_rotation_of_unknown_outcome_ends_the_journal(operation: str) -> None:
    disk = FakeDisk()
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    journal.append(noted(*range(30)))
    disk.failures[operation] = errno.EIO
    with pytest.raises(JournalFailed):
        journal.append(noted(30))
    with pytest.raises(JournalFailed):
        journal.append(noted(30))
    journal.close()
    assert contents(disk) == noted(*range(30))


@pytest.mark.parametrize("operation", ["create", "sync", "rename", "sync_folder"])
def test_a_compaction_that_fails_harms_nothing(operation: str) -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1, 2))
    compaction = journal.start_compaction()
    journal.append(noted(3))
    if operation == "create":
        compaction.abandon()
        disk.failures[operation] = errno.EMFILE
        with pytest.raises(JournalFailed):
            journal.start_compaction()
    else:
        compaction.add(noted(1, 2))
        disk.failures[operation] = errno.EIO
        with pytest.raises(JournalFailed):
            compaction.finish()
    journal.append(noted(4))
    journal.close()
    assert contents(disk) == noted(1, 2, 3, 4)


# What does not add up


def damaged(disk: FakeDisk) -> JournalDamaged:
    before = disk.files()
    with pytest.raises(JournalDamaged) as refused:
        contents(disk)
    assert disk.files() == before
    assert not verify(FOLDER, decode, files=disk).is_sound
    with pytest.raises(JournalDamaged):
        list(read_journal(FOLDER, decode, files=disk))
    return refused.value


def several_segments() -> FakeDisk:
    disk = FakeDisk()
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    for number in range(40):
        journal.append(noted(number))
    journal.close()
    assert len(segments(disk)) > 3
    return disk


@pytest.mark.parametrize("sequence", [1, 2, 3])
def test_a_missing_segment_is_named(sequence: int) -> None:
    disk = several_segments()
    disk.unlink(log(sequence))
    damage = damaged(disk)
    assert damage.path == str(log(sequence))
    assert verify(FOLDER, files=disk).missing == log(sequence).name


def test_a_missing_log_behind_a_snapshot_is_named() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    journal.compact(noted(1))
    journal.close()
    disk.unlink(log(2))
    assert damaged(disk).path == str(log(2))


@pytest.mark.parametrize("cut_bytes", [1, 8, 30])
def test_a_closed_segment_cut_short_is_damage(cut_bytes: int) -> None:
    disk = several_segments()
    disk.put(log(2), disk.read(log(2))[:-cut_bytes])
    assert damaged(disk).path == str(log(2))


def test_a_closed_segment_cut_at_a_record_is_damage() -> None:
    disk = several_segments()
    whole = disk.read(log(2))
    ends = set()
    for cut in range(36, len(whole)):
        disk.put(log(2), whole[:cut])
        damage = damaged(disk)
        assert damage.path == str(log(2))
        ends.add(damage.offset)
    assert len(ends) > 5


def test_a_snapshot_without_its_end_is_damage() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.compact(noted(1, 2, 3))
    journal.close()
    whole = disk.read(base(0))
    for cut in range(len(whole)):
        disk.put(base(0), whole[:cut])
        assert damaged(disk).path == str(base(0))


def test_a_segment_of_another_place_is_damage() -> None:
    disk = several_segments()
    disk.put(log(2), disk.read(log(1)))
    assert "the header says" in damaged(disk).reason


def test_bytes_of_another_segment_are_no_records_of_this_one() -> None:
    disk = FakeDisk()
    for folder in (FOLDER, Path("/other")):
        journal, _ = opened(disk, folder)
        journal.append(noted(1, 2, 3))
        journal.sync(0)
        disk.locks.clear()
    strange = disk.read(Path("/other") / log(1).name)
    mine = disk.read(log(1))
    left = FakeDisk()
    left.put(log(1), mine[:36] + strange[36:])
    journal, records = opened(left)
    assert records == []
    assert journal.torn is not None


def test_a_record_that_does_not_decode_is_damage_with_its_offset() -> None:
    disk = FakeDisk()
    with Journal[bytes](FOLDER, encode=bytes, decode=bytes, files=disk) as journal:
        assert list(journal.replay()) == []
        journal.append([encode(Noted(1))])
        offset = len(disk.read(log(1)))
        journal.append([b"\xff\xff", encode(Noted(2))])
    damage = damaged(disk)
    assert (damage.path, damage.offset) == (str(log(1)), offset)
    assert "does not decode" in damage.reason
    assert verify(FOLDER, files=disk).is_sound
    done = repair(FOLDER, decode, keep_later=True, files=disk)
    assert contents(disk) == [Noted(1), Noted(2)]
    assert done.lost_bytes == 10
    assert len(done.copies) == 1


def test_a_newer_version_is_refused_and_not_repaired() -> None:
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.append(noted(1))
    journal.close()
    whole = disk.read(log(1))
    head = bytearray(Header(Kind.LOG, 1, 5).encode()[:32])
    head[8] = 2
    checksum = zlib.crc32(head).to_bytes(4, "little")
    disk.put(log(1), bytes(head) + checksum + whole[36:])
    before = disk.files()
    attempts: list[Callable[[], object]] = [
        lambda: contents(disk),
        lambda: list(read_journal(FOLDER, decode, files=disk)),
        lambda: repair(FOLDER, files=disk),
        lambda: verify(FOLDER, files=disk),
    ]
    for attempt in attempts:
        with pytest.raises(JournalTooNew) as refused:
            attempt()
        assert (refused.value.version, refused.value.known) == (2, 1)
    assert disk.files() == before


def test_a_last_log_without_a_whole_header_is_a_torn_tail() -> None:
    for size in range(36):
        disk = FakeDisk()
        journal, _ = opened(disk)
        journal.append(noted(1))
        journal.compact(noted(1))
        journal.close()
        disk.put(log(2), disk.read(log(2))[:size])
        assert verify(FOLDER, files=disk).is_sound
        journal, records = opened(disk)
        assert records == noted(1)
        assert journal.torn is not None
        journal.append(noted(2))
        journal.close()
        assert contents(disk) == noted(1, 2)


def test_unfinished_and_replaced_files_are_cleared_away() -> None:
    disk = several_segments()
    journal, _ = opened(disk)
    old = disk.files()
    journal.compact(noted(7))
    journal.close()
    for path, content in old.items():
        if path not in disk.files():
            disk.put(path, content)
    disk.put(Path(f"{base(99)}.tmp"), b"half")
    disk.put(FOLDER / "notes.txt", b"not ours")
    assert len(inspect(FOLDER, files=disk).leftovers) > 3
    assert contents(disk) == noted(7)
    assert inspect(FOLDER, files=disk).leftovers == []
    assert FOLDER / "notes.txt" in disk.files()


# Inspection and repair


def test_inspect_reads_the_headers_and_names_the_holder() -> None:
    disk = several_segments()
    assert inspect(FOLDER, files=disk).holder_pid == 0
    journal, _ = opened(disk)
    report = inspect(FOLDER, files=disk)
    assert report.holder_pid == FAKE_PID
    assert [segment.name for segment in report.segments] == segments(disk)
    assert {segment.records for segment in report.segments} == {None}
    assert verify(FOLDER, files=disk).records == 40
    assert msgspec.json.encode(report)
    journal.close()


def test_repair_of_a_sound_journal_changes_nothing() -> None:
    disk = several_segments()
    before = disk.files()
    done = repair(FOLDER, files=disk)
    assert (done.records, done.lost_bytes, done.copies) == (40, 0, [])
    assert disk.files() == before


def test_repair_is_refused_while_somebody_writes() -> None:
    disk = several_segments()
    journal, _ = opened(disk)
    with pytest.raises(JournalLocked):
        repair(FOLDER, files=disk)
    journal.close()


def test_repair_of_a_gap_ends_before_it_or_goes_on_behind_it() -> None:
    for keep_later in (False, True):
        disk = several_segments()
        first = verify(FOLDER, files=disk).segments[0].records
        second = verify(FOLDER, files=disk).segments[1].records
        assert first
        assert second
        disk.unlink(log(2))
        done = repair(FOLDER, keep_later=keep_later, files=disk)
        found = contents(disk)
        assert len(found) == done.records
        expected = noted(*range(first))
        if keep_later:
            expected += noted(*range(first + second, 40))
        assert found == expected


def test_repair_makes_no_journal_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        repair(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def repair_dies(disk: FakeDisk) -> bool:
    try:
        repair(FOLDER, files=disk)
    except SimulatedCrash:
        return True
    return False


def test_a_repair_cut_off_anywhere_can_be_repeated() -> None:
    again = 0
    is_cut_off = True
    while is_cut_off:
        disk = several_segments()
        changed = bytearray(disk.read(log(3)))
        changed[50] ^= 1
        disk.put(log(3), bytes(changed))
        disk.crash_at = len(disk.operations) + again
        is_cut_off = repair_dies(disk)
        disk.restart()
        repair(FOLDER, files=disk)
        found = contents(disk)
        assert 10 < len(found) < 40
        assert found == noted(*range(len(found)))
        copies = [p for p in disk.files() if ".damaged" in p.name]
        assert bytes(changed) in [disk.read(path) for path in copies]
        again += 1
    assert again > 10


# Errors


@pytest.mark.parametrize(
    "error",
    [
        JournalLocked("/j", 17, "node"),
        JournalLocked("/j", 0, ""),
        JournalDamaged("/j/log", 40, "the checksum is wrong"),
        JournalTooNew("/j/log", 2, 1),
        JournalFull("/j", 100),
        JournalFailed("/j/log", "input/output error"),
    ],
)
def test_errors_keep_their_fields_through_pickle(error: JournalError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert isinstance(copy, ActorsError)
    assert not str(error).endswith(".")
