"""Between real processes: one writes, all may read, and a dead one holds nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.journal import (
    JournalLocked,
    RealFiles,
    inspect,
    read_journal,
    repair,
    verify,
)
from tests.journal_cases import contents, decode, opened
from tests.journal_child import LIVE_RECORDS
from tests.support import eventually

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


@contextmanager
def child(folder: Path, count: int) -> Iterator[subprocess.Popen[str]]:
    """Run a writing process; it is gone at the end."""
    command = [sys.executable, "-m", "tests.journal_child", str(folder), str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def numbers_read(folder: Path) -> list[int]:
    return [record.number for record in read_journal(folder, decode)]


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_readers_see_a_run_of_records_while_another_process_writes(
    tmp_path: Path,
) -> None:
    count = 2000
    folder = tmp_path / "j"
    with child(folder, count) as process:
        acknowledged = int(line(process))
        reads = 0
        seen = 0
        while seen < count:
            found = numbers_read(folder)
            assert found == list(range(found[0], found[-1] + 1))
            assert found[-1] + 1 >= max(seen, acknowledged)
            seen = found[-1] + 1
            report = verify(folder)
            assert report.is_sound, report
            assert inspect(folder).holder_pid == process.pid
            reads += 1
            while acknowledged < seen:
                acknowledged = int(line(process))
        assert line(process) == "done"
        assert reads > 3
        assert len(found) >= LIVE_RECORDS


def test_a_second_process_is_refused_and_told_the_pid_of_the_first(
    tmp_path: Path,
) -> None:
    with child(tmp_path, 1) as process:
        line(process)
        for attempt in (
            lambda: opened(RealFiles(), tmp_path),
            lambda: repair(tmp_path),
        ):
            with pytest.raises(JournalLocked) as refused:
                attempt()
            assert refused.value.pid == process.pid
        # Also its own process is told.
        assert line(process) == "done"
    journal, _ = opened(RealFiles(), tmp_path)
    with pytest.raises(JournalLocked) as refused:
        opened(RealFiles(), tmp_path)
    assert refused.value.pid == os.getpid()
    journal.close()


def test_a_killed_holder_leaves_no_lock_and_all_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    acknowledged = 0
    for lines in (1, 5, 23, 40, 3):
        with child(tmp_path, 100_000) as process:
            for _ in range(lines):
                acknowledged = int(line(process))
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert inspect(tmp_path).holder_pid == 0
            # The name of the dead is still there, the lock is not.
            assert (tmp_path / "journal.holder").exists()
            found = [record.number for record in contents(RealFiles(), tmp_path)]
            assert found == list(range(found[0], found[-1] + 1))
            assert found[-1] + 1 >= acknowledged
    assert verify(tmp_path).is_sound


def test_a_stopped_holder_keeps_its_lock(tmp_path: Path) -> None:
    with child(tmp_path, 1) as process:
        line(process)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(JournalLocked):
            opened(RealFiles(), tmp_path)
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.close()
        eventually(lambda: process.poll() == 0, what="the holder ends in order")
    assert len(contents(RealFiles(), tmp_path)) == 1
