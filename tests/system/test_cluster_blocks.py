"""An endpoint grows onto somebody else's cluster, from nothing and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.messages import BlockState
from tests.endpoints import RunningEndpoint
from tests.providers.clusters import DASK, RAY, needs
from tests.providers.dask_cluster import own_dask
from tests.providers.ray_cluster import own_ray
from tests.support import eventually
from tests.system import tasks
from tests.system.support import picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# A worker has to be found, a manager to be started and connected.
WITHIN = 90.0


@pytest.fixture(
    params=[
        pytest.param("dask", marks=needs(DASK)),
        pytest.param("ray", marks=needs(RAY)),
    ]
)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Run a cluster; give the options that name it."""
    if request.param == "dask":
        with own_dask(tmp_path) as dask:
            options = {"address": dask.address, "resources": {"BLOCK": 1}}
            yield {"provider": "dask", "options": options}
    else:
        with own_ray(tmp_path) as ray:
            yield {"provider": "ray", "options": {"address": ray.address}}


def is_shrunk(endpoint: RunningEndpoint) -> bool:
    states = [block.state for block in picture(endpoint).blocks]
    return len(states) == 2 and set(states) <= {
        BlockState.COMPLETED,
        BlockState.SCALED_IN,
    }


@pytest.fixture
def endpoint(cluster: dict[str, Any]) -> Iterator[RunningEndpoint]:
    with RunningEndpoint(
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
    ) as endpoint:
        yield endpoint


def test_an_endpoint_grows_onto_a_cluster_and_shrinks_to_nothing(
    endpoint: RunningEndpoint,
) -> None:
    with endpoint.executor() as executor:
        futures = [executor.submit(tasks.rest, 0.5) for _ in range(40)]
        eventually(
            lambda: len(picture(endpoint).managers) == 2,
            WITHIN,
            f"two managers\n{endpoint.tail()}",
        )
        assert len({future.result(WITHIN) for future in futures}) == 4
        eventually(
            lambda: is_shrunk(endpoint),
            WITHIN,
            f"no block to be left\n{endpoint.tail()}",
        )
        assert executor.submit(tasks.square, 3).result(WITHIN) == 9
