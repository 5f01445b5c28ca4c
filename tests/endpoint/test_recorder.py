"""Records are safe when the recorder says so, and its journal stays short meanwhile."""

import logging
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.config import parse_config
from actors.endpoint.recorder import JournalRecorder, journal_config
from actors.inbox import Inbox
from actors.journal import Durability, Journal, JournalConfig
from actors.logic.journal_state import JournalState
from actors.logic.turn import Admission, Effect, Turn
from actors.messages import Hello
from actors.runtime import Runtime
from tests.fake_disk import FakeDisk
from tests.support import eventually

FOLDER = Path("/j")


def open_journal(
    disk: FakeDisk, durability: Durability = "sync", interval: float = 1.0
) -> Journal[bytes]:
    config = JournalConfig(durability=durability, interval=interval)
    return Journal(FOLDER, encode=bytes, decode=bytes, config=config, files=disk)


def test_the_journals_are_kept_as_the_configuration_says() -> None:
    assert journal_config(parse_config("")) == JournalConfig()
    said = parse_config('[journal]\ndurability = "interval"\ninterval = 0.25')
    kept = JournalConfig(durability="interval", interval=0.25)
    assert journal_config(said) == kept


def safe_records(desk: "Desk") -> list[bytes]:
    """Return what would be left after a power loss that takes all it can."""
    with open_journal(desk.disk.synced_copy()) as journal:
        return list(journal.replay())


class Desk:
    """A recorder on a disk in memory, with what was written as its snapshot."""

    def __init__(self, durability: Durability = "sync", **more: Any) -> None:
        self.disk = FakeDisk()
        journal = open_journal(self.disk, durability, more.pop("interval", 1.0))
        list(journal.replay())
        self.written: list[bytes] = []
        self.recorder = JournalRecorder(journal, self.snapshot, **more)

    def snapshot(self) -> Iterator[list[bytes]]:
        """Only the last three count: that is what makes it short."""
        for record in self.written[-3:]:
            yield [record]

    def write(self, *records: bytes, must_sync: bool = False) -> None:
        self.written += records
        self.recorder.write(records, must_sync=must_sync)

    def await_sync(self) -> None:
        assert self.is_readable(10), "nobody rings"
        assert self.recorder.has_synced()

    def is_readable(self, within: float = 0.0) -> bool:
        return bool(select.select([self.recorder], [], [], within)[0])


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.recorder.close()


def test_what_is_synced_beside_the_loop_survives_power_loss(desk: Desk) -> None:
    desk.write(b"a", b"b")
    assert desk.recorder.begin_sync()
    desk.write(b"later")
    desk.await_sync()
    assert not desk.is_readable(), "told once"
    # The disk may have got hold of the later one as well.
    assert safe_records(desk)[:2] == [b"a", b"b"]


def test_there_is_nothing_to_wait_for_when_all_is_safe(desk: Desk) -> None:
    assert not desk.recorder.begin_sync()
    desk.write(b"a", must_sync=True)
    assert not desk.recorder.begin_sync()
    assert safe_records(desk) == [b"a"]


def test_settling_ends_the_sync_under_way_and_does_the_rest(desk: Desk) -> None:
    desk.write(b"a")
    assert desk.recorder.begin_sync()
    desk.write(b"b")
    desk.recorder.settle()
    assert safe_records(desk) == [b"a", b"b"]
    assert not desk.recorder.begin_sync()
    while desk.is_readable():
        assert not desk.recorder.has_synced(), "nobody waits for it any more"


@pytest.mark.parametrize("durability", ["interval", "off"])
def test_without_durability_sync_nobody_is_made_to_wait(durability: Any) -> None:
    desk = Desk(durability)
    desk.write(b"a")
    assert not desk.recorder.begin_sync()
    desk.recorder.settle()
    assert safe_records(desk) == []
    desk.recorder.close()


def test_with_interval_the_sync_comes_by_itself() -> None:
    desk = Desk("interval", interval=0.001)
    desk.write(b"a")
    now = time.monotonic() + 1.0
    assert desk.recorder.wake_at <= now
    desk.recorder.tick(now)
    assert desk.is_readable(10)
    assert not desk.recorder.has_synced(), "no promise waits for it"
    assert safe_records(desk) == [b"a"]
    desk.recorder.close()


