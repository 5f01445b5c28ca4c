"""Promise: views tell what was seen, no more than fits, and what is the matter."""

from dataclasses import replace

import msgspec
import pytest

from actors.api.observer import Changed, ConnectionState, Heard, Told
from actors.endpoint.pictures import JournalPicture, Relayed, Snapshot, WorkerPicture
from actors.messages import (
    ActorRestarted,
    Answer,
    AnyEvent,
    BlockId,
    BlockLoad,
    Command,
    JournalStalled,
    LoadReported,
    Notice,
    Published,
    ScalingDecided,
)
from tests.tui.views import NOW, STATES, block, manager, snapshot, task
from tui.alerts import find_alerts
from tui.chronicle import Chronicle
from tui.view import Connection, Moment

UP = Connection(ConnectionState.CONNECTED, "", 1.0)


@pytest.fixture
def chronicle() -> Chronicle:
    made = Chronicle("lab", NOW, has_logs=False)
    made.take(Changed(ConnectionState.CONNECTED, ""), NOW)
    return made


def hear(chronicle: Chronicle, body: AnyEvent, missed: int = 0) -> None:
    event = Published("epoch-1", 1, NOW, "interchange", body)
    chronicle.take(Heard(event, missed), NOW)


def tell(chronicle: Chronicle, status: Snapshot, now: float = NOW) -> None:
    answer = Answer("1", True, "", msgspec.json.encode(status))
    chronicle.take(Told(Command("", "status"), answer), now)


def status(ended: int, uptime: float, epoch: str = "epoch-1") -> Snapshot:
    whole = snapshot((3, 0, 4, ended, 0, 0), [block(1)], [manager(1)])
    return msgspec.structs.replace(whole, uptime=uptime, epoch=epoch)


def test_throughput_is_counted_between_pictures_by_the_endpoints_clock(
    chronicle: Chronicle,
) -> None:
    tell(chronicle, status(100, 10.0))
    tell(chronicle, status(160, 12.0))
    assert chronicle.view(NOW).history.ended == (0.0, 30.0)


def test_a_restarted_interchange_counts_anew(chronicle: Chronicle) -> None:
    tell(chronicle, status(100, 10.0))
    tell(chronicle, status(5, 1.0, "epoch-2"))
    tell(chronicle, status(7, 2.0, "epoch-2"))
    assert chronicle.view(NOW).history.ended == (0.0, 0.0, 2.0)


def test_what_managers_use_is_told_and_not_counted_as_workers(
    chronicle: Chronicle,
) -> None:
    for seconds, uptime in ((4.0, 0.0), (5.0, 2.0)):
        one = msgspec.structs.replace(manager(1), workers=[], cpu_seconds=seconds)
        whole = msgspec.structs.replace(status(0, uptime), managers=[one])
        tell(chronicle, whole)
    view = chronicle.view(NOW)
    assert view.cores[one.manager_id, one.pid] == 0.5
    assert view.history.cpu[-1] == 0.0


def test_processor_time_counts_from_report_to_report(chronicle: Chronicle) -> None:
    def used(seconds: float, uptime: float) -> Snapshot:
        worker = WorkerPicture("w", 7, "t", "", 1, seconds)
        one = msgspec.structs.replace(manager(1), workers=[worker])
        return msgspec.structs.replace(status(0, uptime), managers=[one])

    for seconds, uptime in ((100.0, 0.0), (100.0, 1.0), (101.0, 2.0), (101.0, 3.0)):
        tell(chronicle, used(seconds, uptime))
    assert chronicle.view(NOW).history.cpu == (0.0, 0.0, 0.5, 0.5)
    tell(chronicle, used(101.0, 100.0))
    assert chronicle.view(NOW).history.cpu[-1] == 0.0


