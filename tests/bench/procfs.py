"""CPU time and memory of a process tree, from one pass over /proc (Linux)."""

import ctypes
import os

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(root):
    """{pid: (cpu seconds incl. reaped children, rss bytes, name)} of root and its descendants."""
    stats, children = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                head, _, tail = f.read().rpartition(")")
        except OSError:
            continue
        fields = tail.split()
        cpu = sum(map(int, fields[11:15])) / TICK
        stats[int(pid)] = cpu, int(fields[21]) * PAGE, head.partition("(")[2]
        children.setdefault(int(fields[1]), []).append(int(pid))
    found, todo = {}, [root]
    while todo:
        pid = todo.pop()
        if pid in stats:
            found[pid] = stats[pid]
            todo += children.get(pid, ())
    return found


def rss(processes):
    return sum(p[1] for p in processes.values())


def cpu_between(before, after):
    """Total CPU seconds between two trees, and the processes that took the most of them."""
    spent = [
        (round(cpu - before.get(pid, (0,))[0], 2), name)
        for pid, (cpu, _, name) in after.items()
    ]
    return sum(s for s, _ in spent), [
        f"{name} {s}" for s, name in sorted(spent)[:-5:-1] if s
    ]


def machine_busy():
    """CPU seconds spent by the whole machine, other guests' steal included."""
    with open("/proc/stat") as f:
        t = [int(x) for x in f.readline().split()[1:9]]
    return (sum(t) - t[3] - t[4]) / TICK


def adopt_orphans():
    """Daemonised descendants stay in our tree rather than go to init."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
