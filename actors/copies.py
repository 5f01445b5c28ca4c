"""Copies: what a `fork` in a task's code leaves of its worker in the child.

The child is the task's, and may do what it likes. But when the task's code has returned
there, or raised, a copy of the worker stands behind it, with the worker's own pipes:
it would tell the owner of a result that is not the worker's. So it ends there, as a
program ends: with 0, with what SystemExit says, or with a traceback and 1.
"""

import os
import sys
import traceback
from typing import NoReturn

from actors.refs import set_context

__all__ = ["Barred", "be_copy", "end_if_copy"]

# What a Python program exits with when an exception ends it.
_EXIT_ERROR = 1

# Not empty: this process is one.
_is_copy: list[bool] = []


class Barred:
    """Stand for a lock that nobody in a copy gets: who tries has come to its end."""

    def __enter__(self) -> NoReturn:
        _end(0)

    def __exit__(self, *_: object) -> None:
        """Do nothing: nobody was let in."""


def be_copy() -> None:
    """In the child: be no worker; calls of ours begin anew, as in any program."""
    _is_copy.append(True)
    set_context(None)


def end_if_copy(error: BaseException) -> None:
    """In a copy: end as the program would that this exception ends."""
    if not _is_copy:
        return
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        _end(_EXIT_ERROR)
    if error.code is not None and not isinstance(error.code, int):
        sys.stderr.write(f"{error.code}\n")
        _end(_EXIT_ERROR)
    _end(error.code or 0)


def _end(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
