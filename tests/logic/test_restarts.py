"""A group gives up when more than `max_restarts` fall into the last period."""

import random

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.restarts import RestartBudget


def budget(max_restarts: int = 3, period: float = 10.0) -> RestartBudget:
    return RestartBudget(max_restarts, period, random.Random(0))


def test_exactly_max_restarts_within_the_period_are_fine() -> None:
    restarts = budget()
    assert all(restarts.crashed(100.0 + n) is not None for n in range(3))
    assert restarts.crashed(103.0) is None
    assert restarts.restarts == 3


def test_restarts_older_than_the_period_are_forgotten() -> None:
    restarts = budget()
    for number in range(20):
        assert restarts.crashed(100.0 + 4.0 * number) is not None
    assert restarts.restarts == 20


def test_no_restart_is_allowed_with_a_budget_of_none() -> None:
    assert budget(0).crashed(100.0) is None


def test_the_delays_grow_and_start_anew_after_a_quiet_period() -> None:
    restarts = budget(5)
    delays = [restarts.crashed(100.0) or 0.0 for _ in range(4)]
    assert delays == sorted(delays)
    assert delays[3] > 3 * delays[0]
    assert (restarts.crashed(111.0) or 0.0) < delays[1]


@given(st.lists(st.floats(0, 5)), st.integers(0, 4), st.floats(1, 10))
def test_it_gives_up_exactly_when_a_naive_count_does(
    gaps: list[float], max_restarts: int, period: float
) -> None:
    restarts, now, crashes = budget(max_restarts, period), 100.0, []
    for gap in gaps:
        now += gap
        crashes.append(now)
        recent = [at for at in crashes if at > now - period]
        delay = restarts.crashed(now)
        assert (delay is None) == (len(recent) > max_restarts)
        if delay is None:
            return
        assert 0 < delay <= 1.25 * min(5.0, period / 2)
