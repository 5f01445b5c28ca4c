"""An executor ends as it is asked to, and tells when its endpoint is not there."""

import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import pytest

import actors
from actors.api.executor import EndpointExecutor
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).parents[2]
# Seconds after which an executor without an endpoint gives up.
_PATIENCE = 0.5


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    with RunningEndpoint() as endpoint:
        yield endpoint


def nap(duration: float, result: str = "") -> str:
    time.sleep(duration)
    return result


def wait_for(path: Path) -> str:
    (path.parent / f"{path.name}-begun").touch()
    eventually(path.exists, 60)
    return path.name


# Shutdown


def test_shutdown_waits_for_the_tasks(running: RunningEndpoint) -> None:
    executor = running.executor()
    mine = [executor.submit(nap, 0.1) for _ in range(6)]
    executor.shutdown()
    assert all(future.done() for future in mine)


def test_the_end_of_a_with_block_waits_for_the_tasks(running: RunningEndpoint) -> None:
    with running.executor() as executor:
        future = executor.submit(nap, 0.3, "done")
    assert future.done()
    assert future.result() == "done"


def test_shutdown_without_waiting_lets_the_tasks_go_on(
    running: RunningEndpoint, tmp_path: Path
) -> None:
    executor = running.executor()
    future = executor.submit(wait_for, tmp_path / "gate")
    executor.shutdown(wait=False)
    assert not future.done()
    (tmp_path / "gate").touch()
    assert future.result(20) == "gate"


@pytest.mark.parametrize("is_used", [False, True])
def test_shutdown_may_come_often_and_nothing_can_be_submitted_after_it(
    running: RunningEndpoint, is_used: bool
) -> None:
    executor = running.executor()
    if is_used:
        executor.submit(abs, -1)
    executor.shutdown(wait=False)
    executor.shutdown()
    executor.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shut"):
        executor.submit(abs, -1)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shut"):
        executor.map(abs, [1])


@pytest.mark.parametrize("max_workers", [None, 2])
def test_shutdown_can_cancel_what_has_not_begun(
    running: RunningEndpoint, tmp_path: Path, max_workers: int | None
) -> None:
    executor = running.executor(max_workers)
    busy = [executor.submit(wait_for, tmp_path / name) for name in ("a", "b")]
    eventually(lambda: len(list(tmp_path.iterdir())) == 2, what="two tasks to begin")
    waiting = [executor.submit(wait_for, tmp_path / f"w{n}") for n in range(30)]
    executor.shutdown(wait=False, cancel_futures=True)
    done, _ = futures.wait(waiting, timeout=20)
    assert done == set(waiting)
    assert all(future.cancelled() for future in waiting)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    executor.shutdown()
    assert [future.result() for future in busy] == ["a", "b"]
    assert not list(tmp_path.glob("w*"))


def test_who_waits_for_a_task_that_never_left_hears_of_its_cancellation(
    running: RunningEndpoint, tmp_path: Path
) -> None:
    """It was seen with the next message only."""
    heard = threading.Event()

    def listen(future: futures.Future[str]) -> None:
        with pytest.raises(futures.CancelledError):
            future.result()
        heard.set()

    with running.executor(max_workers=1) as executor:
        executor.submit(wait_for, tmp_path / "gate")
        eventually((tmp_path / "gate-begun").exists)
        second = executor.submit(nap, 0)
        thread = threading.Thread(target=listen, args=[second])
        thread.start()
        # It waits in the loop, which has nothing to read.
        time.sleep(0.2)
        second.cancel()
        try:
            eventually(heard.is_set, 15)
        finally:
            (tmp_path / "gate").touch()
            thread.join()


def test_a_callback_may_shut_its_executor_down(running: RunningEndpoint) -> None:
    executor = running.executor()
    is_over = threading.Event()

    def end(_future: object) -> None:
        executor.shutdown()
        is_over.set()

    executor.submit(abs, -1).add_done_callback(end)
    assert is_over.wait(10)


def test_an_executor_that_is_dropped_finishes_its_tasks_and_ends(
    running: RunningEndpoint,
) -> None:
    executor = running.executor()
    thread = executor._connection.thread
    mine = [executor.submit(nap, 0.05, str(n)) for n in range(10)]
    known = weakref.ref(executor)
    del executor
    gc.collect()
    assert known() is None
    assert [future.result(20) for future in mine] == [str(n) for n in range(10)]
    thread.join(10)
    assert not thread.is_alive()


