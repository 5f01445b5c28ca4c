"""An executor's initializer: called in a worker before the executor's first task there.

The workers are the endpoint's and serve other executors, too. So the initializer rides
with each task, and the worker remembers whose it has called. Workers import this file:
it stays small.
"""

import secrets
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from actors.payload import Wrapper
from actors.task_errors import TaskFailed

__all__ = ["Initializer", "InitializerFailed", "is_for_bars"]

# What became of the initializers that this worker has called: {token: why it failed, or
# empty}. It is the process that they initialize, hence a variable of the process.
_called: dict[str, str] = {}


class InitializerFailed(TaskFailed, BrokenProcessPool):
    """Tell that an executor's initializer failed in a worker: its tasks cannot run."""


def is_for_bars(initializer: Callable[..., object] | None) -> bool:
    """Tell whether an initializer only gives tqdm a lock.

    `tqdm.contrib.concurrent` gives one to every executor, which only the children of
    this very process could use. Bars in other processes have locks of their own.
    """
    class_ = getattr(initializer, "__self__", None)
    name = getattr(initializer, "__name__", "")
    module: str = getattr(class_, "__module__", "") if name == "set_lock" else ""
    return module.partition(".")[0] == "tqdm"


class Initializer:
    """What an executor calls in each worker first.

    Args:
        function: the initializer.
        args: its arguments.

    Raises:
        TypeError: the initializer is not callable.
    """

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        if not callable(function):
            raise TypeError("initializer must be a callable")
        self._token = secrets.token_hex(8)
        self._function = function
        self._args = args

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that initializes the worker if need be, then calls this."""
        return _Prepared(self._token, self._function, self._args, function)


class _Prepared(Wrapper):
    """A function before whose first call in a process an initializer is called."""

    def __init__(
        self,
        token: str,
        initializer: Callable[..., object],
        initargs: tuple[Any, ...],
        function: Callable[..., Any],
    ) -> None:
        super().__init__(function)
        self._token = token
        self._initializer = initializer
        self._initargs = initargs

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        token = self._token
        if token not in _called:
            try:
                self._initializer(*self._initargs)
            except Exception as error:
                _called[token] = f"{type(error).__qualname__}: {error}"
                raise InitializerFailed(_text(token)) from error
            _called[token] = ""
        if _called[token]:
            raise InitializerFailed(_text(token))
        return self.function(*args, **kwargs)


def _text(token: str) -> str:
    return f"The executor's initializer failed in a worker: {_called[token]}"
