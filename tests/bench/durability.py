"""What each durability of an endpoint's journals costs: tasks/s, and one task's time.

    python durability.py [--rounds 6] [--count 20000]

Runs an endpoint of two workers per durability, all at the same time, and asks them by
turns, so that whatever else the machine does hits all alike.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from operator import pos
from pathlib import Path

import actors
from actors.config import EndpointPaths

LEVELS = ("off", "interval", "sync")
SINGLE_TASKS = 500
# Of each endpoint; what memory and connections cost at first is not the journal's.
WARM_UP = 20_000

CONFIG = """\
[blocks]
init_blocks = 1
min_blocks = 1
max_blocks = 1
[workers]
workers_per_node = 2
[strategy]
kind = "none"
[journal]
durability = "{level}"
"""


@contextlib.contextmanager
def endpoint(level: str) -> Iterator[Path]:
    """Run an endpoint; give its folder."""
    folder = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
    paths = EndpointPaths(folder)
    paths.config.write_text(CONFIG.format(level=level))
    paths.make_token()
    command = [sys.executable, "-m", "actors", "run", "--quiet", str(folder)]
    root = subprocess.Popen(command)
    try:
        yield folder
    finally:
        root.terminate()
        root.wait()
        shutil.rmtree(folder)


def tasks_per_second(executor: actors.Executor, count: int) -> float:
    began = time.perf_counter()
    futures = [executor.submit(pos, i) for i in range(count)]
    assert sum(f.result() for f in futures) == count * (count - 1) // 2
    return count / (time.perf_counter() - began)


def seconds_per_task(executor: actors.Executor) -> float:
    times = []
    for i in range(SINGLE_TASKS):
        began = time.perf_counter()
        executor.submit(pos, i).result()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def seconds_per_sync(folder: Path) -> float:
    """Append a little and have it on the disk, as a journal does."""
    times = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(SINGLE_TASKS):
            began = time.perf_counter()
            file.write(bytes(200))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure, and print one line per durability."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--count", type=int, default=20_000)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {level: [] for level in LEVELS}
    waits: dict[str, list[float]] = {level: [] for level in LEVELS}
    syncs: list[float] = []
    with contextlib.ExitStack() as stack:
        folders = {level: stack.enter_context(endpoint(level)) for level in LEVELS}
        executors = {
            level: stack.enter_context(actors.Executor(folder))
            for level, folder in folders.items()
        }
        for executor in executors.values():
            tasks_per_second(executor, WARM_UP)
        for number in range(options.rounds):
            # Whoever comes first in a round may find another machine than the last.
            first = number % len(LEVELS)
            for level in (*LEVELS[first:], *LEVELS[:first]):
                executor = executors[level]
                rates[level].append(tasks_per_second(executor, options.count))
                waits[level].append(seconds_per_task(executor))
            syncs.append(seconds_per_sync(folders["sync"]))
    for level in LEVELS:
        rate, wait = rates[level], statistics.median(waits[level])
        shares = [mine / off for mine, off in zip(rate, rates["off"], strict=True)]
        print(
            f"{level:8} {_spread(rate, ',.0f')} tasks/s, {_spread(shares, '.0%')} of "
            f"off in the same round; one task {wait * 1e6:.0f} us"
        )
    print(f"one fdatasync of 200 bytes: {statistics.median(syncs) * 1e6:.0f} us")


def _spread(values: list[float], form: str) -> str:
    middle = statistics.median(values)
    return f"{middle:{form}} ({min(values):{form}}..{max(values):{form}})"


if __name__ == "__main__":
    main()
