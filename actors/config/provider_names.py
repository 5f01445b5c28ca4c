"""Which providers there are: ours, those of installed packages, and `module:Class`.

A package offers a provider by an entry point in its pyproject.toml, whose name is then
good for `[blocks] provider`:

    [project.entry-points."actors.providers"]
    our_cluster = "our_package.cluster:OurProvider"
"""

import importlib

__all__ = [
    "BUILT_IN_PROVIDERS",
    "PROVIDER_GROUP",
    "is_experimental",
    "known_providers",
    "provider_target",
]

PROVIDER_GROUP = "actors.providers"

# {name: "module:Class"}; imported when it is used, with what it needs.
_BUILT_IN = {
    "local": "providers.local:LocalProvider",
    "slurm": "providers.slurm:SlurmProvider",
    "gridengine": "providers.gridengine:GridEngineProvider",
    "ssh": "providers.ssh:SshProvider",
    "dask": "providers.dask:DaskProvider",
    "ray": "providers.ray:RayProvider",
    "aws_batch": "providers.aws_batch:AwsBatchProvider",
    "kubernetes": "providers.kubernetes:KubernetesProvider",
    "pbs": "providers.pbs:PbsProvider",
    "htcondor": "providers.htcondor:HTCondorProvider",
    "azure_batch": "providers.azure_batch:AzureBatchProvider",
}
BUILT_IN_PROVIDERS = tuple(_BUILT_IN)
# Written after the manuals of their batch systems.
_EXPERIMENTAL = ("pbs", "htcondor", "azure_batch")


def provider_target(name: str) -> str | None:
    """Return "module:Class" of a provider; None if nobody offers that name.

    Args:
        name: of `[blocks] provider`; "module:Class" is returned as it is.
    """
    if ":" in name:
        return name
    return _BUILT_IN.get(name) or _offered().get(name)


def known_providers() -> list[str]:
    """List the names that are good for `[blocks] provider`, ours first."""
    return [*_BUILT_IN, *sorted(_offered().keys() - _BUILT_IN.keys())]


def is_experimental(name: str) -> bool:
    """Tell whether a provider of ours was never tested against a real system."""
    return name in _EXPERIMENTAL


def _offered() -> dict[str, str]:
    """Look through all installed packages: {name: "module:Class"}."""
    # Measured: its import takes 10 ms, which no endpoint with a provider of ours, and
    # no program that imports us, should wait for.
    metadata = importlib.import_module("importlib.metadata")
    return {
        entry.name: entry.value for entry in metadata.entry_points(group=PROVIDER_GROUP)
    }
