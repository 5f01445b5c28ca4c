"""Each accepted task ends at most once, and loses no more starts than it may."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.logic.ledger import Entry, Ledger
from actors.messages import (
    BlockId,
    ClientId,
    Delta,
    Failure,
    FailureKind,
    ManagerId,
    Step,
    Task,
    TaskId,
    TaskState,
)

M1, M2 = ManagerId("m1"), ManagerId("m2")
B1, B2, NOWHERE = BlockId("b1"), BlockId("b2"), BlockId("")
T1 = TaskId("t1")
OFFSET = 1000.0


def task(task_id: str = "t1", retries: int = 1, priority: int = 0) -> Task:
    return Task(TaskId(task_id), b"f", b"a", 0.0, retries, priority)


def ledger_of(*tasks: Task) -> Ledger:
    ledger = Ledger(OFFSET)
    ledger.accept(tasks, ClientId("c"), 1.0)
    return ledger


def lease(
    ledger: Ledger,
    count: int = 1,
    *,
    manager_id: ManagerId = M1,
    block_id: BlockId = B1,
    is_only_block: bool = False,
) -> list[TaskId]:
    leases = ledger.lease(manager_id, block_id, count, 2.0, is_only_block=is_only_block)
    ledger.check()
    return [leased.task.task_id for leased in leases]


def running(attempt: int = 1) -> Delta:
    return Delta(T1, attempt, TaskState.RUNNING, OFFSET + 3.0, "w1")


def test_a_task_is_entered_once() -> None:
    ledger = ledger_of(task())
    assert ledger.accept([task(), task("t2")], ClientId("other"), 9.0) == 1
    assert ledger.entries[T1].client_id == "c"
    assert (ledger.waiting, ledger.leased) == (2, 0)


def test_leases_go_oldest_first_and_no_further_than_there_is() -> None:
    ledger = ledger_of(task("t1"), task("t2"), task("t3"))
    assert lease(ledger, 0) == []
    assert lease(ledger, 2) == ["t1", "t2"]
    assert lease(ledger, 2) == ["t3"]
    assert (ledger.waiting, ledger.leased) == (0, 3)


def test_a_task_that_avoids_a_block_is_passed_over_and_keeps_its_place() -> None:
    ledger = ledger_of(task("t1"), task("t2"), task("t3"))
    lease(ledger, 1)
    ledger.put_back(ledger.entries[T1], "lost", 3.0, was_lost=True, avoid=B1)
    assert lease(ledger, 1) == ["t2"]
    assert [entry.task.task_id for entry in ledger.backlog] == ["t1", "t3"]
    assert lease(ledger, 1, manager_id=M2, block_id=B2) == ["t1"]


def test_what_is_put_back_while_its_client_is_held_back_waits_with_the_others() -> None:
    ledger = ledger_of(task("t1"), task("t2"))
    lease(ledger, 1)
    ledger.hold_back(ClientId("c"))
    ledger.put_back(ledger.entries[T1], "back", 3.0, was_lost=False, avoid=NOWHERE)
    assert lease(ledger, 2) == []
    assert (ledger.waiting, ledger.leased) == (0, 0)
    ledger.let_go(ClientId("c"))
    assert lease(ledger, 2) == ["t1", "t2"]


def test_where_there_is_no_other_block_nothing_is_avoided() -> None:
    ledger = ledger_of(task())
    lease(ledger)
    ledger.put_back(ledger.entries[T1], "lost", 3.0, was_lost=True, avoid=B1)
    assert lease(ledger) == []
    assert lease(ledger, is_only_block=True) == ["t1"]


def test_only_a_lost_start_counts() -> None:
    ledger = ledger_of(task(retries=1))
    entry = ledger.entries[T1]
    for was_lost, left in ((False, True), (True, False), (False, False)):
        lease(ledger)
        ledger.put_back(entry, "why", 3.0, was_lost=was_lost, avoid=NOWHERE)
        assert ledger.may_start_again(entry) is left
    assert entry.attempt == 4


def test_only_greater_states_of_the_same_attempt_are_news() -> None:
    ledger = ledger_of(task())
    assert ledger.progress(running()) is not None, "a report may overtake nothing"
    ledger = ledger_of(task())
    lease(ledger)
    assert ledger.progress(Delta(T1, 1, TaskState.WAITING_FOR_LAUNCH, 0.0)) is None
    assert ledger.progress(Delta(T1, 1, TaskState.SUCCESS, 0.0)) is None
    assert ledger.progress(running(2)) is None
    assert ledger.progress(running(0)) is None
    assert ledger.progress(Delta(TaskId("t9"), 1, TaskState.RUNNING, 0.0)) is None
    assert ledger.progress(running()) is ledger.entries[T1]
    assert ledger.progress(running()) is None


def test_the_history_tells_every_attempt_in_order() -> None:
    ledger = ledger_of(task())
    entry = ledger.entries[T1]
    lease(ledger)
    ledger.progress(running())
    ledger.put_back(entry, "it was lost", 4.0, was_lost=True, avoid=NOWHERE)
    lease(ledger, manager_id=M2)
    failure = Failure(FailureKind.MANAGER_LOST, "gone")
    ended = ledger.finish(entry, TaskState.FAILED, 5.0, failure=failure)
    assert (ended.task_id, ended.attempt, ended.state) == (T1, 2, TaskState.FAILED)
    assert (ended.payload, ended.failure) == (b"", failure)
    assert ended.steps == [
        Step(TaskState.WAITING_FOR_NODES, 1, OFFSET + 1.0),
        Step(TaskState.WAITING_FOR_LAUNCH, 1, OFFSET + 2.0, "m1"),
        Step(TaskState.RUNNING, 1, OFFSET + 3.0, "m1"),
        Step(TaskState.WAITING_FOR_NODES, 1, OFFSET + 4.0, "it was lost"),
        Step(TaskState.WAITING_FOR_NODES, 2, OFFSET + 4.0),
        Step(TaskState.WAITING_FOR_LAUNCH, 2, OFFSET + 2.0, "m2"),
        Step(TaskState.FAILED, 2, OFFSET + 5.0, "gone"),
    ]


def test_a_waiting_task_may_end_too() -> None:
    ledger = ledger_of(task())
    ended = ledger.finish(ledger.entries[T1], TaskState.CANCELLED, 5.0)
    assert [step.state for step in ended.steps] == [
        TaskState.WAITING_FOR_NODES,
        TaskState.CANCELLED,
    ]
    assert ledger.waiting == 0
    assert lease(ledger) == []


def test_a_manager_is_believed_about_what_nobody_else_has() -> None:
    ledger = ledger_of(task())
    assert ledger.adopt(T1, 1, M1, 2.0) == 1, "it waits"
    assert ledger.waiting == 0
    assert ledger.adopt(T1, 1, M1, 2.0) == 1, "the manager has it"
    assert ledger.adopt(T1, 1, M2, 2.0) is None, "another one has it"
    assert ledger.adopt(T1, 2, M1, 2.0) == 2, "a machine without power forgot one"
    assert ledger.adopt(TaskId("t9"), 1, M1, 2.0) is None, "unknown"
    ledger.entries[T1].is_cancelling = True
    assert ledger.adopt(T1, 1, M1, 2.0) is None, "it is being cancelled"


def test_a_manager_that_was_given_up_keeps_its_task_under_the_new_attempt() -> None:
    ledger = ledger_of(task())
    lease(ledger)
    ledger.put_back(ledger.entries[T1], "lost", 3.0, was_lost=True, avoid=B1)
    assert ledger.adopt(T1, 1, M1, 4.0) == 2
    assert ledger.adopt(T1, 1, M1, 4.0) == 2, "it has not heard of it yet"
    ledger.check()


class Lives(RuleBasedStateMachine):
    """Tasks through everything that may happen to them, in any order."""

    managers = st.sampled_from([(M1, B1), (M2, B2)])

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(0.0)
        self.now = 0.0
        self.accepted: set[TaskId] = set()
        self.ended: set[TaskId] = set()
        self.best: dict[TaskId, tuple[int, int]] = {}  # {id: (attempt, rank)}

    def pick(self, data: st.DataObject, *, is_leased: bool) -> Entry | None:
        entries = [
            e for e in self.ledger.entries.values() if bool(e.manager_id) is is_leased
        ]
        return data.draw(st.sampled_from(entries)) if entries else None

    @rule(
        number=st.integers(0, 30), retries=st.integers(0, 2), priority=st.integers(0, 1)
    )
    def accept(self, number: int, retries: int, priority: int) -> None:
        task_id = TaskId(f"t{number}")
        if task_id not in self.ended:
            fresh = self.ledger.accept(
                [Task(task_id, b"", b"", 0.0, retries, priority)], ClientId("c"), 0.0
            )
            assert fresh == (task_id not in self.accepted)
            self.accepted.add(task_id)

    @rule(who=managers, count=st.integers(0, 4), is_only_block=st.booleans())
    def lease(
        self, who: tuple[ManagerId, BlockId], count: int, is_only_block: bool
    ) -> None:
        waiting = self.ledger.waiting
        leases = self.ledger.lease(*who, count, self.now, is_only_block=is_only_block)
        assert len(leases) <= count
        if is_only_block:
            assert len(leases) == min(count, waiting)
        for entry in leases:
            assert is_only_block or entry.avoid != who[1]

    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        entry = self.pick(data, is_leased=True)
        if entry is not None:
            shift = data.draw(st.integers(-1, 1))
            task_id = entry.task.task_id
            delta = Delta(task_id, entry.attempt + shift, TaskState.RUNNING, 1.0)
            was = entry.state
            news = self.ledger.progress(delta)
            assert (news is not None) == (shift == 0 and was is not TaskState.RUNNING)

    @rule(data=st.data(), was_lost=st.booleans(), who=managers)
    def put_back(
        self, data: st.DataObject, was_lost: bool, who: tuple[ManagerId, BlockId]
    ) -> None:
        entry = self.pick(data, is_leased=True)
        if entry is None:
            return
        if was_lost and not self.ledger.may_start_again(entry):
            self._finish(entry)
        else:
            self.ledger.put_back(entry, "", self.now, was_lost=was_lost, avoid=who[1])

    @rule(data=st.data(), is_leased=st.booleans())
    def finish(self, data: st.DataObject, is_leased: bool) -> None:
        entry = self.pick(data, is_leased=is_leased)
        if entry is not None:
            self._finish(entry)

    def _finish(self, entry: Entry) -> None:
        ended = self.ledger.finish(entry, TaskState.SUCCESS, self.now)
        assert ended.task_id not in self.ended, "it ended twice"
        self.ended.add(ended.task_id)
        attempts = [step.attempt for step in ended.steps]
        assert attempts == sorted(attempts)
        assert sum(step.state.is_final for step in ended.steps) == 1

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), who=managers, attempt=st.integers(1, 4))
    def adopt(
        self, data: st.DataObject, who: tuple[ManagerId, BlockId], attempt: int
    ) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.accepted)))
        entry = self.ledger.entries.get(task_id)
        had = entry.manager_id if entry else None
        kept = self.ledger.adopt(task_id, attempt, who[0], self.now)
        if kept is None:
            assert entry is None or entry.manager_id == had
        else:
            assert entry is not None
            assert entry.manager_id == who[0]
            assert entry.attempt == kept
            assert had in ("", who[0])

    @invariant()
    def check(self) -> None:
        self.now += 1.0
        self.ledger.check()
        unfinished = self.ledger.entries.keys()
        assert unfinished | self.ended == self.accepted
        assert not unfinished & self.ended
        assert self.ledger.waiting + self.ledger.leased == len(unfinished)
        for task_id, entry in self.ledger.entries.items():
            assert entry.lost_starts <= entry.task.retries
            rank = (entry.attempt, int(entry.state))
            assert rank >= self.best.get(task_id, (0, 0)), "a state went back"
            self.best[task_id] = rank


TestLives = Lives.TestCase
