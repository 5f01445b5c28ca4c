"""Promise: what ended last is known, failures above all; no large payload is kept."""

from actors.logic.ended import SAMPLE
from actors.logic.ledger import Ledger
from actors.messages import (
    BlockId,
    ClientId,
    Failure,
    FailureKind,
    ManagerId,
    Outcome,
    Task,
    TaskId,
    TaskState,
)

CLIENT, MANAGER = ClientId("c"), ManagerId("m")
FAILURE = Failure(FailureKind.EXCEPTION, "ValueError: no", "Traceback")


LARGE = bytes(10_000)


def finish(ledger: Ledger, count: int, state: TaskState, now: float) -> list[Outcome]:
    """Let tasks be accepted, leased and finished, all at one moment."""
    first = len(ledger.entries)
    tasks = [
        Task(TaskId(f"{now}-{first + n}"), b"f", b"a", 0.0, name="work")
        for n in range(count)
    ]
    ledger.accept(tasks, CLIENT, now)
    leases = ledger.lease(MANAGER, BlockId("b"), count, now, is_only_block=True)
    ended = []
    for entry in leases:
        tried = Outcome(entry.task.task_id, 1, state, LARGE, ended_at=now, began_at=now)
        why = FAILURE if state is TaskState.FAILED else None
        ended.append(ledger.finish(entry, state, now, tried=tried, failure=why))
    return ended


def test_an_end_is_remembered_with_its_name_and_without_a_large_payload() -> None:
    ledger = Ledger(0.0)
    (outcome,) = finish(ledger, 1, TaskState.SUCCESS, 5.0)
    assert outcome.payload == LARGE, "its client gets it"
    (ended,) = ledger.ended
    assert (ended.name, ended.client_id) == ("work", CLIENT)
    assert ended.outcome.payload == b""
    assert ended.outcome.steps == outcome.steps
    assert ledger.ended.find(outcome.task_id) == ended
    assert ledger.ended.find(TaskId("other")) is None


def test_of_many_successes_of_one_moment_a_sample_is_kept_of_failures_all() -> None:
    ledger = Ledger(0.0)
    finish(ledger, 100, TaskState.SUCCESS, 1.0)
    assert len(list(ledger.ended)) == SAMPLE
    finish(ledger, 100, TaskState.FAILED, 1.0)
    assert len(list(ledger.ended)) == SAMPLE + 100
    finish(ledger, 100, TaskState.SUCCESS, 2.0)
    assert len(list(ledger.ended)) == 2 * SAMPLE + 100


def test_the_newest_come_first_and_successes_push_no_failure_out() -> None:
    ledger = Ledger(0.0)
    (failed,) = finish(ledger, 1, TaskState.FAILED, 1.0)
    for moment in range(2, 1000):
        finish(ledger, 1, TaskState.SUCCESS, float(moment))
    ended = [e.outcome for e in ledger.ended]
    assert ended[-1].task_id == failed.task_id
    assert [e.ended_at for e in ended[:3]] == [999.0, 998.0, 997.0]
    assert len(ended) < 300
