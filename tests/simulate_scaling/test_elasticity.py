"""Our strategies keep workers as busy as Parsl's rules do, and start no more blocks."""

from pathlib import Path
from typing import Literal

import pytest

from actors.logic.scaling import Bounds, StrategyKind
from tests.simulate_scaling.compare import compare, draw, play, play_parsl
from tests.simulate_scaling.stage import Setup
from tests.simulate_scaling.traces import NAMED, Arrival, read_trace

SETUP = Setup()
IDLE = SETUP.bounds.max_idletime
# Both look every 5 s, but not in the same moment: a block may end so much later.
PHASE = 0.001
# By how much Parsl's rules are ahead where they get our placement, too: they cancel
# blocks that are about to start, and start others, which delays all of them.
FLAPPING = 0.015


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", ["simple", "auto"])
def test_a_trace_is_served_as_well_as_by_parsl(
    name: str, kind: Literal["simple", "auto"]
) -> None:
    trace = read_trace(name)
    ours = play(trace, SETUP, kind)
    parsl = play_parsl(trace, SETUP, kind, seed=0)
    assert ours.utilisation >= parsl.utilisation - PHASE
    assert len(ours.starts) <= len(parsl.starts)
    assert not ours.flaps(IDLE)
    assert len(ours.waits) == len(trace), "no task was begun twice"


@pytest.mark.parametrize("name", ["steady", "day"])
def test_with_our_placement_parsls_rules_start_more_blocks(name: str) -> None:
    trace = read_trace(name)
    ours, parsl = play(trace, SETUP, "auto"), play_parsl(trace, SETUP, "auto")
    assert len(ours.starts) < len(parsl.starts)
    assert ours.utilisation >= parsl.utilisation - FLAPPING


@pytest.mark.parametrize("kind", ["simple", "auto", "staged"])
def test_at_constant_demand_nothing_is_started_after_a_stop(kind: StrategyKind) -> None:
    """The trace falls from forty tasks to exactly a dozen, for an hour."""
    story = play(read_trace("fall"), SETUP, kind)
    first, last = story.seen_before(1500), story.seen_before(4500)
    assert first.demand == last.demand == 12
    assert not [start for start in story.starts if start > 1500]
    if kind != "simple":
        assert last.slots == 12, "what nobody needs is ended"


def test_the_least_is_kept_and_the_most_never_exceeded() -> None:
    setup = Setup(Bounds(2, 3, 4))
    story = play([Arrival(0.0, 30.0)] * 50, setup, "auto")
    assert max(sighting.blocks for sighting in story.sightings) == 3
    assert story.sightings[-1].blocks == 2


def test_a_trace_is_read_from_a_file_and_drawn(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("at,duration  # seconds\n5,10\n\n0,20.5\n")
    trace = read_trace(str(file))
    assert trace == [Arrival(0.0, 20.5), Arrival(5.0, 10.0)]
    told = compare(trace, SETUP, ["simple", "staged"])
    assert [t.name for t in told] == [
        "simple",
        "staged",
        "Parsl's rules, simple",
        "Parsl's rules, simple, random",
    ]
    picture = draw(told)
    assert picture.count("<polyline") == 3 * len(told)


@pytest.mark.parametrize("line", ["1", "1,x", "1,2,3", "-1,2"])
def test_a_line_that_is_no_task_is_refused_with_its_place(
    tmp_path: Path, line: str
) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(f"0,1\n{line}\n")
    with pytest.raises(ValueError, match=r"trace.csv:2: .* must"):
        read_trace(str(file))
