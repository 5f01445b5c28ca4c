"""The workloads, identical for every peer.  `workloads.py PEER GROUP` runs one group in this
process with a fresh peer and prints JSON lines; bench.py runs it under the peer's own Python."""

import importlib.metadata
import json
import os
import signal
import sys
import time

import procfs
import tasks

MIB = 1 << 20
clock = time.perf_counter


def timed(fn, *args):
    t = clock()
    result = fn(*args)
    return clock() - t, result


def latencies(call, n):
    """Microseconds of each of n sequential calls."""
    times = []
    for i in range(n):
        t = clock()
        call(i)
        times.append((clock() - t) * 1e6)
    return times


# Each workload gets the peer and returns {n, seconds, and maybe us: latencies or extra fields}.


def noop_throughput(peer, n=None):
    n = n or peer.n_noop
    seconds, results = timed(
        lambda: peer.gather([peer.submit(tasks.noop, i) for i in range(n)])
    )
    assert sum(results) == n * (n - 1) // 2
    return dict(n=n, seconds=seconds)


def noop_map(peer):
    n = peer.n_noop
    peer.map(tasks.noop, range(200))
    seconds, results = timed(lambda: peer.map(tasks.noop, range(n)))
    assert sum(results) == n * (n - 1) // 2
    return dict(n=n, seconds=seconds)


def noop_latency(peer):
    us = latencies(lambda i: peer.call(tasks.noop, i), peer.n_latency)
    return dict(n=peer.n_latency, seconds=sum(us) / 1e6, us=us)


def sleep_scaling(peer):
    seconds, _ = timed(
        lambda: peer.gather([peer.submit(tasks.nap, i) for i in range(200)])
    )
    return dict(n=200, seconds=seconds, ratio=seconds / 1.0)


def queue_100k(peer):
    return noop_throughput(peer, 100_000)


def actor_start(peer):
    t = clock()
    actors = [peer.actor() for _ in range(20)]
    first = [peer.ask(a, 1) for a in actors]
    seconds = clock() - t
    assert first == [1] * 20
    for a in actors:
        peer.kill(a)
    return dict(n=20, seconds=seconds, ms_per_actor=seconds * 1e3 / 20)


def actor_sync(peer):
    actor = peer.actor()
    peer.ask_loop(actor, 100)
    us = peer.ask_loop(actor, 2000)
    assert peer.ask(actor, 1) == 2101
    peer.kill(actor)
    return dict(n=2000, seconds=sum(us) / 1e6, us=us)


def actor_async(peer):
    n, actor = peer.n_actor, peer.actor()
    assert peer.ask(actor, 1) == 1
    seconds, results = timed(lambda: peer.send_all(actor, n))
    assert sum(results) == n * (n + 3) // 2, "wrong sum"
    peer.kill(actor)
    return dict(n=n, seconds=seconds)


def payload(peer, mib, n):
    us = []
    for i in range(-1, n):
        array = tasks.make(
            mib * MIB
        ).copy()  # a new object with new content: nothing to cache
        array[0] = i % 256
        seconds, reply = timed(peer.call, tasks.size_and_first, array)
        assert reply == (mib * MIB, i % 256)
        us.append(seconds * 1e6)
    us = us[1:]
    return dict(n=n, seconds=sum(us) / 1e6, us=us, mib_per_s=mib * n / sum(us) * 1e6)


def payload_1MiB(peer):
    return payload(peer, 1, 200)


def payload_64MiB(peer):
    return payload(peer, 64, 5)


def result_64MiB(peer):
    def go(_):
        array = peer.call(tasks.make, 64 * MIB)
        assert array.nbytes == 64 * MIB and array[-1] == last

    last = tasks.make(64 * MIB)[-1]
    go(0), go(0)
    us = latencies(go, 5)
    return dict(n=5, seconds=sum(us) / 1e6, us=us, mib_per_s=5 * 64 / sum(us) * 1e6)


GROUPS = {
    "tasks": [noop_throughput, noop_map, noop_latency, sleep_scaling],
    "actors": [actor_sync, actor_async, actor_start],
    "data": [payload_1MiB, payload_64MiB, result_64MiB],
    "queue": [queue_100k],
}
LIMIT_S = 180  # per workload


def percentile(values, p):
    values = sorted(values)
    return round(values[min(len(values) - 1, int(p * len(values)))], 1)


def emit(**line):
    print(json.dumps(line), flush=True)


def measure(peer_name, workload, fn, *args):
    """Run one workload and print its line; False if the peer is no longer fit for use."""

    def alarm(*_):
        raise TimeoutError

    emit(event="begin", workload=workload)
    busy, before = procfs.machine_busy(), procfs.tree(os.getpid())
    begun, line = clock(), dict(peer=peer_name, workload=workload)
    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(LIMIT_S)
    result = {}
    try:
        result = fn(*args)
        line["status"] = "ok"
    except NotImplementedError:
        emit(**line, status="unsupported")
        return True
    except TimeoutError:
        line["status"] = f"timeout {LIMIT_S} s"
    except Exception as e:
        line["status"] = f"{type(e).__name__}: {e}"[:300]
    finally:
        signal.alarm(0)
    wall = clock() - begun
    after = procfs.tree(os.getpid())
    cpu, top = procfs.cpu_between(before, after)
    line.update(n=result.pop("n", None), seconds=result.pop("seconds", wall))
    if line["n"]:
        line["ops_per_s"] = line["n"] / line["seconds"]
    us = result.pop("us", None)
    line["p50_us"], line["p99_us"] = (
        (percentile(us, 0.5), percentile(us, 0.99)) if us else (None,) * 2
    )
    line.update(
        result,
        cpu_s=cpu,
        cpu_top=top,
        base_rss_mib=procfs.rss(before) / MIB,
        peak_rss_mib=max(procfs.rss(before), procfs.rss(after)) / MIB,
    )
    if wall > 0.05:  # share of the machine that others took meanwhile
        line["other_cpu"] = (procfs.machine_busy() - busy - cpu) / wall / os.cpu_count()
    emit(
        **{k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in line.items()}
    )
    return line["status"] == "ok"


def main(peer_name, group):
    procfs.adopt_orphans()
    if peer_name == "limits":
        import limits

        for fn in limits.LIMITS:
            measure("limits", fn.__name__, fn)
        emit(event="end")
        os._exit(0)
    from peers import PEERS

    peer = PEERS[peer_name]()

    def startup():
        seconds, _ = timed(lambda: (peer.start(), peer.call(tasks.noop, 0)))
        version = (
            importlib.metadata.version(peer.package)
            if peer.package
            else sys.version.split()[0]
        )
        spin, _ = timed(lambda: sum(i * i for i in range(2_000_000)))
        return dict(n=1, seconds=seconds, version=version, spin_ms=spin * 1e3)

    ok = measure(peer_name, "startup", startup)
    if ok and "tasks" in peer.groups:  # see that all workers are up
        peer.gather([peer.submit(tasks.nap, i) for i in range(40)])
        peer.gather([peer.submit(tasks.noop, i) for i in range(1000)])
    for fn in GROUPS[group]:
        if ok:
            ok = measure(peer_name, fn.__name__, fn, peer)
    if ok:

        def shutdown():
            seconds, _ = timed(peer.stop)
            return dict(n=1, seconds=seconds)

        measure(peer_name, "shutdown", shutdown)
    emit(event="end")
    os._exit(0)  # bench.py ends what is left of the tree


if __name__ == "__main__":
    main(*sys.argv[1:])
