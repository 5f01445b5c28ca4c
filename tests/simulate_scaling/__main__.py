"""`python -m tests.simulate_scaling TRACE`: a table, and a picture."""

import argparse
from pathlib import Path
from typing import get_args

from actors.logic.scaling import Bounds, StrategyKind
from tests.simulate_scaling.compare import Compared, compare, draw
from tests.simulate_scaling.stage import Setup
from tests.simulate_scaling.traces import NAMED, read_trace


def main() -> None:
    """Play a trace with each kind of strategy and with Parsl's rules."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulate_scaling", description=__doc__
    )
    parser.add_argument(
        "trace", help=f"a file of `at,duration` lines, or one of {', '.join(NAMED)}"
    )
    parser.add_argument(
        "--svg", type=Path, default=Path("scaling.svg"), help="where to draw it"
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=get_args(StrategyKind),
        default=["simple", "auto", "staged"],
    )
    parser.add_argument("--min-blocks", type=int, default=0)
    parser.add_argument("--max-blocks", type=int, default=10)
    parser.add_argument("--slots-per-block", type=int, default=4)
    parser.add_argument("--parallelism", type=float, default=1.0)
    parser.add_argument("--max-idletime", type=float, default=120.0)
    parser.add_argument("--queue-time", type=float, default=60.0)
    given = parser.parse_args()
    bounds = Bounds(
        given.min_blocks,
        given.max_blocks,
        given.slots_per_block,
        given.parallelism,
        given.max_idletime,
    )
    setup = Setup(bounds, given.queue_time)
    try:
        trace = read_trace(given.trace)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    told = compare(trace, setup, given.kinds)
    print(f"{len(trace)} tasks, {sum(a.duration for a in trace):.0f} s of work")
    print(_row("", "blocks started", "utilisation", "slot hours", "mean wait", "flaps"))
    for compared in told:
        print(_line(compared, setup))
    given.svg.write_text(draw(told))
    print(f"tasks, workers and busy workers are drawn in {given.svg}")


def _line(compared: Compared, setup: Setup) -> str:
    story = compared.story
    return _row(
        compared.name,
        str(len(story.starts)),
        f"{story.utilisation:.1%}",
        f"{story.slot_seconds / 3600:.1f}",
        f"{story.mean_wait:.0f} s",
        str(len(story.flaps(setup.bounds.max_idletime))),
    )


def _row(name: str, *cells: str) -> str:
    return f"{name:28}" + "".join(f"{cell:>16}" for cell in cells)


main()
