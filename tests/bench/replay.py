"""What a restart of an interchange costs: seconds, and bytes per task that is alive.

    python replay.py [--records 1000000] [--live 200000]

Writes a journal as an interchange does whose tasks come one by one: four records for
each that was accepted, leased, finished and forgotten, and one for each that waits.
Each run is a process of its own, as each start of an interchange is.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import procfs

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.journal import Journal, JournalConfig
from actors.logic.records import (
    InterchangeRecord,
    ManagerAdmitted,
    TasksAccepted,
    TasksFinished,
    TasksForgotten,
    TasksLeased,
    decode_record,
    encode_record,
)
from actors.messages import (
    BlockId,
    ClientId,
    ManagerId,
    Outcome,
    Task,
    TaskId,
    TaskState,
)

RUNS = 3
RECORDS_PER_TASK = 4
CLIENT, MANAGER = ClientId("some-host-0123456789ab"), ManagerId("block-1.0")
PAYLOAD = bytes(100)
BATCH = 1000


def open_journal(folder: Path) -> Journal[InterchangeRecord]:
    return Journal(
        folder,
        encode=encode_record,
        decode=decode_record,
        config=JournalConfig(durability="off"),
    )


def records(count: int, live: int) -> Iterator[InterchangeRecord]:
    """Give so many records, of so many tasks that wait and of others that ended."""
    yield ManagerAdmitted(MANAGER, "i", BlockId("block-1"), 2, "some-host", 1)
    ended = (count - 1 - live) // RECORDS_PER_TASK
    for number in range(ended + live):
        at = 1.7e9 + number / 1000
        # The names are made anew each time, as those that come in a frame.
        task_id = TaskId(f"{CLIENT}-{number}")
        yield TasksAccepted(CLIENT, at, [Task(task_id, PAYLOAD, PAYLOAD, at)])
        if number < ended:
            yield TasksLeased(MANAGER, at, [task_id])
            outcome = Outcome(task_id, 1, TaskState.SUCCESS, PAYLOAD, None, at, at)
            yield TasksFinished(CLIENT, [outcome])
            yield TasksForgotten(CLIENT, [task_id])


def write(folder: Path, count: int, live: int) -> None:
    with open_journal(folder) as journal:
        list(journal.replay())
        batch = []
        for record in records(count, live):
            batch.append(record)
            if len(batch) == BATCH:
                journal.append(batch)
                batch.clear()
        journal.append(batch)


def _rss_bytes() -> int:
    me = os.getpid()
    return procfs.tree(me)[me][1]


def replay(folder: Path) -> None:
    """Restore an interchange; print seconds, bytes, and tasks that wait."""
    now = time.monotonic()
    machine = Interchange(InterchangeSettings("bench", "e", "t", "3.11"), now)
    gc.collect()
    before = _rss_bytes()
    began = time.perf_counter()
    with open_journal(folder) as journal:
        machine.restore(journal.replay(), now)
        seconds = time.perf_counter() - began
    gc.collect()
    print(seconds, _rss_bytes() - before, machine.ledger.waiting)


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--live", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        replay(options.folder)
        return
    with tempfile.TemporaryDirectory(prefix="a-") as name:
        write(Path(name), options.records, options.live)
        log_bytes = sum(p.stat().st_size for p in Path(name).iterdir())
        runs = []
        for _ in range(RUNS):
            done = subprocess.run(
                [sys.executable, __file__, "--folder", name],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            seconds, grown, waiting = done.stdout.split()
            assert int(waiting) == options.live
            runs.append((float(seconds), int(grown)))
    times = sorted(seconds for seconds, _ in runs)
    grown_bytes = statistics.median(grown for _, grown in runs)
    print(
        f"{options.records:,} records, {log_bytes >> 20} MiB, {options.live:,} live "
        f"tasks: {statistics.median(times):.1f} s ({times[0]:.1f}..{times[-1]:.1f}), "
        f"{grown_bytes / options.live:.0f} bytes per live task, {2 * len(PAYLOAD)} of "
        "them payload"
    )


if __name__ == "__main__":
    main()