def test_a_long_journal_is_replaced_by_a_snapshot_beside_the_writing() -> None:
    desk = Desk(compact_bytes=2000)
    for number in range(500):
        desk.write(b"%d" % number)
        while desk.recorder.wake_at <= time.monotonic():
            desk.recorder.tick(time.monotonic())
    eventually(lambda: finish_compaction(desk), what="the snapshot's end")
    desk.recorder.close()
    desk.disk.restart()
    with open_journal(desk.disk) as journal:
        records = list(journal.replay())
        assert journal.base_bytes > 0
    assert records[-3:] == desk.written[-3:]
    assert len(records) < len(desk.written), "it stayed long"


def finish_compaction(desk: Desk) -> bool:
    desk.recorder.tick(time.monotonic())
    return desk.recorder.wake_at == float("inf")


def test_a_snapshot_that_finds_no_room_is_put_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    desk = Desk(compact_bytes=2000)
    for number in range(100):
        desk.write(b"%d" % number)
    desk.disk.capacity = sum(map(len, desk.disk.files().values())) + 300
    for number in range(10):
        desk.write(b"%d" % number)
    desk.recorder.tick(time.monotonic())
    desk.disk.capacity = None
    desk.recorder.close()
    desk.disk.restart()
    with open_journal(desk.disk) as journal:
        assert list(journal.replay())[-1] == b"9"


# The loop on a full disk


class Noting(Effect, frozen=True):
    """What follows once a record is written."""


class Writer:
    """A machine that records what it is told, and then has something done."""

    wake_at = float("inf")

    def admit(self, _hello: Hello, _now: float) -> tuple[Admission, Turn]:
        return Admission("", "nobody"), Turn()

    def handle(self, message: Any, _sender: str, _now: float) -> Turn:
        return Turn(records=[message], effects=[Noting()])

    def tick(self, _now: float) -> Turn:
        return Turn()

    def check(self) -> None:
        pass


class Notes:
    """A shell that counts what it was told to do."""

    def __init__(self) -> None:
        self.count = 0

    def perform(self, effect: Effect) -> None:
        assert isinstance(effect, Noting)
        self.count += 1


def test_the_machine_is_told_how_its_journal_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path, encode=bytes, decode=bytes)
    list(journal.replay())
    recorder = JournalRecorder(journal, lambda: iter([[b"a"]]), tells=True)

    def told(now: float) -> JournalState:
        assert recorder.wake_at <= now
        (state,) = recorder.tick(now)
        assert isinstance(state, JournalState)
        assert state.durability == "sync"
        assert state.free_bytes > 0
        return state

    began = time.monotonic()
    assert told(began).unsynced_bytes == 0
    assert not recorder.tick(began), "told once"
    recorder.write([b"a", b"b" * 1000], must_sync=False)
    state = told(began + 11.0)
    assert state.unsynced_records == 2
    assert state.unsynced_bytes > 1000
    assert state.size_bytes > 1000
    assert recorder.begin_sync()
    assert select.select([recorder], [], [], 10)[0]
    assert recorder.has_synced()
    state = told(began + 30.0)
    assert (state.unsynced_records, state.unsynced_bytes) == (0, 0)
    assert state.lag > 0.0
    recorder.close()


def test_on_a_full_disk_all_stands_still_and_goes_on_when_there_is_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    desk, notes, inbox = Desk(), Notes(), Inbox()
    life: list[float] = []
    runtime = Runtime(
        Writer(),
        notes,
        sources=[inbox],
        recorder=desk.recorder,
        meanwhile=lambda: life.append(time.monotonic()),
    )
    desk.disk.capacity = sum(map(len, desk.disk.files().values()))
    inbox.put(b"a record")
    thread = threading.Thread(target=runtime.round)
    thread.start()
    eventually(lambda: "all stands still" in caplog.text, what="it to notice")
    assert notes.count == 0, "nothing may follow from what is not written"
    eventually(lambda: life, what="a sign of life: it is not stuck")
    desk.disk.capacity = None
    thread.join(10)
    assert notes.count == 1
    assert "there is room again" in caplog.text
    runtime.close()
    inbox.close()
    desk.recorder.close()
    desk.disk.restart()
    with open_journal(desk.disk) as journal:
        assert list(journal.replay()) == [b"a record"]
