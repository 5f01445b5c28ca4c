"""What a dashboard costs: milliseconds per refresh of each screen, and at the interchange.

    python tests/bench/dashboard.py [TASKS MANAGERS]     # 100000 1000

A refresh is a new view posted, handled and drawn; the reader's share (decoding the
picture, alerts, history) is told apart. The interchange's share is drawing and encoding
its answers, once a second or less often. All is processor time, so that others who use
the machine show little.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from actors.api.observer import Changed, ConnectionState, Told
from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.messages import (
    PROTOCOL,
    Answer,
    BlockId,
    BlockState,
    BlocksReported,
    Block,
    Command,
    Hello,
    Report,
    Submit,
    Task,
    TaskId,
    WorkerId,
    WorkerReport,
)
from tests.tui.drawing import PANES, running, settle
from tests.tui.views import huge
from tui.chronicle import Chronicle

ROUNDS = 15
WORKERS = 4


def told(name, times):
    low, middle, high = min(times), statistics.median(times), max(times)
    print(f"{name:<34} {middle:8.2f} ms  ({low:.2f}..{high:.2f})")


def timed(function, rounds=ROUNDS):
    times = []
    for _ in range(rounds):
        began = time.process_time()
        function()
        times.append(1000 * (time.process_time() - began))
    return times


async def screens(tasks, managers):
    views = [huge(tasks, managers, shift) for shift in range(3)]
    async with running(views[0], (160, 50)) as pilot:
        app = pilot.app
        for pane in PANES:
            app.action_open(pane)
            await settle(pilot)
            times = []
            for number in range(ROUNDS):
                began = time.process_time()
                app.post(views[number % 3])
                await settle(pilot)
                times.append(1000 * (time.process_time() - began))
            told(f"screen {pane}", times)
        app.action_open("tasks")
        await settle(pilot)
        app.pane.action_next_sort()
        times = []
        for number in range(ROUNDS):
            began = time.process_time()
            app.post(views[number % 3])
            await settle(pilot)
            times.append(1000 * (time.process_time() - began))
        told("screen tasks, sorted", times)


def reader(tasks, managers):
    status = msgspec.json.encode(huge(tasks, managers).status)
    listed = msgspec.json.encode(huge(1000, 1).tasks)
    chronicle = Chronicle("lab", 0.0, has_logs=True)
    chronicle.take(Changed(ConnectionState.CONNECTED, ""), 0.0)

    def refresh():
        chronicle.take(Told(Command("", "status"), Answer("", True, "", status)), 1.0)
        chronicle.take(Told(Command("", "tasks"), Answer("", True, "", listed)), 1.0)
        chronicle.view(1.0)

    told(f"reader, {len(status) / 1e6:.2f} MB picture", timed(refresh))


def interchange(tasks, managers):
    machine = Interchange(InterchangeSettings("n", "e", "t", "3"), 0.0)

    def join(kind, name, **more):
        machine.admit(Hello(kind, name, "i", PROTOCOL, "3", "t", **more), 0.0)

    join("client", "c")
    join("operator", "o")
    join("provider", "p")
    blocks = [BlockId(f"block-{n}") for n in range(managers)]
    reported = [Block(b, BlockState.RUNNING, b) for b in blocks]
    machine.handle(BlocksReported(reported), "provider:p", 0.0)
    for block_id in blocks:
        join("manager", f"{block_id}.0", block_id=block_id, slots=WORKERS, host="h")
    submitted = [Task(TaskId(f"c-{n}"), b"", b"", 0.0) for n in range(tasks)]
    machine.handle(Submit(submitted), "client:c", 0.0)
    for block_id in blocks:
        name = f"{block_id}.0"
        leases = list(machine.fleet.managers[name].leases)
        workers = [
            WorkerReport(WorkerId(f"{name}-w{n}"), n, task, 100 << 20, 1.5)
            for n, task in enumerate(leases)
        ]
        machine.handle(Report(WORKERS, [], workers), f"manager:{name}", 0.0)

    def ask(verb, names=(), number=0):
        command = Command("r", verb, list(names), number)
        turn = machine.handle(command, "operator:o", 1.0)
        return turn.sends[-1][1]

    size = len(ask("status").body)
    times = timed(lambda: ask("status"))
    told(f"interchange, status, {size / 1e6:.2f} MB", times)
    print(f"{'':<34} {1e6 * statistics.median(times) / size:8.1f} ns per byte")
    told("interchange, 90 tasks", timed(lambda: ask("tasks", [""], 90)))
    told("interchange, 1000 tasks", timed(lambda: ask("tasks", [""], 1000)))
    told("interchange, search of all", timed(lambda: ask("tasks", ["9999"], 1000)))


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("tasks", nargs="?", type=int, default=100_000)
    words.add_argument("managers", nargs="?", type=int, default=1000)
    options = words.parse_args()
    asked = (options.tasks, options.managers)
    print(f"{asked[0]:,} tasks, {asked[1]:,} managers of {WORKERS} workers")
    asyncio.run(screens(*asked))
    reader(*asked)
    interchange(*asked)
