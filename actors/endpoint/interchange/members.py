"""Members: who is here, and what they are sent. Pure.

A member is known by its peer name, `kind:member_id`, from its admission until it leaves
or is given up; its link may be closed meanwhile.
"""

from collections.abc import Iterator

from actors.logic.liveness import Liveness, Tempo
from actors.logic.turn import HangUp, Turn
from actors.messages import FrameRefused, Hello, MemberLeft, Message

__all__ = ["Members"]


class Members:
    """The members of one endpoint; see the module's docstring.

    Args:
        tempo: of the heartbeats.
    """

    def __init__(self, tempo: Tempo) -> None:
        self.here: dict[str, Hello] = {}  # {peer: how it introduced itself}
        self.liveness = Liveness(tempo)
        self.malformed = 0  # frames that made no sense, from anybody
        self._blamed: set[str] = set()  # who sent such, as far as they are here

    def __contains__(self, peer: str) -> bool:
        return peer in self.here

    def __iter__(self) -> Iterator[str]:
        return iter(self.here)

    def join(self, peer: str, hello: Hello, now: float) -> None:
        """Begin a membership, or go on with it over a new link."""
        self.here[peer] = hello
        self.liveness.joined(peer, now)

    def leave(self, peer: str, reason: str, turn: Turn, *, is_lost: bool) -> None:
        """End a membership."""
        hello = self.here.pop(peer, None)
        self._blamed.discard(peer)
        self.liveness.left(peer)
        # Who leaves in order waits for this, to know that we have read everything.
        turn.effects.append(HangUp(peer))
        if hello is not None:
            turn.events.append(MemberLeft(hello.kind, hello.member_id, reason, is_lost))

    def send(self, peer: str, message: Message, now: float, turn: Turn) -> None:
        """Send to a member; to nobody if there is none of that name."""
        turn.sends.append((peer, message))
        self.liveness.sent(peer, now)

    def send_eagerly(self, peer: str, message: Message, now: float, turn: Turn) -> None:
        """Send to a member, perhaps before what leads to it is recorded."""
        turn.eager.append((peer, message))
        self.liveness.sent(peer, now)

    def services(self, kind: str) -> list[str]:
        """Name the connected members of one kind."""
        return [
            peer
            for peer, hello in self.here.items()
            if hello.kind == kind and self.liveness.is_connected(peer)
        ]

    def silence(self, peer: str, now: float) -> float:
        """Seconds since a member was heard."""
        return self.liveness.silence(peer, now)

    def blame(self, peer: str, reason: str, turn: Turn) -> None:
        """Count a frame that made no sense."""
        self.malformed += 1
        # A flood of nonsense must not become a flood of events.
        if peer not in self._blamed:
            self._blamed.add(peer)
            turn.events.append(FrameRefused(peer, reason))
