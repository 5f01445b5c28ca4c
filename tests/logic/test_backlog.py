"""Waiting tasks are taken by priority, then in the order of their coming."""

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.logic.backlog import Backlog

PRIORITIES = st.integers(-2, 2)


@dataclass(eq=False)
class Somebody:
    """Who can wait."""

    name: str
    priority: int = 0
    is_waiting: bool = False


def names_in(backlog: Backlog[Somebody]) -> list[str]:
    return [waiter.name for waiter in backlog]


def pop(backlog: Backlog[Somebody]) -> str | None:
    taken = backlog.pop(1)
    return taken[0].name if taken else None


def test_an_empty_backlog_has_nothing_to_take() -> None:
    backlog: Backlog[Somebody] = Backlog()
    assert backlog.pop(1) == []
    assert len(backlog) == 0
    assert not backlog.remove(Somebody("t1"))
    assert not backlog.withdraw(Somebody("t1"))


def test_higher_priorities_go_first_and_equals_keep_their_order() -> None:
    backlog: Backlog[Somebody] = Backlog()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        backlog.append(Somebody(name, priority))
    assert [pop(backlog) for _ in range(5)] == ["b", "d", "a", "c", None]


def test_who_failed_goes_before_its_own_priority_only() -> None:
    backlog: Backlog[Somebody] = Backlog()
    backlog.append(Somebody("high", 5))
    backlog.append(Somebody("low"))
    backlog.push_front(Somebody("failed"))
    assert names_in(backlog) == ["high", "failed", "low"]


def test_many_who_are_removed_leave_no_places_behind() -> None:
    backlog: Backlog[Somebody] = Backlog()
    everybody = [Somebody(f"t{number}") for number in range(10_000)]
    for waiter in everybody:
        backlog.append(waiter)
    for waiter in everybody[1:]:
        assert backlog.remove(waiter)
        assert not backlog.remove(waiter)
    backlog.check()
    assert names_in(backlog) == ["t0"]


def test_who_was_withdrawn_may_wait_again() -> None:
    backlog: Backlog[Somebody] = Backlog()
    first, second = Somebody("first"), Somebody("second")
    backlog.append(first)
    backlog.append(second)
    assert backlog.withdraw(second)
    backlog.push_front(second)
    backlog.check()
    assert [pop(backlog) for _ in range(3)] == ["second", "first", None]


class AgainstANaiveModel(RuleBasedStateMachine):
    """A sorted list does the same, slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog: Backlog[Somebody] = Backlog()
        self.model: list[Somebody] = []  # next one first
        self.names = (f"t{n}" for n in range(1_000_000))

    @rule(priority=PRIORITIES)
    def append(self, priority: int) -> None:
        waiter = Somebody(next(self.names), priority)
        self.backlog.append(waiter)
        self.model.append(waiter)
        self.model.sort(key=lambda waiter: -waiter.priority)

    @rule(priorities=st.lists(PRIORITIES, max_size=4))
    def extend(self, priorities: list[int]) -> None:
        waiters = [Somebody(next(self.names), priority) for priority in priorities]
        self.backlog.extend(waiters)
        self.model += waiters
        self.model.sort(key=lambda waiter: -waiter.priority)

    @rule(priority=PRIORITIES)
    def push_front(self, priority: int) -> None:
        waiter = Somebody(next(self.names), priority)
        self.backlog.push_front(waiter)
        self.model.insert(0, waiter)
        self.model.sort(key=lambda waiter: -waiter.priority)

    @rule(limit=st.integers(0, 5))
    def pop(self, limit: int) -> None:
        taken = self.backlog.pop(limit)
        assert taken == self.model[: len(taken)]
        del self.model[: len(taken)]
        # Those of one priority at a time, and never none without a reason.
        assert len({waiter.priority for waiter in taken}) <= 1
        if len(taken) < limit and self.model:
            assert taken
            assert self.model[0].priority < taken[0].priority

    @precondition(lambda self: self.model)
    @rule(data=st.data(), is_for_good=st.booleans())
    def take_out(self, data: st.DataObject, is_for_good: bool) -> None:
        waiter = data.draw(st.sampled_from(self.model))
        self.model.remove(waiter)
        take_out = self.backlog.remove if is_for_good else self.backlog.withdraw
        assert take_out(waiter)
        if not is_for_good:
            self.backlog.push_front(waiter)
            self.model.insert(0, waiter)
            self.model.sort(key=lambda waiter: -waiter.priority)

    @rule(names=st.sets(st.integers(0, 3)))
    def take_out_and_put_back(self, names: set[int]) -> None:
        def is_wanted(waiter: Somebody) -> bool:
            return int(waiter.name[1:]) % 4 in names

        taken = self.backlog.take_out(is_wanted)
        assert taken == [waiter for waiter in self.model if is_wanted(waiter)]
        self.backlog.check()
        self.model = [w for w in self.model if not is_wanted(w)] + taken
        self.model.sort(key=lambda waiter: -waiter.priority)
        for waiter in taken:
            self.backlog.append(waiter)

    @invariant()
    def agrees(self) -> None:
        self.backlog.check()
        assert list(self.backlog) == self.model
        assert len(self.backlog) == len(self.model)


TestAgainstANaiveModel = AgainstANaiveModel.TestCase
