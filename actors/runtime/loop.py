"""The loop itself: one round after another; see the package's docstring."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from actors.inbox import Source
from actors.logic.turn import Effect, HangUp, Knock, Machine
from actors.messages import AnyEvent
from actors.runtime.dialing import Dialer, Dialing
from actors.runtime.mailbox import Mailbox
from actors.runtime.ports import STUCK_TIMEOUT, Ports
from actors.runtime.saving import Recorder, Saving
from actors.runtime.serving import Reception, Serving
from actors.store.links import Links

__all__ = ["Runtime", "Shell"]

# The loop looks up now and then even if nothing is due. Chosen.
LONGEST_SLEEP = 60.0
# How long a leaving actor waits for its peers to read its last words.
LAST_WORDS = 2.0


class Shell(Protocol):
    """The part of an actor that does things."""

    def perform(self, effect: Effect) -> None:
        """Carry out what the machine decided; never block."""
        ...


class Runtime:
    """One actor's loop.

    Args:
        machine: what decides.
        shell: what does.
        serving: how others reach us; None: nobody can.
        dialing: {door: how we reach it}.
        sources: further sources; their messages come with sender "".
        recorder: saves the records; None: there must be none.
        meanwhile: called now and then while all stands still for a full disk.
        links: where large payloads are, for peers that see the same memory; None:
            they travel in messages.
    """

    def __init__(
        self,
        machine: Machine,
        shell: Shell,
        *,
        serving: Serving | None = None,
        dialing: dict[str, Dialing] | None = None,
        sources: Iterable[Source] = (),
        recorder: Recorder | None = None,
        meanwhile: Callable[[], object] | None = None,
        links: Links | None = None,
    ) -> None:
        self._machine = machine
        self._shell = shell
        self._recorder = recorder
        self._mailbox = Mailbox(machine)
        self._ports = Ports(
            self._mailbox,
            links,
            stuck_timeout=serving.stuck_timeout if serving else STUCK_TIMEOUT,
        )
        self._outgoing = self._ports.outgoing
        self._reception: Reception | None = None
        if serving is not None:
            self._reception = Reception(serving, self._mailbox, self._ports)
            self._mailbox.watch(self._reception.fileno(), self._read_door)
        self._dialer = Dialer(dialing or {}, self._mailbox, self._ports)
        self._missing = self._dialer.missing
        self._saving = Saving(
            recorder,
            self._mailbox,
            ports=self._ports,
            reception=self._reception,
            meanwhile=meanwhile,
        )
        for source in sources:
            self.add_source(source)

    def add_source(self, source: Source) -> None:
        """Read a source from now on."""
        self._mailbox.add_source(source)

    def remove_source(self, source: Source) -> None:
        """Read a source no longer; call it before closing the source."""
        self._mailbox.unwatch(source.fileno())

    def read_now(self, source: Source) -> None:
        """Read a source; callable from the shell, for what it has just asked for."""
        self._mailbox.read(source)

    def sees_memory(self, peer: str) -> bool | None:
        """Tell whether a peer sees the same shared memory; None: there is no link."""
        port = self._ports.by_peer.get(peer)
        return None if port is None else port.sees_memory

    def trouble(self, door: str) -> str:
        """Say why a door does not answer, as far as is known."""
        return self._dialer.trouble(door)

    def finish(self) -> None:
        """End the loop after this round; callable from the shell."""
        self._mailbox.is_over = True

    def run(self) -> None:
        """Run until `finish`; then give peers a moment to read the last words."""
        try:
            while not self._mailbox.is_over:
                self.round()
        finally:
            self.end()

    @property
    def is_over(self) -> bool:
        """Whether `finish` was called: there is nothing left but to `end`."""
        return self._mailbox.is_over

    def end(self) -> None:
        """Say the last words if it is over, and close."""
        try:
            if self._mailbox.is_over:
                self._say_last_words()
        finally:
            self.close()

    def close(self) -> None:
        """Close every socket; twice is fine."""
        self._dialer.close()
        if self._reception is not None:
            self._reception.close()
        self._ports.close()
        self._mailbox.close()

    def round(self, longest: float = LONGEST_SLEEP, awake: float = 0.0) -> None:
        """Wait for something to do, and do it.

        Args:
            longest: seconds to wait at most.
            awake: for so many of them do not sleep, but look again and again: whoever
                sleeps is woken late.
        """
        mailbox, saving = self._mailbox, self._saving
        now = time.monotonic()
        machine_at = self._machine.wake_at
        recorder_at = math.inf if self._recorder is None else self._recorder.wake_at
        wake_at = min(
            machine_at,
            recorder_at,
            math.inf if saving.is_syncing else saving.sync_at,
            saving.save_at,
            self._outgoing.hurry_at,
            self._missing.look_at,
            now + min(longest, LONGEST_SLEEP),
        )
        mailbox.drain(max(0.0, wake_at - now), awake)
        now = mailbox.now
        if machine_at <= now:
            mailbox.turns.append(self._machine.tick(now))
        if saving.save_at <= now:
            saving.save()
        if recorder_at <= now and self._recorder is not None:
            # It may write a part of what the machine knows: no record of that may
            # come later than what builds on it.
            saving.save()
            for message in self._recorder.tick(now):
                mailbox.tell(message)
        if self._missing.look_at <= now:
            self._dialer.knock_at_found(now)
        if self._ports.undialed:
            self._ports.close_undialed(now)
        self._complete()
        if self._outgoing.hurry_at <= now:
            self._ports.flush_late(now)

    def tell(self, messages: Iterable[Any]) -> None:
        """Give the machine messages, and do what follows, between two rounds."""
        for message in messages:
            self._mailbox.tell(message)
        self._complete()

    def _complete(self) -> None:
        """Carry out what the turns of this round ask for, and what follows from it."""
        mailbox, saving = self._mailbox, self._saving
        by_peer, send = self._ports.by_peer, self._outgoing.send
        while mailbox.turns:
            turns, mailbox.turns = mailbox.turns, []
            is_bound = must_sync = False
            for turn in turns:
                if turn.records:
                    saving.unsaved += turn.records
                must_sync = must_sync or turn.must_sync
                is_bound = is_bound or bool(turn.sends or turn.events or turn.effects)
            if must_sync or (is_bound and saving.unsaved):
                saving.save(must_sync=must_sync)
            events: list[AnyEvent] = []
            effects: list[Effect] = []
            for turn in turns:
                for peer, message in turn.sends:
                    if (port := by_peer.get(peer)) is not None:
                        send(port, message)
                for peer, message in turn.eager:
                    if (port := by_peer.get(peer)) is not None:
                        send(port, message)
                for peer, message in turn.promises:
                    saving.promise(peer, message)
                events += turn.events
                effects += turn.effects
            self._ports.flush()
            if events and self._reception is not None:
                self._reception.publish(events)
            for effect in effects:
                self._perform(effect)
        if saving.unsaved or saving.promises:
            saving.look(mailbox.now)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Knock(door, newcomer):
                self._dialer.knock(door, newcomer)
            case HangUp(peer):
                self._ports.hang_up(peer)
            case _:
                self._shell.perform(effect)

    def _read_door(self) -> None:
        assert self._reception is not None
        for newcomer in self._reception.newcomers():
            # What was decided for a peer's old link must not go out on its new one: a
            # lease that the peer is told not to have would run all the same. And a
            # manager drops outcomes of tasks that are over: they must be on disk by
            # then.
            self._complete()
            self._saving.settle()
            self._reception.admit(newcomer)

    def _say_last_words(self) -> None:
        """Wait until the peers have hung up, having read everything, or a moment."""
        until = time.monotonic() + LAST_WORDS
        self._saving.settle()
        self._ports.flush_late()
        if self._reception is not None:
            self._mailbox.unwatch(self._reception.fileno())
        while any(p.link.is_connected for p in self._ports.by_peer.values()):
            left = until - time.monotonic()
            if left <= 0:
                return
            self._mailbox.drain(left)
            self._mailbox.turns.clear()
