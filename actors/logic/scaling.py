"""How many blocks there should be: the strategies' rules, without memory of their own.

`simple` is Parsl's, to the letter, plus a refill to `min_blocks` after losses, which
Parsl does not do while there are no tasks. With

    slots = active blocks * workers_per_node * nodes_per_block

1. fewer active blocks than `min_blocks`: launch the missing ones;
2. no tasks, more blocks than `min_blocks`: after `max_idletime` of that, retire down to
   `min_blocks`;
3. slots / tasks < parallelism: launch
   min(ceil(ceil(tasks * parallelism - slots) / slots per block), max_blocks - active);
4. no slots but tasks: launch one (this covers parallelism = 0);
5. otherwise nothing.
"""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Bounds", "Decision", "Demand", "decide_none", "decide_simple"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the operator allows.

    Args:
        min_blocks: refilled to at every tick.
        max_blocks: never exceeded by a launch.
        slots_per_block: workers_per_node * nodes_per_block, at least 1.
        parallelism: wanted slots per task, 0 to 1.
        max_idletime: seconds without a task before blocks are retired.
    """

    min_blocks: int
    max_blocks: int
    slots_per_block: int
    parallelism: float = 1.0
    max_idletime: float = 120.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What there is to decide on.

    Args:
        tasks: accepted and not finished.
        active_blocks: running, pending, or of unknown state, and not being retired;
            ordered but not yet reported ones count too.
        idle: seconds since there was a task; 0 while there is one.
    """

    tasks: int
    active_blocks: int
    idle: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and why in a sentence."""

    action: Literal["launch", "retire", "none"]
    count: int
    reason: str


def decide_none(demand: Demand, bounds: Bounds) -> Decision:
    """Keep `min_blocks` and nothing else."""
    missing = bounds.min_blocks - demand.active_blocks
    if missing > 0:
        return Decision(
            "launch",
            missing,
            f"{demand.active_blocks} blocks are below min_blocks {bounds.min_blocks}",
        )
    return Decision("none", 0, "strategy none only keeps min_blocks")


def decide_simple(demand: Demand, bounds: Bounds) -> Decision:
    """Apply the rules of this module's docstring, first match wins."""
    refill = decide_none(demand, bounds)
    if refill.action == "launch":
        return refill
    active, tasks = demand.active_blocks, demand.tasks
    slots = active * bounds.slots_per_block
    if tasks == 0:
        surplus = active - bounds.min_blocks
        if surplus <= 0:
            return Decision("none", 0, f"no tasks, and no block above {active} to end")
        if demand.idle < bounds.max_idletime:
            return Decision(
                "none",
                0,
                f"no tasks for {demand.idle:.1f} s, max_idletime is "
                f"{bounds.max_idletime:g} s",
            )
        return Decision(
            "retire",
            surplus,
            f"no tasks for {demand.idle:.1f} s >= max_idletime "
            f"{bounds.max_idletime:g} s",
        )
    room = bounds.max_blocks - active
    if slots / tasks < bounds.parallelism:
        if room <= 0:
            return Decision(
                "none",
                0,
                f"{tasks} tasks want more than {slots} slots, but max_blocks is "
                f"{bounds.max_blocks}",
            )
        excess = math.ceil(tasks * bounds.parallelism - slots)
        count = min(math.ceil(excess / bounds.slots_per_block), room)
        return Decision(
            "launch",
            count,
            f"{slots} slots / {tasks} tasks is below parallelism "
            f"{bounds.parallelism:g}",
        )
    if slots == 0:
        if room <= 0:
            return Decision(
                "none", 0, f"{tasks} tasks but max_blocks is {bounds.max_blocks}"
            )
        return Decision("launch", 1, f"{tasks} tasks and no slots")
    return Decision("none", 0, f"{slots} slots serve {tasks} tasks")
