"""The pictures of single tasks that operators get of an interchange. Pure.

Cost, which the interchange pays for whoever looks: measured, 1.5 µs for each task in a
list, and 0.1 µs for each one looked through for a text; a list is never longer than
it was asked for.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

import msgspec

from actors.logic.ended import EndedTask
from actors.logic.fleet import Fleet, need_of
from actors.logic.ledger import Entry, Ledger
from actors.messages import Step, Task, TaskId, TaskState

__all__ = [
    "StepPicture",
    "TaskList",
    "TaskPicture",
    "TaskStory",
    "list_tasks",
    "tell_story",
]

Item = TypeVar("Item")

# Waiting tasks that are looked through for a text. Chosen: it takes some 15 ms, which
# nobody else is served in.
_LOOKED_THROUGH = 100_000


class TaskPicture(msgspec.Struct, frozen=True):
    """One task."""

    task_id: str
    name: str  # as its client called it
    state: str
    attempt: int
    at: float  # when it came into its state: seconds since 1970
    queued_at: float  # when it was queued last
    began_at: float  # when a worker began with it; 0: not yet, or not known
    place: str  # its worker or manager; "" while it waits
    client_id: str
    priority: int = 0
    is_cancelling: bool = False
    message: str = ""  # why it failed, or what it waits for
    actor_id: str = ""  # whose call it is; "": nobody's


class TaskList(msgspec.Struct, frozen=True):
    """Some tasks: those with managers, then those that ended lately, then the queue."""

    tasks: list[TaskPicture]
    is_cut: bool  # whether more would have matched


class StepPicture(msgspec.Struct, frozen=True):
    """One line of a task's story."""

    state: str
    attempt: int
    at: float
    place: str  # manager, worker, or why


class TaskStory(msgspec.Struct, frozen=True):
    """All that is known of one task."""

    task: TaskPicture
    steps: list[StepPicture]  # oldest first
    failure: str = ""  # its kind
    detail: str = ""  # remote traceback, or tail of standard error


def list_tasks(
    ledger: Ledger, fleet: Fleet, text: str, states: Collection[str], limit: int
) -> TaskList:
    """List tasks that are unfinished, or ended lately.

    Args:
        ledger: of the interchange.
        fleet: of the interchange.
        text: that ids or names contain; "": any.
        states: labels; empty: all.
        limit: at most so many; of each group at least a third if there are so many.
    """

    def is_wanted(task_id: str, name: str, state: TaskState) -> bool:
        return (not states or state.label in states) and (
            not text or text in task_id or text in name
        )

    def wanted(entries: Iterator[Entry]) -> Iterator[Entry]:
        if not text and not states:
            return entries
        return (e for e in entries if is_wanted(e.task.task_id, e.task.name, e.state))

    tasks = (e for m in fleet.managers.values() for e in m.leases.values())
    # Of actors: those that wait for theirs, too. (Who watches one asks for no work.)
    calls = (e for e in ledger.calls.values() if _actor_of(e))
    leases = chain(tasks, calls)
    ends = (
        e for e in ledger.ended if is_wanted(e.outcome.task_id, e.name, e.outcome.state)
    )
    # Neither a long queue nor deep windows may hide what ended, nor each other.
    third = -(-limit // 3)
    ended, more_ended = _take(ends, third, _draw_ended)
    queue = wanted(islice(ledger.those_waiting, _LOOKED_THROUGH))
    is_deep = ledger.waiting > _LOOKED_THROUGH
    waiting, more_waiting = _take(queue, third, _draw_entry)
    room = max(0, limit - len(ended) - len(waiting))
    leased, more_leased = _take(wanted(leases), room, _draw_entry)
    if more_waiting and not more_leased:
        room = max(0, room - len(leased))
        more, more_waiting = _take(queue, room, _draw_entry)
        waiting += more
    is_cut = more_leased or more_ended or more_waiting or is_deep
    return TaskList(leased + ended + waiting, is_cut)


def tell_story(ledger: Ledger, fleet: Fleet, task_id: TaskId) -> TaskStory | None:
    """Tell all that is known of a task; None: nothing."""
    entry = ledger.entries.get(task_id)
    if entry is not None:
        moments = [
            (TaskState.WAITING_FOR_NODES, entry.queued_at, ""),
            (TaskState.WAITING_FOR_LAUNCH, entry.leased_at, str(entry.manager_id)),
            (TaskState.RUNNING, entry.running_at, _worker_of(entry, fleet)),
        ]
        steps = [
            *entry.past,
            *(Step(s, entry.attempt, at, place) for s, at, place in moments if at),
        ]
        return TaskStory(_draw_entry(entry), _draw_steps(steps))
    ended = ledger.ended.find(task_id)
    if ended is None:
        return None
    failure = ended.outcome.failure
    return TaskStory(
        _draw_ended(ended),
        _draw_steps(ended.outcome.steps),
        failure.kind.value if failure else "",
        failure.detail if failure else "",
    )


def _take(
    items: Iterator[Item], limit: int, draw: Callable[[Item], TaskPicture]
) -> tuple[list[TaskPicture], bool]:
    """Draw the first ones; and tell whether there may be more."""
    taken = [draw(item) for item in islice(items, limit)]
    return taken, len(taken) == limit


def _draw_entry(entry: Entry) -> TaskPicture:
    task = entry.task
    return TaskPicture(
        task.task_id,
        task.name,
        entry.state.label,
        entry.attempt,
        entry.running_at or entry.leased_at or entry.queued_at,
        entry.queued_at,
        entry.running_at,
        entry.manager_id,
        entry.client_id,
        entry.priority,
        entry.is_cancelling,
        _describe_wish(task),
        _actor_of(entry),
    )


def _describe_wish(task: Task) -> str:
    """Say what a task asks for; empty: nothing."""
    needs = task.needs
    if needs is None:
        return ""
    wishes = [str(need_of(needs))] if task.asks else []
    if needs.tag:
        wishes.append(f"the tag {needs.tag!r}")
    if needs.worker_type:
        wishes.append(f"worker type {needs.worker_type!r}")
    if needs.walltime:
        wishes.append(f"{needs.walltime:g} s")
    return f"asks for {', '.join(wishes)}" if wishes else ""


def _worker_of(entry: Entry, fleet: Fleet) -> str:
    """Say which worker has a task, as its manager reported last; empty: not known."""
    manager = fleet.managers.get(entry.manager_id)
    workers = manager.workers if manager is not None else []
    task_id = entry.task.task_id
    return next((str(w.worker_id) for w in workers if w.task_id == task_id), "")


def _actor_of(entry: Entry) -> str:
    work = entry.task.actor
    return work.actor_id if work is not None and work.verb == "call" else ""


def _draw_ended(ended: EndedTask) -> TaskPicture:
    outcome = ended.outcome
    return TaskPicture(
        outcome.task_id,
        ended.name,
        outcome.state.label,
        outcome.attempt,
        outcome.ended_at,
        outcome.queued_at,
        outcome.began_at,
        outcome.worker_id or outcome.manager_id,
        ended.client_id,
        message=outcome.failure.message if outcome.failure else "",
    )


def _draw_steps(steps: Sequence[Step]) -> list[StepPicture]:
    return [StepPicture(s.state.label, s.attempt, s.at, s.place) for s in steps]
