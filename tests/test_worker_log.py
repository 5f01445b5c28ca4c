"""Promise: what a worker writes can be read while it writes and after it died."""

import os
from pathlib import Path

import pytest

from actors import worker_log
from actors.worker_log import WorkerLog


def write(log: WorkerLog, data: bytes) -> None:
    descriptor = log.open_to_write()
    os.write(descriptor, data)
    os.close(descriptor)


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_tail_is_the_last_characters(in_memory: bool, tmp_path: Path) -> None:
    log = WorkerLog(None if in_memory else tmp_path / "log", "w")
    write(log, b"first ")
    write(log, "ü".encode() * 5000)
    assert log.tail() == "ü" * worker_log.TAIL_CHARACTERS
    log.close()
    log.close()
    assert (tmp_path / "log").exists() is not in_memory


def test_what_is_new_is_read_once() -> None:
    log = WorkerLog(None, "w")
    assert log.read_new() == b""
    write(log, b"one")
    assert log.read_new() == b"one"
    write(log, b"two")
    assert log.read_new() == b"two"
    assert log.read_new() == b""
    log.close()


def test_what_was_read_is_dropped_once_it_is_much() -> None:
    log = WorkerLog(None, "w")
    descriptor = log.open_to_write()
    read = b""
    for _ in range(6):
        os.write(descriptor, b"x" * (1 << 20))
        while data := log.read_new():
            read += data
    assert os.fstat(descriptor).st_size < 2 << 20
    os.write(descriptor, b"end")
    assert log.read_new() == b"end"
    assert len(read) == 6 << 20
    os.close(descriptor)
    log.close()
