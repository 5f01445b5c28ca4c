"""How large messages are in a frame, and how those that are too large are cut."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actors.messages.basis import Message
from actors.messages.client import (
    Accepted,
    AckResults,
    CancelTasks,
    ClaimTasks,
    ItemsTaken,
    ItemsYielded,
    Output,
    Results,
    StatesChanged,
    Submit,
    UnknownTasks,
)
from actors.messages.manager import (
    AckFinished,
    Finished,
    HandBack,
    Hosting,
    Lease,
    LeaseCalls,
    LeasedCall,
    Printed,
    Returned,
    StartActors,
)
from actors.messages.task import Item, Leased, Outcome, Task

__all__ = [
    "BULK_ITEMS",
    "load_of",
    "portions",
]

# Sizes of what surrounds one item of a list in a frame, and of one step of a history,
# roughly: an id, some numbers.
_ITEM_BYTES = 96
_STEP_BYTES = 64
_PLAIN_OUTCOME_BYTES = 4 * _STEP_BYTES
# At most what an id takes, or an id with a state and a place.
_SHORT_ITEM_BYTES = 512


def _task_sizes(tasks: Sequence[Task | Leased]) -> list[int]:
    return [len(t.function) + len(t.arguments) + _ITEM_BYTES for t in tasks]


def _call_sizes(calls: Sequence[LeasedCall]) -> list[int]:
    return [len(call.arguments) + 2 * _ITEM_BYTES for call in calls]


def _hosting_sizes(actors: Sequence[Hosting]) -> list[int]:
    return [
        len(actor.class_)
        + len(actor.arguments)
        + len(actor.options.picture)
        + _SHORT_ITEM_BYTES
        for actor in actors
    ]


def _outcome_sizes(outcomes: Sequence[Outcome]) -> list[int]:
    # What most of them are is counted here: a call for each would take as long again.
    return [
        len(o.payload) + _PLAIN_OUTCOME_BYTES
        if o.failure is None and not o.past
        else _outcome_bytes(o)
        for o in outcomes
    ]


def _outcome_bytes(outcome: Outcome) -> int:
    """Guess its size in a frame, rather too large: a character has up to 4 bytes."""
    failure = outcome.failure
    text = 4 * (len(failure.message) + len(failure.detail)) if failure else 0
    steps = _STEP_BYTES * len(outcome.past)
    return len(outcome.payload) + text + _PLAIN_OUTCOME_BYTES + steps


def _item_sizes(items: Sequence[Item]) -> list[int]:
    return [len(item.payload) + _ITEM_BYTES for item in items]


def _short_sizes(items: Sequence[object]) -> list[int]:
    return [_SHORT_ITEM_BYTES] * len(items)


# {what is a list in its first field: sizes of the list's items}
_SIZES: dict[type[Message], Callable[[Any], list[int]]] = {
    Submit: _task_sizes,
    Lease: _task_sizes,
    LeaseCalls: _call_sizes,
    StartActors: _hosting_sizes,
    Finished: _outcome_sizes,
    Results: _outcome_sizes,
    ItemsYielded: _item_sizes,
    ItemsTaken: _short_sizes,
    Accepted: _short_sizes,
    AckResults: _short_sizes,
    ClaimTasks: _short_sizes,
    UnknownTasks: _short_sizes,
    CancelTasks: _short_sizes,
    AckFinished: _short_sizes,
    HandBack: _short_sizes,
    Returned: _short_sizes,
    StatesChanged: _short_sizes,
}
# What workers have written: their senders see to it that it is not much.
_TEXTS = (Printed, Output)
# Those that carry work.
_LOADS = frozenset({Submit, Lease, Finished, Results})
# As many tasks at once are work for longer than a wait for company takes. Chosen.
BULK_ITEMS = 32


def _items_of(message: Message) -> Sequence[Any]:
    items: Sequence[Any] = getattr(message, message.__struct_fields__[0])
    return items


def load_of(message: Message) -> int:
    """Count the tasks or outcomes that a message carries; 0: it is for other things."""
    return len(_items_of(message)) if type(message) in _LOADS else 0


def portions(message: Message, limit: int) -> list[tuple[Message, int]]:
    """Cut a message into several of the same kind, each of about `limit` bytes.

    What is a list of payloads, ids or states is cut; one item alone may exceed the
    limit. `Adopted` stays whole: what it does not list is dropped. So does
    `TasksListed`: its reader must know that it is all.

    Returns:
        Messages, and their sizes in bytes: roughly, rather too large.
    """
    sizes_of = _SIZES.get(type(message))
    if sizes_of is None:
        text_bytes = len(message.text) if isinstance(message, _TEXTS) else 0
        return [(message, text_bytes + _ITEM_BYTES)]
    items = _items_of(message)
    sizes = sizes_of(items)
    total = sizes[0] if len(sizes) == 1 else sum(sizes)
    if total <= limit or len(sizes) == 1:
        return [(message, total)]
    field = message.__struct_fields__[0]
    parts = []
    start = size = 0
    for index, item_bytes in enumerate(sizes):
        if size and size + item_bytes > limit:
            part = {field: items[start:index]}
            parts.append((msgspec.structs.replace(message, **part), size))
            start, size = index, 0
        size += item_bytes
    part = {field: items[start:]}
    return [*parts, (msgspec.structs.replace(message, **part), size)]
