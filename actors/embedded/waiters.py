"""Waiters: whoever in the program waits until something is known.

Who waits runs rounds itself. If somebody else does so already, it is told by a bell in
the round that brings what it waits for.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from actors.embedded.hub import Hub
from actors.embedded.streams import Stream
from actors.helm import Helm
from actors.refs import ObjectRef, Promise, has_failed

__all__ = ["Waiters", "is_known"]


class _Runtime(Protocol):
    """What is needed of `Embedded`."""

    @property
    def is_over(self) -> bool: ...
    def command(self, command: Callable[[], object]) -> None: ...


class Waiters:
    """See the module's docstring.

    Args:
        runtime: whose values.
        hub: its tables.
        helm: of its rounds.
    """

    def __init__(self, runtime: _Runtime, hub: Hub, helm: Helm) -> None:
        self._runtime = runtime
        self._hub = hub
        self._helm = helm

    def wait_for(
        self,
        refs: Sequence[Promise],
        count: int,
        deadline: float,
        *,
        or_one_failed: bool = False,
    ) -> None:
        """Wait until `count` of the refs are known, or the deadline is over.

        Args:
            refs: which.
            count: of them.
            deadline: monotonic.
            or_one_failed: who wants all of them needs no more than that one has failed.
        """
        if count == len(refs):
            is_done = self._all_known(refs, or_one_failed=or_one_failed)
        else:
            is_done = _some_known(refs, count)
        if deadline <= time.monotonic():
            # Not to wait, but to hear of what has come in.
            self._helm.nudge()
            return
        while not is_done():
            self._helm.steer(is_done, deadline)
            if is_done() or deadline <= time.monotonic():
                return
            # Somebody else is at the helm. It is told to us; and if it leaves without
            # us, the thread steers soon.
            bell = threading.Event()
            unknown = [ref for ref in refs if ref.outcome is None]
            self._runtime.command(partial(self.call_at_first, unknown, bell.set))
            left = deadline - time.monotonic()
            bell.wait(None if left == math.inf else max(0.0, left))

    def call_at_first(
        self, refs: Sequence[Promise], callback: Callable[[], object]
    ) -> None:
        """In a round: call back when one of the refs is known, or is so already."""
        if self._runtime.is_over or any(ref.outcome is not None for ref in refs):
            callback()
            return
        for ref in refs:
            self._hub.when_known(ref, lambda _: callback())

    def next_item(self, stream: Stream) -> ObjectRef[Any] | None:
        """Wait for the next item of a stream; None: there is none."""

        def is_there() -> bool:
            return bool(stream.items) or stream.outcome is not None

        while not is_there():
            self._helm.steer(is_there)
            if is_there():
                break
            bell = threading.Event()
            self._runtime.command(partial(stream.call_at_next, bell.set))
            bell.wait()
        item = stream.take()
        assert item is None or isinstance(item, ObjectRef)
        return item

    def _all_known(
        self, refs: Sequence[Promise], *, or_one_failed: bool
    ) -> Callable[[], bool]:
        """Make a test that looks at each ref once more only if it was not known.

        And at all of them only if anything has failed since.
        """
        if len(refs) == 1:
            return partial(is_known, refs[0])
        hub, known, failures, is_in_vain = self._hub, 0, 0, False

        def is_done() -> bool:
            nonlocal known, failures, is_in_vain
            while known < len(refs) and refs[known].outcome is not None:
                known += 1
            if known == len(refs):
                return True
            if or_one_failed and hub.failures != failures:
                failures = hub.failures
                is_in_vain = any(map(has_failed, refs))
            return is_in_vain

        return is_done


def is_known(ref: Promise) -> bool:
    """Tell whether a ref has an outcome."""
    return ref.outcome is not None


def _some_known(refs: Sequence[Promise], count: int) -> Callable[[], bool]:
    unknown = list(refs)

    def is_done() -> bool:
        nonlocal unknown
        unknown = [ref for ref in unknown if ref.outcome is None]
        return len(refs) - len(unknown) >= count

    return is_done
