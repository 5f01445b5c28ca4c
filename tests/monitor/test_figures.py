"""Promise: metrics are an endpoint's own numbers, named as Prometheus names them."""

import re
from collections.abc import Iterable, Iterator

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from actors.api.observer import Changed, ConnectionState, Heard, Told
from actors.endpoint.pictures import Relayed, Snapshot
from actors.endpoint.task_pictures import TaskList
from actors.messages import (
    ActorRestarted,
    Answer,
    AnyEvent,
    Command,
    MemberLeft,
    Published,
    Verb,
)
from actors.monitor.figures import Figures, Used
from tests.tui.views import STATES, busy, normal, task

CONNECTED = Changed(ConnectionState.CONNECTED, "")
PATIENCE = 60.0


def told(verb: Verb, body: object) -> Told:
    answer = Answer("1", True, "", msgspec.json.encode(body))
    return Told(Command("1", verb), answer)


def heard(event: AnyEvent, missed: int = 0) -> Heard:
    return Heard(Published("epoch-1", 1, 0.0, "interchange", event), missed)


def picture() -> Snapshot:
    status = normal().status
    assert status is not None
    return status


@pytest.fixture
def figures() -> Figures:
    """Of an endpoint that is connected and was just seen."""
    made = Figures("1.2.3")
    made.take(CONNECTED, 100.0)
    made.take(told("status", picture()), 100.0)
    return made


