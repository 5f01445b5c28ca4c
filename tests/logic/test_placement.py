"""Tasks go by priority and in order; each gets only what suits it."""

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.demanding import MOST_WALLTIMES
from actors.logic.fleet import Fleet, ManagerEntry, Selector, ordering
from actors.logic.ledger import Entry, Ledger
from actors.logic.placement import (
    COLD_PERIOD,
    IDLE_TYPE_PERIOD,
    Placement,
    PlacementRules,
)
from actors.messages import (
    BlockId,
    ClientId,
    ManagerId,
    Needs,
    Task,
    TaskId,
    TaskState,
    TypeLoad,
)

NOW = 100.0
TYPES = frozenset({"gpu", "sim"})


class Stage:
    """Tasks and managers, placed as an interchange places them."""

    def __init__(
        self, *, selector: Selector = "fill_first", is_hard: bool = False
    ) -> None:
        self.ledger = Ledger(0.0)
        self.fleet = Fleet(ordering(selector, random.Random(1)))
        rules = PlacementRules(selector, is_hard, TYPES)
        self.placement = Placement(rules, self.ledger, self.fleet)
        self.now = NOW
        self.got: dict[str, list[str]] = {}  # {manager: tasks}, in order

    def manager(
        self,
        name: str,
        *,
        slots: int = 1,
        window: int = 0,
        block: str = "",
        drain_at: float = math.inf,
        worker_type: str | None = None,
    ) -> ManagerEntry:
        block_id = BlockId(block or f"block-of-{name}")
        manager = ManagerEntry(ManagerId(name), block_id, slots, NOW)
        manager.window = max(slots, window)
        manager.drain_at = drain_at
        self.fleet.managers[manager.manager_id] = manager
        if worker_type is not None:
            self.fleet.types[block_id] = worker_type
        self.fleet.keep_type(manager)
        return manager

    def submit(
        self,
        *names: str,
        worker_type: str = "",
        walltime: float = 0.0,
        priority: int = 0,
        tag: str = "",
    ) -> None:
        needs: Needs | None = Needs(worker_type, walltime, tag=tag)
        needs = None if needs == Needs() else needs
        tasks = [
            Task(TaskId(n), b"", b"", 0.0, priority=priority, needs=needs)
            for n in names
        ]
        self.ledger.accept(tasks, ClientId("c"), self.now)

    def place(self, only: ManagerEntry | None = None) -> dict[str, list[str]]:
        """Place what can be placed; return who got what now."""
        got: dict[str, list[str]] = {}
        for manager, entries in self.placement.deal(self.now, only):
            for entry in entries:
                manager.hold(entry)
                name = entry.task.task_id
                got.setdefault(manager.manager_id, []).append(name)
        self.check()
        return got

    def end(self, *names: str) -> None:
        for name in names:
            entry = self.ledger.entries[TaskId(name)]
            manager = self.fleet.managers[entry.manager_id]
            manager.release(TaskId(name), self.now)
            self.ledger.finish(entry, TaskState.SUCCESS, self.now)

    def check(self) -> None:
        self.ledger.check()
        self.fleet.check()
        self.placement.check()
        for manager in self.fleet.managers.values():
            typed = sum(_type(entry) != "" for entry in manager.leases.values())
            assert sum(manager.typed.values()) == typed
            assert len(manager.leases) <= manager.window


def _type(entry: Entry) -> str:
    return entry.task.needs.worker_type if entry.task.needs else ""


# Order

WISHES = st.tuples(
    st.integers(0, 2), st.sampled_from([0.0, 10.0, 20.0, 30.0]), st.booleans()
)


