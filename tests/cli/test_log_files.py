"""Promise: all logs of an endpoint are one stream, in order, and nothing comes twice.

However files come, grow, or shrink meanwhile.
"""

import datetime
import json
import os
import random
from pathlib import Path

import pytest

from actors.cli.log_files import LogReader

EARLY, LATE = "2026-01-01 10:00:00,000", "2026-01-01 10:00:01,500"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "blocks" / "block-1" / "workers").mkdir(parents=True)
    return tmp_path


def reader(folder: Path, *names: str) -> LogReader:
    return LogReader(folder / "logs", folder / "blocks", names)


def last(folder: Path, *names: str, count: int | None = None) -> list[str]:
    return [line.text for line in reader(folder, *names).last_lines(count, whole=False)]


def write(path: Path, *lines: str) -> Path:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


def fill(folder: Path) -> None:
    write(folder / "logs/interchange.log", f"{LATE} I late")
    write(folder / "logs/strategy.log", f"{EARLY} S early")
    block = folder / "blocks/block-1"
    write(block / "node-0.stderr", f"{EARLY} M early")
    write(block / "node-0.stdout", "init said this")
    write(block / "node-0.claim", "not a log")
    write(block / "job.json", "not a log")
    write(block / "workers/block-1.0-w1.log", "printed")
    write(block / "workers/forkserver.log", "forked")


def test_everybody_who_writes_has_a_name(folder: Path) -> None:
    fill(folder)
    assert reader(folder).sources == [
        *("block-1.0", "block-1.0-w1", "block-1.forkserver"),
        *("interchange", "strategy"),
    ]


def test_what_a_batch_system_and_its_jobs_write_belongs_to_the_block(
    folder: Path,
) -> None:
    block = folder / "blocks/block-7"
    (block / "run-1").mkdir(parents=True)
    (block / "run-2").mkdir()
    write(block / "batch.err", "srun: node failure")
    write(block / "run-1/node-0.stderr", f"{EARLY} first")
    write(block / "run-2/node-0.stderr", f"{LATE} again")
    write(block / "run-2/node-0.exit", "0")
    assert reader(folder).sources == ["block-7", "block-7.0"]
    assert sorted(last(folder, "block-7")) == [
        f"{EARLY} first",
        f"{LATE} again",
        "srun: node failure",
    ]


def test_workers_and_blocks_are_sorted_by_number(folder: Path) -> None:
    for number in (10, 9, 1):
        write(folder / f"blocks/block-1/workers/block-1.0-w{number}.log", "x")
    assert [s.rpartition("w")[2] for s in reader(folder).sources] == ["1", "9", "10"]


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("interchange", ["interchange"]),
        ("block-1", ["block-1.0", "block-1.0-w1", "block-1.forkserver"]),
        ("block-1.0", ["block-1.0", "block-1.0-w1"]),
        ("block-1.0-w1", ["block-1.0-w1"]),
        ("block", ["block-1.0", "block-1.0-w1", "block-1.forkserver"]),
        ("inter", []),
        ("block-1.0-w", []),
    ],
)
def test_a_name_selects_its_bearer_and_its_parts(
    folder: Path, name: str, sources: list[str]
) -> None:
    fill(folder)
    assert reader(folder, name).sources == sources


def test_lines_of_all_come_in_the_order_of_their_times(folder: Path) -> None:
    write(folder / "logs/a.log", f"{EARLY} 1", f"{LATE} 3")
    write(folder / "logs/b.log", "2026-01-01 10:00:01,000 2", f"{LATE} 4")
    assert [text[-1] for text in last(folder)] == ["1", "2", "3", "4"]


def test_a_traceback_stays_with_its_line(folder: Path) -> None:
    write(folder / "logs/a.log", f"{EARLY} it broke", "Traceback", "  line 1")
    write(folder / "logs/b.log", f"{LATE} later")
    early = [f"{EARLY} it broke", "Traceback", "  line 1"]
    assert last(folder) == [*early, f"{LATE} later"]


