"""What asks for something gets it in its turn, never too much, and never waits in vain.

A machine is played: tasks come, managers get them, and end them in any order.
"""

import random
from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.logic.fleet import Fleet, ManagerEntry, need_of
from actors.logic.ledger import Entry, Ledger
from actors.logic.matching import Matching
from actors.logic.resources import Need
from actors.messages import Amount, BlockId, ClientId, ManagerId, Needs, Task, TaskId


def needs_of(cpus: float = 1.0, gpus: float = 0.0, licenses: float = 0.0) -> Needs:
    wanted = (("CPU", cpus), ("GPU", gpus), ("license", licenses))
    return Needs(amounts=tuple(Amount(*each) for each in wanted if each[1]))


def fleet_of(*managers: tuple[str, int, int]) -> Fleet:
    """Make a fleet of (manager_id, processors, GPUs), each in a block of its own."""
    fleet = Fleet()
    for name, slots, gpus in managers:
        manager = ManagerEntry(ManagerId(name), BlockId(f"b-{name}"), slots, 100.0)
        manager.equip([Amount("GPU", gpus), Amount("license", 1)])
        fleet.managers[manager.manager_id] = manager
    return fleet


class Queue:
    """Tasks that wait, and a fleet that gets them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.ledger = Ledger(0.0)
        self.now = 0.0
        self.told: list[str] = []

    def add(self, name: str, needs: Needs | None, priority: int = 0) -> Entry:
        self.now += 1.0
        task_id = TaskId(name)
        task = Task(task_id, b"", b"", 0.0, priority=priority, needs=needs)
        self.ledger.accept([task], ClientId("c"), self.now)
        return self.ledger.entries[task_id]

    def match(
        self, suits: Callable[[ManagerEntry, Needs], bool] = lambda _m, _n: True
    ) -> dict[str, str]:
        """Place what can be placed: {task: manager}."""

        def tell(entry: Entry, _: Need) -> None:
            self.told.append(entry.task.task_id)

        placed: dict[str, str] = {}
        for manager, entry in Matching(self.ledger, self.fleet, tell, suits).matches():
            self.ledger.lease_one(entry, manager.manager_id, self.now)
            manager.hold(entry)
            placed[entry.task.task_id] = manager.manager_id
        self.ledger.check()
        self.fleet.check()
        return placed

    def end(self, name: str) -> None:
        entry = self.ledger.entries.pop(TaskId(name))
        self.fleet.managers[entry.manager_id].release(TaskId(name), self.now)


def test_each_gets_what_it_asks_for_and_no_more_are_placed_than_there_is() -> None:
    queue = Queue(fleet_of(("m1", 4, 2)))
    for number in range(3):
        queue.add(f"g{number}", needs_of(gpus=1))
    assert queue.match() == {"g0": "m1", "g1": "m1"}
    queue.end("g0")
    assert queue.match() == {"g2": "m1"}


def test_what_waits_is_not_overtaken_by_younger_ones_that_would_keep_it_waiting() -> (
    None
):
    queue = Queue(fleet_of(("m1", 4, 0)))
    queue.add("small", needs_of(2))
    queue.match()
    queue.add("large", needs_of(4))
    queue.add("late", needs_of(2))
    queue.add("free", needs_of(0, licenses=1))
    # The last takes nothing that the large one waits for.
    assert queue.match() == {"free": "m1"}
    assert queue.told == ["large", "late"]
    queue.end("small")
    assert queue.match() == {"large": "m1"}


def test_what_an_actor_has_is_not_waited_for() -> None:
    queue = Queue(fleet_of(("m1", 4, 0)))
    manager = queue.fleet.managers[ManagerId("m1")]
    manager.take_in("actor", "a", need_of(needs_of(1)))
    queue.add("whole", needs_of(4))
    queue.add("t0", needs_of(3))
    assert queue.match() == {"t0": "m1"}
    manager.let_out("actor", "a")
    queue.add("t1", needs_of(1))
    assert not queue.match(), "it has a claim now"
    queue.end("t0")
    assert queue.match() == {"whole": "m1"}


def test_a_claim_on_one_manager_leaves_the_others_free() -> None:
    queue = Queue(fleet_of(("m1", 4, 0), ("m2", 2, 0)))
    queue.add("one", needs_of(3))
    assert queue.match() == {"one": "m1"}
    queue.add("large", needs_of(4))
    queue.add("two", needs_of(2))
    assert queue.match() == {"two": "m2"}


def test_who_came_before_and_asks_for_nothing_goes_before() -> None:
    queue = Queue(fleet_of(("m1", 2, 1)))
    plain = queue.add("plain", None)
    queue.add("wide", needs_of(2))
    queue.add("gpu alone", needs_of(0, gpus=1))
    assert queue.match() == {"gpu alone": "m1"}
    queue.ledger.finish(plain, plain.state.CANCELLED, 0.0)
    assert queue.match() == {"wide": "m1"}


def test_who_cannot_run_in_the_same_place_is_not_waited_for() -> None:
    """As with blocks of one type: tasks would wait beside idle workers for ever."""

    def are_alike(manager: ManagerEntry, needs: Needs) -> bool:
        return (manager.manager_id == "typed") == (needs.worker_type == "t")

    queue = Queue(fleet_of(("typed", 2, 0)))
    queue.add("plain", None)
    queue.add("wide", msgspec.structs.replace(needs_of(2), worker_type="t"))
    assert queue.match(are_alike) == {"wide": "typed"}


def test_a_higher_priority_goes_first_whatever_it_asks_for() -> None:
    queue = Queue(fleet_of(("m1", 2, 0)))
    queue.add("first", needs_of(2))
    queue.add("urgent", needs_of(1.5), priority=1)
    assert queue.match() == {"urgent": "m1"}


def test_what_was_put_back_goes_first_whatever_the_others_ask_for() -> None:
    queue = Queue(fleet_of(("m1", 2, 0)))
    lost = queue.add("lost", needs_of(2))
    assert queue.match() == {"lost": "m1"}
    queue.add("younger", needs_of(1.5))
    queue.fleet.managers[ManagerId("m1")].release(TaskId("lost"), queue.now)
    queue.now += 1.0
    queue.ledger.put_back(lost, "", queue.now, was_lost=True, avoid=BlockId(""))
    assert queue.match() == {"lost": "m1"}


def test_parts_of_gpus_are_not_added_up_to_a_whole_one() -> None:
    queue = Queue(fleet_of(("m1", 9, 2)))
    for number in range(2):
        queue.add(f"most{number}", needs_of(gpus=0.7))
    assert len(queue.match()) == 2
    queue.add("half", needs_of(gpus=0.5))
    assert queue.match() == {}
    queue.end("most1")
    assert queue.match() == {"half": "m1"}


def test_a_task_that_waits_for_others_lends_its_processors() -> None:
    queue = Queue(fleet_of(("m1", 2, 1)))
    queue.add("outer", needs_of(2, gpus=1))
    queue.match()
    queue.add("inner", needs_of(2))
    assert queue.match() == {}
    manager = queue.fleet.managers[ManagerId("m1")]
    manager.note_resting([TaskId("outer"), TaskId("unknown")])
    assert queue.match() == {"inner": "m1"}
    manager.note_resting([])
    queue.end("inner")
    queue.end("outer")
    assert manager.capacity.free() == {"CPU": 2.0, "GPU": 1.0, "license": 1.0}
    assert manager.places == 2


WISHES = st.builds(
    needs_of,
    st.sampled_from((0.0, 0.5, 1.0, 2.0, 4.0)),
    st.sampled_from((0.0, 0.0, 0.4, 1.0, 2.0)),
    st.sampled_from((0.0, 0.0, 0.5, 1.0)),
)
MANAGERS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=3)


@given(
    MANAGERS,
    st.lists(st.tuples(st.none() | WISHES, st.integers(0, 2)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_all_that_can_be_placed_is_placed_in_the_end(
    managers: list[tuple[int, int]],
    wishes: list[tuple[Needs | None, int]],
    chance: random.Random,
) -> None:
    fleet = fleet_of(*((f"m{n}", *each) for n, each in enumerate(managers)))
    queue = Queue(fleet)
    for number, (needs, priority) in enumerate(wishes):
        queue.add(f"t{number}", needs, priority)
    running: list[str] = []
    while True:
        running += queue.match()
        for manager in fleet.managers.values():
            assert min(manager.capacity.free().values()) >= 0
        if not running:
            break
        queue.end(running.pop(chance.randrange(len(running))))
        # Those without needs are not placed here.
        for entry in list(queue.ledger.backlog):
            queue.ledger.finish(entry, entry.state.CANCELLED, 0.0)
    if queue.ledger.backlog:
        return  # what needs processors was behind them
    for entry in queue.ledger.asking:
        assert entry.task.needs is not None
        need = need_of(entry.task.needs)
        assert all(m.capacity.lack(need) for m in fleet.managers.values())
