"""SIGKILL of any process but the interchange loses no task, and repeats no result.

A task that its process's death interrupted starts again within its budget, or fails
with an error that names the cause; with `retries=0` it never starts twice. Blocks and
services come back without a second copy of anything.
"""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

import pytest

import actors
from actors.api.executor import EndpointExecutor
from actors.messages import ActorRestarted
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.support import (
    Listener,
    kill,
    lines,
    manager_of,
    order,
    picture,
)

pytestmark = pytest.mark.slow

# A task's history of deaths must not end because several tests kill at random.
_MANY_RETRIES = 50


@pytest.fixture(scope="module")
def fleet() -> Iterator[RunningEndpoint]:
    """Run two blocks of two workers, which come back when they are lost."""
    with RunningEndpoint(
        blocks={"init_blocks": 2, "min_blocks": 2, "max_blocks": 2},
        heartbeat={"reconnect_grace": 1.0},
        results={"keep": 2.0},
    ) as running:
        running.await_workers(4)
        yield running


@pytest.fixture
def executor(fleet: RunningEndpoint) -> Iterator[EndpointExecutor]:
    with fleet.executor() as running:
        yield running
    # The next test begins with an endpoint that is as this one found it.
    refill(fleet)


def refill(fleet: RunningEndpoint) -> None:
    """Bring back blocks that were lost; an operator need not wait, as a strategy."""

    def is_full() -> bool:
        managers = picture(fleet).managers
        if len(managers) < 2:
            order(fleet, "scale", number=2)
        return len(managers) == 2 and len(fleet.pids("worker")) == 4

    eventually(is_full, 20, "two managers with their workers")


def crash(future: Future[Any]) -> actors.WorkerCrashed:
    """Return the error of a task whose worker died."""
    error = future.exception(20)
    assert isinstance(error, actors.WorkerCrashed), repr(error)
    return error


# Workers


def test_a_task_whose_worker_is_killed_starts_again(
    executor: EndpointExecutor, tmp_path: Path
) -> None:
    notes = tmp_path / "pids"
    future = executor.submit(tasks.hang_once, str(notes))
    eventually(lambda: lines(notes), what="the task to begin")
    kill(int(lines(notes)[0]))
    assert future.result(20) == "again"
    first, second = lines(notes)
    assert first != second
    starts = [step.attempt for step in future.history if step.state.label == "running"]
    assert starts[-1] == 2, future.history


def test_a_task_without_retries_fails_with_its_worker_and_says_why(
    fleet: RunningEndpoint, tmp_path: Path
) -> None:
    notes = tmp_path / "pids"
    with fleet.executor(retries=0) as executor:
        future = executor.submit(tasks.hang_once, str(notes))
        eventually(lambda: lines(notes), what="the task to begin")
        (pid,) = lines(notes)
        kill(int(pid))
        error = crash(future)
    assert f"pid {pid}" in error.message
    assert "signal 9 (SIGKILL)" in error.message
    assert "peak memory" in error.message
    assert "peak memory 0 MiB" not in error.message
    assert "start 1 of 1 that retries=0 allows" in error.message
    assert "these were its last words" in error.detail
    assert lines(notes) == [pid]


def test_a_task_that_always_kills_its_worker_ends_after_its_last_start(
    fleet: RunningEndpoint, tmp_path: Path
) -> None:
    notes = tmp_path / "starts"
    with fleet.executor(retries=2) as executor:
        error = crash(executor.submit(tasks.die_each_time, str(notes)))
    assert "start 3 of 3 that retries=2 allows" in error.message
    assert len(lines(notes)) == 3


def test_a_segfault_is_told_by_its_signal(fleet: RunningEndpoint) -> None:
    with fleet.executor(retries=0) as executor:
        error = crash(executor.submit(tasks.segfault))
    assert "signal 11 (SIGSEGV)" in error.message


def test_a_task_that_ends_its_process_is_told_by_its_exit_code(
    fleet: RunningEndpoint,
) -> None:
    with fleet.executor(retries=0) as executor:
        error = crash(executor.submit(tasks.exit_at_once, 3))
    assert "exited with code 3" in error.message


