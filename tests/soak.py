"""A long trial: tasks flow, processes die at random, and nothing is lost or doubled.

    python -m tests.soak --minutes 10 --seed 1

Runs an endpoint of two blocks, a client in this process, and one that is killed and
comes back. Meanwhile interchange, strategy, provider, managers, workers, the second
client and `actors run` itself are killed, or stopped and continued, one after another.
At the end every task must have exactly one result, the right one, and no process, no
socket, no descriptor, no thread and no lock may be left. The last line says how
it went; the exit code is 0 if it went well.
"""

import argparse
import gc
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import filelock

import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks

__all__ = ["Verdict", "soak"]

# How many tasks are under way at a time. Most end at once, some take up to so many
# seconds.
UNDER_WAY = 400
LONGEST = 0.05
LONG_SHARE = 0.05
# Tasks of the client that is killed, per second of trouble: it has some left to do
# until the end.
KEYED_RATE = 30
# Seconds between two troubles, and how long somebody is stopped: also for longer than
# the threshold of the heartbeats.
PAUSE = (0.2, 2.0)
STOPPED = (0.1, 4.0)
STOPPED_SHARE = 0.3
VICTIMS = ("interchange", "manager", "worker", "strategy", "provider", "client")
# More than 5 restarts of these within 30 s make the endpoint give up, as they should.
SERVICES = frozenset({"interchange", "strategy", "provider"})
SERVICE_PAUSE = 7.0
# Seconds from one restart of it all to the next.
RESTART_PAUSE = (10.0, 20.0)
# For what is under way when the troubles end.
LAST_RESULT = 120.0
_REPOSITORY = Path(__file__).parents[1]


class KilledClient:
    """A client that is started again until it has done what it is for."""

    def __init__(self, endpoint: RunningEndpoint, count: int) -> None:
        self.restarts = 0
        self._words = ["soak", str(count)]
        # Not as a word: it would be taken for a process of the endpoint's.
        self._environment = {**os.environ, "ACTORS_ADDRESS": str(endpoint.folder)}
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.soak_client", *self._words],
            cwd=_REPOSITORY,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pids(self) -> list[int]:
        return [self._process.pid] if self._process.poll() is None else []

    def keep_alive(self) -> bool:
        """Start it again if it was killed; true: it is done."""
        code = self._process.poll()
        if code == -signal.SIGKILL:
            self._close()
            self.restarts += 1
            self._process = self._start()
        return code is not None and code != -signal.SIGKILL

    def end(self) -> list[str]:
        """Let it finish; return what was wrong."""
        eventually(self.keep_alive, LAST_RESULT, "the client that was killed")
        said = self._close()
        return [] if self._process.returncode == 0 else [f"the killed client: {said}"]

    def _close(self) -> str:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            return output.read()


class Trouble:
    """Somebody who makes trouble.

    Args:
        endpoint: whose processes suffer.
        client: which suffers, too.
        chance: of every choice.
    """

    def __init__(
        self, endpoint: RunningEndpoint, client: KilledClient, chance: random.Random
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._endpoint = endpoint
        self._client = client
        self._chance = chance
        self._next_at = time.monotonic() + 1.0
        self._services_spared_until = 0.0
        self._restart_at = self._next_at + chance.uniform(*RESTART_PAUSE)
        self._stopped: list[tuple[float, int]] = []

    def make(self) -> None:
        """Do what is due; call it often."""
        now = time.monotonic()
        for until, pid in [s for s in self._stopped if s[0] <= now]:
            self._stopped.remove((until, pid))
            _signal(pid, signal.SIGCONT)
        self._client.keep_alive()
        if now < self._next_at:
            return
        chance = self._chance
        self._next_at = now + chance.uniform(*PAUSE)
        if now >= self._restart_at:
            self._restart_at = now + chance.uniform(*RESTART_PAUSE)
            self._restart()
            return
        role = chance.choice(VICTIMS)
        if role in SERVICES and now < self._services_spared_until:
            return
        pids = self._client.pids if role == "client" else self._endpoint.pids(role)
        if not pids:
            return
        if role in SERVICES:
            self._services_spared_until = now + SERVICE_PAUSE
        pid = chance.choice(pids)
        if chance.random() < STOPPED_SHARE:
            self.counts[f"{role} stopped"] += 1
            _signal(pid, signal.SIGSTOP)
            self._stopped.append((now + chance.uniform(*STOPPED), pid))
        else:
            self.counts[f"{role} killed"] += 1
            _signal(pid, signal.SIGKILL)

    def _restart(self) -> None:
        """Kill `actors run`, or end it in order, and run it again in its folder."""
        if self._chance.random() < 0.5:
            self.counts["root killed"] += 1
            self._endpoint.kill()
        else:
            self.counts["root ended"] += 1
            # Who is stopped cannot end in order.
            self.end()
            self._endpoint.stop()
        self._endpoint.start()
        self._services_spared_until = 0.0

    def end(self) -> None:
        """Let everybody go on."""
        for _, pid in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped.clear()


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Flow:
    """Tasks that follow each other, each with its number for a result."""

    def __init__(self, executor: actors.Executor, chance: random.Random) -> None:
        self.done = 0
        self.doubled = 0
        self.wrong: list[str] = []
        self._executor = executor
        self._chance = chance
        self._open: deque[tuple[int, Future[int]]] = deque()
        self._ends: Counter[int] = Counter()
        self._submitted = 0

    def submit(self) -> None:
        """Have as many under way as there may be."""
        chance = self._chance
        while len(self._open) < UNDER_WAY:
            number = self._submitted
            self._submitted += 1
            is_long = chance.random() < LONG_SHARE
            duration = chance.uniform(0.0, LONGEST) if is_long else 0.0
            future = self._executor.submit(tasks.echo, number, duration)
            future.add_done_callback(lambda _, n=number: self._ended(n))  # type: ignore[misc]
            self._open.append((number, future))

    def _ended(self, number: int) -> None:
        self._ends[number] += 1

    def look(self, timeout: float = 0.0) -> None:
        """Look at those that have ended; at all, with a timeout."""
        for _ in range(len(self._open)):
            number, future = self._open.popleft()
            if not timeout and not future.done():
                self._open.append((number, future))
                continue
            try:
                result = future.result(timeout)
                if result != number:
                    self.wrong.append(f"{number} gave {result}")
            except Exception as error:  # noqa: BLE001  whatever it is, it is told
                self.wrong.append(f"{number}: {error!r}")
            self.done += 1
            self.doubled += self._ends.pop(number, 1) > 1


def _descriptors() -> Counter[str]:
    """What this process has open; those that are alike are counted."""
    open_now: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{name}")
            # Sockets and pipes have numbers of their own.
            open_now[re.sub(r"\d+", "", target)] += 1
    return open_now


def _threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("actors-")}


