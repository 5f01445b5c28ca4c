"""How many blocks there should be: the strategies' rules, without memory of their own.

With slots = active blocks * workers_per_node * nodes_per_block, first match wins:

`simple` is Parsl's:

1. fewer active blocks than `min_blocks`: launch the missing ones;
2. no tasks, more blocks than `min_blocks`: after `max_idletime` of that, retire down to
   `min_blocks`;
3. slots / tasks < parallelism: launch
   min(ceil(ceil(tasks * parallelism - slots) / slots per block), max_blocks - active);
4. no slots but tasks: launch one (this covers parallelism = 0);
5. otherwise nothing.

`auto` is Parsl's `htex_auto_scale`: where `simple` comes to 5 with more slots than
tasks, it retires
min(floor(floor(slots - tasks * parallelism) / slots per block), active - min_blocks)
blocks, but only such as were idle for `max_idletime`, or have not come up yet.

`staged` is that of CodaLab's worker manager: if tasks wait, launch one, unless

1. less than `min_start_interval` has passed since the last start, or
2. as many blocks are pending as tasks wait, or
3. there are `max_blocks`;

but with fewer than `min_blocks`, launch one whatever waits. Blocks that were idle for
`max_idletime` while nothing waits are retired, as CodaLab's workers end by themselves.

`none` launches what is missing to `min_blocks`, and that is all.

Some things are ours. Neither of Parsl's refills to `min_blocks` while there are no
tasks. And `auto`

- retires blocks one by one, as each was idle for long, also where there are no tasks;
- never retires the last block while there are tasks: with parallelism 0 Parsl's would,
  and start another one;
- does not flap: within `max_idletime` after a retirement it launches only when there
  are more tasks than there were then, by at least what a block serves. Parsl's cancels
  a block that is to come when demand falls by one task, and starts another when it
  rises by one.

Where blocks have a walltime, tasks may wait that no block lives long enough for,
however many slots there are. `simple` and `auto` launch blocks for them, too, and
retire none meanwhile; `staged` looks at what waits anyway.

With worker types, `decide_each` applies the rules to each type by itself, within the
bounds of all: `min_blocks` and `max_blocks` are of the endpoint. Blocks of a type are
retired only when it has no tasks; if another type waits in vain because there are
`max_blocks`, then even below `min_blocks`, as one of that type is launched instead.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

__all__ = ["Bounds", "Decision", "Demand", "StrategyKind", "decide", "decide_each"]

StrategyKind = Literal["none", "simple", "auto", "staged"]


class Bounds(msgspec.Struct, frozen=True):
    """What the operator allows.

    Args:
        min_blocks: refilled to at every tick.
        max_blocks: never exceeded by a launch.
        slots_per_block: workers_per_node * nodes_per_block, at least 1.
        parallelism: wanted slots per task, 0 to 1.
        max_idletime: seconds without a task before blocks are retired.
        min_start_interval: seconds between two starts of `staged`.
    """

    min_blocks: int
    max_blocks: int
    slots_per_block: int
    parallelism: float = 1.0
    max_idletime: float = 120.0
    min_start_interval: float = 60.0


class Demand(msgspec.Struct, frozen=True):
    """What there is to decide on, of one worker type or of all.

    Args:
        tasks: accepted and not finished.
        active_blocks: running, pending, or of unknown state, and not being retired;
            ordered but not yet reported ones count too.
        idle: seconds since there was a task; 0 while there is one.
        waiting: those of the tasks that no manager has.
        pending_blocks: those of the blocks that no manager has joined from yet.
        idle_blocks: those of the blocks that were idle for `max_idletime`.
        spare_blocks: those of the other blocks that have not come up yet, and were
            launched for the tasks.
        since_start: seconds since the last launch.
        since_stop: seconds since the last retirement.
        tasks_at_stop: how many tasks there were then.
        too_long: those that wait and that no block lives long enough for.
    """

    tasks: int
    active_blocks: int
    idle: float
    waiting: int = 0
    pending_blocks: int = 0
    idle_blocks: int = 0
    spare_blocks: int = 0
    since_start: float = math.inf
    since_stop: float = math.inf
    tasks_at_stop: int = 0
    too_long: int = 0


class Decision(msgspec.Struct, frozen=True):
    """What to do, and why in a sentence.

    Args:
        action: whether blocks are started, ended, or neither.
        count: of blocks; 0 for "none".
        reason: for people.
        who: which blocks may be retired: idle ones were so for `max_idletime`.
        worker_type: of the blocks; "": any.
    """

    action: Literal["launch", "retire", "none"]
    count: int
    reason: str
    who: Literal["any", "idle", "idle or spare"] = "any"
    worker_type: str = ""


def decide(kind: StrategyKind, demand: Demand, bounds: Bounds) -> Decision:
    """Apply the rules of one kind; see the module's docstring."""
    decision = _RULES[kind](demand, bounds)
    if demand.too_long and kind in ("simple", "auto") and decision.action != "launch":
        return _for_longer(demand, bounds)
    return decision


