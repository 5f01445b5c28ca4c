"""Interrupts: how a task that runs is ended from outside, and what must not be.

    second thread: Interrupt ──► noted ──SIGINT──► main thread: KeyboardInterrupt
                                   └── raised later, if the main thread is in our code

It is a signal so that it ends a sleep, too. It is never raised while one of our own
messages is being written: half a frame would be the end of the pipe.
"""

import signal
import threading
from collections import deque
from collections.abc import Callable
from time import sleep
from types import FrameType
from typing import Protocol

from actors.messages import Message

__all__ = ["Interruptible", "Speaker"]

# How many cancelled tasks are remembered. Chosen: more than run at a time.
_MAX_CANCELLED = 1024
# Seconds after which a signal is sent again that the main thread has not heard. Chosen:
# the first is soon for whoever waits; that all are lost is next to impossible.
_PAUSES = (0.1, 1.0, 10.0)


class Speaker(Protocol):
    """What is needed of a `Worker`."""

    def say(self, message: Message, message_bytes: int, *, now: bool) -> None: ...


class Interruptible:
    """What runs tasks in the main thread, and ends them there when it is told to.

    Make it in the main thread.

    Args:
        speaker: says things to the owner; None: nothing is ever said.
    """

    # What the task is told.
    why_interrupted = "the task was cancelled, or its timeout is over"

    def __init__(self, speaker: Speaker | None = None) -> None:
        self._speaker = speaker
        self._main = threading.main_thread().ident
        self._running = 0  # seq of the task whose code runs now
        self._interrupted: set[int] = set()  # told to end, and have not heard it yet
        # Of late: what `cancelled` looks at, when the exception was raised already.
        self._cancelled: deque[int] = deque(maxlen=_MAX_CANCELLED)
        self._own_code = 0  # > 0: the main thread is in ours, not to be interrupted

    def interrupt(self, seq: int) -> None:
        """In the second thread: have a task end, now or when it begins."""
        self._interrupted.add(seq)
        self._cancelled.append(seq)
        _signal_main(lambda: self._running == seq and seq in self._interrupted)

    def on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Be the handler of SIGINT."""
        if not self._own_code:
            self._raise_if_interrupted()

    def _raise_if_interrupted(self) -> None:
        running = self._running
        if running and running in self._interrupted:
            # Others may be meant that have not begun.
            self._interrupted.discard(running)
            raise KeyboardInterrupt(self.why_interrupted)

    def say(self, message: Message, message_bytes: int, *, now: bool) -> None:
        """Send something; no interrupt comes in between."""
        assert self._speaker is not None
        if threading.get_ident() != self._main:
            self._speaker.say(message, message_bytes, now=now)
            return
        self._own_code += 1
        try:
            self._speaker.say(message, message_bytes, now=now)
        finally:
            self._own_code -= 1
        if self._interrupted and not self._own_code:
            self._raise_if_interrupted()

    def is_in_main_thread(self) -> bool:
        """Tell whether this is the thread that runs tasks."""
        return threading.get_ident() == self._main

    def keep_off(self) -> None:
        """In the main thread: let no interrupt come in between what follows."""
        self._own_code += 1

    def let_in(self) -> None:
        """Raise what was kept off, unless somebody else still keeps it off."""
        self._own_code -= 1
        if self._interrupted and not self._own_code:
            self._raise_if_interrupted()


def _signal_main(is_due: Callable[[], bool]) -> None:
    """Have the main thread's handler of SIGINT run; from another thread.

    A signal that comes when the interpreter has looked for signals, and before the call
    for which it then leaves that thread blocks, would be heard after that call only. So
    it is sent again as long as it is due, a few times.

    Args:
        is_due: whether the handler is still to do what it is called for.
    """
    main = threading.main_thread().ident
    if main is None or not is_due():
        return
    signal.pthread_kill(main, signal.SIGINT)

    def send_again() -> None:
        for pause in _PAUSES:
            sleep(pause)
            if not is_due():
                return
            signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=send_again, name="actors-interrupt", daemon=True).start()
