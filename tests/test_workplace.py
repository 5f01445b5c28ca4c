"""A task runs in its folder, is told when it wrote too much, and leaves nothing."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from actors.messages import FailureKind, Ran, Run
from actors.payload import dump_call, load_result
from actors.perform import SimplePerformer
from actors.process import ProcessIdentity
from actors.workplace import (
    Workplace,
    WorkplaceSettings,
    find_workplace,
    make_work_root,
)

WorkAt = Callable[[WorkplaceSettings], Workplace]


@pytest.fixture
def work_at() -> Iterator[WorkAt]:
    """Make workplaces that are closed after the test."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(closing(Workplace(settings)))


@pytest.fixture(autouse=True)
def same_place() -> Iterator[None]:
    """Fail a test that leaves this process elsewhere, or with another handler."""
    home, handler = os.getcwd(), signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    assert os.getcwd() == home


def run(workplace: Workplace, function: Callable[..., Any], *args: Any) -> Ran:
    ran = workplace.perform(Run(1, *dump_call(function, args, {})))
    assert isinstance(ran, Ran)
    return ran


def value(ran: Ran) -> Any:
    assert ran.is_success, ran.failure
    return load_result(ran.payload)


def write(name: str, size: int) -> list[str]:
    found = sorted(os.listdir())
    Path(name).write_bytes(b"x" * size)
    return found


def test_a_tasks_folder_is_empty_at_first_and_goes_with_it(
    work_at: WorkAt, tmp_path: Path
) -> None:
    folder = tmp_path / "w1"
    workplace = work_at(WorkplaceSettings("task", str(folder)))
    for _ in range(2):
        assert value(run(workplace, write, "file", 10)) == []
        assert not folder.exists()


def test_a_workers_folder_stays_until_it_holds_too_much(
    work_at: WorkAt, tmp_path: Path
) -> None:
    folder = tmp_path / "w1"
    workplace = work_at(WorkplaceSettings("worker", str(folder), 100))
    assert value(run(workplace, write, "a", 60)) == []
    assert value(run(workplace, write, "b", 40)) == ["a"]
    ran = run(workplace, write, "c", 1)
    assert ran.failure is not None
    assert ran.failure.kind is FailureKind.WORK_DIR_LIMIT
    assert "held 101 bytes" in ran.failure.message
    # The next one need not suffer for it.
    assert value(run(workplace, write, "d", 1)) == []


def test_what_lies_in_folders_counts_and_links_do_not(
    work_at: WorkAt, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 1000)

    def fill() -> None:
        Path("folder").mkdir()
        write("folder/file", 50)
        Path("folder/link").symlink_to(large)

    limit = 50 + len(str(large))
    workplace = work_at(WorkplaceSettings("task", str(tmp_path / "w1"), limit))
    assert run(workplace, fill).is_success
    smaller = work_at(WorkplaceSettings("task", str(tmp_path / "w2"), limit - 1))
    assert not run(smaller, fill).is_success
    assert large.exists()


def test_a_task_that_fails_is_told_its_own_failure(
    work_at: WorkAt, tmp_path: Path
) -> None:
    workplace = work_at(WorkplaceSettings("task", str(tmp_path / "w1"), 100))
    ran = run(workplace, int, "x")
    assert ran.failure is not None
    assert ran.failure.kind is FailureKind.EXCEPTION


def test_who_is_asked_to_end_ends_the_task_and_nothing_else(work_at: WorkAt) -> None:
    workplace = work_at(WorkplaceSettings(hears_sigterm=True))

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    ran = run(workplace, kill)
    assert ran.failure is not None
    assert "SystemExit" in ran.failure.message
    # Between tasks it is no reason to end: the owner knows when.
    kill()
    assert value(run(workplace, abs, -1)) == 1


def test_a_worker_is_told_of_its_place_and_its_tasks_are_not(tmp_path: Path) -> None:
    told = WorkplaceSettings("task", str(tmp_path / "w1"), 7).variables()
    environment = {"A": "b", **told}
    workplace = find_workplace(environment, SimplePerformer())
    assert workplace is not None
    workplace.close()
    assert environment == {"A": "b"}
    assert find_workplace(environment, SimplePerformer()) is None


def test_what_the_dead_have_left_goes_and_the_livings_stays(tmp_path: Path) -> None:
    me = ProcessIdentity.of(os.getpid())
    dead = tmp_path / f"actors-work-{me.pid}-{me.started_at + 1}"
    parent = ProcessIdentity.of(os.getppid())
    living = tmp_path / f"actors-work-{parent.pid}-{parent.started_at}"
    others = tmp_path / "actors-work-of-somebody"
    for folder in (dead, living, others):
        folder.mkdir()
    root = make_work_root(tmp_path)
    assert set(tmp_path.iterdir()) == {root, living, others}
    assert root.stat().st_mode & 0o777 == 0o700
