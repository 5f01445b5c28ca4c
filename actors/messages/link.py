"""The door, and what any member of the endpoint says on its link."""

from typing import Annotated

import msgspec

from actors.messages.actor import Incarnation
from actors.messages.basis import Amount, BlockId, MemberKind, Message
from actors.messages.task import Holding

__all__ = [
    "DoorAnswer",
    "Goodbye",
    "Heartbeat",
    "Hello",
    "Refused",
    "Reregister",
    "Welcome",
]


class Hello(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask to be let in."""

    kind: MemberKind
    member_id: str  # who: the same across reconnections
    instance: str  # random per process: two processes with one member_id are a fault
    protocol: int
    python: str  # "3.11"
    token: str
    pid: int = 0
    host: str = ""
    block_id: BlockId = BlockId("")  # of a manager
    slots: int = 0  # worker processes of a manager
    held: list[Holding] = []  # what a manager still has; newest report wins
    actors: list[Incarnation] = []  # that a manager has, or whose end is not known
    is_within: bool = False  # a client: one of the endpoint's own workers
    # A manager: seconds until its block ends; None: nobody knows.
    time_left: float | None = None
    # A manager: the only type of workers that its block has, or PLAIN_TYPE; "": any.
    worker_type: str = ""
    resources: list[Amount] = []  # that a manager's node has besides processors
    tag: Annotated[str, msgspec.Meta(max_length=200)] = ""  # of a manager
    is_exclusive: bool = False  # a manager: it takes what asks for its tag, only
    wants_output: bool = False  # a client: of its tasks and actors
    memory: str = ""  # the shared memory that it sees, see `store.links`; "": none


class Welcome(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Let in: dial the link and go on there."""

    link: str  # url of a listener made for this member alone
    epoch: str  # random per start of the interchange
    heartbeat_period: float
    heartbeat_threshold: float
    max_frame_bytes: int
    memory: str = ""  # as of `Hello`: if both are the same, payloads may lie there


class Refused(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Not let in; the connection ends here."""

    reason: str
    is_final: bool = True  # false: it may be different later


class Heartbeat(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Show life when nothing else was sent for a period."""


class Reregister(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Ask a member that is not known (any more) to come through the door again."""

    reason: str


class Goodbye(Message, frozen=True, array_like=True, tag=True, gc=False):
    """Tell that the sender leaves for good, and why."""

    reason: str


DoorAnswer = Welcome | Refused
