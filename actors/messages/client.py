"""Client and interchange."""

from actors.messages.basis import Message, TaskId
from actors.messages.task import Delta, Item, ItemsMark, Outcome, Task

__all__ = [
    "Accepted",
    "AckResults",
    "CancelTasks",
    "ClaimTasks",
    "ItemsTaken",
    "ItemsYielded",
    "ListTasks",
    "Output",
    "Results",
    "StatesChanged",
    "Submit",
    "TasksListed",
    "UnknownTasks",
]


class Submit(Message, frozen=True, array_like=True, tag=True, gc=False):
    tasks: list[Task]


class Accepted(Message, frozen=True, array_like=True, tag=True, gc=False):
    """These tasks are the endpoint's now; the client need not keep their payloads."""

    task_ids: list[TaskId]


class Results(Message, frozen=True, array_like=True, tag=True, gc=False):
    outcomes: list[Outcome]


class ItemsYielded(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Items, of each task in their order; from managers, and on to clients.

    Each keeps them until it is told by `ItemsTaken`.
    """

    items: list[Item]


class ItemsTaken(Message, frozen=True, array_like=True, tag=True, gc=False):
    """These items may be forgotten: they are safe elsewhere, or were read.

    A generator does not go far ahead of that.
    """

    marks: list[ItemsMark]


class AckResults(Message, frozen=True, array_like=True, tag=True, gc=False):
    """The client has these outcomes; the endpoint may forget the tasks."""

    task_ids: list[TaskId]


class ClaimTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask, after a reconnection, whether accepted tasks are still known."""

    task_ids: list[TaskId]


class ListTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask for all tasks of this client, whichever process of its submitted them."""


class TasksListed(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `ListTasks`: the unfinished, and those with unacknowledged outcomes."""

    task_ids: list[TaskId]


class UnknownTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Answer to `ClaimTasks`: those that the endpoint knows nothing of."""

    task_ids: list[TaskId]


class StatesChanged(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Interim states, newest only; from managers with their reports, on to clients."""

    deltas: list[Delta]


class CancelTasks(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Cancel tasks: from a client, and on to a manager.

    A running task's worker is replaced, unless `if_running` is false: then a task
    that has begun goes on. With a `grace` a KeyboardInterrupt is raised in it first, as
    always in an actor's call.
    """

    task_ids: list[TaskId]
    if_running: bool = True
    # Seconds until the process of one that goes on is killed; < 0: it never is; None:
    # a worker at once, an actor's never.
    grace: float | None = None
    is_recursive: bool = False  # also what the task has called itself


class Output(Message, frozen=True, array_like=True, tag=True, gc=False):
    """What the client's tasks and actors have written; it may get lost.

    Sent to who said at the door that it wants it, and before the task's outcome.
    """

    pid: int  # of the worker
    host: str
    text: bytes  # whole lines
    # Of all that was written for this process of the client so far, whether it was
    # told or not, in bytes: what is missing between two of them was not told.
    end: int
