"""A manager's host that is cut off and comes back delivers what it finished, once.

Over `wss`, between network namespaces: packets vanish, nobody hangs up. The script that
makes the hosts is found through `ACTORS_TEST_CLUSTERS` and needs root; hosts share this
machine's files, so a test sees what tasks note while their host is cut off.
"""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.api.executor import EndpointExecutor
from actors.certificates import make_certificates
from tests.endpoints import RunningEndpoint
from tests.providers.clusters import SCRIPTS, needs_for_all
from tests.support import eventually, free_port
from tests.system import tasks
from tests.system.support import lines, picture

needs_for_all(SCRIPTS)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]

HOST = "cuth1"
WORKERS = 2
# Short against a cut, long against a busy machine.
THRESHOLD = 4.0
# A link that was cut is used again up to so many seconds after it was healed: TCP
# doubles its pauses.
WITHIN = 60.0


def netns(*words: str) -> str:
    """Run the script for a set of hosts of this test's own; return what it printed."""
    done = subprocess.run(
        [Path(os.environ[SCRIPTS]) / "netns", *words],
        env={**os.environ, "NETNS_PREFIX": "cut"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[RunningEndpoint]:
    """Run the endpoint on this side and its one block on the other host."""
    netns("up", "1")
    try:
        # This machine's address on the bridge that the hosts are on.
        address = netns("ip", HOST).rpartition(".")[0] + ".1"
        listen = f"wss://0.0.0.0:{free_port()}"
        running = RunningEndpoint(
            transport={"listen": listen, "advertise": address},
            blocks={
                "launch_command": f"exec {netns('prefix', HOST)} {{python}} -m "
                "actors.endpoint.launch manager {endpoint_dir} "
                "--block {{block_id}} --node {{node}}",
                "environment": {"PYTHONPATH": str(Path(__file__).parents[2])},
            },
            workers={"workers_per_node": WORKERS},
            heartbeat={"period": 0.5, "threshold": THRESHOLD, "reconnect_grace": 1.0},
            strategy={"kind": "none"},
        )
        make_certificates(running.paths.credentials, [address])
        with running:
            running.await_workers(WORKERS)
            yield running
    finally:
        netns("down")


@contextmanager
def cut_off(way: list[str]) -> Iterator[None]:
    netns("cut", HOST, *way)
    try:
        yield
    finally:
        netns("heal", HOST)


class Work:
    """Tasks that began before a cut, end during it, and some that wait behind them."""

    def __init__(self, executor: EndpointExecutor, folder: Path) -> None:
        self.begun, self.ended = folder / "begun", folder / "ended"
        self.gate = folder / "gate"
        self.running = [
            executor.submit(begin_and_end, str(folder), number)
            for number in range(WORKERS)
        ]
        eventually(
            lambda: len(lines(self.begun)) == WORKERS, WITHIN, "the tasks to begin"
        )
        self.waiting = [
            executor.submit(tasks.noted, str(folder / "later"), number)
            for number in range(20)
        ]
        self.later = folder / "later"

    def end(self) -> None:
        """Let those that run end, and see that they do."""
        self.gate.touch()
        eventually(
            lambda: len(lines(self.ended)) == WORKERS, WITHIN, "the tasks to end"
        )

    def expect_all(self) -> None:
        """Expect each result, and that nothing that had finished began again."""
        results = [future.result(WITHIN) for future in self.running]
        assert results == list(range(WORKERS))
        assert [future.result(WITHIN) for future in self.waiting] == list(range(20))
        assert Counter(lines(self.begun)) == Counter(map(str, range(WORKERS)))


def begin_and_end(folder: str, number: int) -> int:
    tasks.note(f"{folder}/begun", number)
    tasks.wait_for(f"{folder}/gate", number)
    tasks.note(f"{folder}/ended", number)
    return number


@pytest.fixture
def work(endpoint: RunningEndpoint) -> Iterator[Work]:
    folder = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
    try:
        with endpoint.executor(retries=1) as executor:
            yield Work(executor, folder)
    finally:
        shutil.rmtree(folder)


def managers(endpoint: RunningEndpoint) -> list[str]:
    return [manager.manager_id for manager in picture(endpoint).managers]


# Both ways, or only what the host says is lost: then it hears us and we don't hear it.
WAYS = pytest.mark.parametrize(
    "way", [["root"], ["root", "--one-way"]], ids=["both", "one"]
)


@WAYS
def test_a_short_cut_costs_nothing(
    endpoint: RunningEndpoint, work: Work, way: list[str]
) -> None:
    before = managers(endpoint)
    pids = endpoint.pids("worker")
    with cut_off(way):
        work.end()
    work.expect_all()
    assert managers(endpoint) == before
    assert endpoint.pids("worker") == pids
    assert Counter(lines(work.later)) == Counter(map(str, range(20)))


@WAYS
def test_who_was_held_for_lost_comes_back_with_what_it_finished(
    endpoint: RunningEndpoint, work: Work, way: list[str]
) -> None:
    pids = endpoint.pids("worker")
    with cut_off(way):
        work.end()
        eventually(
            lambda: not managers(endpoint),
            WITHIN,
            lambda: f"the manager to be held for lost\n{endpoint.tail()}",
        )
        assert [future for future in work.running if future.done()] == []
    work.expect_all()
    assert endpoint.pids("worker") == pids, "the workers went on"
    eventually(lambda: len(managers(endpoint)) == 1, WITHIN, "the manager")
