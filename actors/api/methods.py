"""Options of one method of an actor, on top of those that all its methods have."""

import pickle
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from actors.api.option_kinds import of_their_kinds
from actors.errors import ConfigError
from actors.messages import DYNAMIC, STREAMING, TaskOptions

__all__ = ["MethodChanges", "MethodPicture", "RetryExceptions"]

RetryExceptions = bool | list[type[BaseException]]

_RETURNS = {"dynamic": DYNAMIC, "streaming": STREAMING}


@dataclass(frozen=True)
class MethodPicture:
    """What a handle knows of a method: how it is called unless told otherwise."""

    options: TaskOptions
    group: str = ""  # concurrency group


@dataclass(frozen=True)
class MethodChanges:
    """See `actors.method`; None changes nothing."""

    num_returns: int | str | None = None
    max_task_retries: int | None = None
    retry_exceptions: RetryExceptions | None = None
    concurrency_group: str | None = None
    timeout: float | None = None
    name: str | None = None

    @classmethod
    def of(cls, **options: Any) -> "MethodChanges":
        """Check what a user gave.

        Raises:
            ConfigError: a value is wrong.
        """
        changes = cls(**of_their_kinds(options))
        changes.check()
        return changes

    def check(self) -> None:
        """Raise ConfigError if a value is wrong."""
        returns = self.num_returns
        is_known = returns in _RETURNS if isinstance(returns, str) else True
        if not is_known or (isinstance(returns, int) and returns < 0):
            raise ConfigError(
                f"num_returns {returns!r} must be 0 or more, dynamic or streaming"
            )
        if self.max_task_retries is not None and self.max_task_retries < -1:
            raise ConfigError(
                f"max_task_retries {self.max_task_retries} must be -1 or more"
            )
        if self.timeout is not None and self.timeout < 0:
            raise ConfigError(f"timeout {self.timeout:g} must be 0 or more")

    def applied_to(self, picture: MethodPicture) -> MethodPicture:
        """Return how the method is called with these options."""
        old = picture.options
        returns = self.num_returns
        if isinstance(returns, str):
            returns = _RETURNS[returns]
        retries = (
            old.retries if self.max_task_retries is None else self.max_task_retries
        )
        options: TaskOptions = msgspec.structs.replace(
            old,
            num_returns=old.num_returns if returns is None else returns,
            retries=retries,
            own_retries=retries if old.own_retries else 0,
            timeout=old.timeout if self.timeout is None else self.timeout,
            name=self.name or old.name,
        )
        retry = self.retry_exceptions
        if retry is not None:
            options = msgspec.structs.replace(
                options,
                own_retries=retries if retry else 0,
                retry_on=b"" if isinstance(retry, bool) else pickle.dumps(tuple(retry)),
            )
        group = self.concurrency_group
        return replace(
            picture, options=options, group=picture.group if group is None else group
        )
