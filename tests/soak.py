"""A long trial: tasks flow, processes die at random, and nothing is lost or doubled.

    python -m tests.soak --minutes 10 --seed 1

Runs an endpoint of two blocks and a client in this process. Meanwhile the interchange,
strategy, provider, managers and workers are killed, or stopped and continued, one after
another. At the end every task must have exactly one result, the right one, and no
process may be left. The last line says how it went; the exit code is 0 if it went well.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter, deque
from concurrent.futures import Future
from contextlib import suppress

import actors
from tests.endpoints import RunningEndpoint
from tests.system import tasks

# How many tasks are under way at a time, and how long each takes at most, in seconds.
UNDER_WAY = 400
LONGEST = 0.02
# Seconds between two troubles, and how long somebody is stopped: also for longer than
# the threshold of the heartbeats.
PAUSE = (0.2, 3.0)
STOPPED = (0.1, 4.0)
VICTIMS = ("interchange", "manager", "worker", "strategy", "provider")
# More than 5 restarts of these within 30 s make the endpoint give up, as they should.
SERVICES = frozenset({"interchange", "strategy", "provider"})
SERVICE_PAUSE = 8.0
# For what is under way when the troubles end.
LAST_RESULT = 120.0


class Trouble:
    """Somebody who makes trouble.

    Args:
        endpoint: whose processes suffer.
        chance: of every choice.
    """

    def __init__(self, endpoint: RunningEndpoint, chance: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._endpoint = endpoint
        self._chance = chance
        self._next_at = time.monotonic() + 1.0
        self._services_spared_until = 0.0
        self._stopped: list[tuple[float, int]] = []

    def make(self) -> None:
        """Do what is due; call it often."""
        now = time.monotonic()
        for until, pid in [s for s in self._stopped if s[0] <= now]:
            self._stopped.remove((until, pid))
            _signal(pid, signal.SIGCONT)
        if now < self._next_at:
            return
        chance = self._chance
        self._next_at = now + chance.uniform(*PAUSE)
        role = chance.choice(VICTIMS)
        if role in SERVICES and now < self._services_spared_until:
            return
        pids = self._endpoint.pids(role)
        if not pids:
            return
        if role in SERVICES:
            self._services_spared_until = now + SERVICE_PAUSE
        pid = chance.choice(pids)
        if chance.random() < 0.3:
            self.counts[f"{role} stopped"] += 1
            _signal(pid, signal.SIGSTOP)
            self._stopped.append((now + chance.uniform(*STOPPED), pid))
        else:
            self.counts[f"{role} killed"] += 1
            _signal(pid, signal.SIGKILL)

    def end(self) -> None:
        """Let everybody go on."""
        for _, pid in self._stopped:
            _signal(pid, signal.SIGCONT)


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
        while len(self._open) < UNDER_WAY:
            number = self._submitted
            self._submitted += 1
            future = self._executor.submit(
                tasks.echo, number, self._chance.uniform(0.0, LONGEST)
            )
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


def soak(seconds: float, seed: int) -> int:
    """Run the trial; return the exit code."""
    chance = random.Random(seed)
    with RunningEndpoint(
        blocks={"init_blocks": 2, "min_blocks": 2, "max_blocks": 2},
        heartbeat={"period": 0.5, "threshold": 2.0, "reconnect_grace": 1.0},
    ) as endpoint:
        executor = endpoint.executor(retries=1000)
        flow, trouble = Flow(executor, chance), Trouble(endpoint, chance)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            flow.submit()
            trouble.make()
            flow.look()
            time.sleep(0.01)
        trouble.end()
        flow.look(LAST_RESULT)
        executor.shutdown()
        if flow.wrong:
            print(endpoint.tail())
    for text in flow.wrong[:20]:
        print(text)
    troubles = ", ".join(f"{n} {what}" for what, n in sorted(trouble.counts.items()))
    print(
        f"seed {seed}: {flow.done} tasks, {len(flow.wrong)} lost or wrong, "
        f"{flow.doubled} doubled; {troubles or 'no trouble'}"
    )
    return 1 if flow.wrong or flow.doubled else 0


def main() -> int:
    """Read the command line and run the trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return soak(options.minutes * 60.0, options.seed)


if __name__ == "__main__":
    sys.exit(main())
