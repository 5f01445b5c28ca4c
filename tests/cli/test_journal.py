"""An operator can look into an endpoint's journals, and mend them, by the command."""

import json
from pathlib import Path

import pytest

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.journal import Journal
from actors.logic.records import (
    InterchangeRecord,
    TasksAccepted,
    TasksFinished,
    TasksForgotten,
    decode_record,
    encode_record,
)
from actors.messages import ClientId, TaskId
from tests.cli.commands import actors
from tests.endpoint.talk import outcome, task

C1 = ClientId("c1")
# One task is over and forgotten, one waits for its client, one waits for a worker.
RECORDS: list[InterchangeRecord] = [
    TasksAccepted(C1, 1.0, [task("t1"), task("t2"), task("t3")]),
    TasksFinished(C1, [outcome("t1"), outcome("t2")]),
    TasksForgotten(C1, [TaskId("t1")]),
]


def open_journal(folder: Path) -> Journal[InterchangeRecord]:
    return Journal(folder, encode=encode_record, decode=decode_record)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An endpoint's folder, with the journal of its interchange."""
    with open_journal(tmp_path / "journals" / "interchange") as journal:
        assert not list(journal.replay())
        journal.append(RECORDS)
    return tmp_path


def segment(folder: Path) -> Path:
    (path,) = (folder / "journals" / "interchange").glob("log-*.journal")
    return path


def restored(folder: Path) -> Interchange:
    machine = Interchange(InterchangeSettings("", "", "", ""), 0.0)
    with open_journal(folder / "journals" / "interchange") as journal:
        machine.restore(journal.replay(), 0.0)
    return machine


def test_it_tells_what_the_journals_of_an_endpoint_consist_of(folder: Path) -> None:
    result = actors("journal", "inspect", folder)
    assert result.exit_code == 0, result.output
    assert segment(folder).name in result.output
    (found,) = json.loads(actors("journal", "inspect", folder, "--json").output)
    assert found["segments"][0]["size_bytes"] == segment(folder).stat().st_size


def test_a_sound_journal_is_verified_record_by_record(folder: Path) -> None:
    result = actors("journal", "verify", folder / "journals" / "interchange")
    assert result.exit_code == 0, result.output
    assert f"{len(RECORDS)} records" in result.output


def test_damage_is_told_with_its_offset_and_repaired_with_a_copy(folder: Path) -> None:
    content = bytearray(segment(folder).read_bytes())
    at = content.index(b"t3")
    content[at] ^= 1
    segment(folder).write_bytes(content)
    result = actors("journal", "verify", folder)
    assert result.exit_code == 1
    assert "DAMAGED at byte 36" in result.output
    result = actors("journal", "repair", folder)
    assert result.exit_code == 0, result.output
    assert "0 records kept" in result.output
    assert "kept aside" in result.output
    assert actors("journal", "verify", folder).exit_code == 0


def test_a_compacted_journal_is_shorter_and_rebuilds_the_same(folder: Path) -> None:
    journal = folder / "journals" / "interchange"
    with open_journal(journal) as opened:
        list(opened.replay())
        opened.append([TasksAccepted(C1, 2.0, [task(f"more{n}") for n in range(50)])])
        opened.append([TasksForgotten(C1, [TaskId(f"more{n}") for n in range(50)])])
    before = sum(p.stat().st_size for p in journal.glob("*.journal"))
    result = actors("journal", "compact", folder)
    assert result.exit_code == 0, result.output
    assert sum(p.stat().st_size for p in journal.glob("*.journal")) < before / 2
    machine = restored(folder)
    assert list(machine.ledger.entries) == ["t3"]
    assert list(machine.clients[C1].unacknowledged) == ["t2"]


def test_a_journal_that_is_in_use_is_neither_repaired_nor_compacted(
    folder: Path,
) -> None:
    with open_journal(folder / "journals" / "interchange") as opened:
        list(opened.replay())
        for verb in ("repair", "compact"):
            result = actors("journal", verb, folder)
            assert result.exit_code == 1
            assert "is held by process" in result.output
        assert actors("journal", "inspect", folder).exit_code == 0


def test_what_is_no_journal_of_an_endpoint_is_not_compacted(tmp_path: Path) -> None:
    result = actors("journal", "compact", tmp_path)
    assert result.exit_code == 1
    assert "is no journal of an endpoint" in result.output
