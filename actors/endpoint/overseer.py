"""Overseer: the machine of an endpoint's root process. Pure.

It supervises the three service actors, and whatever else was asked for. It is a member
of the interchange, where it tells of restarts and hears from operators that the
endpoint should stop. Who shows no life for too long is killed: it may be stopped, or
stuck.
"""

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from actors.logic.liveness import Liveness, Tempo
from actors.logic.membership import Membership
from actors.logic.turn import Admission, Effect, Turn
from actors.messages import (
    PROTOCOL,
    ActorRestarted,
    AnyEvent,
    Hello,
    Quiesce,
    Relay,
    RestartActor,
    StopEndpoint,
)
from actors.supervisor import (
    ChildEnded,
    ChildStarted,
    Supervisor,
    SupervisorSettings,
)

__all__ = [
    "ACTORS",
    "PATIENCE",
    "ChildBeat",
    "KillSilent",
    "Overseer",
    "Ready",
    "overseer_hello",
]

# In the order of their start: the interchange takes tasks first and returns results
# last; the provider ends the blocks after nobody orders new ones.
ACTORS = ("interchange", "provider", "strategy")

# Seconds between asking an actor to stop and killing it: more than the provider gives
# to its blocks.
PATIENCE = 15.0

# What an actor has beyond the threshold of the heartbeats until its first sign of life.
# Chosen: its imports take a second, and some on a machine that is overloaded.
START_GRACE = 10.0


class Ready(Effect, frozen=True):
    """The interchange takes members; comes once."""


class ChildBeat(msgspec.Struct, frozen=True):
    """An actor's loop turns."""

    name: str


class KillSilent(Effect, frozen=True):
    """Kill an actor that shows no life, whatever state it is in."""

    actor: str
    reason: str


class Overseer:
    """The machine; see the module's docstring.

    Args:
        hello: how to introduce ourselves.
        chance: for the waits between restarts and between knocks.
        now: monotonic seconds.
        tempo: how often actors show life, and how long they may be silent.
        patience: seconds between asking an actor to stop and killing it.
        dispensable: further children; the endpoint goes on if one cannot run.
    """

    def __init__(
        self,
        hello: Hello,
        chance: random.Random,
        now: float,
        *,
        tempo: Tempo,
        patience: float,
        dispensable: Sequence[str] = (),
    ) -> None:
        settings = SupervisorSettings(
            (*ACTORS, *dispensable), patience=patience, dispensable=dispensable
        )
        self.supervisor = Supervisor(settings, chance, now)
        self.membership = Membership(
            "interchange", lambda: hello, chance, entered=self._entered
        )
        self._pulses = Liveness(tempo)
        self._is_ready = False
        self._untold: list[AnyEvent] = []  # until there is somebody to tell
        self._has_quiesced = False

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: the root process has no door."""
        return self.supervisor.admit(hello, now)

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take a message from the shell or from the interchange."""
        turn = Turn()
        if self.membership.take(message, sender, now, turn):
            return turn
        match message:
            case StopEndpoint():
                self.supervisor.stop("", now, turn)
            case RestartActor(actor, reason) if actor in ACTORS:
                self._replace(actor, reason, turn)
            case RestartActor():
                pass  # nobody of ours: the interchange has said so
            case ChildBeat(name):
                self._pulses.heard(name, now)
            case _:
                self._note_life(message, now)
                theirs = self.supervisor.handle(message, sender, now)
                turn.effects += theirs.effects
                self._note_restarts(theirs, now, turn)
        if self.supervisor.is_stopping and not self._has_quiesced:
            # What came in now would be handed to managers that are about to end.
            self._has_quiesced = True
            self.membership.send(Quiesce("the endpoint stops"), now, turn)
        return turn

    def tick(self, now: float) -> Turn:
        """Care for the children and for the membership."""
        turn = self.supervisor.tick(now)
        self.membership.tick(now, turn)
        for name in self._pulses.lost(now):
            silence = self._pulses.silence(name, now)
            self._pulses.left(name)
            self._replace(name, f"no sign of life for {silence:.1f} s", turn)
        for name in self._pulses.due(now):
            # That we live, the kernel tells them.
            self._pulses.sent(name, now)
        return turn

    @property
    def wake_at(self) -> float:
        return min(
            self.supervisor.wake_at, self.membership.wake_at, self._pulses.wake_at()
        )

    def _entered(self, now: float, turn: Turn) -> None:
        self._tell_restarts(now, turn)
        if not self._is_ready:
            self._is_ready = True
            turn.effects.append(Ready())

    def _note_life(self, message: Any, now: float) -> None:
        # Others have no loop that could show life, and the endpoint no need of them.
        match message:
            case ChildStarted(name) if name in ACTORS:
                self._pulses.joined(name, now + START_GRACE)
            case ChildEnded(name):
                self._pulses.left(name)

    def _replace(self, actor: str, reason: str, turn: Turn) -> None:
        """Kill an actor that shows no life; its end has it started again.

        By its death it is fenced: a stopped process that is continued would go on as
        if nothing had happened, with a journal that is another's by then.
        """
        if not self.supervisor.is_stopping:
            turn.effects.append(KillSilent(actor, reason))

    def _note_restarts(self, theirs: Turn, now: float, turn: Turn) -> None:
        self._untold += theirs.events
        # The link to a dead interchange may still look open: its successor is told.
        if not any(_is_of_interchange(event) for event in self._untold):
            self._tell_restarts(now, turn)

    def _tell_restarts(self, now: float, turn: Turn) -> None:
        if self._untold and self.membership.is_in:
            self.membership.send(Relay([*self._untold]), now, turn)
            self._untold = []

    def check(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        self.supervisor.check()


def _is_of_interchange(event: AnyEvent) -> bool:
    return isinstance(event, ActorRestarted) and event.actor == "interchange"


def overseer_hello(
    instance: str, token: str, python: str, pid: int, host: str
) -> Hello:
    """Introduce the root process at the interchange's door."""
    return Hello(
        "supervisor", "supervisor", instance, PROTOCOL, python, token, pid, host
    )
