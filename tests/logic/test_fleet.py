"""Every worker gets one task before any manager gets ahead; nobody gets too much."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.fleet import Fleet, ManagerEntry
from actors.logic.ledger import Entry
from actors.messages import BlockId, BlockLoad, ClientId, ManagerId, Task, TaskId

B1, B2 = BlockId("b1"), BlockId("b2")


def fleet_of(*managers: tuple[str, str, int, int, int]) -> Fleet:
    """Make a fleet of (manager_id, block_id, slots, window, leases)."""
    fleet = Fleet()
    for name, block_id, slots, window, leases in managers:
        manager = ManagerEntry(ManagerId(name), BlockId(block_id), slots, 100.0)
        manager.window = window
        for number in range(leases):
            hold(manager, f"{name}-{number}")
        fleet.managers[manager.manager_id] = manager
    fleet.check()
    return fleet


def hold(manager: ManagerEntry, name: str) -> None:
    task = Task(TaskId(name), b"", b"", 0.0)
    manager.leases[task.task_id] = Entry(task, ClientId("c"), 0.0)


@dataclass
class Left:
    """So many wait still."""

    count: int


def share(fleet: Fleet, waiting: int) -> dict[str, int]:
    """Share tasks out as an interchange does."""
    got: dict[str, int] = {}
    left = Left(waiting)
    for manager, count in fleet.shares(left):
        assert 1 <= count <= left.count
        for number in range(count):
            hold(manager, f"new-{manager.manager_id}-{left.count}-{number}")
        left.count -= count
        got[manager.manager_id] = got.get(manager.manager_id, 0) + count
    return got


def test_nothing_is_shared_when_nothing_waits_or_nobody_is_there() -> None:
    assert share(fleet_of(("m1", "b1", 2, 4, 0)), 0) == {}
    assert share(fleet_of(), 3) == {}


def test_workers_come_before_windows() -> None:
    fleet = fleet_of(("m1", "b1", 2, 99, 0), ("m2", "b2", 2, 99, 0))
    assert share(fleet, 4) == {"m1": 2, "m2": 2}


def test_a_busy_manager_is_filled_before_an_idle_one() -> None:
    fleet = fleet_of(("m1", "b1", 2, 2, 0), ("m2", "b2", 2, 2, 1))
    assert share(fleet, 1) == {"m2": 1}


def test_what_is_beyond_the_workers_is_shared_evenly() -> None:
    fleet = fleet_of(("m1", "b1", 1, 99, 0), ("m2", "b2", 1, 99, 0))
    assert share(fleet, 12) == {"m1": 6, "m2": 6}


def test_nobody_gets_more_than_its_window() -> None:
    fleet = fleet_of(("m1", "b1", 1, 3, 0), ("m2", "b2", 1, 1, 0))
    assert share(fleet, 99) == {"m1": 3, "m2": 1}


def test_only_one_is_looked_at_if_only_one_can_have_room() -> None:
    fleet = fleet_of(("a", "b1", 2, 2, 0), ("b", "b1", 2, 3, 1), ("c", "b1", 2, 2, 2))
    managers = fleet.managers
    shares = list(fleet.shares(Left(9), managers[ManagerId("b")]))
    assert shares == [(managers[ManagerId("b")], 2)]
    assert not list(fleet.shares(Left(9), managers[ManagerId("c")]))


def test_the_held_the_draining_the_retired_and_the_absent_get_nothing() -> None:
    fleet = fleet_of(*((f"m{n}", f"b{n}", 1, 1, 0) for n in range(6)))
    managers = list(fleet.managers.values())
    fleet.held |= {"m0", "b1"}
    managers[2].is_draining = True
    fleet.retired.add(BlockId("b3"))
    managers[4].is_connected = False
    assert share(fleet, 99) == {"m5": 1}
    assert fleet.has_other_block(BlockId("b1"))
    assert not fleet.has_other_block(BlockId("b5")), "only usable ones count"


def test_a_manager_is_idle_since_its_last_lease_ended() -> None:
    fleet = fleet_of(("m1", "b1", 2, 2, 2))
    manager = fleet.managers[ManagerId("m1")]
    manager.release(TaskId("m1-0"), 150.0)
    assert manager.idle_since == 100.0
    manager.release(TaskId("m1-1"), 160.0)
    manager.release(TaskId("m1-1"), 170.0)
    assert manager.idle_since == 160.0


def test_loads_are_summed_up_by_block() -> None:
    fleet = fleet_of(
        ("m1", "b1", 2, 2, 1), ("m2", "b1", 2, 2, 0), ("m3", "b2", 4, 4, 0)
    )
    fleet.managers[ManagerId("m3")].idle_since = 103.0
    fleet.held.add("b2")
    assert fleet.loads(110.0) == [
        BlockLoad(B1, 2, 4, 1, 0.0, False),
        BlockLoad(B2, 1, 4, 0, 7.0, True),
    ]


def test_a_block_is_idle_since_its_last_manager_is() -> None:
    fleet = fleet_of(("m1", "b1", 1, 1, 0), ("m2", "b1", 1, 1, 0))
    fleet.managers[ManagerId("m2")].idle_since = 108.0
    assert fleet.loads(110.0)[0].idle == 2.0


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 9), st.integers(0, 9)), max_size=5
    ),
    st.integers(0, 60),
)
def test_sharing_stops_only_when_nothing_waits_or_everybody_is_full(
    managers: list[tuple[int, int, int]], waiting: int
) -> None:
    fleet = fleet_of(*((f"m{n}", f"b{n}", *m) for n, m in enumerate(managers)))
    before = {m.manager_id: len(m.leases) for m in fleet.managers.values()}
    got = share(fleet, waiting)
    rooms = 0
    for manager in fleet.managers.values():
        limit = max(manager.window, manager.slots)
        assert len(manager.leases) <= max(limit, before[manager.manager_id])
        rooms += max(0, limit - len(manager.leases))
    assert sum(got.values()) == waiting or rooms == 0
