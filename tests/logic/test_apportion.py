"""Places go to wishes in proportion, and no wish goes without if there is room."""

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.apportion import apportion

WANTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 1000))


@given(st.integers(0, 200), WANTS)
def test_shares_are_in_proportion_and_never_more_than_wanted(
    places: int, wants: dict[str, int]
) -> None:
    shares = apportion(places, wants)
    total = sum(wants.values())
    wishes = [wish for wish, want in wants.items() if want]
    assert sum(shares.values()) == min(places, total)
    assert all(0 <= shares[wish] <= wants[wish] for wish in shares)
    if places >= len(wishes):
        assert all(shares[wish] >= 1 for wish in wishes)
    if total > places:
        # Those that got one only because everybody does are at the others' expense.
        for wish in wishes:
            exact = places * wants[wish] / total
            assert shares[wish] <= max(1, exact + 1)
            assert shares[wish] > exact - 1 - len(wishes)


def test_a_long_queue_leaves_one_place_for_a_short_one() -> None:
    assert apportion(4, {"a": 1000, "b": 1}) == {"a": 3, "b": 1}
    assert apportion(10, {"a": 30, "b": 10}) == {"a": 8, "b": 2}


def test_who_comes_first_goes_first_where_there_are_too_few() -> None:
    assert apportion(2, {"a": 5, "b": 5, "c": 5}) == {"a": 1, "b": 1, "c": 0}
    assert apportion(0, {"a": 5}) == {"a": 0}


def test_what_nobody_wants_is_left_over() -> None:
    assert apportion(9, {"a": 2, "b": 0}) == {"a": 2}
