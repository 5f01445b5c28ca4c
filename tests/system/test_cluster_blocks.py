"""An endpoint grows onto somebody else's cluster, from nothing and back."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.certificates import make_certificates
from actors.messages import BlockState
from tests.endpoints import RunningEndpoint
from tests.providers.aws_server import register_definition, talking_to_aws
from tests.providers.clusters import AWS_BATCH, DASK, KUBERNETES, RAY, needs
from tests.providers.dask_cluster import own_dask
from tests.providers.kubernetes_node import node_address, pod_options
from tests.providers.ray_cluster import own_ray
from tests.support import eventually, free_port
from tests.system import tasks
from tests.system.support import picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# A worker has to be found, a manager to be started and connected.
WITHIN = 90.0


@pytest.fixture(
    params=[
        pytest.param("dask", marks=needs(DASK)),
        pytest.param("ray", marks=needs(RAY)),
        pytest.param("aws_batch", marks=needs(AWS_BATCH)),
        pytest.param("kubernetes", marks=needs(KUBERNETES)),
    ]
)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Run a cluster; give the options that name it."""
    if request.param == "dask":
        with own_dask(tmp_path) as dask:
            options = {"address": dask.address, "resources": {"BLOCK": 1}}
            yield {"provider": "dask", "options": options}
    elif request.param == "aws_batch":
        with talking_to_aws():
            definition = register_definition(seen_in_containers())
            options = {"job_queue": "queue", "job_definition": definition}
            yield {
                "provider": "aws_batch",
                "options": {**options, "patience": 2},
                # Containers have a network of their own.
                "address": own_address(),
            }
    elif request.param == "kubernetes":
        yield {
            "provider": "kubernetes",
            "options": pod_options(tmp_path, seen_in_containers()),
            "address": node_address(),
        }
    else:
        with own_ray(tmp_path) as ray:
            yield {"provider": "ray", "options": {"address": ray.address}}


def is_shrunk(endpoint: RunningEndpoint) -> bool:
    states = [block.state for block in picture(endpoint).blocks]
    return len(states) == 2 and set(states) <= {
        BlockState.COMPLETED,
        BlockState.SCALED_IN,
    }


def seen_in_containers() -> list[Path]:
    """List what this process runs on, and where endpoints have their folders."""
    homes = {Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]}
    return [Path("/tmp"), *sorted(p for p in homes if Path("/tmp") not in p.parents)]


def own_address() -> str:
    """Return an address of this machine that is not only its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: of documentation's networks, nobody has any.
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])


@pytest.fixture
def endpoint(cluster: dict[str, Any]) -> Iterator[RunningEndpoint]:
    transport = {}
    if address := cluster.get("address"):
        listen = f"wss://0.0.0.0:{free_port()}"
        transport = {"listen": listen, "advertise": address}
    endpoint = RunningEndpoint(
        transport=transport,
        blocks={
            "provider": cluster["provider"],
            "init_blocks": 0,
            "min_blocks": 0,
            "max_blocks": 2,
            # A node has none of our variables.
            "environment": {"PYTHONPATH": str(Path(__file__).parents[2])},
        },
        provider_options={**cluster["options"], "poll_period": 0.5},
        strategy={"max_idletime": 1.0},
    )
    if address:
        make_certificates(endpoint.paths.credentials, [address])
    with endpoint:
        yield endpoint


def test_an_endpoint_grows_onto_a_cluster_and_shrinks_to_nothing(
    endpoint: RunningEndpoint,
) -> None:
    with endpoint.executor() as executor:
        futures = [executor.submit(tasks.rest, 0.5) for _ in range(40)]
        eventually(
            lambda: len(picture(endpoint).managers) == 2,
            WITHIN,
            lambda: f"two managers\n{endpoint.tail()}",
        )
        # Four, whose pids may be the same in two containers.
        assert len({future.result(WITHIN) for future in futures}) >= 2
        eventually(
            lambda: is_shrunk(endpoint),
            WITHIN,
            lambda: f"no block to be left\n{endpoint.tail()}",
        )
        assert executor.submit(tasks.square, 3).result(WITHIN) == 9
