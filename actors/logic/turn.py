"""What a machine answers to one message.

    mailbox ──message, now──► machine ──► Turn(records, sends, events, effects)

The loop that runs a machine (`actors.runtime`) drains the mailbox, saves the records of
all turns, *then* sends, publishes, and hands the effects to the actor's shell. How an
effect went comes back as a message. So a crash can only fall between two of these
lines, and the same machines run in a test on a fake clock and a fake network.

To save a record is to write it: it survives the death of the process. To survive the
loss of power it must be synced, which takes far longer than a task. So only what tells
others that they may forget something, a *promise*, waits for that.
"""

from typing import Any, Protocol

import msgspec

from actors.messages import AnyEvent, DoorAnswer, Hello, Message

__all__ = [
    "Admission",
    "Answered",
    "Effect",
    "Exit",
    "FrameMalformed",
    "HangUp",
    "Knock",
    "LinkClosed",
    "Machine",
    "Quit",
    "Turn",
]


class Effect(msgspec.Struct, frozen=True):
    """Be the base of values that a machine returns and its shell carries out."""


class Admission(msgspec.Struct, frozen=True):
    """A machine's answer to a `Hello`.

    Args:
        peer: the name under which the machine knows the new link; a link that is open
            under the same name is closed first. Empty: refused.
        reason: why refused.
        is_final: whether asking again later is in vain.
    """

    peer: str
    reason: str = ""
    is_final: bool = True


# What the loop itself tells a machine, with sender ""


class LinkClosed(msgspec.Struct, frozen=True):
    """The link to a peer is gone; sent once per admitted or dialed link."""

    peer: str


class FrameMalformed(msgspec.Struct, frozen=True):
    """A peer sent bytes that are no message."""

    peer: str
    reason: str


class Answered(msgspec.Struct, frozen=True):
    """A door answered our `Knock`."""

    door: str
    answer: DoorAnswer


class Quit(msgspec.Struct, frozen=True):
    """This process was asked to end: do so in order."""

    reason: str


# What the loop itself carries out for a machine


class Exit(Effect, frozen=True):
    """End this process once everything said so far has been read.

    Args:
        code: the exit code.
        reason: for the log, and for whoever started it.
    """

    code: int
    reason: str


class Knock(Effect, frozen=True):
    """Ask at a door to be let in; an earlier knock there is given up.

    After a `Welcome` the loop has dialed the link and knows it under the door's name.
    """

    door: str
    hello: Hello


class HangUp(Effect, frozen=True):
    """Close a link from our side; no `LinkClosed` follows."""

    peer: str


class Turn(msgspec.Struct):
    """Everything that follows from one message."""

    # To be written before anything below happens, `eager` excepted.
    records: list[Any] = msgspec.field(default_factory=list)
    # Whether the records must reach the disk before anything at all happens.
    must_sync: bool = False
    # (peer, message), in order per peer. A peer without a link: dropped.
    sends: list[tuple[str, Message]] = msgspec.field(default_factory=list)
    # As `sends`, behind those of this turn, but perhaps long before the records are
    # written, which wait for company then: should we die in between, then whoever has
    # told us, or is told, makes up for it.
    eager: list[tuple[str, Message]] = msgspec.field(default_factory=list)
    # Sent once the records of this turn, and of all before it, are as safe as they must
    # be. In order among themselves per peer; others may overtake them. One that is for
    # a link which is gone by then is dropped.
    promises: list[tuple[str, Message]] = msgspec.field(default_factory=list)
    events: list[AnyEvent] = msgspec.field(default_factory=list)
    effects: list[Effect] = msgspec.field(default_factory=list)

    def promise(self, peer: str, message: Message) -> None:
        """Send to a peer once all that is recorded so far is safe."""
        self.promises.append((peer, message))


class Machine(Protocol):
    """The pure part of an actor.

    `now` is monotonic and never falls. Every method may raise BrokenInvariant; nothing
    else comes out of a machine, whatever comes in.
    """

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Answer somebody at the door."""
        ...

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take one message.

        Args:
            message: from a link, or from the shell (how an effect went).
            sender: the peer's name; "" for the shell.
            now: seconds.
        """
        ...

    def tick(self, now: float) -> Turn:
        """Do what time alone brings: called at `wake_at`, or soon after."""
        ...

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted next; infinity: only messages matter."""
        ...

    def check(self) -> None:
        """Raise BrokenInvariant if the state contradicts itself; for tests."""
        ...
