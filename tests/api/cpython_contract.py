"""What CPython tests its own executors with, made fit for ours.

The tests are the mixins with which CPython tests its thread and process pools. They
come with some builds of Python only; `.ci/run` runs them on one that has them.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

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

__all__ = [
    "AsCompletedCases",
    "BaseTestCase",
    "ExecutorCases",
    "ExecutorMixin",
    "FailingInitializerCases",
    "InitializerCases",
    "ShutdownCases",
    "WaitCases",
]

BaseTestCase = util.BaseTestCase
ExecutorMixin = util.ExecutorMixin
AsCompletedCases = test_as_completed.AsCompletedTests
InitializerCases = test_init.InitializerMixin
WaitCases = test_wait.WaitTests


class ExecutorCases(executor.ExecutorTest):  # type: ignore[misc]
    # Of the process pool's own tests these know nothing of how it is made.
    test_map_chunksize = test_process_pool.ProcessPoolExecutorTest.test_map_chunksize
    test_traceback = test_process_pool.ProcessPoolExecutorTest.test_traceback
    _test_traceback = staticmethod(
        test_process_pool.ProcessPoolExecutorTest._test_traceback
    )


class FailingInitializerCases(test_init.FailingInitializerMixin):  # type: ignore[misc]
    @contextlib.contextmanager
    def _assert_logged(self, msg: str) -> Iterator[None]:
        # Workers write their logs elsewhere; we tell it at the client.
        with self.assertLogs("actors", "ERROR") as logged:
            yield
        assert any(msg in line for line in logged.output), logged.output


class ShutdownCases(test_shutdown.ExecutorShutdownTest):  # type: ignore[misc]
    # Three tests name a class of `concurrent.futures` in a script, and look for what a
    # worker writes to the script's standard output. Here are the same scripts with our
    # class; our workers' output goes elsewhere, so the script tells the result.

    executor_type: type[object]

    def test_interpreter_shutdown(self) -> None:
        out, err = self._run_script("""if 1:
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
        out, err = self._run_script(
            """if 1:
            if __name__ == "__main__":
                t = Executor(max_workers=5)
                t.submit(id, 42).result()
            """,
            first="""if 1:
            import atexit
            @atexit.register
            def run_last():
                try:
                    t.submit(id, None)
                except RuntimeError:
                    print("runtime-error")
                    raise
            """,
        )
        # Errors in atexit hooks don't change the process exit code, check
        # stderr manually.
        assert "RuntimeError: cannot schedule new futures" in err.decode()
        assert out.strip() == b"runtime-error"

    def test_hang_gh83386(self) -> None:
        """shutdown(wait=False) doesn't hang at exit with running futures."""
        out, err = self._run_script("""if True:
            from tests.api.contract_script import nap_and_return, tell
            if __name__ == "__main__":
                t = Executor(max_workers=3)
                t.submit(nap_and_return, 1.0, "apple").add_done_callback(tell)
                t.shutdown(wait=False)
            """)
        assert not err
        assert out.strip() == b"apple"

    def _run_script(self, script: str, first: str = "") -> tuple[bytes, bytes]:
        """Run what comes before our class is imported, and what comes after it."""
        ours = self.executor_type
        class_ = f"from {ours.__module__} import {ours.__name__} as Executor\n"
        # Not isolated: the script needs our packages, and the endpoint's address.
        done: Any = script_helper.assert_python_ok(
            "-c", first.rstrip(" ") + class_ + script, __isolated=False
        )
        return done.out, done.err