def decide_each(
    kind: StrategyKind, demands: Mapping[str, Demand], bounds: Bounds
) -> list[Decision]:
    """Apply the rules to each worker type by itself, within the bounds of all.

    Args:
        kind: whose rules.
        demands: by worker type, in the order in which they are served.
        bounds: of all types together.

    Returns:
        A decision for each type, or a single one of all: to refill.
    """
    active = sum(demand.active_blocks for demand in demands.values())
    if active < bounds.min_blocks:
        # They go to the type of which most tasks wait.
        neediest = max(demands, key=lambda t: demands[t].waiting, default="")
        refill = decide(kind, Demand(0, active, 0.0), bounds)
        return [replace(refill, worker_type=neediest)]
    decisions = []
    room, surplus = bounds.max_blocks - active, active - bounds.min_blocks
    is_in_vain = room <= 0 and any(
        demand.waiting and not demand.active_blocks for demand in demands.values()
    )
    for worker_type, demand in demands.items():
        mine = demand.active_blocks
        is_in_the_way = is_in_vain and not demand.tasks
        own = replace(
            bounds,
            min_blocks=0 if is_in_the_way else max(0, mine - surplus),
            max_blocks=mine + max(0, room),
        )
        decision = decide(kind, demand, own)
        is_typed = len(demands) > 1 or worker_type
        if decision.action == "retire" and demand.tasks and is_typed:
            reason = f"{decision.reason}, but blocks of a type stay while it has tasks"
            decision = Decision("none", 0, reason)
        match decision.action:
            case "launch":
                room -= decision.count
            case "retire":
                surplus = max(0, surplus - decision.count)
            case "none":
                pass
        decisions.append(replace(decision, worker_type=worker_type))
    return decisions


def _for_longer(demand: Demand, bounds: Bounds) -> Decision:
    """Launch what tasks need that no block lives long enough for; retire nothing."""
    why = f"{demand.too_long} tasks wait for a block that lives long enough"
    slots = math.ceil(demand.too_long * bounds.parallelism)
    missing = max(1, math.ceil(slots / bounds.slots_per_block)) - demand.pending_blocks
    room = bounds.max_blocks - demand.active_blocks
    if missing <= 0:
        pending = demand.pending_blocks
        return Decision("none", 0, f"{why}, and {pending} blocks are still to come")
    if room <= 0:
        return Decision("none", 0, f"{why}, but max_blocks is {bounds.max_blocks}")
    return Decision("launch", min(missing, room), why)


def _refill(demand: Demand, bounds: Bounds) -> Decision:
    missing = bounds.min_blocks - demand.active_blocks
    if missing <= 0:
        return Decision("none", 0, "strategy none only keeps min_blocks")
    reason = f"{demand.active_blocks} blocks are below min_blocks {bounds.min_blocks}"
    return Decision("launch", missing, reason)


