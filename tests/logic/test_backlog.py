"""Waiting tasks are taken by priority, then in the order of their coming."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.logic.backlog import Backlog
from actors.messages import TaskId

PRIORITIES = st.integers(-2, 2)


def test_an_empty_backlog_has_nothing_to_take() -> None:
    backlog = Backlog()
    assert backlog.pop() is None
    assert len(backlog) == 0
    assert not backlog.remove(TaskId("t1"), 0)


def test_higher_priorities_go_first_and_equals_keep_their_order() -> None:
    backlog = Backlog()
    for task_id, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        backlog.append(TaskId(task_id), priority)
    assert [backlog.pop() for _ in range(5)] == ["b", "d", "a", "c", None]


def test_who_failed_goes_before_its_own_priority_only() -> None:
    backlog = Backlog()
    backlog.append(TaskId("high"), 5)
    backlog.append(TaskId("low"), 0)
    backlog.push_front(TaskId("failed"), 0)
    assert list(backlog) == ["high", "failed", "low"]


def test_a_task_is_removed_from_the_priority_that_it_has_only() -> None:
    backlog = Backlog()
    backlog.append(TaskId("a"), 0)
    assert not backlog.remove(TaskId("a"), 1)
    assert backlog.remove(TaskId("a"), 0)
    assert not backlog.remove(TaskId("a"), 0)


class AgainstANaiveModel(RuleBasedStateMachine):
    """A sorted list does the same, slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.model: list[tuple[int, TaskId]] = []  # (priority, id), next one first
        self.names = (TaskId(f"t{n}") for n in range(1_000_000))

    @rule(priority=PRIORITIES)
    def append(self, priority: int) -> None:
        task_id = next(self.names)
        self.backlog.append(task_id, priority)
        self.model.append((priority, task_id))
        self.model.sort(key=lambda pair: -pair[0])

    @rule(priority=PRIORITIES)
    def push_front(self, priority: int) -> None:
        task_id = next(self.names)
        self.backlog.push_front(task_id, priority)
        self.model.insert(0, (priority, task_id))
        self.model.sort(key=lambda pair: -pair[0])

    @rule()
    def pop(self) -> None:
        expected = self.model.pop(0)[1] if self.model else None
        assert self.backlog.pop() == expected

    @precondition(lambda self: self.model)
    @rule(data=st.data(), is_right=st.booleans())
    def remove(self, data: st.DataObject, is_right: bool) -> None:
        pair = data.draw(st.sampled_from(self.model))
        assert self.backlog.remove(pair[1], pair[0] + (not is_right)) is is_right
        if is_right:
            self.model.remove(pair)

    @invariant()
    def agrees(self) -> None:
        self.backlog.check()
        assert list(self.backlog) == [task_id for _, task_id in self.model]
        assert len(self.backlog) == len(self.model)


TestAgainstANaiveModel = AgainstANaiveModel.TestCase
