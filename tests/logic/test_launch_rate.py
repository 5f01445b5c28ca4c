"""Never more launches in a minute than allowed, and never fewer than that."""

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.launch_rate import RATE_PERIOD, LaunchRate


def test_what_was_launched_is_room_again_after_a_minute() -> None:
    rate = LaunchRate(3)
    rate.note(2, 0.0)
    rate.note(1, 10.0)
    assert rate.room(59.9) == 0
    assert rate.room(60.0) == 2
    assert rate.room(70.0) == 3


def test_the_wait_is_until_some_room_is_free() -> None:
    rate = LaunchRate(2)
    assert rate.wait(0.0) == 0.0
    rate.note(2, 0.0)
    assert rate.wait(10.0) == 50.0
    # An operator wanted more than the rate allows.
    rate.note(5, 20.0)
    assert rate.wait(30.0) == 50.0


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.floats(0, 40), st.integers(1, 9)), max_size=20),
)
def test_no_minute_has_more_than_the_limit(
    limit: int, wishes: list[tuple[float, int]]
) -> None:
    rate, now = LaunchRate(limit), 0.0
    launched: list[tuple[float, int]] = []
    for pause, count in wishes:
        now += pause
        granted = min(count, rate.room(now))
        if granted:
            rate.note(granted, now)
            launched.append((now, granted))
        else:
            later = now + rate.wait(now)
            assert rate.room(later + 1e-9) > 0
            now = later + 1e-9
        recent = [n for at, n in launched if at > now - RATE_PERIOD]
        assert sum(recent) <= limit
