"""Options of remote functions: what users write, checked, and what travels."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from actors.api.option_kinds import of_their_kinds
from actors.errors import ConfigError
from actors.logic.resources import amounts_of
from actors.messages import DYNAMIC, STREAMING, Amount, Needs, TaskOptions

__all__ = ["Options", "RemoteOptions", "needs_of", "options_from"]

_RETURNS = {"dynamic": DYNAMIC, "streaming": STREAMING}

# Ray's names for ours.
_SYNONYMS = {"max_retries": "retries"}


class RemoteOptions(TypedDict, total=False):
    """What may be given to `remote` and `options`, besides `num_returns`.

    num_returns: how many refs `.remote()` returns; "streaming": one after the other, as
        a generator yields; "dynamic": one, on a list of as many as it yields. Default:
        1, and "streaming" for the function of a generator.
    retries: starts allowed after the worker that ran it died; -1: any number. Also
        called `max_retries`. Default: 3.
    retry_exceptions: whether an exception of its own is answered with a new start, too,
        as often as `retries`; a list: only these.
    timeout: seconds that it may run.
    name: for people; default: the function's.
    priority: higher goes first.
    num_cpus: processors that it takes; default: 1.
    num_gpus: GPUs that it takes, whole ones or a part of one; CUDA_VISIBLE_DEVICES
        tells it which.
    resources: what it takes of anything else that `init` named.
    worker_type: the environment to run in, on an endpoint that has a table
        `[worker_types.NAME]` for it in its endpoint.toml; "": plain.
    walltime: seconds that it may take, to be placed by: on an endpoint it is started
        only on a block that lives on for as long. It is not ended after that time:
        that is what `timeout` does.
    tag: on an endpoint, of the managers that may run it: their `[workers] tag`.
    """

    retries: int
    max_retries: int
    retry_exceptions: bool | list[type[BaseException]]
    timeout: float | None
    name: str
    priority: int
    num_cpus: float
    num_gpus: float
    resources: Mapping[str, float]
    worker_type: str
    walltime: float | None
    tag: str


@dataclass(frozen=True)
class Options:
    """See `RemoteOptions`."""

    num_returns: int | str | None = None
    retries: int = 3
    retry_exceptions: bool | list[type[BaseException]] = False
    timeout: float | None = None
    name: str = ""
    priority: int = 0
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    worker_type: str = ""
    walltime: float | None = None
    tag: str = ""

    def changed(self, options: Mapping[str, Any]) -> "Options":
        """Return them with some others.

        Raises:
            ConfigError: an option is unknown, or its value is wrong.
        """
        chosen = {_SYNONYMS.get(name, name): x for name, x in options.items()}
        chosen = {name: x for name, x in chosen.items() if x is not None}
        unknown = chosen.keys() - self.__dataclass_fields__.keys()
        if unknown:
            raise ConfigError(
                f"Unknown options {', '.join(sorted(unknown))}; there are "
                f"{', '.join(self.__dataclass_fields__)}"
            )
        changed = replace(self, **of_their_kinds(chosen))
        changed.check()
        return changed

    def check(self) -> None:
        """Raise ConfigError if a value is wrong."""
        returns = self.num_returns
        if isinstance(returns, str):
            _expect(returns in _RETURNS, "num_returns", returns, "dynamic or streaming")
        elif returns is not None:
            _expect(returns >= 0, "num_returns", returns, "0 or more")
        _expect(self.retries >= -1, "retries", self.retries, "-1 or more")
        _expect((self.timeout or 1) > 0, "timeout", self.timeout, "positive")
        _expect((self.walltime or 1) > 0, "walltime", self.walltime, "positive")
        _expect(self.num_cpus >= 0, "num_cpus", self.num_cpus, "0 or more")
        gpus = self.num_gpus
        _expect(gpus >= 0, "num_gpus", gpus, "0 or more")
        _expect(gpus <= 1 or gpus == int(gpus), "num_gpus", gpus, "whole, if above 1")
        for name, amount in self.resources.items():
            _expect(name not in ("CPU", "GPU"), "resources", name, "no CPU or GPU")
            _expect(amount >= 0, f"resources[{name!r}]", amount, "0 or more")

    def for_tasks(self, *, is_generator: bool) -> TaskOptions:
        """Return what travels.

        Args:
            is_generator: of a generator's function; its items stream unless told.
        """
        returns = self.num_returns
        if returns is None:
            returns = "streaming" if is_generator else 1
        retry = self.retry_exceptions
        resources = [Amount(*each) for each in sorted(self.resources.items())]
        amounts = amounts_of(self.num_cpus, self.num_gpus, resources)
        return TaskOptions(
            num_returns=_RETURNS[returns] if isinstance(returns, str) else returns,
            retries=self.retries,
            own_retries=self.retries if retry else 0,
            retry_on=b"" if isinstance(retry, bool) else pickle.dumps(tuple(retry)),
            timeout=self.timeout or 0.0,
            priority=self.priority,
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            resources=resources,
            name=self.name,
            needs=needs_of(self.worker_type, self.walltime, self.tag, amounts),
        )


def needs_of(
    worker_type: str,
    walltime: float | None,
    tag: str,
    amounts: tuple[Amount, ...] | None = None,
) -> Needs | None:
    """Return what a task asks of where it runs; None: nothing."""
    needs = Needs(worker_type, walltime or 0.0, amounts, tag)
    return None if needs == Needs() else needs


def options_from(options: Mapping[str, Any]) -> Options:
    """Check what a user gave.

    Raises:
        ConfigError: an option is unknown, or its value is wrong.
    """
    return Options().changed(options)


def _expect(is_right: bool, name: str, value: object, what: str) -> None:
    if not is_right:
        raise ConfigError(f"{name} {value!r} must be {what}")
