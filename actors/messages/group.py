"""What is said of supervisors of actors, as users make them."""

from typing import Annotated, Literal

import msgspec

from actors.messages.actor import ActorOptions
from actors.messages.basis import Struct

__all__ = [
    "GroupOptions",
    "NewActor",
    "NewChild",
    "NewGroup",
]


class GroupOptions(Struct, frozen=True, array_like=True, gc=False):
    """How a supervisor keeps its children; see `actors.supervisor`."""

    restart_scope: Literal["one_for_one", "rest_for_one", "one_for_all"]
    max_restarts: int  # within `period`
    period: float  # seconds
    patience: float  # seconds between asking a child to end and killing it
    first_delay: float  # seconds before the first restart
    longest_delay: float  # seconds before a restart, at most


class NewActor(Struct, frozen=True, array_like=True, gc=False):
    """An actor of an endpoint that a supervisor shall start."""

    actor_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    class_: bytes  # pickled
    arguments: bytes  # pickled, of its constructor
    options: ActorOptions


class NewChild(Struct, frozen=True, array_like=True):
    """An actor, or a group with a supervisor of its own."""

    name: str
    # Which of its ends call for a restart.
    kind: Literal["permanent", "transient", "temporary"]
    actor: NewActor | None = None
    group: "NewGroup | None" = None


class NewGroup(Struct, frozen=True, array_like=True):
    """A supervisor of an endpoint's actors, and its children as they start."""

    group_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    options: GroupOptions
    children: list[NewChild]
