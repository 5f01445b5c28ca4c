"""Whoever knows `concurrent.futures` knows our executor: it passes CPython's own tests.

The tests are the mixins with which CPython tests its thread and process pools. They
come with some builds of Python only; `.ci/run` runs this suite on one that has them.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

import actors
from tests.endpoints import RunningEndpoint

try:
    from test.support import script_helper
    from test.test_concurrent_futures import (
        executor,
        test_as_completed,
        test_init,
        test_process_pool,
        test_shutdown,
        test_wait,
        util,
    )
except ImportError as error:
    pytest.skip(f"this Python comes without it: {error}", allow_module_level=True)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.contract,
    pytest.mark.usefixtures("address"),
]

# As many workers as the mixins' `worker_count`: some tests know how long 50 naps take.
_WORKERS = util.ExecutorMixin.worker_count


@pytest.fixture(scope="module")
def address() -> Iterator[None]:
    """Run an endpoint which executors without an address find, here and in scripts."""
    with (
        RunningEndpoint(workers={"workers_per_node": _WORKERS}) as endpoint,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("ACTORS_ADDRESS", str(endpoint.folder))
        yield


class _EndpointMixin(util.ExecutorMixin):  # type: ignore[misc]
    executor_type = actors.Executor


class TestExecutor(
    executor.ExecutorTest,  # type: ignore[misc]
    _EndpointMixin,
    util.BaseTestCase,  # type: ignore[misc]
):
    # Of the process pool's own tests these know nothing of how it is made.
    test_map_chunksize = test_process_pool.ProcessPoolExecutorTest.test_map_chunksize
    test_traceback = test_process_pool.ProcessPoolExecutorTest.test_traceback
    _test_traceback = staticmethod(
        test_process_pool.ProcessPoolExecutorTest._test_traceback
    )


class TestWait(test_wait.WaitTests, _EndpointMixin, util.BaseTestCase):  # type: ignore[misc]
    pass


class TestAsCompleted(
    test_as_completed.AsCompletedTests,  # type: ignore[misc]
    _EndpointMixin,
    util.BaseTestCase,  # type: ignore[misc]
):
    pass


class TestInitializer(test_init.InitializerMixin, _EndpointMixin, util.BaseTestCase):  # type: ignore[misc]
    pass


class TestFailingInitializer(
    test_init.FailingInitializerMixin,  # type: ignore[misc]
    _EndpointMixin,
    util.BaseTestCase,  # type: ignore[misc]
):
    @contextlib.contextmanager
    def _assert_logged(self, msg: str) -> Iterator[None]:
        # Workers of an endpoint write their logs there; we tell it at the client.
        with self.assertLogs("actors", "ERROR") as logged:
            yield
        assert any(msg in line for line in logged.output), logged.output


class TestShutdown(
    test_shutdown.ExecutorShutdownTest,  # type: ignore[misc]
    _EndpointMixin,
    util.BaseTestCase,  # type: ignore[misc]
):
    # Three tests name a class of `concurrent.futures` in a script, and look for what a
    # worker writes to the script's standard output. Here are the same scripts with our
    # class; our workers' output is the endpoint's, so the script tells the result.

    def test_interpreter_shutdown(self) -> None:
        out, err = _run_script("""if 1:
            from actors import Executor
            from tests.api.contract_script import nap_and_return, tell
            if __name__ == "__main__":
                t = Executor(max_workers=5)
                t.submit(nap_and_return, 1.0, "apple").add_done_callback(tell)
            """)
        # Errors in atexit hooks don't change the process exit code, check
        # stderr manually.
        assert not err
        assert out.strip() == b"apple"

    def test_submit_after_interpreter_shutdown(self) -> None:
        out, err = _run_script("""if 1:
            import atexit
            @atexit.register
            def run_last():
                try:
                    t.submit(id, None)
                except RuntimeError:
                    print("runtime-error")
                    raise
            from actors import Executor
            if __name__ == "__main__":
                t = Executor(max_workers=5)
                t.submit(id, 42).result()
            """)
        # Errors in atexit hooks don't change the process exit code, check
        # stderr manually.
        assert "RuntimeError: cannot schedule new futures" in err.decode()
        assert out.strip() == b"runtime-error"

    def test_hang_gh83386(self) -> None:
        """shutdown(wait=False) doesn't hang at exit with running futures."""
        out, err = _run_script("""if True:
            from actors import Executor
            from tests.api.contract_script import nap_and_return, tell
            if __name__ == "__main__":
                t = Executor(max_workers=3)
                t.submit(nap_and_return, 1.0, "apple").add_done_callback(tell)
                t.shutdown(wait=False)
            """)
        assert not err
        assert out.strip() == b"apple"


def _run_script(script: str) -> tuple[bytes, bytes]:
    # Not isolated: the script needs our packages, and the endpoint's address.
    done: Any = script_helper.assert_python_ok("-c", script, __isolated=False)
    return done.out, done.err
