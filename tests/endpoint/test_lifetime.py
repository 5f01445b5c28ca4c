"""A manager knows when its block ends, if anybody has told it."""

import pytest

from actors.endpoint.lifetime import time_left

NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("environment", "walltime", "left"),
    [
        ({}, None, None),
        ({}, 60.0, 60.0),
        ({"ACTORS_BLOCK_BEGAN": "999990"}, 60.0, 50.0),
        ({"ACTORS_BLOCK_BEGAN": "999990"}, None, None),
        ({"ACTORS_BLOCK_BEGAN": "990000"}, 60.0, 0.0),
        ({"ACTORS_BLOCK_BEGAN": "soon"}, 60.0, 60.0),
        ({"SLURM_JOB_END_TIME": "1000030"}, None, 30.0),
        ({"SLURM_JOB_END_TIME": "1000030"}, 60.0, 30.0),
        ({"SLURM_JOB_END_TIME": "1000090"}, 60.0, 60.0),
        ({"SLURM_JOB_END_TIME": ""}, None, None),
    ],
)
def test_the_earliest_end_that_was_told_counts(
    environment: dict[str, str], walltime: float | None, left: float | None
) -> None:
    assert time_left(environment, walltime, NOW) == left
