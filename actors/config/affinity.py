"""Which cores and accelerators each worker of a node gets. Pure.

    "none"             all cores for all
    "block"            next to each other: 0-1, 2-3, 4-5, ... of 6 cores, 3 workers
    "block-reverse"    the same, the last cores for the first worker
    "alternating"      every third one: 0, 3 and 1, 4 and 2, 5
    "list:0,1:2,3"     these for the first worker, those for the second, and so on

The strategies are Parsl's. What cannot be shared out evenly stays idle, so that no two
workers have a core in common; where there are more workers than cores they share them.
"""

import re
from collections.abc import Mapping, Sequence

__all__ = ["AFFINITY_PATTERN", "accelerator_variables", "cores_of", "parse_list"]

_LIST = "list:"
_RANGE = r"\d{1,4}(-\d{1,4})?"
_SET = rf"{_RANGE}(,{_RANGE})*"
AFFINITY_PATTERN = (
    rf"^(none|block|block-reverse|alternating|list:{_SET}(:{_SET})*)$(?!\n)"
)

# What tells programs their accelerators: of NVIDIA, AMD and Intel.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
)


def cores_of(strategy: str, slots: int, cores: Sequence[int]) -> list[tuple[int, ...]]:
    """Give the cores of each worker.

    Args:
        strategy: as above.
        slots: workers, at least 1.
        cores: that the node's manager may use, in their order; at least one.

    Returns:
        As many as slots; empty: all cores.

    Raises:
        ValueError: a list names a core that may not be used, or names too few workers.
    """
    if strategy == "none":
        return [()] * slots
    if strategy.startswith(_LIST):
        return _listed(strategy, slots, cores)
    if slots > len(cores):
        return [(cores[slot % len(cores)],) for slot in range(slots)]
    each = len(cores) // slots
    if strategy == "alternating":
        return [tuple(cores[slot::slots][:each]) for slot in range(slots)]
    ordered = list(cores)
    blocks = [tuple(ordered[slot * each : (slot + 1) * each]) for slot in range(slots)]
    if strategy == "block":
        return blocks
    if strategy == "block-reverse":
        ordered.reverse()
        return [
            tuple(sorted(ordered[slot * each : (slot + 1) * each]))
            for slot in range(slots)
        ]
    raise ValueError(f"cpu_affinity {strategy!r} is not known")


def parse_list(strategy: str) -> list[tuple[int, ...]]:
    """Read `list:0-1:2,3` into the cores of each worker."""
    return [
        tuple(
            core
            for part in cores.split(",")
            for core in _range(*map(int, part.split("-")))
        )
        for cores in strategy.removeprefix(_LIST).split(":")
    ]


def _range(first: int, last: int | None = None) -> range:
    return range(first, (first if last is None else last) + 1)


def _listed(strategy: str, slots: int, cores: Sequence[int]) -> list[tuple[int, ...]]:
    sets = parse_list(strategy)
    if len(sets) < slots:
        raise ValueError(
            f"cpu_affinity {strategy!r} has cores for {len(sets)} workers, and the "
            f"node has {slots}: name more, or set workers_per_node"
        )
    strays = sorted({core for each in sets for core in each} - set(cores))
    if strays:
        raise ValueError(
            f"cpu_affinity {strategy!r} names core {strays[0]}, which may not be used "
            f"here; there are {', '.join(map(str, cores))}"
        )
    return sets[:slots]


def accelerator_variables(
    names: Sequence[str], count: int, slots: int, present: Mapping[str, str]
) -> list[dict[str, str]]:
    """Give the environment variables that tell each worker its accelerator.

    Args:
        names: of the accelerators; empty: as many as `count`.
        count: where they have no names: those that the environment shows, or 0, 1, ...
        slots: workers; beyond the accelerators they share them in turn.
        present: the manager's environment: a batch system may have set variables.

    Returns:
        As many as slots; empty ones without accelerators.
    """
    if not names and not count:
        return [{}] * slots
    known = list(names) or _shown(present, count)
    chosen = (known[slot % len(known)] for slot in range(slots))
    return [dict.fromkeys(_VARIABLES, name) for name in chosen]


def _shown(present: Mapping[str, str], count: int) -> list[str]:
    for variable in _VARIABLES:
        shown = [
            name for name in re.split(r"[,\s]+", present.get(variable, "")) if name
        ]
        if shown:
            return shown[:count]
    return [str(number) for number in range(count)]
