"""What a manager's heartbeat and a task's placement cost an interchange with many managers.

    python many_managers.py [--managers 10 30 100 300 1000] [--workers 64] [--svg FILE]

The interchange's machine has so many simulated managers, all of whose workers are busy,
and tasks wait. Frames are decoded and encoded as in the real process; sockets and disk
are not there (`endpoint_profile.py` tells what they cost). Measured is processor time:

- a heartbeat: a report on all workers of a manager, with what the clock brings meanwhile
  (heartbeats back, the load for the strategy), over one period of 30 s in which every
  manager reports once;
- a task: from its outcome to the acknowledgement, the result for its client, and another
  task for the worker that is free, with one outcome in a frame and with eight.
"""

import argparse
import gc
import time

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.logic.turn import Turn
from actors.messages import (
    PROTOCOL,
    AckResults,
    BlockId,
    Finished,
    Hello,
    Lease,
    Outcome,
    Published,
    Report,
    Results,
    Submit,
    Task,
    TaskId,
    TaskState,
    WorkerId,
    WorkerReport,
    encode_events,
    encode_frame,
    from_member,
)
from line_chart import line_chart

PERIOD = 30.0  # of heartbeats; the default
PAYLOAD = bytes(100)
TASKS = 20_000  # measured for each number of managers and each size of frame


class Hall:
    """An interchange and its managers, without anything between them."""

    def __init__(self, managers: int, workers: int) -> None:
        self.now = 1000.0
        self.workers = workers
        settings = InterchangeSettings("bench", "epoch", "t", "3.11")
        self.interchange = Interchange(settings, self.now)
        self.leases: dict[str, list[tuple[str, int]]] = {}  # {manager: what it has}
        self.submitted = 0
        self.interchange.admit(
            Hello("client", "c", "i", PROTOCOL, "3.11", "t"), self.now
        )
        for number in range(managers):
            name = f"block-{number}.0"
            hello = Hello(
                "manager",
                name,
                f"i{number}",
                PROTOCOL,
                "3.11",
                "t",
                number,
                f"node{number}",
                BlockId(f"block-{number}"),
                workers,
            )
            self.leases[f"manager:{name}"] = []
            self.interchange.admit(hello, self.now)
        self.submit(2 * managers * workers)

    def submit(self, count: int) -> None:
        """Let tasks wait."""
        for start in range(0, count, 1000):
            tasks = [
                Task(
                    TaskId(f"some-host-0123456789ab-{self.submitted + n}"),
                    PAYLOAD,
                    PAYLOAD,
                    0.0,
                )
                for n in range(min(1000, count - start))
            ]
            self.submitted += len(tasks)
            self.say("client:c", encode_frame([Submit(tasks)]))

    def say(self, peer: str, frame: bytes) -> None:
        """Let a frame arrive, and carry out what follows."""
        kind = peer.partition(":")[0]
        for message in from_member[kind].decode(frame):
            self.carry_out(self.interchange.handle(message, peer, self.now))

    def carry_out(self, turn: Turn) -> None:
        """Encode what goes out, as the runtime does: a frame for each peer."""
        outgoing: dict[str, list] = {}
        for peer, message in (*turn.sends, *turn.eager, *turn.promises):
            outgoing.setdefault(peer, []).append(message)
        for peer, messages in outgoing.items():
            encode_frame(messages)
            for message in messages:
                if type(message) is Lease:
                    self.leases[peer] += [(t.task_id, t.attempt) for t in message.tasks]
                elif type(message) is Results:
                    done = [outcome.task_id for outcome in message.outcomes]
                    self.interchange.handle(AckResults(done), peer, self.now)
        if turn.events:
            encode_events(
                [Published("e", 1, self.now, "interchange", e) for e in turn.events]
            )

    def tick(self) -> None:
        if self.interchange.wake_at <= self.now:
            self.carry_out(self.interchange.tick(self.now))

    def heartbeats(self) -> float:
        """Let a period pass; return processor seconds per manager."""
        frames = {}
        for peer in self.leases:
            reports = [
                WorkerReport(
                    WorkerId(f"{peer}-w{n}"),
                    n,
                    TaskId("some-host-0123456789ab-1"),
                    1 << 26,
                    1.5,
                )
                for n in range(self.workers)
            ]
            frames[peer] = encode_frame([Report(self.workers, [], reports)])
        step = PERIOD / len(frames)
        began = time.process_time()
        for peer, frame in frames.items():
            self.now += step
            self.tick()
            self.say(peer, frame)
        return (time.process_time() - began) / len(frames)

    def tasks(self, at_once: int) -> float:
        """Let tasks end, so many in a frame; return processor seconds per task."""
        waiting = self.interchange.ledger.waiting
        self.submit(max(0, TASKS + self.workers - waiting))
        peers = list(self.leases)
        frames, done, before = [], 0, self.interchange.books.finished
        spent = 0.0
        while done < TASKS:
            frames.clear()
            for peer in peers:
                ended, self.leases[peer] = (
                    self.leases[peer][:at_once],
                    self.leases[peer][at_once:],
                )
                outcomes = [
                    Outcome(
                        task_id,
                        attempt,
                        TaskState.SUCCESS,
                        PAYLOAD,
                        None,
                        2.0,
                        1.0,
                        "w",
                    )
                    for task_id, attempt in ended
                ]
                frames.append((peer, encode_frame([Finished(outcomes)])))
            began = time.process_time()
            for peer, frame in frames:
                self.now += 1e-4
                self.tick()
                self.say(peer, frame)
            spent += time.process_time() - began
            done += at_once * len(peers)
        assert self.interchange.books.finished - before == done, "tasks did not end"
        return spent / done


def measure(managers: int, workers: int) -> tuple[float, float, float]:
    """Return microseconds per heartbeat, and per task, alone in a frame and with seven."""
    hall = Hall(managers, workers)
    gc.collect()
    gc.freeze()
    beat = min(hall.heartbeats() for _ in range(3))
    alone = min(hall.tasks(1) for _ in range(3))
    eight = min(hall.tasks(8) for _ in range(3))
    gc.unfreeze()
    return beat * 1e6, alone * 1e6, eight * 1e6


def main() -> None:
    """Measure, print a table, draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--managers", type=int, nargs="+", default=[10, 30, 100, 300, 1000]
    )
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--svg")
    given = parser.parse_args()
    print(
        f"{'managers':>8} {'workers':>8} {'heartbeat':>12} {'task':>12} {'of eight':>12}"
    )
    rows = []
    for managers in given.managers:
        row = measure(managers, given.workers)
        rows.append((managers, *row))
        cells = " ".join(f"{value:9.1f} us" for value in row)
        print(f"{managers:8} {managers * given.workers:8} {cells}", flush=True)
    if given.svg:
        series = {
            name: [(row[0], row[place]) for row in rows]
            for place, name in enumerate(
                (
                    "a manager's heartbeat",
                    "a task, alone in its frame",
                    "a task of eight in a frame",
                ),
                1,
            )
        }
        with open(given.svg, "w") as file:
            file.write(
                line_chart(
                    f"An interchange with managers of {given.workers} workers",
                    "managers",
                    "us of processor time",
                    series,
                )
            )


if __name__ == "__main__":
    main()
