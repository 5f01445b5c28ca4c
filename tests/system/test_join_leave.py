"""Managers come and go at any time; a task is done once for its client nevertheless.

Who joins late gets work, who leaves in order is not held for lost, who was silent for
too long is asked to register again, and what it still has is kept or dropped, never
told twice.
"""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import actors
from actors.messages import MemberJoined, MemberLeft, MemberRefused
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.support import Listener, kill, lines, manager_of, order, picture

pytestmark = pytest.mark.slow

# Fast enough for a test, slow enough for a busy machine not to look dead.
PERIOD, THRESHOLD = 0.4, 1.6


@pytest.fixture(scope="module")
def empty() -> Iterator[RunningEndpoint]:
    """Run an endpoint without blocks: managers are started by hand."""
    with RunningEndpoint(
        blocks={"init_blocks": 0},
        strategy={"kind": "none"},
        heartbeat={"reconnect_grace": 0.5},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def pair() -> Iterator[RunningEndpoint]:
    """Run two blocks of one worker, of which silence is not tolerated for long."""
    with RunningEndpoint(
        blocks={"init_blocks": 2, "max_blocks": 2},
        workers={"workers_per_node": 1},
        strategy={"kind": "none"},
        heartbeat={"period": PERIOD, "threshold": THRESHOLD, "reconnect_grace": 0.5},
    ) as running:
        running.await_workers(2)
        yield running


@contextmanager
def manager(endpoint: RunningEndpoint, block: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a manager as a block's launch command would."""
    words = ["manager", str(endpoint.folder), "--block", block, "--node", "0"]
    with (endpoint.folder / f"{block}.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors.endpoint.launch", *words],
            stdout=output,
            stderr=output,
            env=psutil.Process(endpoint.root_pid).environ(),
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def joined(endpoint: RunningEndpoint) -> dict[str, int]:
    """Return the managers that are in: {manager_id: pid}."""
    return {m.manager_id: m.pid for m in picture(endpoint).managers}


def left(listener: Listener) -> list[tuple[str, bool]]:
    """Return the managers that went: name, and whether they were held for lost."""
    return [
        (event.member_id, event.is_lost)
        for event in listener.heard()
        if isinstance(event, MemberLeft) and event.kind == "manager"
    ]


def test_managers_that_join_late_get_what_waits_and_leave_in_order(
    empty: RunningEndpoint,
) -> None:
    with Listener(empty) as listener, empty.executor(retries=0) as executor:

        def submit() -> list[Future[Any]]:
            return [executor.submit(tasks.square, n) for n in range(20)]

        futures = submit()
        eventually(
            lambda: picture(empty).tasks["waiting-for-nodes"] == 20, what="a queue"
        )
        with manager(empty, "block-a") as first, manager(empty, "block-b") as second:
            assert [f.result(20) for f in futures] == [n * n for n in range(20)]
            eventually(
                lambda: (
                    joined(empty) == {"block-a.0": first.pid, "block-b.0": second.pid}
                ),
                what="both to be in",
            )
            first.terminate()
            assert first.wait(10) == 0
            eventually(lambda: list(joined(empty)) == ["block-b.0"], what="its end")
            ends = [("block-a.0", False)]
            eventually(lambda: left(listener) == ends, what="word of it")
            assert [f.result(20) for f in submit()] == [n * n for n in range(20)]
            second.terminate()
            assert second.wait(10) == 0
        eventually(lambda: not joined(empty), what="the end of the second")
        ends += [("block-b.0", False)]
        # Events take a way of their own, and may come later than a picture.
        eventually(lambda: left(listener) == ends, what="word of it")
        # The same block again: nobody remembers it.
        futures = submit()
        with manager(empty, "block-a") as first:
            assert [f.result(20) for f in futures] == [n * n for n in range(20)]
            first.terminate()
            assert first.wait(10) == 0


def test_a_manager_that_leaves_costs_no_start_of_what_has_not_begun(
    empty: RunningEndpoint, tmp_path: Path
) -> None:
    notes = tmp_path / "began"
    with (
        manager(empty, "block-c") as leaving,
        manager(empty, "block-d") as staying,
        empty.executor(retries=0) as executor,
    ):
        eventually(lambda: len(joined(empty)) == 2, what="both to be in")
        futures = [
            executor.submit(tasks.noted, str(notes), n, 0.002) for n in range(800)
        ]
        eventually(lambda: len(lines(notes)) > 200, what="tasks to flow")
        leaving.terminate()
        assert leaving.wait(10) == 0
        errors = [future.exception(20) for future in futures]
        staying.terminate()
        assert staying.wait(10) == 0
    lost = [error for error in errors if error is not None]
    assert {type(error) for error in lost} <= {actors.ManagerLost}
    # What its two workers were at, they cannot finish.
    assert len(lost) <= 2, lost
    assert set(Counter(lines(notes)).values()) == {1}


def test_a_drained_manager_finishes_what_it_runs_and_ends(
    empty: RunningEndpoint, tmp_path: Path
) -> None:
    notes, go = tmp_path / "pids", tmp_path / "go"
    with (
        manager(empty, "block-e") as drained,
        empty.executor(retries=0) as executor,
        Listener(empty) as listener,
    ):
        begun = [executor.submit(tasks.hold, str(notes), str(go)) for _ in range(2)]
        eventually(lambda: len(lines(notes)) == 2, what="the tasks to begin")
        waiting = [executor.submit(tasks.square, n) for n in range(20)]
        order(empty, "drain", "block-e.0")
        with manager(empty, "block-f") as other:
            assert [f.result(20) for f in waiting] == [n * n for n in range(20)]
            assert drained.poll() is None
            go.touch()
            assert {f.result(20) for f in begun} == set(map(int, lines(notes)))
            assert drained.wait(10) == 0
            eventually(lambda: left(listener) == [("block-e.0", False)], what="an end")
            other.terminate()
            assert other.wait(10) == 0


def test_a_second_manager_of_a_node_waits_until_the_first_is_gone(
    empty: RunningEndpoint,
) -> None:
    with Listener(empty) as listener, manager(empty, "block-g") as first:
        eventually(lambda: joined(empty) == {"block-g.0": first.pid}, what="the first")
        with manager(empty, "block-g") as second:
            eventually(
                lambda: [
                    e
                    for e in listener.heard()
                    if isinstance(e, MemberRefused) and str(first.pid) in e.reason
                ],
                what="a refusal that names the first",
            )
            assert joined(empty) == {"block-g.0": first.pid}
            first.kill()
            # It knocks again now and then, at most 5 s apart.
            eventually(
                lambda: joined(empty) == {"block-g.0": second.pid}, 20, "the second"
            )
            with empty.executor() as executor:
                assert executor.submit(tasks.square, 3).result(20) == 9
            second.terminate()
            assert second.wait(10) == 0


def test_a_manager_started_by_hand_does_not_outlive_the_endpoint() -> None:
    with (
        RunningEndpoint(
            blocks={"init_blocks": 0}, strategy={"kind": "none"}
        ) as endpoint,
        manager(endpoint, "block-x") as process,
    ):
        eventually(lambda: joined(endpoint), what="it to be in")
        endpoint.await_workers(2)
        endpoint.kill()
        assert process.wait(5) != 0


# Silence


@contextmanager
def silenced(endpoint: RunningEndpoint, pid: int) -> Iterator[None]:
    """Stop a manager until it is held for lost; at the end let it go on."""
    with Listener(endpoint) as listener:
        (manager_id,) = [m for m, its_pid in joined(endpoint).items() if its_pid == pid]
        kill(pid, signal.SIGSTOP)
        try:
            eventually(
                lambda: (manager_id, True) in left(listener),
                what=f"the loss of {manager_id}",
            )
            yield
        finally:
            kill(pid, signal.SIGCONT)
        eventually(
            lambda: [
                event
                for event in listener.heard()
                if isinstance(event, MemberJoined) and event.member_id == manager_id
            ],
            what=f"the return of {manager_id}",
        )


def both_in(endpoint: RunningEndpoint) -> None:
    """See to it that a test begins with both managers, whatever was before."""
    eventually(lambda: len(joined(endpoint)) == 2, what="both managers")
    endpoint.await_workers(2)


def counted(futures: Sequence[Future[Any]]) -> Counter[int]:
    """Count how often each future is resolved."""
    counts: Counter[int] = Counter()
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, n=number: counts.update([n]))  # type: ignore[misc]
    return counts


def test_a_silent_managers_task_is_adopted_if_nobody_else_has_it(
    pair: RunningEndpoint, tmp_path: Path
) -> None:
    notes, go = tmp_path / "pids", tmp_path / "go"
    both_in(pair)
    with pair.executor() as executor:
        futures = [executor.submit(tasks.hold, str(notes), str(go)) for _ in range(2)]
        counts = counted(futures)
        eventually(lambda: len(lines(notes)) == 2, what="both tasks to begin")
        pids = set(map(int, lines(notes)))
        silent = manager_of(int(lines(notes)[0]))
        with silenced(pair, silent):
            # The other worker is busy: the task waits.
            assert picture(pair).tasks["waiting-for-nodes"] == 1
        eventually(
            lambda: picture(pair).tasks["waiting-for-nodes"] == 0, what="the adoption"
        )
        go.touch()
        assert {future.result(20) for future in futures} == pids
    # Neither began again.
    assert len(lines(notes)) == 2
    assert counts == {0: 1, 1: 1}
    assert silent in pair.pids("manager")


def test_a_silent_managers_task_that_another_has_is_dropped(
    pair: RunningEndpoint, tmp_path: Path
) -> None:
    notes, go = tmp_path / "pids", tmp_path / "go"
    both_in(pair)
    with pair.executor() as executor:
        future = executor.submit(tasks.hold, str(notes), str(go))
        counts = counted([future])
        eventually(lambda: lines(notes), what="the task to begin")
        first = int(lines(notes)[0])
        silent = manager_of(first)
        with silenced(pair, silent):
            eventually(lambda: len(lines(notes)) == 2, what="another start")
            second = int(lines(notes)[1])
            assert manager_of(second) != silent
        eventually(
            lambda: first not in pair.pids("worker"), what="the stale worker's end"
        )
        assert not future.done()
        go.touch()
        assert future.result(20) == second
        pair.await_workers(2)
        # The one that was silent works again.
        assert set(executor.map(tasks.rest, [0.1] * 8)) <= set(pair.pids("worker"))
    assert counts == {0: 1}
    assert silent in pair.pids("manager")


def test_a_result_that_a_silent_manager_has_finished_is_told_once(
    pair: RunningEndpoint, tmp_path: Path
) -> None:
    """The worker ends its task while its manager cannot tell."""
    notes, go, later = tmp_path / "pids", tmp_path / "go", tmp_path / "later"
    both_in(pair)
    with pair.executor() as executor:
        futures = [
            executor.submit(tasks.hold, str(notes), str(go)),
            executor.submit(tasks.hold, str(notes), str(later)),
        ]
        counts = counted(futures)
        eventually(lambda: len(lines(notes)) == 2, what="both tasks to begin")
        silent = manager_of(int(lines(notes)[0]))
        with silenced(pair, silent):
            go.touch()
            later.touch()
            # One task ends at the other manager, which then takes up the lost one, too.
            eventually(lambda: sum(counts.values()) == 2, what="both results")
        results = [future.result(20) for future in futures]
        assert silent not in map(manager_of, results)
        # What the silent one has to say about them now is of no interest.
        both_in(pair)
        assert executor.submit(tasks.square, 3).result(20) == 9
    assert counts == {0: 1, 1: 1}


def test_a_task_without_retries_fails_once_and_its_silent_manager_ends_it(
    pair: RunningEndpoint, tmp_path: Path
) -> None:
    notes, go = tmp_path / "pids", tmp_path / "go"
    both_in(pair)
    with pair.executor(retries=0) as executor:
        future = executor.submit(tasks.hold, str(notes), str(go))
        counts = counted([future])
        eventually(lambda: lines(notes), what="the task to begin")
        (worker,) = map(int, lines(notes))
        with silenced(pair, manager_of(worker)):
            error = future.exception(10)
            assert isinstance(error, actors.ManagerLost)
            assert "not heard for" in error.detail
        eventually(lambda: worker not in pair.pids("worker"), what="the worker's end")
        both_in(pair)
    assert len(lines(notes)) == 1
    assert counts == {0: 1}
