"""A future tells what becomes of its task, and gives it up when asked to."""

import asyncio
import functools
import os
import threading
from collections.abc import Iterator
from concurrent import futures
from itertools import pairwise
from pathlib import Path

import pytest

from actors.api.executor import EndpointExecutor
from actors.api.task_future import TaskFuture
from actors.messages import TaskState
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow

_ON_ITS_WAY = [
    TaskState.RECEIVED,
    TaskState.WAITING_FOR_ENDPOINT,
    TaskState.WAITING_FOR_NODES,
    TaskState.WAITING_FOR_LAUNCH,
    TaskState.RUNNING,
]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    """Run an endpoint whose clients soon hear what their tasks do."""
    with RunningEndpoint(heartbeat={"period": 0.1, "threshold": 60}) as endpoint:
        yield endpoint


@pytest.fixture
def executor(running: RunningEndpoint) -> Iterator[EndpointExecutor]:
    with running.executor() as executor:
        yield executor


class Gate:
    """Something that tasks come to, and wait at until it is opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = folder / "open"

    def open(self) -> None:
        self._open.touch()

    def pass_through(self, name: str) -> str:
        (self._folder / f"at-{name}").touch()
        eventually(self._open.exists, 60)
        return name

    def has_seen(self, name: str) -> bool:
        return (self._folder / f"at-{name}").exists()

    def await_task(self, name: str) -> None:
        eventually(lambda: self.has_seen(name), 20, f"task {name} to begin")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


def occupy(executor: EndpointExecutor, gate: Gate) -> list[TaskFuture]:
    """Keep both workers busy until the gate is opened."""
    busy = [executor.submit(gate.pass_through, name) for name in ("a", "b")]
    for name in ("a", "b"):
        gate.await_task(name)
    return busy


def await_unfinished(executor: EndpointExecutor, count: int) -> None:
    """Wait until the endpoint, too, has given up what was cancelled."""
    session = executor._connection._session
    eventually(lambda: session.unfinished == count, what=f"{count} unfinished tasks")


def fail() -> None:
    raise ValueError("no good")


# History


def states(future: TaskFuture) -> list[TaskState]:
    return [step.state for step in future.history]


def test_the_history_has_all_states_in_order_with_their_moments(
    running: RunningEndpoint, executor: EndpointExecutor
) -> None:
    future = executor.submit(os.getpid)
    future.result()
    assert states(future) == [*_ON_ITS_WAY, TaskState.SUCCESS]
    moments = [step.at for step in future.history]
    # The endpoint's clock is this host's, read in other processes a moment apart.
    assert all(a <= b + 0.05 for a, b in pairwise(moments))
    assert 0 <= moments[-1] - moments[0] < 30
    assert {step.attempt for step in future.history} == {1}
    assert future.history[-2].place


def test_the_history_of_a_failed_task_ends_with_its_failure(
    executor: EndpointExecutor,
) -> None:
    future = executor.submit(fail)
    future.exception()
    assert states(future) == [*_ON_ITS_WAY, TaskState.FAILED]


def test_the_history_tells_of_an_attempt_that_was_lost(
    executor: EndpointExecutor, tmp_path: Path
) -> None:
    future = executor.submit(crash_once, tmp_path / "tried")
    assert future.result() == "at last"
    ranks = [(step.attempt, step.state) for step in future.history]
    assert ranks[-1] == (2, TaskState.SUCCESS)
    attempts = [attempt for attempt, _ in ranks]
    assert attempts == sorted(attempts)
    why = [step.place for step in future.history if step.attempt == 1][-1]
    assert "exited with code 3" in why


def crash_once(path: Path) -> str:
    if not path.exists():
        path.touch()
        os._exit(3)
    return "at last"


def test_a_future_runs_once_its_task_does(
    executor: EndpointExecutor, gate: Gate
) -> None:
    future = executor.submit(gate.pass_through, "one")
    eventually(future.running, what="the future to run")
    gate.open()
    assert future.result() == "one"
    assert not future.running()


# Cancel


def test_a_task_that_waits_at_the_endpoint_can_be_cancelled(
    executor: EndpointExecutor, gate: Gate
) -> None:
    busy = occupy(executor, gate)
    waiting = [executor.submit(gate.pass_through, f"w{n}") for n in range(20)]
    assert all(future.cancel() for future in waiting)
    assert all(future.cancelled() for future in waiting)
    assert all(states(future)[-1] is TaskState.CANCELLED for future in waiting)
    await_unfinished(executor, len(busy))
    gate.open()
    assert [future.result() for future in busy] == ["a", "b"]
    executor.shutdown()
    assert not any(gate.has_seen(f"w{n}") for n in range(20))


def test_a_task_that_waits_for_max_workers_can_be_cancelled(
    running: RunningEndpoint, gate: Gate
) -> None:
    with running.executor(max_workers=1) as executor:
        first = executor.submit(gate.pass_through, "first")
        second = executor.submit(gate.pass_through, "second")
        third = executor.submit(gate.pass_through, "third")
        gate.await_task("first")
        assert second.cancel()
        gate.open()
        assert (first.result(), third.result()) == ("first", "third")
    assert not gate.has_seen("second")


def test_cancelled_tasks_make_room_for_others_within_max_workers(
    running: RunningEndpoint,
) -> None:
    with running.executor(max_workers=2) as executor:
        for _ in range(50):
            executor.submit(os.getpid).cancel()
        assert len(list(executor.map(abs, range(20), timeout=20))) == 20


def test_a_task_that_is_known_to_run_cannot_be_cancelled(
    executor: EndpointExecutor, gate: Gate
) -> None:
    future = executor.submit(gate.pass_through, "one")
    eventually(future.running, what="the future to run")
    assert not future.cancel()
    gate.open()
    assert future.result() == "one"


def test_a_task_that_runs_can_be_ended_with_its_worker(
    running: RunningEndpoint, executor: EndpointExecutor, gate: Gate
) -> None:
    pids = running.await_workers(2)
    future = executor.submit(gate.pass_through, "one")
    eventually(future.running, what="the future to run")
    assert future.cancel(if_running=True)
    with pytest.raises(futures.CancelledError):
        future.result(10)
    assert future.cancelled()
    assert states(future)[-1] is TaskState.CANCELLED
    eventually(
        lambda: len(set(running.pids("worker")) - set(pids)) == 1,
        what="its worker to be replaced",
    )
    assert executor.submit(abs, -1).result() == 1


def test_a_task_that_began_before_it_was_cancelled_leaves_its_worker(
    running: RunningEndpoint, executor: EndpointExecutor, gate: Gate
) -> None:
    # In the very moment of `cancel`, the client need not know whether it has begun.
    for number in range(5):
        future = executor.submit(gate.pass_through, f"{number}")
        gate.await_task(f"{number}")
        assert future.cancel(if_running=True)
    await_unfinished(executor, 0)
    assert executor.submit(abs, -1).result() == 1


def test_a_task_that_has_ended_cannot_be_cancelled(executor: EndpointExecutor) -> None:
    future = executor.submit(abs, -1)
    assert future.result() == 1
    assert not future.cancel()
    assert not future.cancel(if_running=True)


def test_who_waits_for_a_cancelled_task_is_told(
    executor: EndpointExecutor, gate: Gate
) -> None:
    occupy(executor, gate)
    future = executor.submit(gate.pass_through, "waiting")
    told: list[futures.Future[object]] = []
    future.add_done_callback(told.append)
    waiter = threading.Thread(target=futures.wait, args=([future],))
    waiter.start()
    assert future.cancel()
    waiter.join(10)
    assert not waiter.is_alive()
    assert told == [future]
    with pytest.raises(futures.CancelledError):
        future.result()
    # Once more, and too late.
    assert future.cancel()
    assert told == [future]
    executor.submit(abs, 1).cancel()


def test_a_task_may_be_cancelled_by_many_threads_at_once(
    executor: EndpointExecutor, gate: Gate
) -> None:
    occupy(executor, gate)
    waiting = [executor.submit(gate.pass_through, f"w{n}") for n in range(100)]
    told: list[futures.Future[object]] = []
    for future in waiting:
        future.add_done_callback(told.append)
    start = threading.Barrier(4)

    def cancel_all() -> None:
        start.wait()
        for future in waiting:
            assert future.cancel()

    threads = [threading.Thread(target=cancel_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done, _ = futures.wait(waiting, timeout=10)
    assert done == set(waiting)
    assert sorted(map(id, told)) == sorted(map(id, waiting))


def test_cancelling_while_results_come_leaves_nobody_waiting(
    executor: EndpointExecutor,
) -> None:
    mine = [executor.submit(abs, n) for n in range(500)]
    for future in reversed(mine):
        future.cancel()
    done, _ = futures.wait(mine, timeout=20)
    assert done == set(mine)
    for number, future in enumerate(mine):
        assert future.cancelled() or future.result() == number


def test_closing_the_results_of_map_cancels_what_waits(
    executor: EndpointExecutor, gate: Gate
) -> None:
    occupy(executor, gate)
    results = executor.map(gate.pass_through, ["w0", "w1", "w2"], timeout=0.1)
    with pytest.raises(TimeoutError):
        list(results)
    await_unfinished(executor, 2)
    gate.open()
    executor.shutdown()
    assert not any(gate.has_seen(name) for name in ("w0", "w1", "w2"))


# Callbacks


def test_a_callback_is_called_once_with_its_future(executor: EndpointExecutor) -> None:
    told: list[futures.Future[object]] = []
    future = executor.submit(abs, -3)
    future.add_done_callback(told.append)
    eventually(lambda: told == [future], what="the callback")
    # Late ones are called at once.
    future.add_done_callback(told.append)
    assert told == [future, future]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_fails_harms_nobody(
    executor: EndpointExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_in_callback(_future: object) -> None:
        raise ValueError("no good callback")

    future = executor.submit(abs, -3)
    future.add_done_callback(fail_in_callback)
    assert future.result() == 3
    assert executor.submit(abs, -4).result() == 4


def test_a_callback_may_submit_more(executor: EndpointExecutor) -> None:
    chain: list[int] = []
    is_over = threading.Event()

    def go_on(future: "futures.Future[int]") -> None:
        chain.append(future.result())
        if len(chain) < 5:
            executor.submit(abs, -len(chain)).add_done_callback(go_on)
        else:
            is_over.set()

    executor.submit(abs, 0).add_done_callback(go_on)
    assert is_over.wait(20)
    assert chain == [0, 1, 2, 3, 4]


# asyncio


def test_asyncio_awaits_tasks(executor: EndpointExecutor) -> None:
    async def work() -> list[int]:
        loop = asyncio.get_running_loop()
        wrapped = asyncio.wrap_future(executor.submit(abs, -1))
        more = [loop.run_in_executor(executor, abs, -n) for n in range(2, 20)]
        return list(await asyncio.gather(wrapped, *more))

    assert asyncio.run(work()) == list(range(1, 20))


def test_asyncio_is_raised_what_a_task_raised(executor: EndpointExecutor) -> None:
    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(executor, fail)

    with pytest.raises(ValueError, match="no good"):
        asyncio.run(work())


def test_asyncio_cancels_tasks(executor: EndpointExecutor, gate: Gate) -> None:
    occupy(executor, gate)
    future = executor.submit(gate.pass_through, "waiting")

    async def work() -> None:
        async with asyncio.timeout(0.1):
            await asyncio.wrap_future(future)

    with pytest.raises(TimeoutError):
        asyncio.run(work())
    assert future.cancelled()
    await_unfinished(executor, 2)
    gate.open()
    executor.shutdown()
    assert not gate.has_seen("waiting")


def test_as_completed_gives_the_fast_first(
    executor: EndpointExecutor, gate: Gate
) -> None:
    slow = executor.submit(gate.pass_through, "slow")
    fast = [executor.submit(functools.partial(abs, -n)) for n in range(5)]
    order = futures.as_completed([slow, *fast], timeout=20)
    first = [next(order) for _ in fast]
    assert set(first) == set(fast)
    gate.open()
    assert list(order) == [slow]