@given(
    st.lists(WISHES, max_size=20),
    st.integers(1, 4),
    st.integers(0, 6),
    st.sampled_from([5.0, 15.0, 25.0, math.inf]),
    st.integers(0, 4),
)
def test_whoever_waits_has_nobody_before_it_that_came_later(
    wishes: list[tuple[int, float, bool]],
    slots: int,
    ahead: int,
    left: float,
    put_back: int,
) -> None:
    """Of those that fit: by priority, then as they came; first those put back."""
    stage = Stage()
    stage.manager("m", slots=slots, window=slots + ahead, drain_at=NOW + left)
    for number, (priority, walltime, _) in enumerate(wishes):
        stage.submit(f"t{number:02}", walltime=walltime, priority=priority)
    first = stage.place().get("m", [])
    stage.fleet.managers.clear()
    stage.manager("m", slots=slots, window=slots + ahead, drain_at=NOW + left)
    returned = first[:put_back]
    for name in reversed(returned):
        entry = stage.ledger.entries[TaskId(name)]
        stage.ledger.put_back(entry, "", NOW, was_lost=False, avoid=BlockId(""))
    order = [
        entry.task.task_id
        for entry in sorted(
            stage.ledger.those_waiting, key=lambda e: (-e.priority, e.ticket)
        )
    ]
    fits = {f"t{n:02}" for n, (_, w, _) in enumerate(wishes) if w <= left}
    queue = [name for name in order if name in fits]
    again = stage.place().get("m", [])
    assert again == queue[: len(again)]
    needs = {n: stage.ledger.entries[TaskId(n)].task.needs for n in queue}
    if len(again) < min(len(queue), slots + ahead):
        # The next one waits for a worker of its own.
        assert len(again) >= slots
        assert needs[queue[len(again)]] is not None


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 5))
def test_plain_tasks_go_by_priority_and_then_in_the_order_of_their_coming(
    priorities: list[int], slots: int
) -> None:
    ledger = Ledger(0.0)
    for number, priority in enumerate(priorities):
        task = Task(TaskId(f"t{number}"), b"", b"", 0.0, priority=priority)
        ledger.accept([task], ClientId("c"), NOW)
    wanted = sorted(range(len(priorities)), key=lambda n: (-priorities[n], n))
    got: list[str] = []
    while leases := ledger.lease(
        ManagerId("m"), BlockId("b"), slots, NOW, is_only_block=True
    ):
        got += [entry.task.task_id for entry in leases]
    assert got == [f"t{number}" for number in wanted]


def test_a_task_with_needs_keeps_its_place_among_those_without() -> None:
    stage = Stage()
    stage.submit("t1")
    stage.submit("t2", walltime=5.0)
    stage.submit("t3")
    stage.submit("t4", walltime=7.0)
    stage.submit("t5", priority=1)
    stage.manager("m", slots=5)
    assert stage.place() == {"m": ["t5", "t1", "t2", "t3", "t4"]}


def test_those_held_back_with_their_client_wait_behind_the_others_then() -> None:
    stage = Stage()
    stage.submit("t1")
    stage.submit("t2", walltime=5.0)
    stage.ledger.hold_back(ClientId("c"))
    assert stage.ledger.waiting == 0
    stage.submit("t3")
    stage.ledger.let_go(ClientId("c"))
    stage.manager("m", slots=3)
    assert stage.place() == {"m": ["t3", "t1", "t2"]}


# Managers


def test_the_busiest_goes_first_unless_another_selector_is_chosen() -> None:
    for selector, first in (("fill_first", "busy"), ("deadline", "short")):
        stage = Stage(selector=selector)  # type: ignore[arg-type]
        busy = stage.manager("busy", slots=2)
        stage.submit("t0")
        stage.place(only=busy)
        stage.manager("long", drain_at=NOW + 90)
        stage.manager("short", drain_at=NOW + 30)
        stage.submit("t1", walltime=20.0)
        assert stage.place() == {first: ["t1"]}


def test_a_deadline_that_is_too_near_is_passed_over() -> None:
    stage = Stage(selector="deadline")
    for name, left in (("endless", math.inf), ("long", 90.0), ("short", 30.0)):
        stage.manager(name, drain_at=NOW + left)
    stage.submit("t1", walltime=31.0)
    assert stage.place() == {"long": ["t1"]}


def test_random_is_any() -> None:
    firsts = set()
    stage = Stage(selector="random")
    for name in "abc":
        stage.manager(name)
    for number in range(50):
        stage.submit(f"t{number}", walltime=1.0)
        (first,) = stage.place()
        firsts.add(first)
        stage.end(f"t{number}")
    assert firsts == {"a", "b", "c"}


# Walltime


def test_a_task_waits_for_a_block_that_lives_long_enough() -> None:
    stage = Stage()
    stage.manager("short", slots=3, drain_at=NOW + 30)
    stage.submit("t1", walltime=31.0)
    stage.submit("t2", walltime=30.0)
    assert stage.place() == {"short": ["t2"]}
    assert stage.placement.count_too_long(NOW) == 1
    stage.manager("long", drain_at=NOW + 31)
    assert stage.place() == {"long": ["t1"]}
    assert stage.placement.count_too_long(NOW) == 0


def test_a_task_with_a_walltime_is_not_prefetched() -> None:
    stage = Stage()
    manager = stage.manager("m", slots=1, window=9)
    stage.submit("t1")
    stage.submit("t2", walltime=5.0)
    stage.submit("t3")
    assert stage.place() == {"m": ["t1"]}
    stage.end("t1")
    assert stage.place(only=manager) == {"m": ["t2", "t3"]}