def test_what_programs_shall_read_is_shown_as_people_do(folder: Path) -> None:
    record = {
        "time": datetime.datetime.fromisoformat("2026-01-01T10:00:01.5")
        .astimezone(datetime.UTC)
        .isoformat(),
        "level": "error",
        "logger": "x",
        "message": "it broke",
        "exception": "Traceback\nValueError",
    }
    line = json.dumps(record, separators=(",", ":"))
    write(folder / "logs/a.log", line)
    write(folder / "logs/b.log", f"{EARLY} early", f"{LATE} late")
    shown = "2026-01-01 10:00:01,500 ERROR x: it broke"
    early, late = f"{EARLY} early", f"{LATE} late"
    assert last(folder) == [early, shown, "Traceback", "ValueError", late]


def test_lines_without_any_time_come_at_their_files_last_change(folder: Path) -> None:
    write(folder / "logs/a.log", f"{EARLY} early", "2100-01-01 00:00:00,000 late")
    write(folder / "blocks/block-1/workers/block-1.0-w1.log", "printed")
    assert [text[-6:] for text in last(folder)] == [" early", "rinted", "0 late"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 2999, 3000, 5000, None])
def test_the_last_lines_are_the_last_of_all(folder: Path, count: int | None) -> None:
    # More than one chunk, with lines of all lengths.
    chance = random.Random(1)
    for name in ("a", "b"):
        lines = [f"{EARLY} {i:04} {'x' * chance.randrange(200)}" for i in range(1500)]
        write(folder / f"logs/{name}.log", *lines)
    whole = last(folder)
    assert len(whole) == 3000
    wanted = 3000 if count is None else min(count, 3000)
    assert last(folder, count=count) == whole[3000 - wanted :]


def test_a_last_line_without_an_end_is_shown_if_nobody_waits_for_it(
    folder: Path,
) -> None:
    (folder / "logs/a.log").write_text(f"{EARLY} one\nSegmentation fault")
    assert last(folder) == [f"{EARLY} one", "Segmentation fault"]
    assert last(folder, count=1) == ["Segmentation fault"]
    following = reader(folder)
    assert len(list(following.last_lines(None, whole=True))) == 1
    assert not list(following.new_lines())
    write(folder / "logs/a.log", "!")
    assert [line.text for line in following.new_lines()] == ["Segmentation fault!"]


def test_nothing_is_an_endpoint_that_never_ran(tmp_path: Path) -> None:
    assert reader(tmp_path).sources == []
    assert last(tmp_path) == []


def test_what_is_written_later_comes_once(folder: Path) -> None:
    path = write(folder / "logs/a.log", "1")
    following = reader(folder)
    assert [line.text for line in following.last_lines(10, whole=True)] == ["1"]
    assert not list(following.new_lines())
    write(path, "2", "3")
    write(folder / "logs/b.log", "new file")
    assert sorted(line.text for line in following.new_lines()) == ["2", "3", "new file"]
    assert not list(following.new_lines())


def test_a_new_block_is_found(folder: Path) -> None:
    following = reader(folder, "block-2")
    assert not list(following.new_lines())
    (folder / "blocks/block-2").mkdir()
    write(folder / "blocks/block-2/node-3.stderr", "hello")
    assert [(line.source, line.text) for line in following.new_lines()] == [
        ("block-2.3", "hello")
    ]


def test_a_file_that_became_shorter_is_read_anew(folder: Path) -> None:
    path = write(folder / "logs/a.log", "long line", "another")
    following = reader(folder)
    list(following.last_lines(None, whole=True))
    path.write_text("new\n")
    assert [line.text for line in following.new_lines()] == ["new"]


def test_a_file_that_goes_away_is_passed_over(folder: Path) -> None:
    path = write(folder / "logs/a.log", "1")
    following = reader(folder)
    path.unlink()
    assert not list(following.last_lines(5, whole=True))
    assert not list(following.new_lines())


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_passed_over(folder: Path) -> None:
    write(folder / "logs/a.log", "secret").chmod(0)
    write(folder / "logs/b.log", "open")
    assert last(folder) == ["open"]


def test_bytes_that_are_no_text_are_shown_as_such(folder: Path) -> None:
    (folder / "logs/a.log").write_bytes(b"\xff\xfe\r\n")
    assert last(folder) == ["\ufffd\ufffd"]


def test_a_line_that_never_ends_is_cut(folder: Path) -> None:
    (folder / "logs/a.log").write_bytes(b"." * 200_000)
    following = reader(folder)
    texts = [line.text for line in following.last_lines(None, whole=True)]
    assert texts
    assert max(map(len, texts)) <= 2 * 65536
