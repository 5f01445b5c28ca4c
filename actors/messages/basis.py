"""What all messages have in common: ids, and the bases of what travels."""

from typing import Literal, NewType

import msgspec

__all__ = [
    "PROTOCOL",
    "Amount",
    "BlockId",
    "ClientId",
    "ManagerId",
    "MemberKind",
    "Message",
    "Struct",
    "TaskId",
    "WorkerId",
]

PROTOCOL = 1
TaskId = NewType("TaskId", str)
ClientId = NewType("ClientId", str)
ManagerId = NewType("ManagerId", str)
BlockId = NewType("BlockId", str)
WorkerId = NewType("WorkerId", str)
MemberKind = Literal[
    "client", "manager", "strategy", "provider", "operator", "supervisor"
]


class Struct(
    msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=False
):
    """Be the base of what is inside a message: it has no tag."""


class Message(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Be the base of what a link carries: its class name is its tag."""


class Amount(Struct, frozen=True, array_like=True, gc=False):
    """So much of something that tasks share."""

    name: str
    amount: float
