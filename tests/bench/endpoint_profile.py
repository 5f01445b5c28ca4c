"""Where the time of a no-op task goes: which process, which thread, which function.

    python endpoint_profile.py throughput            # many tasks under way
    python endpoint_profile.py latency --count 3000  # one at a time
    python endpoint_profile.py throughput --stacks 15

Run it with an interpreter that has `actors` installed. It starts an endpoint of one
block with two workers and tells, for each process and thread, microseconds of CPU per
task (the kernel's count, in nanoseconds) and how often per task it went to sleep and
was woken. `--stacks N` adds the N functions that took the most time of their own, and
the N lines under which the most time was spent, as `py-spy` (on the PATH, or beside the
interpreter) samples them; sampling costs some percent.
"""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from operator import pos
from pathlib import Path

import psutil

import actors
from actors.config import EndpointPaths

WORKERS = 2
WARM_UP = 2_000
SAMPLES_PER_SECOND = 200
SPY_PATIENCE = 20.0
# With fewer samples a share says nothing.
MIN_SAMPLES = 20

CONFIG = f"""\
[blocks]
init_blocks = 1
min_blocks = 1
max_blocks = 1
[workers]
workers_per_node = {WORKERS}
[strategy]
kind = "none"
"""


@dataclass(frozen=True, slots=True)
class Use:
    """What one thread has taken so far."""

    name: str
    cpu: float  # seconds
    sleeps: int  # times that it waited for something

    def since(self, before: "Use | None") -> "Use":
        if before is None:
            return self
        return Use(self.name, self.cpu - before.cpu, self.sleeps - before.sleeps)


@contextlib.contextmanager
def endpoint() -> Iterator[tuple[Path, psutil.Process]]:
    """Run an endpoint; give its folder and its root process."""
    folder = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
    paths = EndpointPaths(folder)
    paths.config.write_text(CONFIG)
    paths.make_token()
    script = Path(sys.executable).with_name("actors")
    root = subprocess.Popen([script, "run", "--quiet", folder])
    try:
        yield folder, psutil.Process(root.pid)
    finally:
        root.terminate()
        root.wait()
        shutil.rmtree(folder)


def throughput(executor: actors.Executor, count: int) -> None:
    futures: list[Future[int]] = [executor.submit(pos, i) for i in range(count)]
    assert sum(f.result() for f in futures) == count * (count - 1) // 2


def latency(executor: actors.Executor, count: int) -> None:
    times = []
    for i in range(count):
        began = time.perf_counter()
        executor.submit(pos, i).result()
        times.append(time.perf_counter() - began)
    times.sort()
    print(f"p50 {times[count // 2] * 1e6:.0f} us, p99 {times[-count // 100] * 1e6:.0f}")


WORKLOADS: dict[str, tuple[Callable[[actors.Executor, int], None], int]] = {
    "throughput": (throughput, 50_000),
    "latency": (latency, 3_000),
}


def uses(process: psutil.Process) -> dict[int, Use]:
    """{thread: what it has taken}."""
    found = {}
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            name = (task / "comm").read_text().strip()
            status = (task / "status").read_text()
            sleeps = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
            found[int(task.name)] = Use(name, nanoseconds / 1e9, sleeps)
    return found


def role(process: psutil.Process, own_pid: int) -> str:
    return "client" if process.pid == own_pid else process.name()


def report_threads(
    name: str, before: dict[int, Use], after: dict[int, Use], count: int
) -> None:
    spent = [use.since(before.get(tid)) for tid, use in after.items()]
    spent = sorted((u for u in spent if u.cpu), key=lambda u: -u.cpu)
    total = sum(u.cpu for u in spent)
    # What stays below is heartbeats and the like.
    if total * 1e6 / count < 0.05:
        return
    print(f"\n{name:17} {total * 1e6 / count:8.1f} us/task")
    for use in spent:
        if use.cpu * 1e6 / count >= 0.05:
            print(
                f"    {use.name:17} {use.cpu * 1e6 / count:8.1f} us/task"
                f"  {use.sleeps / count:6.2f} sleeps/task"
            )


class Stacks:
    """Samples of one process, taken by py-spy until it is stopped."""

    def __init__(self, spy: str, pid: int, folder: Path) -> None:
        self._output = folder / f"{pid}.raw"
        # Pausing a process whenever it is looked at would change what is measured.
        command = [spy, "record", "--pid", str(pid), "--format", "raw", "--nonblocking"]
        command += ["--rate", str(SAMPLES_PER_SECOND), "--duration", "600"]
        command += ["--threads", "--output", str(self._output)]
        self._spy = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def report(self, name: str, most: int) -> None:
        """Stop, and print what was seen."""
        self._spy.send_signal(signal.SIGINT)
        try:
            self._spy.wait(SPY_PATIENCE)
        except subprocess.TimeoutExpired:
            self._spy.kill()
            self._spy.wait()
        if not self._output.exists():
            return
        own: Counter[str] = Counter()
        under: Counter[str] = Counter()
        for line in self._output.read_text().splitlines():
            stack, _, samples = line.rpartition(" ")
            frames = [f for f in stack.split(";") if f]
            own[frames[-1]] += int(samples)
            for frame in set(frames):
                under[frame] += int(samples)
        total = own.total()
        if total < MIN_SAMPLES:
            return
        print(f"\n{name}: {total} samples")
        for title, counts in (("own time", own), ("time under", under)):
            print(f"  {title}")
            for frame, samples in counts.most_common(most):
                print(f"    {samples / total:6.1%}  {frame}")


def find_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    spy = str(beside) if beside.exists() else shutil.which("py-spy")
    if spy is None:
        raise SystemExit("no py-spy: pip install py-spy, or leave --stacks out")
    return spy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--count", type=int, default=0, help="tasks")
    parser.add_argument("--stacks", type=int, default=0, help="functions to show")
    options = parser.parse_args()
    run, count = WORKLOADS[options.workload]
    count = options.count or count
    spy = find_spy() if options.stacks else ""
    own = psutil.Process()
    with endpoint() as (folder, root), actors.Executor(folder) as executor:
        throughput(executor, WARM_UP)
        processes = [own, root, *root.children(recursive=True)]
        # The client's stacks are sampled, too; py-spy itself is no part of this.
        before = {p: uses(p) for p in processes}
        with tempfile.TemporaryDirectory() as place:
            stacks = {p: Stacks(spy, p.pid, Path(place)) for p in processes if spy}
            if spy:
                time.sleep(1.0)  # until they look
            began = time.perf_counter()
            run(executor, count)
            seconds = time.perf_counter() - began
            after = {p: uses(p) for p in processes}
            print(f"{count} tasks in {seconds:.2f} s: {count / seconds:,.0f}/s")
            for process in processes:
                report_threads(
                    role(process, own.pid), before[process], after[process], count
                )
            for process, samples in stacks.items():
                samples.report(role(process, own.pid), options.stacks)


if __name__ == "__main__":
    main()
