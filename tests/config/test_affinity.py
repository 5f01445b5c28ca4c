"""Promise: workers share no core unless there are too few, and get what lists say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config.affinity import AFFINITY_PATTERN, accelerator_variables, cores_of

CORES = st.lists(st.integers(0, 100), min_size=1, max_size=40, unique=True).map(sorted)
STRATEGIES = st.sampled_from(["block", "block-reverse", "alternating"])


@given(STRATEGIES, st.integers(1, 40), CORES)
def test_no_two_workers_share_a_core_while_there_are_enough(
    strategy: str, slots: int, cores: list[int]
) -> None:
    shares = cores_of(strategy, slots, cores)
    assert len(shares) == slots
    given_out = [core for share in shares for core in share]
    assert set(given_out) <= set(cores)
    assert len({len(share) for share in shares}) == 1
    if slots <= len(cores):
        assert len(set(given_out)) == len(given_out) == slots * (len(cores) // slots)
    else:
        assert set(given_out) == set(cores)


def test_each_strategy_has_an_order_of_its_own() -> None:
    cores = range(7)
    assert cores_of("block", 3, cores) == [(0, 1), (2, 3), (4, 5)]
    assert cores_of("block-reverse", 3, cores) == [(5, 6), (3, 4), (1, 2)]
    assert cores_of("alternating", 3, cores) == [(0, 3), (1, 4), (2, 5)]
    assert cores_of("none", 2, cores) == [(), ()]
    assert cores_of("list:0-1,5:2:3", 2, cores) == [(0, 1, 5), (2,)]


@pytest.mark.parametrize(
    ("strategy", "problem"),
    [
        ("list:0:9", "names core 9, which may not be used here; there are 0, 1, 2"),
        ("list:0", "has cores for 1 workers, and the node has 2"),
        ("spread", "'spread' is not known"),
    ],
)
def test_what_the_node_does_not_have_is_told(strategy: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        cores_of(strategy, 2, [0, 1, 2])


@pytest.mark.parametrize("text", ["list:", "list:0,,1", "blocks", "list:0:", "none\n"])
def test_the_pattern_lets_no_other_text_pass(text: str) -> None:
    assert not re.search(AFFINITY_PATTERN, text)
    assert re.search(AFFINITY_PATTERN, "list:0-3,5:6")


def test_workers_see_one_accelerator_each_and_share_them_in_turn() -> None:
    def seen(names: list[str], count: int, slots: int, shown: str = "") -> list[str]:
        variables = accelerator_variables(
            names, count, slots, {"CUDA_VISIBLE_DEVICES": shown}
        )
        assert all(len(set(each.values())) <= 1 for each in variables)
        return [each.get("ROCR_VISIBLE_DEVICES", "") for each in variables]

    assert seen(["a", "b"], 0, 3) == ["a", "b", "a"]
    assert seen([], 2, 2) == ["0", "1"]
    # A batch system has chosen: those, and not the first of the node.
    assert seen([], 2, 2, "4,7,9") == ["4", "7"]
    assert seen([], 0, 2) == ["", ""]
