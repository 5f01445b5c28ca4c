"""An actor is restarted as often as it may be, never after an end that was meant."""

import random

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.actor_life import ActorLife, DeathReason, LifeState


def life_of(max_restarts: int, period: float = 0.0) -> ActorLife:
    return ActorLife(max_restarts, period, random.Random(1))


def test_an_actor_without_restarts_dies_of_its_first_crash() -> None:
    life = life_of(0)
    life.constructed()
    assert life.ended(DeathReason.CRASHED, 1.0) is None
    assert (life.state, life.reason) == (LifeState.DEAD, DeathReason.CRASHED)


def test_a_first_constructor_that_fails_is_final() -> None:
    life = life_of(-1)
    assert life.ended(DeathReason.CONSTRUCTOR_FAILED, 1.0) is None


def test_a_constructor_that_fails_in_a_restart_is_one_more_crash() -> None:
    life = life_of(-1)
    life.constructed()
    assert life.ended(DeathReason.CRASHED, 1.0) is not None
    life.started_again()
    assert life.ended(DeathReason.CONSTRUCTOR_FAILED, 2.0) is not None


def test_an_end_that_was_meant_is_final() -> None:
    life = life_of(-1)
    life.constructed()
    assert life.ended(DeathReason.KILLED, 1.0, is_meant=True) is None


def test_crashes_older_than_the_period_are_forgotten() -> None:
    life = life_of(1, period=10.0)
    for now in (0.0, 11.0, 22.0):
        life.constructed()
        assert life.ended(DeathReason.CRASHED, now) is not None
        life.started_again()
    life.constructed()
    assert life.ended(DeathReason.CRASHED, 23.0) is None
    assert life.reason is DeathReason.RESTARTS_EXCEEDED


@given(
    max_restarts=st.integers(-1, 4),
    is_constructed=st.lists(st.booleans(), min_size=1, max_size=8),
)
def test_without_a_period_there_are_never_more_restarts_than_allowed(
    max_restarts: int, is_constructed: list[bool]
) -> None:
    life, now = life_of(max_restarts), 0.0
    for succeeds in is_constructed:
        if succeeds:
            life.constructed()
        delay = life.ended(DeathReason.CRASHED, now)
        life.check()
        if delay is None:
            assert life.restarts == max_restarts
            return
        # Chosen in `logic.actor_life`: 0.1 s to 30 s, and a quarter of jitter.
        assert 0.1 <= delay <= 30.0 * 1.25
        now += delay
        life.started_again()
    assert max_restarts < 0 or life.restarts <= max_restarts


def test_a_restart_that_was_ordered_comes_at_once_and_does_not_count() -> None:
    life = life_of(1)
    for now in range(1, 5):
        life.constructed()
        life.order_restart()
        assert life.ended(DeathReason.KILLED, float(now)) == 0.0
        assert life.reason is DeathReason.RESTARTED
        life.started_again()
        life.check()
    life.constructed()
    assert life.ended(DeathReason.CRASHED, 5.0) is not None, "the first crash"
    # A life that is taken up again remembers which ends were ordered.
    later = life_of(1)
    later.ordered = set(life.ordered)
    later.restore(life.incarnation, life.reason, is_over=False, now=6.0)
    later.constructed()
    assert later.ended(DeathReason.CRASHED, 7.0) is not None
    later.started_again()
    later.constructed()
    assert later.ended(DeathReason.CRASHED, 8.0) is None


def test_an_ordered_restart_does_not_bring_back_who_was_killed() -> None:
    life = life_of(-1)
    life.constructed()
    life.order_restart()
    assert life.ended(DeathReason.KILLED, 1.0, is_meant=True) is None
