"""What a manager watches over its workers and over itself. Pure.

a worker    runs so many tasks, grows by so much: another one takes its place
            takes more memory than it may: it is killed, its task is told the numbers
a manager   is idle for so long, has run its tasks, or one of them has raised:
            it drains and ends, as if it had been asked to
"""

from collections.abc import Mapping

import msgspec

from actors.messages import Failure, FailureKind

__all__ = [
    "EXIT_OVER_LIMIT",
    "CareSettings",
    "Place",
    "over_memory",
    "over_work_dir",
]

# What a worker exits with whose task has written too much; its last line says it.
# Chosen: no shell and no signal uses it.
EXIT_OVER_LIMIT = 119

_MEBIBYTE = 2**20


class Place(msgspec.Struct, frozen=True):
    """What a worker gets by its place among the node's workers.

    Args:
        cores: that it may use; empty: all.
        variables: of its environment.
    """

    cores: tuple[int, ...] = ()
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)


class CareSettings(msgspec.Struct, frozen=True):
    """See `[workers]` of endpoint.toml; 0: no limit.

    Args:
        idle_timeout: seconds without a task after which the manager ends.
        max_tasks: that it runs, and then ends.
        exit_on_exception: it ends after a task that raised.
        termination_grace: seconds for tasks to end by themselves when it is asked to.
        memory_limit_bytes: of one worker, with the processes that it starts.
        max_tasks_per_worker: then another one takes its place.
        max_worker_growth_bytes: likewise, counted from when it was up.
        places: of the workers; empty: nothing special.
        has_work_dirs: workers have folders, to be removed after them.
    """

    idle_timeout: float = 0.0
    max_tasks: int = 0
    exit_on_exception: bool = False
    termination_grace: float = 0.0
    memory_limit_bytes: int = 0
    max_tasks_per_worker: int = 0
    max_worker_growth_bytes: int = 0
    places: tuple[Place, ...] = ()
    has_work_dirs: bool = False

    @property
    def measures(self) -> bool:
        """Whether workers must be measured again and again."""
        return bool(self.memory_limit_bytes or self.max_worker_growth_bytes)

    @property
    def counts(self) -> bool:
        """Whether tasks are counted."""
        return bool(self.max_tasks or self.max_tasks_per_worker)

    @property
    def limits_itself(self) -> bool:
        """Whether the end of a task may be the manager's."""
        return bool(self.max_tasks or self.exit_on_exception)


def over_memory(worker: str, rss_bytes: int, limit_bytes: int) -> Failure:
    """Tell that a worker took more memory than it may, and was ended.

    Args:
        worker: which one, for people.
        rss_bytes: the most that was measured.
        limit_bytes: what it may take.
    """
    return Failure(
        FailureKind.MEMORY_LIMIT,
        f"{worker} was ended while it ran the task: it took "
        f"{rss_bytes / _MEBIBYTE:.0f} MiB of memory at its peak, and its "
        f"memory_limit_bytes is {limit_bytes} ({limit_bytes / _MEBIBYTE:.0f} MiB); "
        "raise it in [workers] of endpoint.toml, or let the task take less",
    )


def over_work_dir(used_bytes: int, limit_bytes: int) -> Failure:
    """Tell that a task wrote more into its folder than that may hold."""
    return Failure(
        FailureKind.WORK_DIR_LIMIT,
        f"the task's work folder held {used_bytes} bytes, and its "
        f"work_dir_limit_bytes is {limit_bytes}; raise it in [workers] of "
        "endpoint.toml, or let the task write less, or elsewhere",
    )
