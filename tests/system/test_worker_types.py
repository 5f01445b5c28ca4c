"""A task that asks for an environment runs in it, or fails with the reason why not."""

import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import actors
from actors.task_errors import WorkerTypeError
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = pytest.mark.slow

# Runs what `python -c` would, and says that it is an old Python.
_OLD_PYTHON = """\
#!/bin/sh
exec {python} -c '
import sys
sys.version_info = (3, 1)
code, sys.argv[:] = sys.argv[2], ["-c", sys.argv[3]]
exec(code)
' "$@"
"""


def _make_venv(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60
    )


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    """Run an endpoint of two workers with types, good and bad ones."""
    with tempfile.TemporaryDirectory(prefix="a-", dir="/tmp") as name:
        folder = Path(name)
        _make_venv(folder / "venv")
        (folder / "modules").mkdir()
        (folder / "modules/only_in_venv.py").write_text("HERE = 'yes'\n")
        (folder / "old/bin").mkdir(parents=True)
        old = folder / "old/bin/python"
        old.write_text(_OLD_PYTHON.format(python=sys.executable))
        old.chmod(0o755)
        (folder / "empty").mkdir()
        types = {
            "sim": {
                "venv": str(folder / "venv"),
                "path": [str(folder / "modules")],
                "environment": {"TYPE": "sim"},
            },
            "other": {"environment": {"TYPE": "other"}},
            "gone": {"venv": str(folder / "gone")},
            "empty": {"venv": str(folder / "empty")},
            "old": {"venv": str(folder / "old")},
            "image": {"image": "i", "container_command": "false {image}"},
            "asleep": {
                "image": "i",
                "container_command": "sh -c 'sleep 600; true' {image}",
                "start_timeout": 0.5,
            },
        }
        with RunningEndpoint(worker_types=types) as endpoint:
            yield endpoint


def _whereabouts() -> tuple[str, str]:
    return sys.prefix, os.environ.get("TYPE", "")


def test_a_virtual_environments_own_python_runs_its_tasks(
    running: RunningEndpoint,
) -> None:
    venv = running.config.worker_types["sim"].venv
    with running.executor(worker_type="sim") as sim, running.executor() as plain:
        assert sim.submit(_whereabouts).result(30) == (venv, "sim")
        assert plain.submit(_whereabouts).result(30) == (sys.prefix, "")


def test_its_tasks_import_from_its_path_and_plain_ones_do_not(
    running: RunningEndpoint,
) -> None:
    def look() -> str:
        return str(importlib.import_module("only_in_venv").HERE)

    with running.executor(worker_type="sim") as sim, running.executor() as plain:
        assert sim.submit(look).result(30) == "yes"
        with pytest.raises(ModuleNotFoundError, match="only_in_venv"):
            plain.submit(look).result(30)


def test_many_tasks_of_all_types_share_the_workers(running: RunningEndpoint) -> None:
    def type_of(_: int) -> str:
        return os.environ.get("TYPE", "")

    with (
        running.executor() as plain,
        running.executor(worker_type="sim") as sim,
        running.executor(worker_type="other") as other,
    ):
        results = {
            name: executor.map(type_of, range(50))
            for name, executor in (("", plain), ("sim", sim), ("other", other))
        }
        for name, values in results.items():
            assert set(values) == {name}


def test_remote_functions_choose_a_type_and_may_call_others_from_there(
    running: RunningEndpoint,
) -> None:
    @actors.remote
    def leaf() -> tuple[str, str]:
        return _whereabouts()

    @actors.remote(worker_type="other")
    def root() -> list[tuple[str, str]]:
        return [_whereabouts(), actors.get(leaf.remote())]

    actors.init(str(running.folder))
    try:
        assert actors.get(root.remote(), timeout=60) == [
            (sys.prefix, "other"),
            (sys.prefix, ""),
        ]
    finally:
        actors.shutdown()


def test_what_cannot_be_started_fails_its_tasks_with_type_and_reason(
    running: RunningEndpoint,
) -> None:
    reasons = {
        "gone": "there is no folder /tmp/a-.*/gone",
        "empty": "has no bin/python that can be run",
        "old": "its Python is 3.1 .* and this endpoint's is 3.",
        "image": "The fork server ended with 1",
        "asleep": "not started within its start_timeout of 0.5 s",
        "nowhere": "'nowhere' is unknown to this endpoint, which has asleep, empty",
    }
    with ExitStack() as stack:
        # At a time: a manager looks for workers of another type every ten seconds.
        futures = {
            name: stack.enter_context(running.executor(worker_type=name)).submit(
                _whereabouts
            )
            for name in reasons
        }
        plain = stack.enter_context(running.executor()).submit(_whereabouts)
        for name, reason in reasons.items():
            with pytest.raises(WorkerTypeError, match=reason) as caught:
                futures[name].result(90)
            assert repr(name) in caught.value.message
        assert plain.result(60) == (sys.prefix, "")


def test_a_task_outlives_its_environments_fork_server(running: RunningEndpoint) -> None:
    def first_kills(marker: str) -> str:
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()
        return os.environ.get("TYPE", "")

    with running.executor(worker_type="sim") as sim:
        marker = running.folder / "killed"
        assert sim.submit(first_kills, str(marker)).result(30) == "sim"
        assert marker.exists()


def test_nothing_is_left_of_an_environment_that_never_came_up(
    running: RunningEndpoint,
) -> None:
    eventually(
        lambda: not any("sleep" in " ".join(p.cmdline()) for p in running.processes()),
        what="the end of what starts containers",
    )