def _simple(demand: Demand, bounds: Bounds) -> Decision:
    refill = _refill(demand, bounds)
    if refill.action == "launch":
        return refill
    if demand.tasks == 0:
        return _without_tasks(demand, bounds)
    active, tasks = demand.active_blocks, demand.tasks
    slots = active * bounds.slots_per_block
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


def _without_tasks(demand: Demand, bounds: Bounds) -> Decision:
    active = demand.active_blocks
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
        f"no tasks for {demand.idle:.1f} s >= max_idletime {bounds.max_idletime:g} s",
    )


def _auto(demand: Demand, bounds: Bounds) -> Decision:
    decision = _simple(demand, bounds)
    tasks, active = demand.tasks, demand.active_blocks
    slots = active * bounds.slots_per_block
    if decision.action == "launch" and _would_flap(demand, bounds):
        return Decision(
            "none",
            0,
            f"{decision.reason}, but {demand.since_stop:.0f} s ago blocks were ended "
            f"as there were {demand.tasks_at_stop} tasks",
        )
    if decision.action != "none" or slots <= tasks:
        return decision
    excess = math.floor(slots - tasks * bounds.parallelism) // bounds.slots_per_block
    least = max(bounds.min_blocks, 1) if tasks else bounds.min_blocks
    count = min(excess, active - least)
    if count <= 0:
        return decision
    if not tasks:
        idle = _retire_idle(count, "no tasks", demand, bounds)
        return idle if idle.action == "retire" else decision
    spare = min(count, demand.spare_blocks + demand.idle_blocks)
    why = f"{slots} slots for {tasks} tasks"
    if not demand.spare_blocks:
        return _retire_idle(count, why, demand, bounds)
    reason = f"{why}, and {demand.spare_blocks} blocks have not come up yet"
    return Decision("retire", spare, reason, "idle or spare")


def _would_flap(demand: Demand, bounds: Bounds) -> bool:
    if demand.active_blocks < max(1, bounds.min_blocks):
        return False
    more = (demand.tasks - demand.tasks_at_stop) * bounds.parallelism
    return demand.since_stop < bounds.max_idletime and more < bounds.slots_per_block


def _retire_idle(count: int, why: str, demand: Demand, bounds: Bounds) -> Decision:
    count = min(count, demand.idle_blocks)
    idle = f"idle for max_idletime {bounds.max_idletime:g} s"
    if count <= 0:
        return Decision("none", 0, f"{why}, but no block was {idle}")
    reason = f"{why}, and {demand.idle_blocks} blocks were {idle}"
    return Decision("retire", count, reason, "idle")


def _staged(demand: Demand, bounds: Bounds) -> Decision:
    active, waiting = demand.active_blocks, demand.waiting
    if active < bounds.min_blocks:
        return replace(_refill(demand, bounds), count=1)
    if waiting == 0:
        surplus = active - bounds.min_blocks
        if surplus <= 0:
            return Decision("none", 0, "no task waits")
        return _retire_idle(surplus, "no task waits", demand, bounds)
    veto = ""
    if demand.since_start < bounds.min_start_interval:
        veto = (
            f"the last start was {demand.since_start:.1f} s ago, min_start_interval is "
            f"{bounds.min_start_interval:g} s"
        )
    elif demand.pending_blocks >= waiting:
        veto = f"{demand.pending_blocks} blocks are still to come"
    elif active >= bounds.max_blocks:
        veto = f"max_blocks is {bounds.max_blocks}"
    if veto:
        return Decision("none", 0, f"{waiting} tasks wait, but {veto}")
    return Decision("launch", 1, f"{waiting} tasks wait")


_RULES: dict[StrategyKind, Callable[[Demand, Bounds], Decision]] = {
    "none": _refill,
    "simple": _simple,
    "auto": _auto,
    "staged": _staged,
}