def test_an_executor_that_was_never_used_ends_at_once(running: RunningEndpoint) -> None:
    began = time.monotonic()
    running.executor().shutdown()
    # Not after its patience, which is 30 s.
    assert time.monotonic() - began < 20


def test_executors_that_come_and_go_leave_no_descriptor_behind(
    running: RunningEndpoint,
) -> None:
    def use_one() -> None:
        with running.executor() as executor:
            assert executor.submit(abs, -1).result() == 1

    use_one()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        use_one()
    # nng closes some of its own later, in a thread of its own.
    eventually(
        lambda: len(os.listdir("/proc/self/fd")) <= before, what="descriptors to close"
    )


def test_max_workers_must_be_positive(running: RunningEndpoint) -> None:
    for count in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            running.executor(count)
    with pytest.raises(ValueError, match="retries -1 must be 0 or more"):
        running.executor(retries=-1)


# The interpreter's end


def run_script(running: RunningEndpoint, text: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        env={**os.environ, "ACTORS_ADDRESS": str(running.folder)}
        | {"PYTHONPATH": str(_REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_program_that_ends_waits_for_its_tasks(running: RunningEndpoint) -> None:
    text = """
        import sys, actors
        from tests.api.contract_script import nap_and_return, tell
        executor = actors.Executor()
        executor.submit(nap_and_return, 0.3, "apple").add_done_callback(tell)
        sys.exit(5)
        """
    assert run_script(running, text) == (5, "apple\n", "")


def test_a_program_that_ends_after_shutdown_waits_for_its_tasks(
    running: RunningEndpoint,
) -> None:
    text = """
        import actors
        from tests.api.contract_script import nap_and_return, tell
        executor = actors.Executor()
        for name in ("apple", "apple"):
            executor.submit(nap_and_return, 0.3, name).add_done_callback(tell)
        executor.shutdown(wait=False)
        """
    assert run_script(running, text) == (0, "apple\napple\n", "")


def test_a_program_that_ends_cancels_what_it_is_asked_to(
    running: RunningEndpoint,
) -> None:
    text = """
        import time, actors
        executor = actors.Executor()
        mine = [executor.submit(time.sleep, 0.2) for _ in range(500)]
        mine[0].result()
        executor.shutdown(wait=False, cancel_futures=True)
        """
    began = time.monotonic()
    assert run_script(running, text) == (0, "", "")
    assert time.monotonic() - began < 20


def test_a_fork_of_a_program_that_uses_an_endpoint_is_told_that_it_cannot(
    running: RunningEndpoint,
) -> None:
    """It was ended by nng, with a panic."""
    text = """
        import os, sys, warnings, actors
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        size = actors.remote(len)
        assert actors.get(size.remote("abc")) == 3
        if not (pid := os.fork()):
            try:
                size.remote("abc")
            except actors.ConfigError as error:
                print(type(error).__name__, "spawn" in str(error))
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert actors.get(size.remote("abc")) == 3
        """
    assert run_script(running, text) == (0, "ConfigError True\n", "")


def test_a_fork_is_told_that_an_executor_is_its_parents(
    running: RunningEndpoint,
) -> None:
    """Its first call was ended by nng, with a panic; others waited for ever."""
    text = """
        import os, sys, warnings, actors
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        executor = actors.Executor()
        assert executor.submit(len, "abc").result() == 3
        if not (pid := os.fork()):
            for call in (executor.submit, executor.map):
                try:
                    call(len, "abc")
                except actors.ConfigError as error:
                    print(type(error).__name__, "spawn" in str(error))
            executor.shutdown(cancel_futures=True)
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert executor.submit(len, "abc").result() == 3
        """
    told = "ConfigError True\n" * 2
    assert run_script(running, text) == (0, told, "")


def test_a_program_that_fails_ends(running: RunningEndpoint) -> None:
    text = """
        import actors
        executor = actors.Executor()
        assert executor.submit(abs, -1).result() == 1
        raise ValueError("no good")
        """
    code, _, err = run_script(running, text)
    assert code == 1
    assert err.strip().endswith("ValueError: no good")


def test_a_program_ends_although_there_is_no_endpoint(tmp_path: Path) -> None:
    with RunningEndpoint() as running:
        running.stop()
        text = f"""
            import logging, actors
            logging.disable()
            executor = actors.Executor(patience={_PATIENCE})
            future = executor.submit(abs, -1)
            future.add_done_callback(lambda f: print(type(f.exception()).__name__))
            """
        assert run_script(running, text) == (0, "AddressError\n", "")


# No endpoint


def test_an_executor_may_be_there_before_its_endpoint() -> None:
    endpoint = RunningEndpoint()
    endpoint.paths.make_token()
    executor = actors.Executor(endpoint.folder)
    future = executor.submit(abs, -1)
    with endpoint:
        assert future.result(30) == 1
        executor.shutdown()


def test_without_an_endpoint_tasks_fail_after_a_while_and_say_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    with RunningEndpoint() as endpoint:
        endpoint.stop()
        with endpoint.executor(patience=_PATIENCE) as executor:
            future = executor.submit(abs, -1)
            error = future.exception(60)
            assert isinstance(error, actors.AddressError)
            assert f"actors run {endpoint.folder}" in str(error)
            assert str(endpoint.folder) in str(error)
            # From then on at once.
            assert executor.submit(abs, -1).exception(0) is error


def test_an_address_that_leads_nowhere_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTORS_ADDRESS", raising=False)
    with pytest.raises(actors.AddressError, match="ACTORS_ADDRESS"):
        EndpointExecutor()
    with pytest.raises(actors.AddressError, match="actors init"):
        actors.Executor(tmp_path / "nowhere")
    with pytest.raises(actors.ConfigError, match=r"endpoint\.toml"):
        actors.Executor(tmp_path)
    with pytest.raises(actors.ConfigError, match="credentials"):
        actors.Executor("ipc:///tmp/nowhere")


def test_the_address_may_stand_in_the_environment(
    running: RunningEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTORS_ADDRESS", str(running.folder))
    with actors.Executor() as executor:
        assert executor.submit(abs, -1).result() == 1


def test_the_address_may_be_a_url_with_credentials(running: RunningEndpoint) -> None:
    url = str(running.address)
    with actors.Executor(url, credentials=running.folder) as executor:
        assert executor.submit(abs, -1).result() == 1


def test_who_does_not_know_the_token_is_refused(
    running: RunningEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    (tmp_path / "token").write_text("guessed")
    (tmp_path / "token").chmod(0o600)
    with actors.Executor(str(running.address), credentials=tmp_path) as executor:
        error = executor.submit(abs, -1).exception(20)
        assert isinstance(error, actors.AdmissionRefused)
        assert "token" in str(error)
        assert isinstance(
            executor.submit(abs, -1).exception(0), actors.AdmissionRefused
        )
    # Nobody else is harmed.
    with running.executor() as other:
        assert other.submit(abs, -1).result() == 1


# The endpoint goes


def test_tasks_of_an_endpoint_that_stops_for_good_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    with RunningEndpoint() as endpoint:
        executor = endpoint.executor(patience=_PATIENCE)
        mine = [executor.submit(wait_for, tmp_path / f"{n}") for n in range(5)]
        eventually(lambda: len(list(tmp_path.iterdir())) == 2, what="two tasks to run")
        assert endpoint.stop() == 0
        for future in mine:
            error = future.exception(5)
            assert isinstance(error, actors.AddressError)
            assert "after it said that the endpoint stops" in str(error)
        executor.shutdown()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_an_endpoint_that_is_started_again_goes_on_with_its_tasks(
    tmp_path: Path, how: str
) -> None:
    with RunningEndpoint() as endpoint, endpoint.executor() as executor:
        mine = [executor.submit(wait_for, tmp_path / f"{n}") for n in range(3)]
        eventually(lambda: len(list(tmp_path.iterdir())) == 2, what="two tasks to run")
        if how == "stopped":
            assert endpoint.stop() == 0
        else:
            endpoint.kill()
        for n in range(3):
            (tmp_path / f"{n}").touch()
        endpoint.start()
        assert [future.result(60) for future in mine] == ["0", "1", "2"]


def test_tasks_of_an_endpoint_that_was_killed_fail_when_it_does_not_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    with RunningEndpoint() as endpoint:
        executor = endpoint.executor(patience=_PATIENCE)
        future = executor.submit(wait_for, tmp_path / "gate")
        eventually((tmp_path / "gate-begun").exists, what="the task to run")
        endpoint.kill()
        error = future.exception(10)
        assert isinstance(error, actors.AddressError)
        assert f"actors run {endpoint.folder}" in str(error)
        executor.shutdown()


def test_an_endpoint_lives_as_long_as_its_command() -> None:
    script = "import actors; print(actors.Executor().submit(abs, -7).result())"
    with RunningEndpoint(command=[sys.executable, "-c", script]) as endpoint:
        assert endpoint.process is not None
        assert endpoint.process.wait(30) == 0
        assert endpoint.log("run").splitlines() == ["7"]
