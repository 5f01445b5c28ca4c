"""Promise: what waits for the disk is counted, and for how long, till it is safe."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.logic.journal_state import QUIET_TELL_PERIOD, TELL_PERIOD, LagMeter

DURABILITIES = ("sync", "interval", "off")


@given(
    st.sampled_from(DURABILITIES),
    st.lists(st.tuples(st.sampled_from("wbsth"), st.floats(0.0, 10.0))),
)
def test_nothing_is_counted_twice_and_all_is_told_of_in_the_end(
    durability: str, story: list[tuple[str, float]]
) -> None:
    meter, now, is_syncing = LagMeter(durability), 100.0, False
    for what, later in story:
        now += later
        if what == "w":
            meter.wrote(3, now)
        elif what == "b" and not is_syncing and meter.records:
            meter.sync_began(now)
            is_syncing = True
        elif what == "s" and is_syncing:
            meter.sync_ended(now)
            is_syncing = False
        elif what == "h" and durability == "sync":
            meter.synced(now - later, now)
        elif what == "t":
            assert 0.0 <= meter.tell(now) <= now - 100.0
        meter.check()
    if is_syncing:
        meter.sync_ended(now)
    meter.synced(now, now)
    meter.tell(now)
    assert meter.tell(now + 1.0) == 0.0
    assert meter.records == 0
    assert meter.tell_at == now + 1.0 + QUIET_TELL_PERIOD


def test_a_sync_that_takes_long_is_seen_while_it_does() -> None:
    meter = LagMeter("sync")
    meter.tell(90.0)
    meter.wrote(2, 100.0)
    assert meter.tell_at == 90.0 + QUIET_TELL_PERIOD, "before that nobody is told"
    meter.sync_began(101.0)
    assert meter.tell(104.0) == 3.0, "since somebody waits"
    assert meter.records == 2
    meter.wrote(1, 105.0)
    meter.sync_ended(106.0)
    assert meter.records == 1
    assert meter.tell(106.0) == 5.0
    assert meter.tell_at == 106.0 + TELL_PERIOD
    assert meter.tell(107.0) == 0.0, "nobody waits for the last one"


def test_with_interval_records_wait_from_when_they_were_written() -> None:
    meter = LagMeter("interval")
    meter.wrote(1, 100.0)
    assert meter.tell(100.5) == 0.5
    meter.sync_began(101.0)
    meter.wrote(1, 101.5)
    assert meter.tell(103.0) == 3.0
    meter.sync_ended(104.0)
    assert meter.tell(104.0) == 4.0
    assert meter.tell(104.5) == 3.0


def test_with_off_nothing_has_to_be_safe() -> None:
    meter = LagMeter("off")
    meter.wrote(5, 100.0)
    assert (meter.tell(200.0), meter.records) == (0.0, 0)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_it_is_told_at_once_when_all_begins(durability: str) -> None:
    assert LagMeter(durability).tell_at == -math.inf
