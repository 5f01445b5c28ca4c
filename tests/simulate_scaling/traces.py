"""Traces: when tasks come, and how long each runs.

A file has a line per task, `at,duration` in seconds, and perhaps a heading and comments
after `#`. A few traces are known by name; they are the same each time.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["NAMED", "Arrival", "read_trace"]


class Arrival(NamedTuple):
    """One task: when it comes, and how long it runs, in seconds."""

    at: float
    duration: float


Trace = list[Arrival]


def _steady() -> Iterator[Arrival]:
    """An hour of tasks of about a minute, one every 5 s: demand is about a dozen."""
    chance = random.Random(4)
    for number in range(720):
        yield Arrival(5.0 * number + chance.uniform(0, 5), chance.uniform(50, 70))


def _bursts() -> Iterator[Arrival]:
    """Six bursts of 200 tasks, ten minutes apart; between them it is quiet."""
    chance = random.Random(1)
    for burst in range(6):
        for _ in range(200):
            yield Arrival(600.0 * burst + chance.uniform(0, 10), chance.uniform(5, 30))


def _day() -> Iterator[Arrival]:
    """An hour in which load comes slowly and goes, and varies all along."""
    chance, at = random.Random(2), 0.0
    while at < 3600:
        share = min(at, 3600 - at) / 1800
        at += chance.expovariate(0.02 + 0.4 * share)
        yield Arrival(at, chance.lognormvariate(3.5, 0.8))


def _tail() -> Iterator[Arrival]:
    """Many short tasks, and a few that run for an hour: most blocks have no work."""
    chance = random.Random(3)
    for number in range(300):
        duration = 3600.0 if number % 60 == 0 else chance.uniform(20, 60)
        yield Arrival(chance.uniform(0, 60), duration)


def _fall() -> Iterator[Arrival]:
    """Forty tasks; most end after ten minutes, and for an hour there are a dozen."""
    for _ in range(12):
        yield Arrival(0.0, 4800.0)
    for _ in range(28):
        yield Arrival(1.0, 600.0)


NAMED: Mapping[str, Callable[[], Iterator[Arrival]]] = {
    "steady": _steady,
    "bursts": _bursts,
    "day": _day,
    "tail": _tail,
    "fall": _fall,
}


def read_trace(name: str) -> Trace:
    """Read a file, or make a trace that is known by its name.

    Returns:
        Arrivals, in order of time.

    Raises:
        ValueError: a line of the file is no arrival; it names file and line.
        OSError: there is no such file, nor trace.
    """
    if name in NAMED:
        return sorted(NAMED[name]())
    trace = []
    for number, line in enumerate(Path(name).read_text().splitlines(), 1):
        words = line.partition("#")[0].split(",")
        if not "".join(words).strip() or (number == 1 and "at" in words[0]):
            continue
        try:
            at, duration = map(float, words)
        except ValueError:
            raise ValueError(
                f"{name}:{number}: {line!r} must be `at,duration`, two numbers of "
                "seconds"
            ) from None
        if at < 0 or duration < 0:
            raise ValueError(f"{name}:{number}: {line!r} must not be negative")
        trace.append(Arrival(at, duration))
    return sorted(trace)
