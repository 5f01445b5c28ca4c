"""Promise: a trace is what its format says: in order, in microseconds, and named."""

import json
from typing import Any

from actors.logic.trace_events import TraceEvents


def events_of(trace: TraceEvents) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(trace.render({}))["traceEvents"]
    return events


def test_slices_have_a_group_and_a_lane_with_names() -> None:
    trace = TraceEvents()
    trace.slice("node", "w1", "work", 10.0, 12.5, {"x": 1})
    trace.slice("node", "w2", "more", 11.0, 11.5, {})
    *names, first, second = events_of(trace)
    assert (first["ph"], first["ts"], first["dur"]) == ("X", 10_000_000, 2_500_000)
    assert first["args"] == {"x": 1}
    assert first["pid"] == second["pid"]
    assert first["tid"] != second["tid"]
    named = {(n["name"], n["pid"], n["tid"]): n["args"]["name"] for n in names}
    assert named["process_name", first["pid"], 0] == "node"
    assert named["thread_name", first["pid"], first["tid"]] == "w1"
    assert named["thread_name", first["pid"], second["tid"]] == "w2"


def test_spans_begin_and_end_by_their_own_number() -> None:
    trace = TraceEvents()
    trace.span("node", "waiting", "a", 1.0, 3.0, {})
    trace.span("node", "waiting", "b", 2.0, 4.0, {})
    spans = [e for e in events_of(trace) if e["ph"] in "be"]
    assert [(e["ph"], e["name"], e["ts"]) for e in spans] == [
        ("b", "a", 1_000_000),
        ("b", "b", 2_000_000),
        ("e", "a", 3_000_000),
        ("e", "b", 4_000_000),
    ]
    assert len({(e["cat"], e["id"]) for e in spans}) == 2


def test_whatever_comes_late_is_in_the_order_of_time() -> None:
    trace = TraceEvents()
    trace.moment("g", "late", 5.0, {})
    trace.counts("g", "tasks", 4.0, {"running": 3})
    trace.slice("g", "w", "x", 3.0, 2.0, {})
    timed = [e for e in events_of(trace) if e["ph"] != "M"]
    assert [e["ts"] for e in timed] == [3_000_000, 4_000_000, 5_000_000]
    assert [e["ph"] for e in timed] == ["X", "C", "i"]
    assert timed[0]["dur"] == 0, "clocks that go back take no time"


def test_an_empty_trace_is_one() -> None:
    assert json.loads(TraceEvents().render({"a": 1})) == {
        "displayTimeUnit": "ms",
        "otherData": {"a": 1},
        "traceEvents": [],
    }
