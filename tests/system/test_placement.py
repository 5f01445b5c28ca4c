"""Tasks run on blocks that live long enough, and are of the right type.

Real processes: the provider ends blocks at their walltime.
"""

from pathlib import Path

import pytest

import actors
from actors.messages import BlockState
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.support import manager_of, picture

pytestmark = pytest.mark.slow

ONE_EACH = {"workers_per_node": 1}


def time_left(endpoint: RunningEndpoint) -> float:
    """Give what is left of the first block, once its manager has told."""
    for block in picture(endpoint).blocks:
        if block.time_left is not None:
            return block.time_left
    return float("inf")


def test_a_task_that_is_too_long_for_a_block_gets_another_one() -> None:
    # The last tenth takes no tasks: a task may have 54 s.
    blocks = {"walltime": 60.0, "max_blocks": 2}
    with RunningEndpoint(blocks=blocks, workers=ONE_EACH) as endpoint:
        with endpoint.executor(walltime=54.1) as executor:
            error = executor.submit(tasks.square, 2).exception(30)
            assert isinstance(error, actors.TaskFailed)
            assert "walltime 54.1 s fits in no block" in str(error)
        with endpoint.executor() as executor:
            first = manager_of(executor.submit(tasks.rest, 0.0).result(30))
        eventually(lambda: time_left(endpoint) < 57, what="time to go by", within=20)
        with endpoint.executor(walltime=52.0) as executor:
            other = manager_of(executor.submit(tasks.rest, 0.0).result(30))
        assert other != first


def test_a_task_that_its_blocks_end_kills_is_started_on_another(
    tmp_path: Path,
) -> None:
    noted = tmp_path / "starts"
    blocks = {"walltime": 8.0, "max_blocks": 2}
    with (
        RunningEndpoint(blocks=blocks, workers=ONE_EACH) as endpoint,
        endpoint.executor() as executor,
    ):
        hung = executor.submit(tasks.hang_once, str(noted))
        assert hung.result(60) == "again"
        # The manager tells of the end before the batch system does.
        eventually(
            lambda: not BlockState(picture(endpoint).blocks[0].state).is_active,
            what="the first block to end",
        )


def test_a_block_has_workers_of_one_type_where_types_are_hard() -> None:
    with RunningEndpoint(
        worker_types={"sim": {}},
        placement={"scheduler_mode": "hard"},
        blocks={"init_blocks": 0, "max_blocks": 2},
        workers=ONE_EACH,
    ) as endpoint:
        with (
            endpoint.executor(worker_type="sim") as sim,
            endpoint.executor() as plain,
        ):
            futures = [sim.submit(tasks.rest, 0.0), plain.submit(tasks.rest, 0.0)]
            pids = [future.result(30) for future in futures]
            again = sim.submit(tasks.rest, 0.0).result(30)
        assert manager_of(pids[0]) != manager_of(pids[1])
        assert again == pids[0]
        types = {block.worker_type for block in picture(endpoint).blocks}
        assert types == {"sim", "plain"}
