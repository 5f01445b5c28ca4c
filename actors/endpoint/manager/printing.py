"""Printing: what this node's workers print is told to who wants to see it. Pure.

    WatchOutput ─► workers are watched ─WorkerWrote─► Printed, before the outcome

What a task has written stands between two marks in its worker's log, which the pool
reads; what comes after the last mark is its that runs, and is looked at now and then.
As long as there is one client only, nobody asks which of its tasks has written what.
An actor's process writes for its actor alone. Nothing is read as long as nobody, in the
whole endpoint, wants it.
"""

import math

from actors.endpoint.hosts import Hosts
from actors.endpoint.manager.crew import Crew
from actors.logic.output import Allowance, LineCutter, fitting
from actors.logic.turn import Effect
from actors.logic.workers import LookAtOutput, WatchWorkers, WorkerWrote
from actors.messages import CallerKnown, ClientId, Printed, WorkerId

__all__ = ["IDLE_LOOK_PERIOD", "LOOK_PERIOD", "Printing"]

# How often what runs is looked at, and how often it is looked whether anything runs.
# Chosen: lines appear within a second, and a look costs some microseconds.
LOOK_PERIOD, IDLE_LOOK_PERIOD = 0.5, 1.0
# What one worker may have told at once, and per second. Chosen: more than people read;
# less than a hundredth of what a link carries.
MOST_BYTES, BYTES_PER_SECOND = 1 << 20, 128 << 10


class _Writer:
    """One worker, from its first word on."""

    __slots__ = ("allowance", "lines", "seq")

    def __init__(self, now: float) -> None:
        self.lines = LineCutter()
        self.seq = 0  # whose line it has begun
        self.allowance = Allowance(MOST_BYTES, BYTES_PER_SECOND, now)


class Printing:
    """The machine; see the module's docstring.

    Args:
        crew: whose tasks print,
        hosts: or whose actors.
    """

    def __init__(self, crew: Crew, hosts: Hosts) -> None:
        self._crew = crew
        self._hosts = hosts
        self._is_wanted = self._is_shared = False
        self._writers: dict[WorkerId, _Writer] = {}
        self.wake_at = math.inf  # when `tick` is wanted next; infinity: not

    def watch(
        self,
        now: float,
        effects: list[Effect],
        *,
        is_wanted: bool,
        is_shared: bool = False,
    ) -> None:
        """Begin, or cease, to tell; and tell clients apart, or need not."""
        if (is_wanted, is_shared) == (self._is_wanted, self._is_shared):
            return
        if is_wanted != self._is_wanted:
            self._writers.clear()
            self.wake_at = now + LOOK_PERIOD if is_wanted else math.inf
        self._is_wanted, self._is_shared = is_wanted, is_shared
        effects.append(WatchWorkers(is_wanted, is_shared))

    def caller(
        self, worker_id: WorkerId, seq: int, client_id: ClientId
    ) -> CallerKnown | None:
        """Return who it is that asks for tasks of its own; None: it has ended."""
        host = self._hosts.by_worker.get(worker_id)
        if host is not None:
            return CallerKnown(client_id, seq, host.of.actor_id, True)
        worker = self._crew.workers.get(worker_id)
        if worker is None or not worker.backlog or worker.backlog[0][0] != seq:
            return None
        return CallerKnown(client_id, seq, worker.backlog[0][1].task_id, False)

    def wrote(self, said: WorkerWrote, now: float) -> list[Printed]:
        """Return what to tell of what a worker has written; perhaps nothing."""
        if not self._is_wanted:
            return []
        worker_id = said.worker_id
        worker = self._crew.workers.get(worker_id)
        host = self._hosts.by_worker.get(worker_id)
        who: tuple[str, bool, int]
        if host is not None:
            who, seq = (host.of.actor_id, True, host.pid), 0
        elif worker is not None and worker.backlog and worker.backlog[0][0] == said.seq:
            who = worker.backlog[0][1].task_id, False, worker.pid
            seq = said.seq
        else:
            return []  # of nobody here any more
        writer = self._writers.get(worker_id)
        if writer is None:
            writer = self._writers[worker_id] = _Writer(now)
        if writer.seq != seq:
            # Its last words were not told: they are not this one's.
            writer.seq, writer.lines = seq, LineCutter()
        printed: list[Printed] = []
        left_out = said.left_out_bytes
        for text in writer.lines.add(said.text, is_end=said.is_end):
            shown = fitting(text, writer.allowance.take(len(text), now))
            left_out += len(text) - len(shown)
            if shown:
                printed.append(Printed(*who, shown, 0))
        if left_out:
            printed.append(Printed(*who, b"", left_out))
        return printed

    def died(self, worker_id: WorkerId) -> None:
        """Forget a worker."""
        self._writers.pop(worker_id, None)

    def tick(self, now: float, effects: list[Effect]) -> None:
        """Look at what runs, when it is time."""
        if now < self.wake_at:
            return
        running = {
            worker.worker_id: worker.backlog[0][0]
            for worker in self._crew.workers.values()
            if worker.backlog and worker.is_started
        }
        running.update(dict.fromkeys(self._hosts.by_worker, 0))
        self.wake_at = now + (LOOK_PERIOD if running else IDLE_LOOK_PERIOD)
        if running:
            effects.append(LookAtOutput(running))
