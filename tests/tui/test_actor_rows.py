"""Promise: every process of an endpoint that is known stands in the tree of actors."""

import dataclasses

from tests.tui.views import failing, normal
from tui.panes.actors import actor_rows
from tui.view import ServiceProcess


def test_services_stand_below_their_supervisor_and_managers_beside_them() -> None:
    rows = actor_rows(normal())
    services = ["supervisor", "interchange", "provider", "strategy"]
    assert [row.name for row in rows[:4]] == services
    assert [row.depth for row in rows[:4]] == [0, 1, 1, 1]
    assert rows[4].name.startswith("block-")


def test_who_serves_metrics_is_there_if_anybody_does() -> None:
    view = normal()
    monitor = ServiceProcess("monitor", 77, 1 << 20, 0.01)
    watched = dataclasses.replace(view, services=(*view.services, monitor))
    (added,) = [row for row in actor_rows(watched) if row not in actor_rows(view)]
    assert (added.name, added.depth, added.pid) == ("monitor", 1, 77)


def test_a_manager_tells_its_own_processor_time_and_memory() -> None:
    view = normal()
    assert view.status is not None
    known = view.status.managers[0]
    key = (known.manager_id, known.pid)
    told = dataclasses.replace(view, cores={**view.cores, key: 0.25})
    (row,) = [row for row in actor_rows(told) if row.name == known.manager_id]
    assert (row.cpu, row.rss_bytes) == (0.25, known.rss_bytes)


def test_clients_actors_stand_below_their_managers_or_alone() -> None:
    rows = {row.label: row for row in actor_rows(normal()) if row.label}
    visits = rows["Tally visits"]
    assert (visits.depth, visits.mailbox, visits.pid) == (2, 5, 5091)
    names = [row.name for row in actor_rows(normal())]
    assert names.index("block-1.0") < names.index(visits.name)
    assert names.index(visits.name) < names.index("block-2.0")
    alone = [row for row in actor_rows(failing()) if row.label]
    assert [(row.state, row.depth) for row in alone] == [
        ("restarting", 1),
        ("waiting", 1),
        ("dead", 1),
    ]
    assert alone[0].restarts == 2
