"""A task as the hub keeps it, from its submission until its outcome is known."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from actors.errors import ConfigError
from actors.logic.resources import Need
from actors.messages import DYNAMIC, TaskOptions
from actors.refs import Promise, Settled

__all__ = ["CallSpec", "Task", "TaskStage", "refuse_worker_type"]


class TaskStage(IntEnum):
    """Where a task is."""

    NEW = 0
    BLOCKED = 1  # it needs what is not known yet
    WAITING = 2
    ASSIGNED = 3  # at a worker, which runs it or will
    ENDED = 4


_NEW = TaskStage.NEW  # looked up once per task


class CallSpec:
    """What all calls of one function with the same options have in common.

    Args:
        function: pickled.
        options: of the calls.
        name: of the function, for people.
    """

    __slots__ = (
        "__weakref__",
        "function",
        "is_simple",
        "lane",
        "name",
        "need",
        "options",
        "priority",
        "returns_one",
    )

    def __init__(self, function: bytes, options: TaskOptions, name: str) -> None:
        self.function = function
        self.options = options
        self.name = options.name or name
        self.need = Need.of(options)
        self.priority = options.priority
        # Whether several may wait at one worker, and a `Run` says all about them.
        self.is_simple = (
            self.need.is_one_cpu
            and options.num_returns == 1
            and not options.timeout
            and not options.retry_on
        )
        self.returns_one = options.num_returns in (1, DYNAMIC)
        # Which tasks it waits among; text, as its hash is computed once only.
        self.lane = f"{self.need}, {self.is_simple}"


class Task:
    """One call.

    Args:
        spec: what to call, and how.
        arguments: pickled, or what they lie in if they are large.
        returns: what its outcome is for: one, or as many as it returns.
    """

    __slots__ = (
        "arguments",
        "children",
        "crashes",
        "dependencies",
        "held",
        "is_cancelled",
        "is_timed_out",
        "missing",
        "own_failures",
        "returns",
        "seq",
        "spec",
        "stage",
        "ticket",
        "worker",
    )

    def __init__(
        self,
        spec: CallSpec,
        arguments: bytes | Settled,
        returns: "Promise | list[Promise]",
        dependencies: Sequence[Promise] = (),
        held: Sequence[Promise] = (),
    ) -> None:
        self.spec = spec
        self.arguments = arguments
        self.returns = returns
        self.dependencies = dependencies  # refs among its arguments, by their places
        self.held = held  # refs inside its arguments, which live as long as it
        self.stage = _NEW
        self.missing = 0  # dependencies that are not known
        self.ticket = 0  # its place in the order of coming
        self.worker: Any = None  # where it is assigned
        self.seq = 0  # its number there
        self.crashes = 0  # workers that died of it
        self.own_failures = 0
        self.is_cancelled = False
        self.is_timed_out = False
        self.children: list[Promise] | None = None  # what it called


def refuse_worker_type(options: TaskOptions, name: str) -> None:
    """Raise ConfigError for a task that asks for an environment of an endpoint."""
    if options.needs is not None and options.needs.worker_type:
        raise ConfigError(
            f"{name} asks for worker_type {options.needs.worker_type!r}: those are of "
            "endpoints, so give actors.init() an address, or leave it out"
        )
