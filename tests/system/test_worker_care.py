"""Each setting of [workers] does with real processes what endpoint.toml says of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from actors.messages import BlockChanged, BlockState, MemberLeft
from actors.task_errors import OutOfMemoryError, WorkDirLimitError
from tests.endpoints import RunningEndpoint
from tests.little_memory import eat, group
from tests.support import eventually
from tests.system.support import Listener

__all__ = ["group"]  # a fixture

pytestmark = pytest.mark.slow

_MIB = 2**20
_LIMIT_BYTES = 250 * _MIB
_WORK_DIR_LIMIT_BYTES = 100_000
_TAG = "fleeting"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEndpoint]:
    """Run an endpoint whose workers are limited in all they take."""
    root = tmp_path_factory.mktemp("work")
    with RunningEndpoint(
        workers={
            "memory_limit_bytes": _LIMIT_BYTES,
            "max_tasks_per_worker": 20,
            "cpu_affinity": "block",
            "accelerators": ["GPU-a", "GPU-b"],
            "work_dirs": "task",
            "work_root": str(root),
            "work_dir_limit_bytes": _WORK_DIR_LIMIT_BYTES,
            "tag": "of-all",
            "init": "export ACTORS_TAG=of-this-node",
        }
    ) as running:
        yield running
    assert not list(root.iterdir()), "work folders were left"


@pytest.fixture(scope="module")
def fleeting() -> Iterator[RunningEndpoint]:
    """Run an endpoint whose managers end by themselves."""
    with RunningEndpoint(
        workers={
            "idle_timeout": 1.0,
            "exit_on_exception": True,
            "max_tasks": 5,
            "termination_grace": 20.0,
            "max_worker_growth_bytes": 60 * _MIB,
            "tag": _TAG,
            "tag_exclusive": True,
        },
        strategy={"period": 0.1},
        blocks={"init_blocks": 0},
    ) as running:
        yield running


def _pid(_: object = None) -> int:
    return os.getpid()


def _manager() -> int:
    """Return the pid of this worker's manager, above its fork server."""
    status = Path(f"/proc/{os.getppid()}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


# What workers take


def test_a_task_that_takes_too_much_memory_is_told_peak_and_limit(
    limited: RunningEndpoint,
) -> None:
    def swell() -> None:
        hoard = []
        while True:
            hoard.append(bytearray(10 * _MIB))
            time.sleep(0.02)

    with limited.executor() as executor:
        with pytest.raises(OutOfMemoryError, match="MiB of memory at its peak") as told:
            executor.submit(swell).result(60)
        assert f"memory_limit_bytes is {_LIMIT_BYTES} (250 MiB)" in told.value.message
        # It was no accident: it is not tried again; and there is another worker.
        assert executor.submit(_pid).result(30)


def test_what_the_kernel_kills_for_want_of_memory_is_told(
    limited: RunningEndpoint,
    group: str,
) -> None:
    with limited.executor(retries=0) as executor:
        with pytest.raises(OutOfMemoryError, match="peak memory [0-9]+ MiB") as told:
            executor.submit(eat, group).result(60)
        assert "the kernel killed a process because memory ran out" in str(told.value)


def test_what_a_task_starts_counts_as_its_memory(limited: RunningEndpoint) -> None:
    def start() -> None:
        code = f"import time; x = bytearray({300 * _MIB}); time.sleep(60)"
        subprocess.run([sys.executable, "-c", code], check=True)

    with (
        limited.executor() as executor,
        pytest.raises(OutOfMemoryError, match="memory_limit_bytes"),
    ):
        executor.submit(start).result(60)


def test_a_worker_runs_so_many_tasks_and_none_is_lost(limited: RunningEndpoint) -> None:
    with limited.executor() as executor:
        pids = list(executor.map(_pid, range(200)))
    assert max(map(pids.count, pids)) <= 20
    assert len(set(pids)) >= 10


def test_workers_have_cores_of_their_own(limited: RunningEndpoint) -> None:
    limited.await_workers(2)
    cores = len(os.sched_getaffinity(0))

    def look(_: int) -> tuple[int, ...]:
        time.sleep(0.02)
        return tuple(sorted(os.sched_getaffinity(0)))

    with limited.executor() as executor:
        seen = set(executor.map(look, range(40)))
    if cores == 1:
        assert len(seen) == 1
    else:
        first, second = seen
        assert not set(first) & set(second)
        assert len(first) == len(second) == cores // 2


def test_each_worker_sees_an_accelerator_of_its_own(limited: RunningEndpoint) -> None:
    def look(_: int) -> tuple[str, str]:
        time.sleep(0.02)
        return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["ZE_AFFINITY_MASK"]

    with limited.executor() as executor:
        seen = set(executor.map(look, range(40)))
    assert seen == {("GPU-a", "GPU-a"), ("GPU-b", "GPU-b")}


def test_each_task_has_an_empty_folder_that_goes_with_it(
    limited: RunningEndpoint,
) -> None:
    def write() -> tuple[str, list[str]]:
        found = os.listdir()
        Path("file").write_text("x")
        return os.getcwd(), found

    with limited.executor() as executor:
        for _ in range(3):
            folder, found = executor.submit(write).result(30)
            assert found == []
            assert folder.startswith(limited.config.workers.work_root)
            assert not Path(folder).exists()


def test_a_task_that_has_written_too_much_fails_with_both_numbers(
    limited: RunningEndpoint,
) -> None:
    def write(size: int) -> int:
        Path("folder").mkdir()
        return Path("folder/file").write_bytes(b"x" * size)

    with limited.executor() as executor:
        limit = _WORK_DIR_LIMIT_BYTES
        assert executor.submit(write, limit).result(30) == limit
        with pytest.raises(WorkDirLimitError, match=f"held {limit + 1} bytes") as told:
            executor.submit(write, limit + 1).result(30)
        assert f"work_dir_limit_bytes is {limit};" in told.value.message


def test_a_task_that_goes_on_writing_is_ended(limited: RunningEndpoint) -> None:
    def write() -> None:
        with Path("file").open("wb") as file:
            while True:
                file.write(b"x" * 10_000)
                file.flush()
                time.sleep(0.01)

    with limited.executor() as executor:
        with pytest.raises(WorkDirLimitError, match="work_dir_limit_bytes is 100000"):
            executor.submit(write).result(30)
        assert executor.submit(_pid).result(30)


def test_what_a_killed_worker_leaves_in_its_folder_goes(
    limited: RunningEndpoint,
) -> None:
    def die(path: str) -> None:
        Path("file").write_text("x")
        Path(path).write_text(os.getcwd())
        os.kill(os.getpid(), signal.SIGKILL)

    with limited.executor(retries=0) as executor:
        told = limited.folder / "told"
        assert executor.submit(die, str(told)).exception(30) is not None
    folder = Path(told.read_text())
    eventually(lambda: not folder.exists(), what="the folder to be removed")


# Tags


def test_a_node_may_have_a_tag_of_its_own(limited: RunningEndpoint) -> None:
    with limited.executor(tag="of-all") as other, limited.executor() as plain:
        waiting = other.submit(_pid)
        with limited.executor(tag="of-this-node") as executor:
            assert executor.submit(_pid).result(30)
        assert plain.submit(_pid).result(30)
        assert not waiting.done()
        assert waiting.cancel()


def test_who_is_exclusive_takes_tasks_with_its_tag_only(
    fleeting: RunningEndpoint,
) -> None:
    with fleeting.executor() as plain, fleeting.executor(tag=_TAG) as executor:
        waiting = plain.submit(_pid)
        assert executor.submit(_pid).result(30)
        assert not waiting.done()
        assert waiting.cancel()


# When managers end


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _expect_a_good_end(running: RunningEndpoint, listener: Listener, pid: int) -> None:
    """Expect a manager to end, its block with exit code 0, and nothing to be lost."""
    eventually(lambda: _gone(pid), 30, f"the end of the manager\n{running.tail()}")

    def states() -> set[BlockState]:
        heard = listener.heard()
        return {event.state for event in heard if isinstance(event, BlockChanged)}

    eventually(lambda: BlockState.COMPLETED in states(), 30, "the end of the block")
    assert not states() & {BlockState.FAILED, BlockState.MISSING}
    left = [e for e in listener.heard() if isinstance(e, MemberLeft)]
    assert not any(e.is_lost for e in left if e.kind == "manager"), left


def test_an_idle_manager_ends_and_comes_back_with_work(
    fleeting: RunningEndpoint,
) -> None:
    with Listener(fleeting) as listener, fleeting.executor(tag=_TAG) as executor:
        first = executor.submit(_manager).result(30)
        _expect_a_good_end(fleeting, listener, first)
        assert executor.submit(_manager).result(30) != first


def test_a_manager_ends_after_a_task_that_raised(fleeting: RunningEndpoint) -> None:
    with Listener(fleeting) as listener, fleeting.executor(tag=_TAG) as executor:
        manager = executor.submit(_manager).result(30)
        assert isinstance(executor.submit(int, "x").exception(30), ValueError)
        _expect_a_good_end(fleeting, listener, manager)


def test_a_manager_runs_so_many_tasks_and_none_is_lost(
    fleeting: RunningEndpoint,
) -> None:
    with fleeting.executor(tag=_TAG) as executor:
        futures = [executor.submit(_manager) for _ in range(12)]
        managers = [future.result(60) for future in futures]
    assert max(map(managers.count, managers)) <= 5


def test_a_task_may_end_in_order_when_its_manager_is_asked_to(
    fleeting: RunningEndpoint,
) -> None:
    def work(log: str) -> str:
        with Path(log).open("a") as file:
            file.write(f"begun {_manager()}\n")
        if Path(log).read_text().count("begun") > 1:
            return "ran again"
        try:
            time.sleep(60)
        finally:
            with Path(log).open("a") as file:
                file.write("tidied up\n")
        return "slept"

    log = fleeting.folder / "log"
    with fleeting.executor(tag=_TAG) as executor:
        future = executor.submit(work, str(log))
        eventually(lambda: log.exists() and log.read_text().endswith("\n"), 30)
        os.kill(int(log.read_text().split()[1]), signal.SIGTERM)
        assert future.result(60) == "ran again"
    assert "tidied up" in log.read_text()


def test_a_worker_that_has_grown_is_replaced(fleeting: RunningEndpoint) -> None:
    def grow(path: str) -> int:
        sys.modules["hoard"] = bytearray(100 * _MIB)  # type: ignore[assignment]
        # Until it has been measured, and its successor is there.
        while not Path(path).exists():
            time.sleep(0.01)
        return os.getpid()

    done = fleeting.folder / "done"
    with fleeting.executor(tag=_TAG) as executor:
        grown = executor.submit(grow, str(done))
        eventually(lambda: len(fleeting.pids("worker")) >= 3, 30, "a successor")
        done.touch()
        pid = grown.result(30)
        eventually(lambda: pid not in fleeting.pids("worker"), 30, "its end")