@dataclass
class Leaks:
    """What this process had before, to be compared with later."""

    descriptors: Counter[str] = field(default_factory=_descriptors)
    threads: set[threading.Thread] = field(default_factory=_threads)

    def find(self) -> list[str]:
        """Name what is left now and was not there before, once it had its time."""
        # What is only waiting for the collector is no leak.
        gc.collect()
        looks: dict[str, Callable[[], object]] = {
            "threads": lambda: _threads() - self.threads,
            "descriptors": lambda: dict(_descriptors() - self.descriptors),
        }
        found = []
        for what, look in looks.items():
            try:
                eventually(lambda look=look: not look(), 10)  # type: ignore[misc]
            except AssertionError:
                found.append(f"{what} left: {look()}")
        return found


def _locks(endpoint: RunningEndpoint) -> list[str]:
    """Name the locks of a stopped endpoint's folder that somebody holds."""
    held = []
    journals = endpoint.paths.journals
    for path in [endpoint.paths.lock, *journals.glob("*/journal.lock")]:
        lock = filelock.FileLock(path)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            held.append(f"lock left: {path}")
        else:
            lock.release()
    return held


@dataclass
class Verdict:
    """How a trial went."""

    tasks: int
    doubled: int
    wrong: list[str]  # results that are lost or wrong, and what was left
    troubles: Counter[str]

    @property
    def is_good(self) -> bool:
        return not self.wrong and not self.doubled


def soak(seconds: float, seed: int, least_tasks: int = 0) -> Verdict:
    """Run the trial for so many seconds and tasks, and until none is under way."""
    chance = random.Random(seed)
    with RunningEndpoint(
        blocks={"init_blocks": 2, "min_blocks": 2, "max_blocks": 2},
        heartbeat={"period": 0.5, "threshold": 2.0, "reconnect_grace": 1.0},
    ) as endpoint:
        # What the first executor of a process makes for all stays.
        endpoint.executor().shutdown()
        before = Leaks()
        client = KilledClient(endpoint, round(seconds * KEYED_RATE))
        executor = endpoint.executor(retries=1000)
        flow, trouble = Flow(executor, chance), Trouble(endpoint, client, chance)
        until = time.monotonic() + seconds
        while time.monotonic() < until or flow.done < least_tasks:
            flow.submit()
            trouble.make()
            flow.look()
            time.sleep(0.01)
        trouble.end()
        flow.look(LAST_RESULT)
        wrong = [*flow.wrong, *client.end()]
        executor.shutdown()
        endpoint.stop()
        wrong += [*before.find(), *_locks(endpoint)]
        if endpoint.paths.sockets.exists():
            wrong.append(f"sockets left in {endpoint.paths.sockets}")
        if wrong:
            print(endpoint.tail())
    trouble.counts["client restarted"] = client.restarts
    return Verdict(flow.done, flow.doubled, wrong, trouble.counts)


def main() -> int:
    """Read the command line and run the trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    verdict = soak(options.minutes * 60.0, options.seed)
    for text in verdict.wrong[:20]:
        print(text)
    counts = sorted(verdict.troubles.items())
    print(
        f"seed {options.seed}: {verdict.tasks} tasks, {len(verdict.wrong)} lost, wrong "
        f"or left, {verdict.doubled} doubled; "
        + ", ".join(f"{count} {what}" for what, count in counts if count)
    )
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
