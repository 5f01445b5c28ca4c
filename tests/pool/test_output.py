"""What a worker writes is told as of the task that wrote it, before that task's result.

Real processes, whose logs are files.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.logic.workers import TasksRan, WorkerDied, WorkerWrote
from actors.messages import Ran
from actors.pool import Pool
from tests.pool.test_pool import ONE, TWO, Owner, _run
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    descriptors = len(os.listdir("/proc/self/fd"))
    with Pool(tmp_path / "logs") as pool:
        yield pool
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture
def owner(pool: Pool) -> Owner:
    """A pool of one worker, whose output is watched."""
    owner = Owner(pool)
    pool.start(ONE)
    pool.watch_output(is_wanted=True)
    owner.call(abs, -1)
    return owner


def write(text: str) -> None:
    print(text)


def write_in_every_way(folder: str) -> None:
    print("out")
    print("err", file=sys.stderr)
    subprocess.run(["echo", "a child's"], check=True)
    os.write(1, b"raw\n")
    # What takes the place of our descriptors changes nothing.
    kept, other = os.dup(1), os.open(f"{folder}/other", os.O_CREAT | os.O_WRONLY)
    os.dup2(other, 1)
    os.write(1, b"elsewhere\n")
    os.dup2(kept, 1)
    print("no end", end="")


def write_and_wait(path: str) -> None:
    print("it runs")
    Path(path).with_suffix(".began").touch()
    eventually(Path(path).exists, 60)
    print("it ends")


def write_and_die() -> None:
    print("last words")
    os._exit(3)


def told(owner: Owner, seq: int) -> bytes:
    return b"".join(e.text for e in owner.of(WorkerWrote) if e.seq == seq)


def order(owner: Owner) -> list[int]:
    """List who wrote (negative), and who ended, in the order of the events."""
    steps: list[int] = []
    for event in owner.events:
        if isinstance(event, WorkerWrote):
            steps.append(-event.seq)
        elif isinstance(event, TasksRan):
            steps += [ran.seq for ran in event.results]
    return steps


def test_each_task_is_told_its_own_before_its_result(owner: Owner, pool: Pool) -> None:
    silent = _run(3, abs, -1)
    pool.assign(ONE, [_run(2, write, "two"), silent, _run(4, write, "four")])
    owner.read_until(lambda: 4 in owner.results())
    assert [told(owner, seq) for seq in (2, 3, 4)] == [b"two\n", b"", b"four\n"]
    assert order(owner) == [1, -2, 2, 3, -4, 4]
    assert all(event.is_end for event in owner.of(WorkerWrote))


def test_who_need_not_tell_tasks_apart_is_told_by_the_frame(
    owner: Owner, pool: Pool
) -> None:
    pool.watch_output(is_wanted=True, is_shared=False)
    runs = [_run(seq, write, str(seq)) for seq in range(2, 50)]
    pool.assign(ONE, runs)
    owner.read_until(lambda: 49 in owner.results())
    words = [event for event in owner.of(WorkerWrote) if event.text]
    written = b"".join(event.text for event in words)
    assert written == b"".join(b"%d\n" % seq for seq in range(2, 50))
    # Before the first result of those that are sent with it, which has not come yet.
    steps = order(owner)
    for event in words:
        assert event.seq in steps[steps.index(-event.seq) :]
    before = b""
    for event in owner.events:
        if isinstance(event, WorkerWrote):
            before += event.text
        elif isinstance(event, TasksRan):
            for ran in event.results:
                assert ran.seq == 1 or b"%d\n" % ran.seq in before
    owner.call(abs, -1, seq=50)
    assert [event for event in owner.of(WorkerWrote) if event.text] == words


def test_from_the_moment_that_tasks_are_told_apart_they_are(
    owner: Owner, pool: Pool, tmp_path: Path
) -> None:
    pool.watch_output(is_wanted=True, is_shared=False)
    path = tmp_path / "go"
    wait = _run(3, write_and_wait, str(path))
    pool.assign(ONE, [_run(2, write, "before"), wait])
    eventually(path.with_suffix(".began").exists)
    pool.watch_output(is_wanted=True, is_shared=True)
    pool.assign(ONE, [_run(4, write, "another's")])
    path.touch()
    owner.read_until(lambda: 4 in owner.results())
    assert told(owner, 2) + told(owner, 3) == b"before\nit runs\nit ends\n"
    assert told(owner, 4) == b"another's\n"


def test_however_a_task_writes_it_is_told(owner: Owner, tmp_path: Path) -> None:
    owner.call(write_in_every_way, str(tmp_path), seq=2)
    assert told(owner, 2) == b"out\nerr\na child's\nraw\nno end"
    owner.call(write, "next", seq=3)
    assert told(owner, 3) == b"next\n"


def test_what_runs_is_looked_at_and_told_once(
    owner: Owner, pool: Pool, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    pool.assign(ONE, [_run(2, write_and_wait, str(path))])
    eventually(path.with_suffix(".began").exists)
    # Whoever thinks that another one runs is told nothing.
    pool.look_at_output({ONE: 1, TWO: 1})
    assert not [e for e in pool.read() if isinstance(e, WorkerWrote)]
    pool.look_at_output({ONE: 2})
    (event,) = [e for e in pool.read() if isinstance(e, WorkerWrote)]
    assert (event.seq, event.text, event.is_end) == (2, b"it runs\n", False)
    path.touch()
    owner.read_until(lambda: 2 in owner.results())
    assert told(owner, 2) == b"it ends\n"


def test_what_was_written_unwatched_is_never_told(owner: Owner, pool: Pool) -> None:
    pool.watch_output(is_wanted=False)
    owner.call(write, "unheard", seq=2)
    pool.watch_output(is_wanted=True)
    owner.call(write, "heard", seq=3)
    assert told(owner, 2) == b""
    assert told(owner, 3) == b"heard\n"


def test_last_words_come_before_the_death(owner: Owner, pool: Pool) -> None:
    pool.assign(ONE, [_run(2, write_and_die)])
    owner.death()
    words, died = owner.events[-2:]
    assert isinstance(words, WorkerWrote)
    assert (words.seq, words.text, words.is_end) == (2, b"last words\n", True)
    assert isinstance(died, WorkerDied)


def test_what_an_actors_process_writes_comes_before_its_results(
    owner: Owner, pool: Pool
) -> None:
    pool.start(TWO, is_actor=True)
    pool.assign(TWO, [_run(1, write, "one"), _run(2, write, "two")])
    owner.read_until(lambda: 2 in owner.results(TWO))
    written = b""
    for event in owner.events:
        if isinstance(event, WorkerWrote) and event.worker_id == TWO:
            written += event.text
        if isinstance(event, TasksRan) and event.worker_id == TWO:
            for ran in event.results:
                assert isinstance(ran, Ran)
                assert {1: b"one\n", 2: b"one\ntwo\n"}[ran.seq] in written
    assert written == b"one\ntwo\n"


def test_of_a_flood_the_first_megabyte_is_read_and_the_rest_counted(
    owner: Owner,
) -> None:
    owner.call(write, "x" * (3 << 20), seq=2)
    (event,) = owner.of(WorkerWrote)
    assert len(event.text) == 1 << 20
    assert event.left_out_bytes == (2 << 20) + 1
    owner.call(write, "y", seq=3)
    assert told(owner, 3) == b"y\n"
