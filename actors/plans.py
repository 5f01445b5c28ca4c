"""Plans: what shall be made of actors, before anything of it exists.

A supervisor's children are planned in the user's words and made by whatever carries out
calls on actors in the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from actors.logic.restarts import RestartKind
from actors.messages import ActorOptions, GroupOptions

__all__ = ["ActorPlan", "ChildPlan", "GroupPlan", "MadeGroup"]

T = TypeVar("T")


@dataclass(frozen=True)
class ActorPlan:
    """An actor to be.

    Args:
        class_: pickled.
        options: of the actor.
        constructor: to name it in errors.
        args: of the constructor.
        kwargs: those by name.
    """

    class_: bytes
    options: ActorOptions
    constructor: object
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class ChildPlan:
    """A child of a supervisor: an actor, or a group.

    Args:
        kind: which of its ends call for a restart.
        what: to make.
    """

    kind: RestartKind
    what: "ActorPlan | GroupPlan"


@dataclass(frozen=True)
class GroupPlan:
    """A supervisor to be.

    Args:
        options: how it keeps its children.
        children: {name: child}, in the order of their start.
    """

    options: GroupOptions
    children: Mapping[str, ChildPlan]


@dataclass(frozen=True)
class MadeGroup(Generic[T]):
    """A supervisor that was made.

    Args:
        anchor: the ref that stands for it; its value is how it ended.
        started: a ref that is known when all have started.
        children: {name: the ref that stands for an actor, or a group}.
    """

    anchor: T
    started: T
    children: "dict[str, T | MadeGroup[T]]" = field(default_factory=dict)
