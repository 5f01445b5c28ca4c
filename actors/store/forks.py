"""What an object must do when its process forks; for as long as the object lives."""

import os
import weakref
from collections.abc import Callable

__all__ = ["at_fork"]


def at_fork(
    *, in_child: Callable[[], None], in_parent: Callable[[], None] | None = None
) -> None:
    """Have methods called at each `os.fork` of this process.

    The system keeps no object alive for it, but a few bytes for ever: it is for objects
    of which a process has few.

    Args:
        in_child: a bound method.
        in_parent: a bound method; called before and after, so that it also sees what
            other threads did in between.
    """
    os.register_at_fork(after_in_child=_weakly(in_child))
    if in_parent is not None:
        call = _weakly(in_parent)
        os.register_at_fork(before=call, after_in_parent=call)


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    reference = weakref.WeakMethod(method)

    def call() -> None:
        found = reference()
        if found is not None:
            found()

    return call
