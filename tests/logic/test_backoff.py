"""Delays grow, are bounded, differ between peers, and start anew after a success."""

import random

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.backoff import Backoff


def test_delays_double_up_to_the_limit() -> None:
    backoff = Backoff(random.Random(0), first=0.1, limit=1.0, jitter=0.0)
    delays = [round(backoff.next(), 6) for _ in range(6)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_after_a_reset_the_first_delay_comes_again() -> None:
    backoff = Backoff(random.Random(0), jitter=0.0)
    backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() == backoff.first


@given(st.integers(), st.integers(1, 50))
def test_jitter_only_lengthens_and_never_beyond_its_share(
    seed: int, tries: int
) -> None:
    chance = random.Random(seed)
    backoff = Backoff(chance, first=0.5, factor=3.0, limit=7.0, jitter=0.25)
    for number in range(tries):
        bare = min(0.5 * 3.0**number, 7.0)
        assert bare <= backoff.next() <= bare * 1.25


def test_two_peers_do_not_come_back_together() -> None:
    chance = random.Random(1)
    assert Backoff(chance).next() != Backoff(chance).next()
