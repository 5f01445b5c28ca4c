"""Run the benchmark: every (run, peer, group) in a fresh process under the peer's own Python.

Appends JSON lines to --out and prints progress.  See README.md."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import procfs
from peers import PEERS
from workloads import GROUPS

HERE = Path(__file__).resolve().parent
SAMPLE_S = 0.1


def kill_descendants():
    """End what a peer left behind: descendants of this process only."""
    for _ in range(50):
        pids = set(procfs.tree(os.getpid())) - {os.getpid()}
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.1)


def wait_for_quiet(share, patience_s=30):
    """Wait until others take less than this share of the machine; at most patience_s."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        before = procfs.machine_busy()
        time.sleep(0.5)
        if (procfs.machine_busy() - before) / 0.5 / os.cpu_count() <= share:
            return


def run_cell(python, peer, group, limit_s):
    """Yield the cell's lines, with the peak RSS of its tree as sampled from out here."""
    log = open(os.environ.get("BENCH_LOG", os.devnull), "a")
    cell = subprocess.Popen(
        [python, "workloads.py", peer, group],
        cwd=HERE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(HERE),
            "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    peak, done, current = [0], threading.Event(), None

    def sample():
        while not done.wait(SAMPLE_S):
            peak[0] = max(peak[0], procfs.rss(procfs.tree(cell.pid)))

    guard = threading.Timer(
        limit_s, kill_descendants
    )  # stragglers too: they hold our pipe
    threads = [threading.Thread(target=sample, daemon=True), guard]
    for t in threads:
        t.start()
    for text in cell.stdout:
        if not text.startswith("{"):
            continue  # something that the peer printed
        line = json.loads(text)
        if line.get("event") == "begin":
            peak[0], current = 0, line["workload"]
        elif "workload" in line:
            if "peak_rss_mib" in line:
                line["peak_rss_mib"] = round(
                    max(line["peak_rss_mib"], peak[0] / (1 << 20)), 1
                )
            yield line
            current = None
        elif line.get("event") == "end":
            break  # a straggler may hold the pipe open
    if current:
        yield dict(peer=peer, workload=current, status="died or was killed")
    done.set()
    guard.cancel()
    try:
        cell.wait(10)
    except subprocess.TimeoutExpired:
        pass
    kill_descendants()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("venvs", type=Path, help="folder that setup.sh filled")
    ap.add_argument("--out", default="results.jsonl")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--peers", default=",".join(["limits", *PEERS]))
    ap.add_argument("--groups", default=",".join(GROUPS))
    ap.add_argument(
        "--quiet",
        type=float,
        default=1.0,
        help="before each process wait (at most 30 s) until others' CPU share is below",
    )
    ap.add_argument("--limit", type=float, default=420, help="seconds per process")
    args = ap.parse_args()
    if unknown := set(args.peers.split(",")) - {"limits", *PEERS}:
        ap.error(f"unknown peers: {unknown}")
    procfs.adopt_orphans()
    for run in range(args.runs):
        for peer in args.peers.split(","):
            cls = PEERS.get(peer)
            python = args.venvs / (cls.venv if cls else "base") / "bin" / "python"
            for group in args.groups.split(",") if cls else ["limits"]:
                if cls and group not in cls.groups:
                    continue
                wait_for_quiet(args.quiet)
                for line in run_cell(str(python), peer, group, args.limit):
                    with open(args.out, "a") as f:
                        f.write(
                            json.dumps({**line, "run": run, "at": round(time.time())})
                            + "\n"
                        )
                    print(
                        run,
                        peer,
                        line["workload"],
                        line["status"],
                        line.get("seconds"),
                        line.get("p50_us") or "",
                        flush=True,
                    )


if __name__ == "__main__":
    sys.exit(main())