def test_of_too_many_walltimes_some_are_rounded_up() -> None:
    stage = Stage()
    stage.submit("longest", walltime=10_000.0)
    for number in range(2 * MOST_WALLTIMES):
        stage.submit(f"t{number}", walltime=1.0 + number)
    assert len(stage.ledger.demanding.queues) <= MOST_WALLTIMES
    stage.manager("m", slots=1000)
    assert len(stage.place()["m"]) == 2 * MOST_WALLTIMES + 1
    stage.ledger.check()


def test_of_too_many_walltimes_none_is_rounded_up_to_that_of_another_tag() -> None:
    stage = Stage()
    for number in range(MOST_WALLTIMES):
        stage.submit(f"t{number}", walltime=10.0 + number, tag="big")
    stage.submit("other", walltime=1.0, tag="small")
    stage.ledger.check()
    entry = stage.ledger.entries[TaskId("other")]
    assert entry.wish == Needs(walltime=1.0, tag="small")


def test_a_task_avoids_the_block_that_lost_it_where_it_fits_elsewhere() -> None:
    stage = Stage()
    stage.manager("a", block="a")
    stage.submit("t1", walltime=50.0)
    stage.place()
    entry = stage.ledger.entries[TaskId("t1")]
    stage.fleet.managers[ManagerId("a")].release(TaskId("t1"), NOW)
    stage.ledger.put_back(entry, "lost", NOW, was_lost=True, avoid=BlockId("a"))
    stage.manager("short", drain_at=NOW + 10)
    assert stage.place() == {"a": ["t1"]}, "it does not fit on the other one"
    stage.fleet.managers[ManagerId("a")].release(TaskId("t1"), NOW)
    stage.ledger.put_back(entry, "lost", NOW, was_lost=True, avoid=BlockId("a"))
    stage.manager("b")
    assert stage.place() == {"b": ["t1"]}


# Types, soft


def test_a_warm_worker_goes_before_a_cold_one() -> None:
    stage = Stage()
    stage.manager("cold", slots=2)
    warm = stage.manager("warm", slots=2)
    warm.layout = {"": 1, "gpu": 1}
    stage.fleet.laid_out.add(warm.manager_id)
    stage.submit("g1", worker_type="gpu")
    assert stage.place() == {"warm": ["g1"]}


def test_idle_workers_are_replaced_for_a_type_that_waits() -> None:
    stage = Stage()
    manager = stage.manager("m", slots=4)
    stage.submit("g1", "g2", worker_type="gpu")
    assert stage.place() == {"m": ["g1", "g2"]}
    assert manager.layout == {"": 2, "gpu": 2}


def test_workers_are_replaced_at_most_every_ten_seconds() -> None:
    stage = Stage()
    stage.manager("m", slots=2)
    stage.submit("g1", worker_type="gpu")
    assert stage.place() == {"m": ["g1"]}
    stage.submit("s1", worker_type="sim")
    stage.now += COLD_PERIOD - 0.1
    assert stage.place() == {}
    assert stage.placement.wake_at == NOW + COLD_PERIOD
    stage.now = NOW + COLD_PERIOD
    assert stage.place() == {"m": ["s1"]}


def test_slots_are_shared_in_proportion_to_the_queue() -> None:
    stage = Stage()
    manager = stage.manager("m", slots=8)
    stage.submit(*(f"g{n}" for n in range(30)), worker_type="gpu")
    stage.submit(*(f"s{n}" for n in range(10)), worker_type="sim")
    stage.place()
    assert manager.layout == {"gpu": 6, "sim": 2}
    assert (manager.typed["gpu"], manager.typed["sim"]) == (6, 2)


def test_a_busy_slot_goes_to_another_type_when_it_is_free() -> None:
    """However long the queue of the first type is."""
    stage = Stage()
    manager = stage.manager("m", slots=2)
    stage.submit(*(f"p{n}" for n in range(50)))
    stage.submit("g1", worker_type="gpu")
    assert stage.place() == {"m": ["p0", "p1"]}
    stage.end("p0")
    assert stage.place(only=manager) == {"m": ["g1"]}
    stage.end("p1")
    assert stage.place(only=manager) == {"m": ["p2"]}


