"""The long trial, in short: nothing is lost or doubled, and nothing is left.

At length: `python -m tests.soak --minutes 60 --seed 7`.
"""

import pytest

from tests.soak import soak

pytestmark = pytest.mark.slow

# Chosen: some ten troubles, one of them a restart of it all.
SECONDS = 12.0
TASKS = 20_000


def test_tasks_survive_what_befalls_an_endpoint() -> None:
    verdict = soak(SECONDS, seed=5, least_tasks=TASKS)
    assert not verdict.wrong
    assert not verdict.doubled
    assert verdict.tasks >= TASKS
    assert sum(verdict.troubles.values()) > 1, verdict.troubles