def test_history_and_events_have_a_limit(chronicle: Chronicle) -> None:
    for number in range(3000):
        tell(chronicle, status(number, float(number)))
        hear(chronicle, Notice("info", str(number)), missed=1)
    view = chronicle.view(NOW)
    assert len(view.history.ended) < 500
    assert len(view.events) <= 1000
    assert view.events[-1].body == Notice("info", "2999")
    assert view.missed == 3000


def test_the_load_is_no_event_to_read_but_tells_who_is_idle(
    chronicle: Chronicle,
) -> None:
    load = BlockLoad(BlockId("block-1"), 1, 2, 0, 33.0, False)
    hear(chronicle, LoadReported(0, 0, 0, [load]))
    view = chronicle.view(NOW)
    assert view.events == ()
    assert view.idle == {"block-1": 33.0}


def test_decisions_come_by_event_and_by_picture_and_are_told_once(
    chronicle: Chronicle,
) -> None:
    decided = ScalingDecided("launch", 1, "tasks wait")
    hear(chronicle, decided)
    assert [m.body for m in chronicle.view(NOW).decisions] == [decided]
    relayed = [Relayed(5.0, ScalingDecided("none", 0, "x")), Relayed(1.0, decided)]
    tell(chronicle, msgspec.structs.replace(status(0, 1.0), relayed=relayed))
    decisions = chronicle.view(NOW).decisions
    assert [m.at for m in decisions] == [NOW - 5.0, NOW - 1.0]


def test_decisions_outlive_the_interchange_that_relayed_them(
    chronicle: Chronicle,
) -> None:
    relayed = [Relayed(1.0, ActorRestarted("strategy", "signal 9", 1))]
    tell(chronicle, msgspec.structs.replace(status(0, 9.0), relayed=relayed))
    tell(chronicle, status(0, 1.0, "epoch-2"))
    assert len(chronicle.view(NOW).restarts) == 1


def test_latency_is_of_tasks_that_ended_lately(chronicle: Chronicle) -> None:
    old = task(300, "success", place="w")
    new = msgspec.structs.replace(
        task(1, "success", place="w"), queued_at=NOW - 4, began_at=NOW - 3, at=NOW - 1
    )
    for listed, count in (([old], 0), ([old, new], 1)):
        body = msgspec.json.encode({"tasks": listed, "is_cut": False})
        told = Told(Command("", "tasks"), Answer("1", True, "", body))
        chronicle.take(told, NOW)
        latency = chronicle.view(NOW).latency
        assert (latency.count if latency else 0) == count
    assert latency is not None
    assert (latency.waited, latency.ran) == (1.0, 2.0)


def test_a_state_of_the_connection_has_an_age(chronicle: Chronicle) -> None:
    chronicle.take(Changed(ConnectionState.LOST, "x"), NOW + 10)
    chronicle.take(Changed(ConnectionState.LOST, "y"), NOW + 11)
    connection = chronicle.view(NOW + 15).connection
    assert (connection.age, connection.reason) == (5.0, "y")
    assert chronicle.view(NOW + 15, reason="z").connection.reason == "z"


# Alerts


def test_trouble_of_our_own_is_told_too(chronicle: Chronicle) -> None:
    (alert,) = chronicle.view(NOW, trouble="ValidationError: x\ny").alerts
    assert alert.text.endswith("did not understand the endpoint: ValidationError: x")


def alerts(whole: Snapshot, restarts: tuple[Moment, ...] = ()) -> str:
    found = find_alerts(UP, whole, restarts, NOW)
    return "\n".join(f"{alert.level} {alert.text}" for alert in found)


@pytest.mark.parametrize("is_told_so", [True, False])
def test_a_full_disk_is_said_until_there_is_room(
    chronicle: Chronicle, is_told_so: bool
) -> None:
    tell(chronicle, status(1, 10.0))
    hear(chronicle, JournalStalled("No room for 99 more bytes"))
    tell(chronicle, status(1, 10.5))
    (alert,) = chronicle.view(NOW).alerts
    assert "All stands still: No room for 99" in alert.text
    if is_told_so:
        hear(chronicle, JournalStalled("", is_over=True))
    else:
        tell(chronicle, status(1, 70.0), NOW + 60)
    assert "stands still" not in str(chronicle.view(NOW).alerts)


