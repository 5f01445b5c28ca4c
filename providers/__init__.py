"""Where blocks of workers run: one class per batch system, behind one small Protocol.

Read `base` first: what a batch system must offer, and the promises that its users rely
on. `local` runs jobs as processes of this machine; it is also the shortest example of a
provider that keeps those promises (`local_job`: the files of one job; `processes`: what
/proc tells). `batch` keeps them for any batch system that has commands, and a folder
that its nodes share; what is special about one is its `Scheduler`, in `slurm`,
`gridengine`, `pbs` and `htcondor`. `ssh` needs a list of hosts and nothing else.
`cluster` does the same for systems that are reached by a client library, an extra of
this distribution: `dask`, `ray`, `aws_batch`, `kubernetes` and `azure_batch`, which are
not imported here. This package imports nothing of `actors`, and can be used alone:

    provider = LocalProvider()
    job_id = provider.submit(JobSpec("hello", ["echo hello"], Path("hello")))
    provider.status([job_id])[job_id].state

A provider of your own is a class with the methods of `Provider`. The tests in
`tests/providers/contract.py` say whether it keeps its promises.
"""

import importlib
from typing import TYPE_CHECKING

from providers.base import (
    JobSpec,
    JobState,
    JobStatus,
    Probing,
    Provider,
    ProviderError,
    ProviderUnavailable,
    SubmitRejected,
)

if TYPE_CHECKING:
    from providers.gridengine import GridEngineProvider
    from providers.htcondor import HTCondorProvider
    from providers.local import LocalProvider
    from providers.pbs import PbsProvider
    from providers.slurm import SlurmProvider
    from providers.ssh import SshProvider

__all__ = [
    "GridEngineProvider",
    "HTCondorProvider",
    "JobSpec",
    "JobState",
    "JobStatus",
    "LocalProvider",
    "PbsProvider",
    "Probing",
    "Provider",
    "ProviderError",
    "ProviderUnavailable",
    "SlurmProvider",
    "SshProvider",
    "SubmitRejected",
]

# Where the others are. Whoever needs one of them does not wait for all.
_MODULES = {
    "GridEngineProvider": "gridengine",
    "HTCondorProvider": "htcondor",
    "LocalProvider": "local",
    "PbsProvider": "pbs",
    "SlurmProvider": "slurm",
    "SshProvider": "ssh",
}


def __getattr__(name: str) -> object:
    """Import a provider when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
