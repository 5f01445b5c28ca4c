"""The embedded runtime, whose workers come up while it is still being imported."""

import importlib
from typing import TYPE_CHECKING

from actors.pool import Pool

if TYPE_CHECKING:
    from actors.embedded.runtime import Embedded

__all__ = ["embed"]

# What workers run; by name, as it imports whoever calls us.
_PROGRAM = "actors.api.worker:run_borrower"
# By name, too: the fork server starts first, and imports what it needs meanwhile.
_RUNTIME = "actors.embedded.runtime"


def embed(
    num_workers: int,
    resources: dict[str, float],
    max_workers: int,
    *,
    initializer: tuple[bytes, bytes] | None = None,
    log_to_driver: bool = True,
    most_tasks: int = 0,
    namespace: str = "",
) -> "Embedded":
    """Make a runtime of this program; see `Embedded` for the arguments."""
    pool = Pool(None, program=_PROGRAM)
    try:
        pool.prepare()
        runtime: Embedded = importlib.import_module(_RUNTIME).Embedded(
            num_workers,
            resources,
            max_workers,
            pool=pool,
            initializer=initializer,
            log_to_driver=log_to_driver,
            most_tasks=most_tasks,
            namespace=namespace,
        )
    except BaseException:
        pool.close()
        raise
    return runtime
