"""Whatever bytes a journal's files have: whole records, or an error that names a place.

`test_journal_crash` knows what must come back after a crash; here anybody may have
written anything.
"""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.journal import JournalDamaged, JournalError, read_journal
from actors.logic.records import (
    ClientAdmitted,
    TasksAccepted,
    TasksLeased,
    decode_record,
    encode_record,
)
from actors.messages import ClientId, ManagerId, Task, TaskId
from tests.damage import damaged
from tests.fake_disk import FakeDisk
from tests.journal_cases import (
    FOLDER,
    SMALL_SEGMENT_BYTES,
    contents,
    decode,
    noted,
    opened,
)
from tests.test_journal_crash import LAST_LOG

WRITTEN = noted(*range(1, 15))


def a_journal() -> FakeDisk:
    """Make one of a base and several logs."""
    disk = FakeDisk()
    journal, _ = opened(disk, segment_bytes=SMALL_SEGMENT_BYTES)
    journal.append(WRITTEN[:3])
    journal.compact(WRITTEN[:3])
    for record in WRITTEN[3:]:
        journal.append([record])
        journal.sync(0)
    journal.close()
    return disk


JOURNAL = a_journal()
FILES = sorted(JOURNAL.files())


@given(data=st.data(), path=st.sampled_from(FILES))
def test_a_damaged_file_gives_the_first_records_or_names_the_place(
    data: st.DataObject, path: object
) -> None:
    name = next(file for file in FILES if file == path)
    disk = JOURNAL.copy()
    disk.put(name, data.draw(damaged(JOURNAL.read(name))))
    before = disk.files()
    read = None
    with suppress(JournalError):
        read = list(read_journal(FOLDER, decode, files=disk))
    assert disk.files() == before, "who only reads changes nothing"
    try:
        found = contents(disk)
    except JournalError:
        return
    # Never one that was not written, never one without those before it.
    assert found == WRITTEN[: len(found)]
    assert read is None or read == found
    assert len(found) == len(WRITTEN) or name == FILES[-1], "only the tail may be torn"


@given(content=st.binary(max_size=200))
def test_any_bytes_as_the_only_log_hold_no_record(content: bytes) -> None:
    disk = FakeDisk()
    disk.make_folder(FOLDER)
    disk.put(LAST_LOG, content)
    found, problem = None, ""
    try:
        found = contents(disk)
    except JournalError as error:
        problem = str(error)
    assert found == [] or str(LAST_LOG) in problem


RECORDS = [
    encode_record(record)
    for record in (
        TasksAccepted(ClientId("c"), 1.0, [Task(TaskId("t"), b"f", b"a", 0.0)]),
        TasksLeased(ManagerId("m"), 2.0, [TaskId("t")]),
        ClientAdmitted(ClientId("c")),
    )
]


@given(record=st.binary(min_size=1, max_size=64) | damaged(*RECORDS).filter(len))
def test_a_whole_frame_whose_record_makes_no_sense_is_damage_in_its_place(
    record: bytes,
) -> None:
    """As a program of another version might have written it."""
    disk = FakeDisk()
    journal, _ = opened(disk)
    journal.close()
    writer, _ = opened(disk)
    writer._encode = lambda raw: raw  # type: ignore[assignment,return-value]
    writer.append([record])  # type: ignore[list-item]
    writer.close()
    damage = None
    try:
        (found,) = read_journal(FOLDER, decode_record, files=disk)
        again = encode_record(found)
        assert encode_record(decode_record(again)) == again
    except JournalDamaged as error:
        damage = error
    if damage is not None:
        assert damage.path == str(LAST_LOG)
        assert "does not decode" in damage.reason


@pytest.mark.parametrize("depth", [10, 100_000])
def test_a_record_that_is_too_deep_is_damage(depth: int) -> None:
    disk = FakeDisk()
    writer, _ = opened(disk)
    writer._encode = lambda raw: raw  # type: ignore[assignment,return-value]
    writer.append([b"\x91" * depth + b"\xc0"])  # type: ignore[list-item]
    writer.close()
    with pytest.raises(JournalDamaged, match="does not decode"):
        list(read_journal(FOLDER, decode_record, files=disk))