def test_tasks_that_waited_behind_a_killed_one_cost_no_start(
    fleet: RunningEndpoint, tmp_path: Path
) -> None:
    """Short tasks are prefetched by workers; only the one that had begun is lost."""
    notes = tmp_path / "began"
    with fleet.executor(retries=0) as executor:
        futures = [
            executor.submit(tasks.noted, str(notes), number, 0.002)
            for number in range(600)
        ]
        for count in (50, 200, 350):
            eventually(lambda n=count: len(lines(notes)) > n, what="tasks to flow")  # type: ignore[misc]
            kill(fleet.pids("worker")[0])
        results = [future.exception(20) or future.result() for future in futures]
    crashed = [r for r in results if isinstance(r, actors.WorkerCrashed)]
    # A worker that was killed between two tasks takes none along.
    assert len(crashed) <= 3
    assert len(crashed) + sum(isinstance(r, int) for r in results) == 600
    assert set(Counter(lines(notes)).values()) == {1}


# Managers


def test_tasks_of_a_killed_manager_go_to_another_block(
    fleet: RunningEndpoint, executor: EndpointExecutor, tmp_path: Path
) -> None:
    notes, go = tmp_path / "pids", tmp_path / "go"
    futures = [executor.submit(tasks.hold, str(notes), str(go)) for _ in range(4)]
    eventually(lambda: len(lines(notes)) == 4, what="all tasks to begin")
    before = [int(pid) for pid in lines(notes)]
    manager = manager_of(before[0])
    gone = [pid for pid in before if manager_of(pid) == manager]
    assert len(gone) == 2
    kill(manager)
    eventually(
        lambda: not set(gone) & set(fleet.pids("worker")), 2, "its workers to follow"
    )
    go.touch()
    after = {future.result(20) for future in futures}
    assert not after & set(gone)
    assert after >= set(before) - set(gone)


def test_a_killed_manager_fails_its_tasks_without_retries_and_no_other_starts_them(
    fleet: RunningEndpoint, executor: EndpointExecutor, tmp_path: Path
) -> None:
    notes, go = tmp_path / "pids", tmp_path / "go"
    with fleet.executor(retries=0) as once:
        futures = [once.submit(tasks.hold, str(notes), str(go)) for _ in range(4)]
        eventually(lambda: len(lines(notes)) == 4, what="all tasks to begin")
        manager = manager_of(int(lines(notes)[0]))
        kill(manager)
        next(as_completed(futures, 20))
        go.touch()
        ended = [future.exception(20) for future in futures]
    failed = [error for error in ended if error is not None]
    assert len(failed) == 2
    for error in failed:
        assert isinstance(error, actors.ManagerLost)
        assert "may have run" in error.message
        # The batch system knows how it ended.
        assert "SIGKILL" in error.detail
    assert len(lines(notes)) == 4


def test_of_a_block_of_two_nodes_the_other_one_goes_on(tmp_path: Path) -> None:
    notes, go = tmp_path / "pids", tmp_path / "go"
    with RunningEndpoint(
        blocks={"nodes_per_block": 2},
        workers={"workers_per_node": 1},
        heartbeat={"reconnect_grace": 0.5},
    ) as endpoint:
        endpoint.await_workers(2)
        executor = endpoint.executor()
        futures = [executor.submit(tasks.hold, str(notes), str(go)) for _ in range(2)]
        eventually(lambda: len(lines(notes)) == 2, what="both tasks to begin")
        first, second = map(int, lines(notes))
        other = manager_of(second)
        kill(manager_of(first))
        go.touch()
        assert [future.result(20) for future in futures] == [second, second]
        assert endpoint.pids("manager") == [other]


# Services