def test_a_type_that_nobody_asks_for_is_given_up() -> None:
    stage = Stage()
    manager = stage.manager("m", slots=2)
    stage.submit("g1", worker_type="gpu")
    stage.place()
    stage.now += 5
    stage.end("g1")
    assert not stage.placement.is_simple
    while (at := stage.placement.wake_at) < math.inf:
        stage.now = max(at, stage.now)
        assert stage.now < NOW + 200
        stage.placement.tick(stage.now)
    assert manager.layout is None
    assert stage.now >= NOW + 5 + IDLE_TYPE_PERIOD
    assert stage.now <= NOW + 5 + IDLE_TYPE_PERIOD + COLD_PERIOD
    assert stage.placement.is_simple


# Types, hard


def test_a_block_keeps_the_type_that_it_was_launched_for() -> None:
    stage = Stage(is_hard=True)
    stage.manager("g", slots=2, worker_type="gpu")
    stage.submit("p1")
    stage.submit("s1", worker_type="sim")
    stage.submit("g1", worker_type="gpu")
    assert stage.place() == {"g": ["g1"]}
    stage.now += 10 * COLD_PERIOD
    assert stage.place() == {}
    assert stage.placement.type_loads() == [
        TypeLoad("plain", 1, 0),
        TypeLoad("gpu", 0, 1),
        TypeLoad("sim", 1, 0),
    ]


def test_slots_of_the_type_go_before_blocks_without_one() -> None:
    stage = Stage(is_hard=True)
    stage.manager("any", slots=1)
    stage.manager("g", slots=1, worker_type="gpu")
    stage.submit("g1", worker_type="gpu")
    assert stage.place() == {"g": ["g1"]}
    stage.submit("g2", worker_type="gpu")
    assert stage.place() == {"any": ["g2"]}
    stage.end("g2")
    stage.submit("p1")
    assert stage.place() == {}, "it is of a type now"


def test_all_managers_of_a_block_take_its_type() -> None:
    stage = Stage(is_hard=True)
    stage.manager("n0", block="b", slots=1)
    stage.manager("n1", block="b", slots=1)
    stage.submit("s1", "s2", worker_type="sim")
    assert stage.place() == {"n0": ["s1"], "n1": ["s2"]}
    assert stage.manager("n2", block="b").layout == {"sim": 1}


def test_one_block_is_given_to_each_type_that_waits() -> None:
    stage = Stage(is_hard=True)
    for name in "abc":
        stage.manager(name, slots=4)
    stage.submit("g1", "g2", worker_type="gpu")
    stage.submit("p1")
    assert stage.place() == {"a": ["g1", "g2"], "b": ["p1"]}
    assert stage.fleet.types == {"block-of-a": "gpu", "block-of-b": ""}


# Whatever comes


@given(st.data(), st.booleans(), st.sampled_from(["fill_first", "random", "deadline"]))
def test_everybody_gets_only_what_suits_it_and_nothing_is_left_that_could_go(
    data: st.DataObject, is_hard: bool, selector: Selector
) -> None:
    stage = Stage(is_hard=is_hard, selector=selector)
    kinds = st.sampled_from(["", "gpu", "sim"])
    for number in range(data.draw(st.integers(0, 4))):
        stage.manager(
            f"m{number}",
            slots=data.draw(st.integers(1, 4)),
            window=data.draw(st.integers(0, 9)),
            drain_at=NOW + data.draw(st.sampled_from([20.0, 60.0, math.inf])),
            worker_type=data.draw(st.none() | kinds) if is_hard else None,
        )
    for step in range(data.draw(st.integers(1, 6))):
        for number in range(data.draw(st.integers(0, 6))):
            stage.submit(
                f"t{step}-{number}",
                worker_type=data.draw(kinds),
                walltime=data.draw(st.sampled_from([0.0, 0.0, 10.0, 50.0])),
                priority=data.draw(st.integers(0, 1)),
            )
        stage.place()
        for manager in stage.fleet.managers.values():
            for entry in manager.leases.values():
                needs = entry.task.needs
                walltime = needs.walltime if needs else 0.0
                assert entry.leased_at + walltime <= manager.drain_at or not walltime
                if is_hard:
                    assert stage.fleet.types[manager.block_id] == _type(entry)
            assert not stage.placement.has_task_for(manager, stage.now)
        leased = [
            entry.task.task_id
            for manager in stage.fleet.managers.values()
            for entry in manager.leases.values()
        ]
        stage.end(
            *data.draw(st.lists(st.sampled_from(leased), unique=True)) if leased else []
        )
        stage.now += data.draw(st.sampled_from([0.0, 1.0, COLD_PERIOD]))
        stage.placement.tick(stage.now)
        stage.check()
