"""Traces of what ran where and when, for Perfetto (ui.perfetto.dev) and its kind. Pure.

The format is Chrome's "Trace Event Format", as JSON. A *group* is what the format calls
a process, a *lane* what it calls a thread; slices of one lane must not overlap, spans
of a group may.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["TraceEvents"]

# The format counts microseconds.
_MICRO = 1e6

Facts = Mapping[str, Any]


class TraceEvents:
    """Collects events; `render` gives the file. Moments are seconds since 1970."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._groups: dict[str, int] = {}
        self._lanes: dict[tuple[str, str], int] = {}
        self._spans = 0

    def slice(
        self, group: str, lane: str, name: str, began: float, ended: float, facts: Facts
    ) -> None:
        """Add what one lane did from one moment to another."""
        self._add("X", name, began, group, lane, dur=_micro(ended - began), args=facts)

    def span(
        self, group: str, kind: str, name: str, began: float, ended: float, facts: Facts
    ) -> None:
        """Add what lasted from one moment to another, beside others of its kind."""
        self._spans += 1
        same = {"cat": kind, "id": self._spans}
        self._add("b", name, began, group, "", args=facts, **same)
        self._add("e", name, max(began, ended), group, "", **same)

    def moment(self, group: str, name: str, at: float, facts: Facts) -> None:
        """Add what happened at one moment."""
        self._add("i", name, at, group, "", s="p", args=facts)

    def counts(self, group: str, name: str, at: float, values: Facts) -> None:
        """Add how many there were of each sort, until told otherwise."""
        self._add("C", name, at, group, "", args=values)

    def render(self, facts: Facts) -> bytes:
        """Write everything as JSON, in the order of time.

        Args:
            facts: about the trace as a whole.
        """
        names = [
            *(_names("process_name", pid, 0, n) for n, pid in self._groups.items()),
            *(
                _names("thread_name", self._groups[group], tid, lane)
                for (group, lane), tid in self._lanes.items()
                if lane
            ),
        ]
        trace = {
            "displayTimeUnit": "ms",
            "otherData": facts,
            "traceEvents": names + sorted(self._events, key=lambda e: e["ts"]),
        }
        return msgspec.json.encode(trace)

    def _add(
        self, phase: str, name: str, at: float, group: str, lane: str, **more: Any
    ) -> None:
        # Numbers begin with 1: what is 0 is drawn apart.
        pid = self._groups.setdefault(group, len(self._groups) + 1)
        tid = self._lanes.setdefault((group, lane), len(self._lanes) + 1)
        event = {"ph": phase, "name": name, "ts": _micro(at), "pid": pid, "tid": tid}
        self._events.append({**event, **more})


def _micro(seconds: float) -> int:
    return round(max(0.0, seconds) * _MICRO)


def _names(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
