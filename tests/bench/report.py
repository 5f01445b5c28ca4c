"""Medians (min..max) of results.jsonl as Markdown; `*` where (max - min) / median is above 30 %.

report.py RESULTS...  [--noisy]   --noisy lists what to rerun instead.
Of more than 3 lines for the same thing, the 3 during which others took the least CPU count."""

import json
import statistics
import sys
from collections import defaultdict

UNITS = {  # workload: (field, unit)
    "startup": ("seconds", "s"),
    "shutdown": ("seconds", "s"),
    "noop_latency": ("p50_us", "us p50"),
    "actor_sync": ("p50_us", "us p50"),
    "actor_start": ("ms_per_actor", "ms"),
    "sleep_scaling": ("ratio", "x ideal"),
    "payload_1MiB": ("mib_per_s", "MiB/s"),
    "payload_64MiB": ("mib_per_s", "MiB/s"),
    "result_64MiB": ("mib_per_s", "MiB/s"),
    "queue_100k": ("seconds", "s"),
}


def number(v):
    return f"{v:,.0f}" if v >= 100 else f"{v:.3g}"


def unit_of(line):
    if line["peer"] == "limits":
        if line.get("mib_per_s") and "100B" not in line["workload"]:
            return "mib_per_s", "MiB/s"
        if line["p50_us"]:
            return "p50_us", "us p50"
    return UNITS.get(line["workload"], ("ops_per_s", "ops/s"))


def main(paths, noisy):
    cells = defaultdict(list)
    for path in paths:
        with open(path) as f:
            for line in map(json.loads, f):
                if line["status"] != "unsupported":
                    cells[line["workload"], line["peer"]].append(line)
    last = None
    order = sorted((c for c in cells if c[1] != "limits")) + [
        c for c in cells if c[1] == "limits"
    ]
    for workload, peer in order:
        lines = cells[workload, peer]
        ok = sorted(
            (x for x in lines if x["status"] == "ok"),
            key=lambda x: abs(x.get("other_cpu", 1)),
        )[:3]
        if not ok:
            row = [peer, lines[0]["status"], "", "", "", "", ""]
        else:
            field, unit = unit_of(ok[0])

            def median(key):
                values = [x[key] for x in ok if x.get(key) is not None]
                return statistics.median(values) if values else None

            values = [x[field] for x in ok]
            mid = statistics.median(values)
            spread = (max(values) - min(values)) / mid
            if noisy:
                if spread > 0.3 and workload not in ("shutdown",):
                    print(peer, workload, f"{spread:.0%} of {len(ok)}")
                continue
            p99, cpu, rss, other = map(
                median, ("p99_us", "cpu_s", "peak_rss_mib", "other_cpu")
            )
            row = [
                peer,
                f"{number(mid)} {unit} ({number(min(values))}..{number(max(values))})"
                + " *" * (spread > 0.3),
                number(p99) if p99 else "",
                str(ok[0]["n"]),
                number(cpu * 1e6 / ok[0]["n"]) if workload != "shutdown" else "",
                number(rss),
                f"{other:.0%}" if other is not None and workload != "shutdown" else "",
            ]
        if noisy:
            continue
        if workload != last and not (peer == "limits" and last == "limits"):
            last = "limits" if peer == "limits" else workload
            print(
                f"\n### {last}\n\n| peer | median (min..max) | p99 us | n | CPU us/op "
                "| peak RSS MiB | others' CPU |\n|---|---|---|---|---|---|---|"
            )
        if peer == "limits":
            row[0] = workload
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    args = sys.argv[1:]
    main([a for a in args if a != "--noisy"], "--noisy" in args)
