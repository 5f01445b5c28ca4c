"""A sync that runs beside the appends secures all that was appended before it began."""

import errno
from pathlib import Path

import pytest

from actors.journal import Journal, JournalConfig, JournalFailed, verify
from tests.fake_disk import FakeDisk

FOLDER = Path("/j")


def open_journal(disk: FakeDisk, segment_bytes: int = 1 << 20) -> Journal[bytes]:
    config = JournalConfig(segment_bytes=segment_bytes)
    journal = Journal(FOLDER, encode=bytes, decode=bytes, config=config, files=disk)
    list(journal.replay())
    return journal


def left_by_power_loss(disk: FakeDisk) -> list[bytes]:
    copy = disk.synced_copy()
    with Journal(FOLDER, encode=bytes, decode=bytes, files=copy) as journal:
        return list(journal.replay())


def test_what_was_appended_before_is_safe_when_it_has_run() -> None:
    disk = FakeDisk()
    journal = open_journal(disk)
    journal.append([b"a"])
    sync = journal.begin_sync()
    assert sync is not None
    assert left_by_power_loss(disk) == []
    sync()
    assert left_by_power_loss(disk) == [b"a"]
    journal.end_sync(1.0)
    journal.close()


def test_what_is_appended_meanwhile_is_left_to_the_next_one() -> None:
    disk = FakeDisk()
    journal = open_journal(disk)
    journal.append([b"a"])
    first = journal.begin_sync()
    assert first is not None
    first()
    journal.append([b"b"])
    journal.end_sync(1.0)
    assert left_by_power_loss(disk) == [b"a"]
    second = journal.begin_sync()
    assert second is not None, "there is something to be made safe"
    second()
    journal.end_sync(2.0)
    assert left_by_power_loss(disk) == [b"a", b"b"]
    assert journal.begin_sync() is None
    journal.close()
    assert verify(FOLDER, files=disk).is_sound


def test_a_segment_is_not_closed_under_a_sync_but_by_the_next() -> None:
    disk = FakeDisk()
    journal = open_journal(disk, segment_bytes=200)
    for number in range(100):
        journal.append([b"%d" % number])
        sync = journal.begin_sync()
        assert sync is not None
        names = set(disk.names(FOLDER))
        journal.append([b"beside %d" % number])
        assert set(disk.names(FOLDER)) == names
        sync()
        journal.end_sync(float(number))
    assert len([n for n in disk.names(FOLDER) if n.startswith("log-")]) > 5
    journal.close()
    assert len(left_by_power_loss(disk)) == 200


def test_a_sync_that_fails_fails_the_journal() -> None:
    disk = FakeDisk()
    journal = open_journal(disk)
    journal.append([b"a"])
    sync = journal.begin_sync()
    assert sync is not None
    disk.failures["sync"] = errno.EIO
    sync()
    with pytest.raises(JournalFailed):
        journal.end_sync(1.0)
    with pytest.raises(JournalFailed):
        journal.append([b"b"])
    journal.close()
