"""Short tasks wait at the worker, long ones do not."""

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.prefetch import Prefetch


def test_nothing_waits_before_anything_is_known() -> None:
    prefetch = Prefetch(0.01, 64)
    assert prefetch.depth == 0
    prefetch.observed(5.0, 0)
    assert prefetch.depth == 0


def test_as_many_wait_as_fill_the_time_ahead() -> None:
    prefetch = Prefetch(0.01, 64)
    prefetch.observed(0.01, 5)
    assert prefetch.depth == 5


def test_tasks_of_no_length_wait_up_to_the_limit() -> None:
    prefetch = Prefetch(0.01, 64)
    prefetch.observed(0.0, 3)
    assert prefetch.depth == 64
    prefetch.observed(-1.0, 1)
    assert prefetch.depth == 64


def test_a_long_task_is_believed_at_once_and_short_ones_only_in_time() -> None:
    prefetch = Prefetch(0.01, 64)
    prefetch.observed(0.0, 1)
    prefetch.observed(1.0, 1)
    assert prefetch.depth == 0
    prefetch.observed(0.0, 1)
    assert prefetch.depth == 0
    for _ in range(40):
        prefetch.observed(0.0, 1)
    assert prefetch.depth == 64


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 1000))))
def test_the_depth_stays_within_its_limit(ran: list[tuple[float, int]]) -> None:
    prefetch = Prefetch(0.01, 64)
    for seconds, count in ran:
        prefetch.observed(seconds, count)
        assert 0 <= prefetch.depth <= 64
