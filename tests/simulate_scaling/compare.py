"""A trace with several strategies, and a picture of what each has done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from actors.logic.scaling import StrategyKind
from tests.bench.line_chart import HEIGHT, WIDTH, line_chart
from tests.simulate_scaling.parsl import ParslRules, in_random_order
from tests.simulate_scaling.stage import Setup, Stage, Story
from tests.simulate_scaling.traces import Arrival

__all__ = ["Compared", "compare", "draw", "play", "play_parsl"]

# Points of a line; more would not be seen.
_POINTS = 600


@dataclass(frozen=True)
class Compared:
    """Who decided, and what came of it."""

    name: str
    story: Story


def play(trace: Sequence[Arrival], setup: Setup, kind: StrategyKind) -> Story:
    """Play a trace with one of our strategies."""
    return Stage(trace, setup, kind).play()


def play_parsl(
    trace: Sequence[Arrival],
    setup: Setup,
    kind: Literal["simple", "auto"],
    *,
    seed: int | None = None,
) -> Story:
    """Play a trace by Parsl's rules.

    Args:
        trace: what comes.
        setup: of the cluster.
        kind: of Parsl's strategies.
        seed: of its placement, at random as Parsl's; None: our placement.
    """
    stage = Stage(trace, setup, decider=ParslRules(kind))
    if seed is not None:
        stage.interchange.fleet.in_order = in_random_order(seed)
    return stage.play()


def compare(
    trace: Sequence[Arrival], setup: Setup, kinds: Sequence[StrategyKind]
) -> list[Compared]:
    """Play a trace with our strategies, and with Parsl's rules beside them."""
    told = [Compared(kind, play(trace, setup, kind)) for kind in kinds]
    for kind in ("simple", "auto"):
        if kind in kinds:
            name = f"Parsl's rules, {kind}"
            told += [
                Compared(name, play_parsl(trace, setup, kind)),
                Compared(f"{name}, random", play_parsl(trace, setup, kind, seed=0)),
            ]
    return told


def draw(told: Sequence[Compared]) -> str:
    """Draw tasks, workers and busy workers of each, one chart below the other."""
    charts = []
    for number, compared in enumerate(told):
        story = compared.story
        title = (
            f"{compared.name}: {len(story.starts)} blocks started, "
            f"{story.utilisation:.0%} busy"
        )
        chart = line_chart(title, "seconds", "tasks, workers", _lines(story))
        place = f'<svg y="{HEIGHT * number}" width="{WIDTH}" height="{HEIGHT}" '
        charts.append(chart.replace("<svg ", place, 1))
    size = f"0 0 {WIDTH} {HEIGHT * len(told)}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}">'
    return "\n".join([head, *charts, "</svg>\n"])


def _lines(story: Story) -> dict[str, list[tuple[float, float]]]:
    """Sample what was seen evenly: each sighting holds until the next one."""
    end = story.sightings[-1].at
    rows, place = [], 0
    for step in range(_POINTS + 1):
        at = end * step / _POINTS
        while place + 1 < len(story.sightings) and story.sightings[place + 1].at <= at:
            place += 1
        rows.append((at, story.sightings[place]))
    return {
        "tasks": [(at, float(seen.demand)) for at, seen in rows],
        "workers": [(at, float(seen.slots)) for at, seen in rows],
        "busy workers": [(at, float(seen.busy)) for at, seen in rows],
    }
