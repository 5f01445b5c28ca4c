"""What shared-memory objects cost between two processes, beside a bare copy of as much.

    python tests/bench/store_speed.py [MIB ...]

Each row: the median of 15, in ms, and MiB/s. "argument": write, send, map, read one
byte, let go. "argument, read": the other process reads all of it. "result": the same
the other way.
"""

import multiprocessing
import statistics
import sys
import time

import numpy as np

from actors.store import OWNER, Store, StoreClient, dump_parts

_COUNT = 15


def worker(pipe, folders):
    client = StoreClient(folders, "w1")
    made = {}
    while (request := pipe.recv()) is not None:
        kind, content = request
        if kind == "result":
            if content not in made:
                made[content] = np.ones(content, np.uint8)
            pipe.send((client.write(dump_parts(made[content], list)), []))
            continue
        array = client.load(content)
        answer = int(array.sum(dtype=np.uint8) if kind == "read" else array[0])
        del array
        pipe.send((answer, client.take_released()))


def measure(label, mib, function):
    function()
    function()
    times = []
    for _ in range(_COUNT):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    print(
        f"{mib:>5} MiB  {label:<15} {median * 1e3:8.2f} ms  {mib / median:8,.0f} MiB/s"
        f"  ({min(times) * 1e3:.2f} to {max(times) * 1e3:.2f} ms)"
    )


def main():
    sizes = [int(size) for size in sys.argv[1:]] or [1, 64]
    context = multiprocessing.get_context("spawn")
    with Store() as store:
        ours, theirs = context.Pipe()
        process = context.Process(target=worker, args=(theirs, store.folders))
        process.start()
        for mib in sizes:
            source = np.ones(mib << 20, np.uint8)
            target = source.copy()

            def argument(kind):
                stored = store.write(dump_parts(source, list))
                store.pin(stored, "w1")
                ours.send((kind, stored))
                _, released = ours.recv()
                for name in released:
                    store.release(name, "w1")
                store.release(stored.name, OWNER)

            def result():
                ours.send(("result", mib << 20))
                stored, _ = ours.recv()
                store.adopt(stored)
                array = store.load(stored)
                assert array[-1] == 1
                del array
                store.release(stored.name, OWNER)
                store.collect()

            measure("copy", mib, lambda: np.copyto(target, source))
            measure("argument", mib, lambda: argument("first"))
            measure("argument, read", mib, lambda: argument("read"))
            measure("sum of as much", mib, lambda: source.sum(dtype=np.uint8))
            measure("result", mib, result)
        ours.send(None)
        process.join()


if __name__ == "__main__":
    main()
