"""Promise: whoever waits for the runtime is told, whatever becomes of it.

Real workers; faults where the world would have them.
"""

import contextlib
import math
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.embedded.runtime import Embedded
from actors.messages import TaskOptions
from actors.payload import dump_function
from actors.refs import ObjectRef
from actors.task_errors import RuntimeClosedError, WorkerCrashed
from tests.support import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def runtime() -> Iterator[Embedded]:
    runtime = Embedded(1, {}, 4)
    yield runtime
    runtime.close()


def call(
    runtime: Embedded,
    function: Callable[..., Any],
    *args: Any,
    options: TaskOptions = TaskOptions(),
) -> ObjectRef[Any]:
    spec = runtime.prepare(dump_function(function), options, "f")
    ref: ObjectRef[Any] = runtime.submit(spec, function, args, {})
    return ref


def test_a_wake_that_comes_while_we_look_again_and_again_ends_the_round(
    runtime: Embedded,
) -> None:
    """It was heard there, and we slept all the same."""
    assert runtime.get([call(runtime, abs, -1)], None) == [1]
    with runtime._helm._lock:
        runtime._look_at = math.inf
        runtime._is_brisk = True
        runtime.wake()
        runtime.round(math.inf)
        runtime._look_at = 0.0


def test_a_bug_in_a_round_ends_every_wait(
    runtime: Embedded, caplog: pytest.LogCaptureFixture
) -> None:
    ref = call(runtime, time.sleep, 1000)
    runtime.command(lambda: 1 / 0)
    with pytest.raises(RuntimeClosedError, match="broke: ZeroDivisionError: division"):
        runtime.get([ref], None)
    with pytest.raises(RuntimeClosedError):
        runtime.get([call(runtime, abs, -1)], None)
    assert "this is a bug of it" in caplog.text


def test_close_ends_waits_in_every_thread(runtime: Embedded) -> None:
    refs = [call(runtime, time.sleep, 1000) for _ in range(3)]
    errors: list[BaseException] = []

    def wait(ref: ObjectRef[Any]) -> None:
        try:
            runtime.get([ref], None)
        except RuntimeClosedError as error:
            errors.append(error)

    threads = [threading.Thread(target=wait, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    runtime.close("enough")
    for thread in threads:
        thread.join()
    assert [str(error) for error in errors] == ["enough"] * 3
    with pytest.raises(RuntimeClosedError):
        call(runtime, abs, -1)
    runtime.close()


def test_leaving_ends_the_workers_after_the_last_task() -> None:
    runtime = Embedded(1, {}, 4)
    refs = [call(runtime, abs, -i) for i in range(100)]
    runtime.leave()
    runtime.join()
    assert runtime.get(refs, None) == list(range(100))


def test_a_worker_that_cannot_be_started_is_tried_again(runtime: Embedded) -> None:
    assert runtime.get([call(runtime, abs, -1)], None) == [1]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        crash = call(runtime, os._exit, 3, options=TaskOptions(retries=0))
        with pytest.raises(WorkerCrashed):
            runtime.get([crash], None)
        eventually(lambda: runtime._hub.crew._failed_starts)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)
    assert runtime.get([call(runtime, abs, -1)], None) == [1]


def test_values_of_dead_refs_do_not_gather(runtime: Embedded) -> None:
    # They are the process's: other tests may have left some.
    numbered = runtime._hub.parcels.numbered
    before = set(numbered)
    for _ in range(3):
        runtime.get([call(runtime, abs, -i) for i in range(100)], None)
    eventually(lambda: not runtime._hub.unended)
    eventually(lambda: set(numbered) <= before)
