"""Operator, supervisor and interchange."""

from typing import Literal

from actors.messages.basis import Message

__all__ = [
    "Answer",
    "Command",
    "Quiesce",
    "RestartActor",
    "StopEndpoint",
    "Verb",
]

# What an operator may ask for.
Verb = Literal[
    "status",
    "hold",
    "resume",
    "quiesce",
    "drain",
    "scale",
    "cancel",
    "stop",
    "restart",
    "tasks",
    "story",
]


class Command(Message, frozen=True, array_like=True, tag=True, gc=False):
    request_id: str
    verb: Verb
    # Blocks, managers, actors or tasks, as the verb asks; of "tasks" a text that ids or
    # names contain, "" for any, and then the labels of the states that are wanted,
    # none: all; "resume" of nobody undoes "quiesce".
    names: list[str] = []
    number: int = 0  # of blocks; of "tasks" how many at most


class Answer(Message, frozen=True, array_like=True, tag=True, gc=False):
    request_id: str
    is_done: bool
    text: str  # what was done, or why not
    body: bytes = b""  # JSON, for `status`, `tasks` and `story`


class Quiesce(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Take and place no more tasks: the endpoint stops."""

    reason: str


class StopEndpoint(Message, frozen=True, array_like=True, tag=True, gc=False):
    reason: str


class RestartActor(Message, frozen=True, array_like=True, tag=True, gc=False):
    """End an actor of the endpoint, and start it again."""

    actor: str
    reason: str