def test_the_journals_lag_is_remembered(chronicle: Chronicle) -> None:
    journal = JournalPicture("sync", 0.5, 1, 1, 1, 1)
    tell(chronicle, msgspec.structs.replace(status(1, 1.0), journal=journal))
    assert chronicle.view(NOW).history.lag == (0.5,)


@pytest.mark.parametrize(
    ("lag", "interval", "free", "words"),
    [
        (0.9, 0.0, 1 << 40, ""),
        (1.1, 0.0, 1 << 40, "warning The journal is 1.1 s behind: its disk is slow"),
        (1.1, 1.0, 1 << 40, ""),
        (0.0, 0.0, 8 << 20, "warning 8 MiB free on the journal's disk"),
    ],
)
def test_a_slow_and_a_filling_disk_are_said(
    lag: float, interval: float, free: int, words: str
) -> None:
    journal = JournalPicture("sync", lag, 1, 1, 1, free, interval)
    whole = snapshot((0,) * 6, [], [])
    text = alerts(msgspec.structs.replace(whole, journal=journal))
    assert text.startswith(words)
    assert bool(text) == bool(words)


def test_nothing_is_the_matter_with_an_endpoint_that_works() -> None:
    assert not STATES["normal"]().alerts
    assert not STATES["empty"]().alerts


def test_while_the_endpoint_is_away_only_that_matters() -> None:
    view = STATES["failing"]()
    lost = replace(UP, state=ConnectionState.LOST, reason="why")
    (alert,) = find_alerts(lost, view.status, view.restarts, NOW)
    assert "lost" in alert.text
    assert "why" in alert.text


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([], "error 5 tasks waiting, and there is no block"),
        (["failed"], "error 5 tasks waiting, and there is no block"),
        (["pending"], "info 5 tasks waiting for 1 block that the batch system"),
        (["running"], "warning 5 tasks waiting, and no manager takes any"),
    ],
)
def test_waiting_tasks_are_explained(states: list[str], words: str) -> None:
    blocks = [block(n, state) for n, state in enumerate(states)]
    assert words in alerts(snapshot((5, 0, 0, 0, 0, 0), blocks, []))


def test_a_quiesced_endpoint_is_no_trouble_but_said() -> None:
    whole = msgspec.structs.replace(
        snapshot((5, 0, 0, 0, 0, 0), [], []), is_quiesced=True
    )
    assert alerts(whole) == "info Quiesced: no task is taken or started"


def test_a_bad_state_is_an_error_that_says_how_it_ends() -> None:
    whole = msgspec.structs.replace(
        snapshot((0, 0, 0, 0, 0, 0), [], []), bad_state="the last 3 blocks failed"
    )
    assert alerts(whole) == "error Bad state: the last 3 blocks failed"


def test_the_worst_comes_first_and_many_failures_are_counted() -> None:
    blocks = [block(n, "failed", message=f"node {n}") for n in range(9)]
    text = alerts(snapshot((0, 0, 0, 1, 9, 0), blocks, [manager(1, "away")]))
    levels = [line.split()[0] for line in text.splitlines()]
    assert levels == sorted(levels, key=["error", "warning", "info"].index)
    assert "node 8" in text
    assert "6 blocks before it failed" in text
    assert "9 of 10 tasks failed" in text


def test_a_restart_is_news_for_a_while() -> None:
    event = ActorRestarted("provider", "signal 9", 1)
    whole = snapshot((0,) * 6, [], [])
    assert "Provider was restarted" in alerts(whole, (Moment(NOW - 60, "s", event),))
    assert not alerts(whole, (Moment(NOW - 6000, "s", event),))
