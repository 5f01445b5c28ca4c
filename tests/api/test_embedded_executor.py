"""Promise: without an endpoint, the executor is a standard one on its own workers.

CPython's own tests of executors run on it, too: see `test_cpython_contract_embedded`.
"""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

import actors
from actors.api.embedded_executor import EmbeddedExecutor
from actors.errors import NotSerializable
from actors.task_errors import WorkerCrashed
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def executor() -> Iterator[EmbeddedExecutor]:
    with EmbeddedExecutor(None, 2) as executor:
        yield executor


def test_results_come_back_one_by_one_in_chunks_and_as_they_end(
    executor: EmbeddedExecutor,
) -> None:
    assert executor.submit(pow, 2, 10).result() == 1024
    assert list(executor.map(pow, range(50), [2] * 50)) == [i * i for i in range(50)]
    assert next(executor.map(abs, range(-500, 0), chunksize=100)) == 500
    futures = [executor.submit(abs, -i) for i in range(20)]
    assert {future.result() for future in as_completed(futures)} == set(range(20))
    assert not wait(futures).not_done


def test_errors_come_as_themselves(executor: EmbeddedExecutor) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        executor.submit(int, "x").result()
    future = executor.submit(print, threading.Lock())
    with pytest.raises(NotSerializable, match="Argument 1"):
        future.result()


def test_a_crash_fails_its_task_alone(executor: EmbeddedExecutor) -> None:
    with EmbeddedExecutor(None, 1, retries=0) as fragile:
        crashed = fragile.submit(os._exit, 3)
        assert isinstance(crashed.exception(), WorkerCrashed)
        assert isinstance(crashed.exception(), BrokenProcessPool)
        assert fragile.submit(abs, -1).result() == 1


def test_what_no_worker_has_can_be_cancelled(tmp_path: Path) -> None:
    def appears(path: Path) -> None:
        while not path.exists():
            time.sleep(0.005)

    with EmbeddedExecutor(None, 1) as executor:
        running = executor.submit(appears, tmp_path / "go")
        eventually(running.running)
        waiting = [executor.submit(abs, -i) for i in range(3)]
        assert waiting[1].cancel()
        assert waiting[1].cancelled()
        assert not running.cancel()
        (tmp_path / "go").touch()
        assert waiting[0].result() == 0
        with pytest.raises(CancelledError):
            waiting[1].result()


def test_callbacks_run_in_a_thread_that_may_use_the_executor(
    executor: EmbeddedExecutor,
) -> None:
    told: list[Any] = []

    def go_on(future: Any) -> None:
        told.append((threading.current_thread(), future.result()))
        inner = executor.submit(abs, -7)
        inner.add_done_callback(told.append)
        told.append(inner.result())

    executor.submit(abs, -5).add_done_callback(go_on)
    eventually(lambda: len(told) == 3)
    assert told[0][1] == 5
    assert told[0][0] is not threading.main_thread()
    assert told[1] == 7
    assert told[2].result() == 7


def test_asyncio_runs_on_it(executor: EmbeddedExecutor) -> None:
    async def work() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, abs, -i) for i in range(20)]
        return await asyncio.gather(*calls)

    assert asyncio.run(work()) == list(range(20))


_state = {"is_set": False}


def test_an_initializer_that_goes_by_value_shares_its_globals_with_the_tasks() -> None:
    def set_it(value: int) -> None:
        _state["value"] = value  # type: ignore[assignment]

    with EmbeddedExecutor(None, 2, initializer=set_it, initargs=(3,)) as executor:
        futures = [executor.submit(lambda: _state.get("value")) for _ in range(5)]
        assert [future.result() for future in futures] == [3] * 5


def test_an_initializer_that_can_be_imported_is_called_as_a_worker_starts() -> None:
    env = ("A", "b")
    with EmbeddedExecutor(None, 1, initializer=os.putenv, initargs=env) as executor:
        assert executor.submit(abs, -1).result() == 1


def test_a_failing_initializer_breaks_the_executor() -> None:
    with EmbeddedExecutor(None, 1, initializer=int, initargs=("x",)) as executor:
        future = executor.submit(abs, -1)
        with pytest.raises(BrokenProcessPool, match="invalid literal"):
            future.result()
        with pytest.raises(BrokenProcessPool):
            executor.submit(abs, -1)


def test_shutdown_waits_for_what_was_submitted_or_cancels_it() -> None:
    executor = EmbeddedExecutor(None, 2)
    futures = [executor.submit(time.sleep, 0.001) for _ in range(50)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    executor = EmbeddedExecutor(None, 1)
    futures = [executor.submit(time.sleep, 0.05) for _ in range(50)]
    executor.shutdown(cancel_futures=True)
    assert sum(future.cancelled() for future in futures) > 40


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        EmbeddedExecutor(None, 0)
    with pytest.raises(ValueError, match="retries -1 must be 0 or more"):
        EmbeddedExecutor(None, 1, retries=-1)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        EmbeddedExecutor(None, 1, initializer=3)  # type: ignore[arg-type]


def test_without_an_address_an_executor_is_one_of_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ACTORS_ADDRESS", raising=False)
    with actors.Executor(max_workers=1) as executor:
        assert isinstance(executor, EmbeddedExecutor)
        assert executor.submit(os.getpid).result() != os.getpid()
        assert list(executor.map(abs, [-1, -2, -3], chunksize=2)) == [1, 2, 3]
    with pytest.raises(TypeError, match="credentials"):
        actors.Executor(credentials="folder")


@pytest.mark.parametrize("is_shown", [True, False])
def test_what_tasks_print_appears_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], is_shown: bool
) -> None:
    with EmbeddedExecutor(max_workers=1, log_to_driver=is_shown) as executor:
        executor.submit(print, "from a task").result()
    assert ("from a task" in capsys.readouterr().err) == is_shown


def test_a_fork_is_told_that_the_executor_is_its_parents() -> None:
    """Its calls went down the parent's own pipes, or waited for ever."""
    text = """
        import os, sys, warnings, actors
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        executor = actors.Executor(max_workers=1)
        assert executor.submit(len, "abc").result() == 3
        if not (pid := os.fork()):
            try:
                executor.map(len, "abc")
            except actors.ConfigError as error:
                print("make one here" in str(error))
            executor.shutdown()
            with actors.Executor(max_workers=1) as own:
                print(own.submit(len, "ab").result(60), flush=True)
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        print(executor.submit(len, "abc").result(60))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n2\n3\n", "")
