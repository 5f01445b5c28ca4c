"""What every actor's shell can do: end, be asked to, notice the root's death."""

import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from actors.endpoint.pulse import Pulse
from actors.inbox import Inbox
from actors.logic.turn import Effect, Exit, Quit
from actors.process import ProcessIdentity, ProcessWatch
from actors.runtime import Runtime

__all__ = ["ActorShell", "RootWatch", "run_actor"]

logger = logging.getLogger(__name__)


class ActorShell:
    """What every actor's shell can do: end, and be asked to end by a signal.

    Args:
        inbox: where SIGTERM puts its request.
    """

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.exit_code = 0
        self.finish: Callable[[], None] = _not_running

    def perform(self, effect: Effect) -> None:
        """Carry out `Exit`; a subclass knows more."""
        match effect:
            case Exit(code, reason):
                logger.log(
                    logging.INFO if code == 0 else logging.ERROR, "ends: %s", reason
                )
                self.exit_code = code
                self.finish()
            case _:
                raise TypeError(f"{type(self).__name__} cannot do {effect!r}")

    def obey_signals(self) -> None:
        """End in order on SIGTERM; leave Ctrl-C to the root process."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(
            signal.SIGTERM, lambda *_: self.inbox.put(Quit("the endpoint stops"))
        )


def _not_running() -> None:
    raise RuntimeError("the shell has no loop yet")


class RootWatch:
    """Ends everything here when the endpoint's root process is gone.

    Args:
        root: of the endpoint, on this host.
        end: called once it is dead.
    """

    def __init__(self, root: ProcessIdentity, end: Callable[[], None]) -> None:
        self._watch = ProcessWatch(root)
        self._end = end

    def fileno(self) -> int:
        return self._watch.fileno()

    def read(self) -> Sequence[Any]:
        self._end()
        return []


# An actor holds many objects for long, and makes hardly any cycles. Measured: looking
# through 50,000 waiting tasks again and again takes a sixth of the interchange's time.
_GC_THRESHOLDS = (50_000, 20, 50)


def run_actor(shell: ActorShell, runtime: Runtime, pulse: Pulse | None) -> int:
    """Run an actor's loop until its shell ends it; return the exit code.

    Args:
        shell: of the actor.
        runtime: its loop.
        pulse: shows the root that the loop turns; None: the root is not our parent.
    """
    shell.finish = runtime.finish
    if pulse is not None:
        runtime.add_source(pulse)
    logger.info("is up, pid %d", os.getpid())
    shell.obey_signals()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    runtime.run()
    return shell.exit_code
