"""Promise: no place is idle while a type has work for it, and no type is left out."""

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.allotment import share_out

DEMANDS = st.dictionaries(st.text("abc", max_size=2), st.integers(0, 30), max_size=6)


@given(st.integers(0, 40), DEMANDS)
def test_places_are_used_up_and_none_is_in_vain(
    places: int, demand: dict[str, int]
) -> None:
    shares = share_out(places, demand)
    assert shares.keys() == demand.keys()
    assert all(0 <= shares[name] <= demand[name] for name in demand)
    assert sum(shares.values()) == min(places, sum(demand.values()))


@given(st.integers(0, 40), DEMANDS)
def test_each_type_with_work_has_a_place_as_long_as_there_are_places(
    places: int, demand: dict[str, int]
) -> None:
    shares = share_out(places, demand)
    wanted = [name for name, tasks in demand.items() if tasks]
    assert all(shares[name] for name in wanted[:places])


def test_the_rest_follows_the_work() -> None:
    assert share_out(10, {"": 90, "gpu": 10}) == {"": 9, "gpu": 1}
    assert share_out(4, {"": 500, "gpu": 500}) == {"": 2, "gpu": 2}
    assert share_out(4, {"": 1, "gpu": 500}) == {"": 1, "gpu": 3}
