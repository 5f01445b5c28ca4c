"""The manager: the actor on a block's node that drives the worker processes.

Read `machine` first: it takes the messages and lets its parts answer. A lease goes into
the `queues`; the `dealer` gives it to a worker of the `crew`, one of the right one of
the `worker_types`, within the limits of the `worker_care`; `endings` ends it early if
somebody wishes so; `outcomes` says how it ended, `reports` how things are; the `voice`
tells both to the interchange. What is here is said at its door by the `holdings`; the
`farewell` is the manager's own end. Actors are the business of `actors.endpoint.hosts`,
items of generators that of `actors.endpoint.outflow`; who waits for whom is told by
`long_waits`, what workers print by `printing`.
"""

from actors.endpoint.manager.farewell import ABANDONED_AFTER, EXIT_AGAIN
from actors.endpoint.manager.machine import Manager
from actors.endpoint.manager.reports import REPORT_RUNNING_AFTER
from actors.endpoint.manager.settings import ManagerSettings
from actors.endpoint.manager.worker_care import (
    MEASURE_PERIOD,
    MeasureWorkers,
    RemoveWorkDirs,
    WorkersMeasured,
    WorkerUsage,
)
from actors.endpoint.manager.worker_types import (
    TYPE_IDLE_PERIOD,
    AbandonType,
    ReleaseType,
)

__all__ = [
    "ABANDONED_AFTER",
    "EXIT_AGAIN",
    "MEASURE_PERIOD",
    "REPORT_RUNNING_AFTER",
    "TYPE_IDLE_PERIOD",
    "AbandonType",
    "Manager",
    "ManagerSettings",
    "MeasureWorkers",
    "ReleaseType",
    "RemoveWorkDirs",
    "WorkerUsage",
    "WorkersMeasured",
]
