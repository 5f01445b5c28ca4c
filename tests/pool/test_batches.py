"""Promise: tasks go in order, each once, and no frame holds more than it should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import PayloadTooLarge
from actors.messages import Define, Equip, Run
from actors.pool.batches import MAX_BYTES_PER_FRAME, ForMain, batches

_payloads = st.integers(0, 40_000).map(bytes)
_runs = st.builds(Run, st.integers(1, 9), _payloads, _payloads)
_others = st.builds(Define, st.integers(1, 9), _payloads) | st.builds(
    Equip, st.just({"NAME": "value"})
)


class Vast(bytes):
    """As long as no frame can be."""

    def __len__(self) -> int:
        return 2**32


@given(st.lists(_runs | _others, max_size=20) | st.lists(_runs, max_size=20))
def test_whatever_goes_goes_in_order_and_once(runs: list[ForMain]) -> None:
    cut = list(batches(runs))
    assert [run for batch in cut for run in batch] == runs
    assert all(cut)


@given(st.lists(_runs, max_size=20))
def test_a_frame_with_two_tasks_is_no_longer_than_it_should_be(
    runs: list[ForMain],
) -> None:
    for batch in batches(runs):
        size = sum(len(r.function) + len(r.arguments) for r in batch if type(r) is Run)
        assert len(batch) == 1 or size <= MAX_BYTES_PER_FRAME


def test_a_frame_holds_so_many_tasks_that_a_recall_finds_some_left() -> None:
    runs = [Run(seq, b"", b"") for seq in range(1, 1001)]
    assert max(map(len, batches(runs))) == 256


def test_what_stands_before_a_task_that_no_frame_can_hold_goes() -> None:
    runs = [Run(1, b"f", b""), Run(2, b"f", Vast()), Run(3, b"f", b"")]
    gone = []
    with pytest.raises(PayloadTooLarge, match="exceeds"):
        for batch in batches(runs):
            gone += batch
    assert gone == runs[:1]
