"""An endpoint grows onto hosts by ssh and shrinks; a host may be cut off.

See `tests/providers/sshd_hosts.py` for where the hosts are. They share this
machine's files, and so its sockets: managers talk to the endpoint even while ssh does
not get through, which is what a provider must not take for an end.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from actors.api.executor import EndpointExecutor
from actors.messages import BlockState
from tests.endpoints import RunningEndpoint
from tests.providers.clusters import SCRIPTS, needs, run_script
from tests.providers.sshd_hosts import (
    FOLDER,
    LOOPBACK,
    SSHD,
    SSHD_DIED_IS_TOLD,
    all_hosts_are_up,
    quick_logins,
)
from tests.providers.sshd_hosts import HOSTS as ALL_HOSTS
from tests.support import eventually
from tests.system import tasks
from tests.system.support import lines, picture

HOSTS = [host for host in ALL_HOSTS if host != LOOPBACK]

__all__ = ["all_hosts_are_up", "quick_logins"]  # fixtures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings(SSHD_DIED_IS_TOLD),
    pytest.mark.skipif(len(HOSTS) < 2, reason=f"{SSHD} has not two netns hosts"),
]

# A block has to be started and connected; a host to be found dead.
WITHIN = 90.0


@pytest.fixture
def host_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def endpoint(host_folder: Path) -> Iterator[RunningEndpoint]:
    blocks: dict[str, Any] = {
        "provider": "ssh",
        "init_blocks": 0,
        "max_blocks": 2,
        # A node has none of our variables.
        "environment": {"PYTHONPATH": str(Path(__file__).parents[2])},
    }
    with RunningEndpoint(
        blocks=blocks,
        provider_options={
            "hosts": HOSTS[:2],
            "ssh_config": str(FOLDER / "ssh_config"),
            "host_folder": str(host_folder),
            "poll_period": 0.5,
            # A login takes a fraction of a second where nothing else is to be done.
            "connect_timeout": 4,
            "command_timeout": 8,
            "retry_period": 1,
            # Should this process be killed: nothing is left on the hosts for long. Yet
            # longer than logins may fail on a busy machine: nodes that could not be
            # asked about meanwhile would end, on all hosts.
            "abandon_after": 120,
        },
        strategy={"max_idletime": 2.0},
        heartbeat={"period": 0.5, "threshold": 3.0, "reconnect_grace": 1.0},
    ) as running:
        yield running


def states(endpoint: RunningEndpoint) -> list[str]:
    return [str(block.state) for block in picture(endpoint).blocks]


def test_an_endpoint_grows_onto_its_hosts_and_shrinks_to_nothing(
    endpoint: RunningEndpoint,
) -> None:
    with endpoint.executor() as executor:
        futures = [executor.submit(tasks.rest, 0.5) for _ in range(40)]
        eventually(
            lambda: len(picture(endpoint).managers) == 2,
            WITHIN,
            lambda: f"two managers\n{endpoint.tail()}",
        )
        assert len({future.result(WITHIN) for future in futures}) == 4
        ended = {BlockState.COMPLETED, BlockState.SCALED_IN}
        eventually(
            lambda: set(states(endpoint)) <= ended,
            WITHIN,
            lambda: f"no block to be left\n{endpoint.tail()}",
        )
        assert executor.submit(tasks.square, 3).result(WITHIN) == 9


def submit_notes(
    endpoint: RunningEndpoint, executor: EndpointExecutor, begun: Path
) -> Sequence[Future[int]]:
    """Submit tasks that note that they began; wait until both hosts run some."""
    futures = [
        executor.submit(tasks.noted, str(begun), number, 0.5) for number in range(60)
    ]
    eventually(
        lambda: len(picture(endpoint).managers) == 2 and len(lines(begun)) >= 10,
        WITHIN,
        lambda: f"tasks to run on both hosts\n{endpoint.tail()}",
    )
    return futures


@needs(SCRIPTS)
def test_a_block_on_a_host_that_is_cut_off_is_unknown_and_goes_on(
    endpoint: RunningEndpoint, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    with endpoint.executor() as executor:
        futures = submit_notes(endpoint, executor, begun)
        run_script("netns", "cut", HOSTS[0])
        try:
            eventually(
                lambda: sorted(states(endpoint)) == ["running", "unknown"],
                WITHIN,
                lambda: f"a block to be unknown\n{endpoint.tail()}",
            )
        finally:
            run_script("netns", "heal", HOSTS[0])
        assert [future.result(WITHIN) for future in futures] == list(range(60))
        assert len(picture(endpoint).blocks) == 2, "no other was asked for"
    assert sorted(map(int, lines(begun))) == list(range(60)), "each ran once"


@needs(SCRIPTS)
def test_a_crashed_host_loses_no_task_and_its_block_is_over_when_it_is_back(
    endpoint: RunningEndpoint, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    with endpoint.executor(retries=20) as executor:
        futures = submit_notes(endpoint, executor, begun)
        run_script("netns", "crash", HOSTS[0])
        try:
            eventually(
                lambda: len(picture(endpoint).managers) == 1,
                WITHIN,
                lambda: f"a manager to be missed\n{endpoint.tail()}",
            )
            # On the other host: nobody knows yet what has become of the block.
            results = [future.result(WITHIN) for future in futures]
        finally:
            run_script("sshd", "up", str(FOLDER), HOSTS[0])
        assert results == list(range(60))
        assert set(lines(begun)) == {str(number) for number in range(60)}
        # Whoever was faster: the host's word, or the strategy that found both idle.
        ended = {"failed", "completed", "scaled_in"}
        eventually(
            lambda: len(states(endpoint)) >= 2 and set(states(endpoint)) <= ended,
            WITHIN,
            lambda: f"the crashed block to be over\n{endpoint.tail()}",
        )
