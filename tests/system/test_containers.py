"""A task that asks for an image runs in a container of it, by a real podman."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
from actors.config.container_command import ENGINES
from actors.task_errors import WorkerCrashed, WorkerTypeError
from tests.endpoints import RunningEndpoint
from tests.providers.clusters import CONTAINERS, needs_for_all
from tests.support import eventually

pytestmark = pytest.mark.slow

needs_for_all(CONTAINERS)

_FOLDER = Path(os.environ[CONTAINERS])
_REPOSITORY = Path(__file__).parents[2]
# An empty root whose programs are this machine's, once they are mounted.
_IMAGE = "localhost/hostroot:1"


def _command() -> str:
    """Give podman's usual command, with what an empty image needs to run Python."""
    seen = {_REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}
    seen = {path for path in seen if not path.is_relative_to("/usr")}
    mounts = [f"--volume {shlex.quote(f'{path}:{path}:ro')}" for path in sorted(seen)]
    first, last = ENGINES["podman"].split(" run ")
    return f"{first} run {' '.join(mounts)} --volume /usr:/usr:ro {last}"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    """Run an endpoint of two workers whose managers use the tests' own engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(_FOLDER / "containers.conf"))
        patch.setenv("CONTAINERS_STORAGE_CONF", str(_FOLDER / "storage.conf"))
        types = {
            "sim": {
                "image": _IMAGE,
                "container_command": _command(),
                "python": sys.executable,
                "path": [str(_REPOSITORY)],
                "environment": {"TYPE": "sim"},
            },
            "nowhere": {"image": "localhost/no-such-image:1"},
            "bare": {"image": _IMAGE},
        }
        with RunningEndpoint(worker_types=types) as endpoint:
            yield endpoint
            containers = _containers(endpoint)
        eventually(lambda: not _containers(endpoint), 20, f"the end of {containers}")


def _containers(endpoint: RunningEndpoint) -> list[str]:
    listed = subprocess.run(
        ["podman", "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Mounts}}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return [line for line in listed if str(endpoint.folder) in line]


def _whereabouts() -> tuple[str, int, str]:
    root = "container" if Path("/run/.containerenv").exists() else "host"
    return root, os.getpid(), os.environ.get("TYPE", "")


def test_tasks_run_in_a_container_with_processes_of_its_own(
    running: RunningEndpoint,
) -> None:
    with running.executor(worker_type="sim") as sim, running.executor() as plain:
        root, pid, of_type = sim.submit(_whereabouts).result(60)
        assert (root, of_type) == ("container", "sim")
        assert plain.submit(_whereabouts).result(30)[0] == "host"
        # The manager knows its worker by a pid of the host's.
        assert pid not in running.pids("worker")
        assert len(_containers(running)) == 1


def test_a_second_worker_of_the_type_needs_no_second_container(
    running: RunningEndpoint,
) -> None:
    with running.executor(worker_type="sim") as sim:
        assert set(sim.map(abs, range(-200, 0))) == set(range(1, 201))
    assert len(_containers(running)) == 1


def test_what_a_task_calls_from_there_runs_on_the_endpoint(
    running: RunningEndpoint,
) -> None:
    @actors.remote
    def leaf() -> str:
        return _whereabouts()[0]

    @actors.remote(worker_type="sim")
    def root() -> list[str]:
        return [_whereabouts()[0], actors.get(leaf.remote())]

    actors.init(str(running.folder))
    try:
        assert actors.get(root.remote(), timeout=60) == ["container", "host"]
    finally:
        actors.shutdown()


def test_a_worker_that_dies_in_there_is_told_as_everywhere(
    running: RunningEndpoint,
) -> None:
    def die() -> None:
        print("last words", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGKILL)

    with running.executor(worker_type="sim", retries=0) as sim:
        with pytest.raises(WorkerCrashed, match="SIGKILL") as caught:
            sim.submit(die).result(60)
        assert "last words" in caught.value.detail
        assert sim.submit(_whereabouts).result(60)[0] == "container"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere", "no-such-image"), ("bare", "python3|exec|not found")],
)
def test_an_image_that_cannot_be_had_or_run_fails_its_tasks(
    running: RunningEndpoint, name: str, reason: str
) -> None:
    with running.executor(worker_type=name) as executor:
        with pytest.raises(WorkerTypeError, match=reason) as caught:
            executor.submit(_whereabouts).result(60)
        assert repr(name) in caught.value.message
