"""Whether an endpoint's memory stays flat while tasks flow; draws `interchange_growth.svg`.

    python interchange_growth.py [--tasks 1000000]

Runs an endpoint of two workers and sends no-op tasks through it, so many under way at a
time, and looks at the memory of interchange, manager and client (this process) after
each wave. Run it with an interpreter that has `actors` installed.
"""

import argparse
import time
from collections import deque
from concurrent.futures import Future
from operator import pos
from pathlib import Path

import psutil
from durability import endpoint
from line_chart import line_chart

import actors
from actors.endpoint.surroundings import Surroundings

WAVE = 5_000
WAVES_UNDER_WAY = 4
PICTURE = Path(__file__).with_suffix(".svg")
# As much of a process's name as the kernel keeps, in bytes.
LONGEST_NAME = 15
# What is there at once, and what a first burst takes, is no growth.
WARM_SHARE = 0.1


def find(root: psutil.Process, actor: str) -> psutil.Process:
    """Find the process of an endpoint's actor."""
    name = f"actors-{actor}"[:LONGEST_NAME]
    return next(p for p in root.children(recursive=True) if p.name() == name)


def main() -> None:
    """Measure, draw, and print a line per process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    count = parser.parse_args().tasks
    with endpoint("sync") as folder, actors.Executor(folder) as executor:
        executor.submit(pos, 1).result()
        status = Surroundings.of(folder).read_status()
        assert status is not None
        root = psutil.Process(status.root_pid)
        processes = {actor: find(root, actor) for actor in ("interchange", "manager")}
        processes["client"] = psutil.Process()
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
        under_way: deque[list[Future[int]]] = deque()
        began = time.perf_counter()
        for start in range(0, count, WAVE):
            wave = range(start, min(start + WAVE, count))
            under_way.append([executor.submit(pos, n) for n in wave])
            while len(under_way) > (0 if wave.stop == count else WAVES_UNDER_WAY):
                for future in under_way.popleft():
                    future.result()
            for name, process in processes.items():
                mib = process.memory_info().rss / 2**20
                seen[name].append((wave.stop / 1000, mib))
        seconds = time.perf_counter() - began
    title = f"Memory over {count:,} tasks, {WAVE * WAVES_UNDER_WAY:,} under way"
    PICTURE.write_text(
        line_chart(title, "thousand tasks submitted", "resident MiB", seen)
    )
    print(f"{count:,} tasks in {seconds:.0f} s; {PICTURE.name} is drawn")
    for name, points in seen.items():
        warm = [mib for _, mib in points[round(WARM_SHARE * len(points)) :]]
        print(f"{name:12} {warm[0]:.1f} MiB, {min(warm):.1f}..{max(warm):.1f} later")


if __name__ == "__main__":
    main()
