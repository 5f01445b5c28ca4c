"""Records on their way to the disk, and promises that stand on them.

    records ──write──► written ──sync──► safe
                          │                └──► promises are sent
                          └──► messages, events and effects of their turns

Before anything that stands on a record is done the record is written; what nothing
stands on yet waits for company. Promises wait for a sync, and while that is under way
the next ones gather.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from actors.errors import DiskFull
from actors.messages import JournalStalled, Message
from actors.runtime.mailbox import Mailbox
from actors.runtime.outgoing import UNHURRIED, Port
from actors.runtime.ports import Ports
from actors.runtime.serving import Reception

__all__ = ["MAX_UNSAVED", "Recorder", "Saving"]

logger = logging.getLogger(__name__)

# Promises that nobody waits for have records synced so late. Measured: the disk, and
# the thread that waits for it, hold up the tasks that come meanwhile: synced ten times
# as often, lone tasks take a sixth longer than without any sync.
SYNC_PERIOD = 0.05
# Records on which nothing stands yet wait for company, but no longer than this, in
# seconds, and no more of them. Measured: written one by one they take a tenth of the
# time of the process that serves lone tasks.
SAVE_PERIOD = 0.05
MAX_UNSAVED = 250
# How often to look whether a full disk has room again. Chosen.
ROOM_PERIOD = 0.5


class Recorder(Protocol):
    """What saves records."""

    def write(self, records: Sequence[Any], *, must_sync: bool) -> None:
        """Append records; return at once, or once they are safe.

        Raises:
            DiskFull: nothing was written; try the same again.
            ActorsError: the disk failed: end this process.
        """
        ...

    def begin_sync(self) -> bool:
        """Begin to make safe what was written; call it while none is under way.

        Returns:
            Whether that takes a while: then `fileno` becomes readable, and `has_synced`
            says when it is done. False: all is as safe as it must be.
        """
        ...

    def has_synced(self) -> bool:
        """Tell, once per `begin_sync`, that it is done.

        Raises:
            ActorsError: the disk failed: end this process.
        """
        ...

    def settle(self) -> None:
        """Wait until all that was written is as safe as it must be.

        A sync that was begun is over then; nothing more is told of it.

        Raises:
            ActorsError: the disk failed: end this process.
        """
        ...

    def fileno(self) -> int:
        """Return a descriptor; readable: call `has_synced`."""
        ...

    def tick(self, now: float) -> Sequence[Any]:
        """Do what is due at `wake_at`; never for long.

        Returns:
            Messages for the machine, perhaps none.
        """
        ...

    @property
    def wake_at(self) -> float:
        """When `tick` is wanted; infinity: not."""
        ...


class Saving:
    """See the module's docstring.

    Args:
        recorder: saves the records; None: there must be none.
        mailbox: of the machine whose records they are.
        ports: where promises go.
        reception: who is told that all stands still for a full disk.
        meanwhile: called now and then while it does.
    """

    def __init__(
        self,
        recorder: Recorder | None,
        mailbox: Mailbox,
        *,
        ports: Ports,
        reception: Reception | None,
        meanwhile: Callable[[], object] | None,
    ) -> None:
        self._recorder = recorder
        self._mailbox = mailbox
        self._ports = ports
        self._reception = reception
        self._meanwhile = meanwhile
        self.unsaved: list[Any] = []  # records, oldest first
        self.save_at = math.inf  # when they shall be written at the latest
        # Promises that wait for the next sync, and those for the one under way.
        self.promises: list[tuple[Port, Message]] = []
        self._awaited: list[tuple[Port, Message]] = []
        self.is_syncing = False
        self.sync_at = math.inf  # when the promises that wait shall be seen to
        if recorder is not None:
            mailbox.watch(recorder.fileno(), self._read_recorder)

    def save(self, *, must_sync: bool = False) -> None:
        """Write the records that wait, if any do; wait for room if the disk is full."""
        self.save_at = math.inf
        records, self.unsaved = self.unsaved, []
        if not records and not must_sync:
            return
        recorder = self._recorder
        assert recorder is not None, "records, but nothing to save them"
        is_waiting = False
        while True:
            try:
                recorder.write(records, must_sync=must_sync)
                break
            except DiskFull as error:
                if not is_waiting:
                    logger.error("all stands still: %s", error)
                    self._publish(JournalStalled(str(error)))
                    is_waiting = True
                self._beat_and_wait()
        if is_waiting:
            logger.info("there is room again: all goes on")
            self._publish(JournalStalled("", is_over=True))

    def _publish(self, event: JournalStalled) -> None:
        if self._reception is not None:
            self._reception.publish([event])

    def _beat_and_wait(self) -> None:
        """Show life, and wait for room on the disk.

        Nothing may be sent that stands on records which are not written, so nothing is
        read either: whoever has something to say keeps it until it is acknowledged.
        """
        self._ports.beat()
        if self._meanwhile is not None:
            self._meanwhile()
        time.sleep(ROOM_PERIOD)

    def look(self, now: float) -> None:
        """Write and sync what is due after a round, or note when it will be."""
        if self.unsaved:
            if len(self.unsaved) >= MAX_UNSAVED:
                self.save()
            elif self.save_at == math.inf:
                self.save_at = now + SAVE_PERIOD
        if self.promises and not self.is_syncing and self.sync_at <= now:
            self._begin_sync()

    def promise(self, peer: str, message: Message) -> None:
        """Send a message once all records so far are safe; nothing if nobody is there.

        Args:
            peer: whom to send it to.
            message: what stands on the records.
        """
        port = self._ports.by_peer.get(peer)
        if port is None:
            return
        self.promises.append((port, message))
        if type(message) not in UNHURRIED:
            self.sync_at = -math.inf
        elif self.sync_at == math.inf:
            self.sync_at = self._mailbox.now + SYNC_PERIOD

    def _begin_sync(self) -> None:
        """Have the records made safe that promises stand on; then keep those."""
        self.save()
        self._awaited, self.promises = self.promises, []
        self.sync_at = math.inf
        if self._recorder is not None and self._recorder.begin_sync():
            self.is_syncing = True
        else:
            self._keep_promises()

    def _read_recorder(self) -> None:
        assert self._recorder is not None
        if self._recorder.has_synced():
            self.is_syncing = False
            self._keep_promises()

    def _keep_promises(self) -> None:
        kept, self._awaited = self._awaited, []
        for port, message in kept:
            # Who came back meanwhile over a new link was told anew, or asks anew.
            if self._ports.by_peer.get(port.peer) is port:
                self._ports.outgoing.send(port, message)
        self._ports.flush()

    def settle(self) -> None:
        """Save all records and keep all promises before anything else happens."""
        self.save()
        if self._recorder is not None and (self._awaited or self.promises):
            self._recorder.settle()
            self.is_syncing = False
            self._awaited += self.promises
            self.promises = []
            self.sync_at = math.inf
            self._keep_promises()
