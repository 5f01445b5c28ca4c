"""Promise: each task that was seen is in its worker's lane, as it was seen last."""

import json
from typing import Any

import msgspec
import pytest

from actors.api.observer import Heard, Told
from actors.endpoint.pictures import WorkerPicture
from actors.endpoint.task_pictures import TaskList, TaskPicture
from actors.messages import (
    Answer,
    AnyEvent,
    Command,
    LoadReported,
    Notice,
    Published,
    Verb,
)
from actors.monitor.timeline import Timeline
from tests.tui.views import manager, normal

NOW = 1000.0


def told(verb: Verb, body: object) -> Told:
    answer = Answer("1", True, "", msgspec.json.encode(body))
    return Told(Command("1", verb), answer)


def heard(event: AnyEvent, at: float) -> Heard:
    return Heard(Published("e", 1, at, "interchange", event), 0)


@pytest.fixture
def timeline() -> Timeline:
    """Of an endpoint whose worker block-1.0-w1 runs the task `runs`."""
    worker = WorkerPicture("block-1.0-w1", 7, "runs")
    node = msgspec.structs.replace(manager(1), host="n1", workers=[worker])
    status = normal().status
    assert status is not None
    made = Timeline()
    made.take(told("status", msgspec.structs.replace(status, managers=[node])), NOW)
    return made


def picture(task_id: str, state: str, **more: Any) -> TaskPicture:
    task = TaskPicture(task_id, "train", state, 1, 0.0, 0.0, 0.0, "", "ada")
    return msgspec.structs.replace(task, **more)


def drawn(timeline: Timeline) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Return what happens in the trace, and the names of groups and lanes."""
    trace = json.loads(timeline.render(NOW + 5))
    names = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "M":
            names[event["tid"] or -event["pid"]] = event["args"]["name"]
    return [e for e in trace["traceEvents"] if e["ph"] != "M"], names


def test_a_task_is_in_the_lane_of_its_worker_as_it_was_seen_last(
    timeline: Timeline,
) -> None:
    running = picture("t1", "running", queued_at=900.0, began_at=910.0)
    ended = picture(
        "t1",
        "failed",
        queued_at=900.0,
        began_at=910.0,
        at=920.0,
        place="block-1.0-w2",
        message="it broke",
    )
    for seen in (running, ended, ended):
        timeline.take(told("tasks", TaskList([seen], False)), NOW)
    events, names = drawn(timeline)
    (work,) = [e for e in events if e["ph"] == "X"]
    assert (work["name"], work["ts"], work["dur"]) == ("train", 910e6, 10e6)
    assert (work["args"]["state"], work["args"]["message"]) == ("failed", "it broke")
    assert names[work["tid"]] == "block-1.0-w2"
    assert names[-work["pid"]] == "block-1.0 on n1"
    begin, end = [e for e in events if e["ph"] in "be"]
    assert (begin["cat"], begin["ts"], end["ts"]) == ("waiting", 900e6, 910e6)


def test_what_has_not_ended_lasts_until_now(timeline: Timeline) -> None:
    runs = picture("runs", "running", began_at=990.0, place="block-1.0")
    waits = picture("waits", "waiting-for-nodes", queued_at=995.0)
    timeline.take(told("tasks", TaskList([runs, waits], False)), NOW)
    events, names = drawn(timeline)
    (work,) = [e for e in events if e["ph"] == "X"]
    assert (names[work["tid"]], work["dur"]) == ("block-1.0-w1", 15e6)
    assert [e["ts"] for e in events if e["ph"] == "e"] == [1005e6]


def test_attempts_of_a_task_are_apart(timeline: Timeline) -> None:
    first = picture("t1", "running", began_at=910.0, place="block-1.0-w1")
    second = picture("t1", "success", began_at=930.0, at=931.0, place="block-2.0-w1")
    second = msgspec.structs.replace(second, attempt=2)
    timeline.take(told("tasks", TaskList([first], False)), NOW)
    timeline.take(told("tasks", TaskList([second], False)), NOW)
    events, _ = drawn(timeline)
    assert [e["args"]["attempt"] for e in events if e["ph"] == "X"] == [1, 2]


def test_decisions_are_moments_and_loads_are_counts(timeline: Timeline) -> None:
    timeline.take(heard(Notice("error", "careful"), 950.0), NOW)
    timeline.take(heard(LoadReported(1, 1, 1, []), 951.0), NOW)
    events, names = drawn(timeline)
    moments = [e for e in events if e["ph"] == "i" and e["name"] == "notice"]
    assert [(e["ts"], e["args"]["text"]) for e in moments] == [(950e6, "careful")]
    assert names[-moments[0]["pid"]] == "endpoint lab"
    assert not [e for e in events if e["name"] == "load reported"]
    counts = {e["name"]: e["args"] for e in events if e["ph"] == "C"}
    assert counts["tasks"].keys() >= {"running", "waiting-for-nodes"}
    assert counts["blocks"]["running"] > 0
