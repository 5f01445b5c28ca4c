"""Exceptions that others have pickled: see `payload.dump_exception`.

Apart from it, as CPython's class for their causes takes long to import, and only who
raises them needs it.
"""

import pickle
from concurrent.futures.process import _RemoteTraceback

from actors.payload import HINT_HERE
from actors.unpicklable import as_not_serializable, describe_load_error

__all__ = ["load_exception"]


def load_exception(payload: bytes, traceback_text: str = "") -> BaseException:
    """Unpickle an exception; it is returned, never raised.

    As with CPython's ProcessPoolExecutor, its cause is the remote traceback, as text.

    Returns:
        The exception; a NotSerializable that says why if it cannot be unpickled here.
    """
    error: BaseException
    try:
        error = pickle.loads(payload)
        if not isinstance(error, BaseException):
            raise TypeError(f"{type(error).__name__} is no exception")
    except BaseException as reason:  # noqa: BLE001  other people's code
        message = describe_load_error("Exception of the task", reason, HINT_HERE)
        error = as_not_serializable(message, reason)
        error.__context__ = reason
    if traceback_text:
        # Typeshed has its argument wrong: it is the text.
        error.__cause__ = _RemoteTraceback(f'\n"""\n{traceback_text}"""')  # type: ignore[arg-type]
    return error