def test_strategy_and_provider_come_back_and_adopt_what_runs() -> None:
    """A local block is a child of nobody: it stays, and can still be ended."""
    with (
        # Nobody but the operator changes the number of blocks.
        RunningEndpoint(
            blocks={"max_blocks": 2}, strategy={"kind": "none"}
        ) as endpoint,
        Listener(endpoint) as listener,
    ):
        workers = endpoint.await_workers(2)
        manager = endpoint.pid("manager")
        executor = endpoint.executor()
        futures = [executor.submit(tasks.rest, 0.01) for _ in range(200)]
        for service in ("provider", "strategy"):
            pid = endpoint.pid(service)
            kill(pid)
            eventually(
                lambda s=service: any(  # type: ignore[misc]
                    isinstance(e, ActorRestarted) and e.actor == s
                    for e in listener.heard()
                ),
                what=f"the event that {service} is restarted",
            )
            eventually(
                lambda s=service, p=pid: endpoint.pids(s) not in ([], [p]),  # type: ignore[misc]
                what=f"a new {service}",
            )
            assert f"{service} ended: signal 9 (SIGKILL)" in endpoint.log("run")
        assert {future.result(20) for future in futures} <= set(workers)
        eventually(
            lambda: len(picture(endpoint).services) == 3, what="all services to be back"
        )
        assert endpoint.pids("manager") == [manager]
        (block,) = picture(endpoint).blocks
        assert block.block_id == "block-1"
        # The new provider can end what the old one began, and start more.
        order(endpoint, "scale", number=2)
        eventually(lambda: len(picture(endpoint).managers) == 2, what="a second block")
        order(endpoint, "scale", number=0)
        eventually(lambda: not endpoint.pids("manager"), what="the blocks to end")
        eventually(
            lambda: (
                [(b.block_id, b.exit_code) for b in picture(endpoint).blocks]
                == [("block-1", 0), ("block-2", 0)]
            ),
            what="both blocks to have ended in order",
        )


# Everybody


def test_nothing_is_lost_or_doubled_while_processes_are_killed_at_random(
    fleet: RunningEndpoint,
) -> None:
    chance = random.Random(2)
    victims = ["worker"] * 5 + ["manager"] * 2 + ["strategy", "provider"]
    chance.shuffle(victims)
    resolved: Counter[int] = Counter()
    numbers = range(2_000)
    with fleet.executor(retries=_MANY_RETRIES) as executor:
        futures = []
        for number in numbers:
            future = executor.submit(tasks.noted, os.devnull, number, 0.005)
            future.add_done_callback(lambda _, n=number: resolved.update([n]))  # type: ignore[misc]
            futures.append(future)
        for nth, role in enumerate(victims, 1):
            least = nth * len(numbers) // (len(victims) + 1)
            eventually(lambda n=least: len(resolved) >= n, 30, "results to flow")  # type: ignore[misc]
            eventually(lambda r=role: fleet.pids(r), 30, f"a {role} to kill")  # type: ignore[misc]
            kill(chance.choice(fleet.pids(role)))
            if role == "manager":
                refill(fleet)
        total = sum(future.result(60) for future in futures)
    assert total == sum(numbers)
    assert set(resolved.values()) == {1}
    assert len(resolved) == len(numbers)


def test_at_most_once_holds_while_workers_and_managers_are_killed(
    fleet: RunningEndpoint, tmp_path: Path
) -> None:
    notes = tmp_path / "began"
    numbers = range(400)
    with fleet.executor(retries=0) as executor:
        futures = {
            number: executor.submit(tasks.noted, str(notes), number, 0.01)
            for number in numbers
        }
        for count, role in enumerate(["worker", "manager", "worker"], 1):
            eventually(lambda n=80 * count: len(lines(notes)) > n, 30, "tasks to flow")  # type: ignore[misc]
            kill(fleet.pids(role)[0])
        errors = {number: future.exception(30) for number, future in futures.items()}
    began = Counter(map(int, lines(notes)))
    assert set(began.values()) == {1}
    succeeded = {number for number, error in errors.items() if error is None}
    assert succeeded <= began.keys()
    assert all(
        isinstance(error, actors.WorkerCrashed | actors.ManagerLost)
        for error in errors.values()
        if error is not None
    )


# Clients


CLIENT = """
import sys
import actors
from tests.system import tasks

executor = actors.Executor(sys.argv[1])
futures = [executor.submit(tasks.rest, 0.5) for _ in range(400)]
futures[0].result()
print("flows", flush=True)
for future in futures:
    future.result()
"""


def test_a_killed_client_does_not_stand_in_the_way_of_others(
    fleet: RunningEndpoint,
) -> None:
    """Its queue of a minute is dropped once its results need not be kept."""
    fleet.await_workers(4)
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(fleet.folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"flows\n"
            with fleet.executor() as executor:
                first = executor.submit(tasks.square, 3)
                kill(client.pid)
                assert first.result(20) == 9
                assert list(executor.map(tasks.square, range(4))) == [0, 1, 4, 9]
        finally:
            kill(client.pid)
    eventually(lambda: not picture(fleet).clients, what="the dead to be forgotten")
    assert picture(fleet).tasks["waiting-for-nodes"] == 0