class Fixed(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def families_of(figures: Figures, now: float = 100.0) -> list[Metric]:
    used = {"interchange": Used(1.5, 2**20)}
    return list(figures.families(now, PATIENCE, 5000.0, used, 4096))


def parsed(figures: Figures, now: float = 100.0) -> dict[str, float]:
    """Read the metrics back as Prometheus does: {name with labels: value}."""
    registry = CollectorRegistry()
    registry.register(Fixed(families_of(figures, now)))
    text = generate_latest(registry).decode()
    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = (
                sample.value
            )
    return values


def test_a_picture_becomes_numbers(figures: Figures) -> None:
    status, values = picture(), parsed(figures)
    assert values["actors_up"] == 1
    assert values["actors_endpoint_info{name=lab,version=1.2.3}"] == 1
    assert values["actors_interchange_start_time_seconds"] == 5000.0 - status.uptime
    for state, count in status.tasks.items():
        kind = "_ended_total" if state in ("success", "failed", "cancelled") else ""
        assert values[f"actors_tasks{kind}{{state={state}}}"] == count
    running = sum(block.state == "running" for block in status.blocks)
    assert values["actors_blocks{state=running}"] == running > 0
    assert values["actors_blocks{state=missing}"] == 0
    slots = sum(manager.slots for manager in status.managers)
    assert values["actors_worker_slots"] == slots > 0
    assert values["actors_workers{state=busy}"] + values["actors_workers{state=idle}"]
    assert values["actors_service_cpu_seconds_total{service=interchange}"] == 1.5
    assert values["actors_journal_size_bytes"] == 4096
    assert status.journal is not None
    assert values["actors_journal_lag_seconds"] == status.journal.lag > 0
    assert values["actors_journal_disk_free_bytes"] == status.journal.free_bytes


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_metrics_that_parse(state: str) -> None:
    figures = Figures("1.2.3")
    status = STATES[state]().status
    if status is not None:
        figures.take(CONNECTED, 100.0)
        figures.take(told("status", status), 100.0)
    assert parsed(figures)["actors_up"] == (status is not None)


def test_names_and_units_are_prometheus_own(figures: Figures) -> None:
    figures.take(heard(MemberLeft("client", "c", "bye", False)), 100.0)
    names = []
    for family in families_of(figures):
        names.append(family.name)
        assert re.fullmatch(r"actors(_[a-z]+)+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(
            r"_(ms|milli|micro|kb|mb|total|count|sum)(_|$)", family.name
        )
        for word in ("time", "memory", "size", "silence", "cpu", "wait", "run"):
            if f"_{word}" in family.name and not family.name.endswith("running"):
                assert family.name.endswith(("_seconds", "_bytes")), family.name
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")
            assert set(sample.labels) <= {
                *("state", "service", "event", "le", "name", "version")
            }
    assert len(names) == len(set(names))


def test_who_does_not_answer_is_down_and_nothing_old_is_told(figures: Figures) -> None:
    figures.take(heard(MemberLeft("client", "c", "bye", False)), 100.0)
    for values in (parsed(figures, 161.0), lost(figures)):
        assert values["actors_up"] == 0
        assert not [name for name in values if name.startswith("actors_tasks")]
        assert values["actors_events_total{event=member_left}"] == 1


def lost(figures: Figures) -> dict[str, float]:
    figures.take(Changed(ConnectionState.LOST, ""), 101.0)
    return parsed(figures, 101.0)


def test_events_are_counted_and_so_are_the_missed(figures: Figures) -> None:
    for missed in (0, 3):
        figures.take(heard(MemberLeft("client", "c", "bye", False), missed), 100.0)
    values = parsed(figures)
    assert values["actors_events_total{event=member_left}"] == 2
    assert values["actors_events_missed_total"] == 3


def test_restarts_are_as_the_supervisor_counts_whenever_they_are_heard(
    figures: Figures,
) -> None:
    relayed = [Relayed(5.0, ActorRestarted("strategy", "exit code 1", 4))]
    figures.take(
        told("status", msgspec.structs.replace(picture(), relayed=relayed)), 101.0
    )
    key = "actors_restarts_total{service=strategy}"
    assert parsed(figures)[key] == 4
    figures.take(heard(ActorRestarted("strategy", "exit code 1", 5)), 102.0)
    figures.take(
        told("status", msgspec.structs.replace(picture(), relayed=relayed)), 103.0
    )
    assert parsed(figures)[key] == 5


def test_a_task_is_sampled_once_and_only_if_it_succeeded(figures: Figures) -> None:
    ended = msgspec.structs.replace(
        task(1, "success", place="w"), queued_at=10.0, began_at=10.02, at=12.0
    )
    skewed = msgspec.structs.replace(
        task(2, "success", place="w"), queued_at=10.0, began_at=9.0, at=8.0
    )
    others = [task(3, "failed", place="w"), task(4, "waiting-for-nodes")]
    for _ in range(2):
        figures.take(told("tasks", TaskList([ended, skewed, *others], False)), 100.0)
    values = parsed(figures)
    assert values["actors_sampled_task_wait_seconds_count"] == 2
    assert values["actors_sampled_task_wait_seconds_sum"] == pytest.approx(0.02)
    assert values["actors_sampled_task_wait_seconds_bucket{le=0.01}"] == 1
    assert values["actors_sampled_task_wait_seconds_bucket{le=0.05}"] == 2
    assert values["actors_sampled_task_run_seconds_sum"] == pytest.approx(1.98)
    assert values["actors_sampled_task_run_seconds_bucket{le=+Inf}"] == 2


# Readiness


def test_an_endpoint_with_all_services_is_ready(figures: Figures) -> None:
    assert figures.obstacles(100.0, PATIENCE) == []


def test_what_is_missing_is_named() -> None:
    figures = Figures("1.2.3")
    assert figures.obstacles(0.0, PATIENCE) == ["the interchange is not connected"]
    figures.take(Changed(ConnectionState.CONNECTING, "nobody listens"), 1.0)
    (why,) = figures.obstacles(1.0, PATIENCE)
    assert why == "the interchange is not connected: nobody listens"
    figures.take(CONNECTED, 2.0)
    assert figures.obstacles(2.0, PATIENCE) == ["the interchange has not answered yet"]
    status = msgspec.structs.replace(picture(), services=["supervisor"])
    figures.take(told("status", status), 3.0)
    assert figures.obstacles(3.0, PATIENCE) == [
        "the strategy is not connected",
        "the provider is not connected",
    ]
    (why,) = figures.obstacles(65.0, PATIENCE)
    assert why == "the interchange has not answered for 62 s"


@pytest.mark.parametrize(
    ("change", "metric", "why"),
    [
        (
            {"is_quiesced": True},
            "actors_quiesced",
            "it is quiesced, and takes no tasks",
        ),
        ({"bad_state": "no node"}, "actors_bad_state", "it is in a bad state: no node"),
    ],
)
def test_an_endpoint_that_runs_no_tasks_is_not_ready(
    figures: Figures, change: dict[str, object], metric: str, why: str
) -> None:
    assert parsed(figures)[metric] == 0
    figures.take(told("status", msgspec.structs.replace(picture(), **change)), 100.0)
    assert parsed(figures)[metric] == 1
    (reason,) = figures.obstacles(100.0, PATIENCE)
    assert reason.startswith(why)


def test_a_large_endpoint_has_as_many_series_as_a_small_one() -> None:
    """Labels are words of ours, never names of users, tasks or hosts."""
    counts = set()
    for view in (normal(), busy()):
        figures = Figures("1.2.3")
        figures.take(CONNECTED, 100.0)
        figures.take(told("status", view.status), 100.0)
        counts.add(len(parsed(figures)))
    assert len(counts) == 1
