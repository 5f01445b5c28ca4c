"""Parsl's rules, as a measure: they decide where our strategy otherwise would.

Written from its documentation and what it does, not from its code. Every 5 s:

- running and pending blocks count; init_blocks is 0 here;
- `simple` and `htex_auto_scale` as in `actors/logic/scaling.py`, without what is ours;
- blocks are cancelled, longest idle first; one that nobody has connected from is idle
  for ever, so it goes first.
"""

import math
import random
from collections.abc import Iterable
from typing import Literal

from actors.logic.fleet import ManagerEntry, Order
from actors.messages import BlockId, CancelBlocks, LaunchBlocks
from tests.simulate_scaling.stage import Stage

__all__ = ["ParslRules", "in_random_order"]


class ParslRules:
    """A decider.

    Args:
        kind: of its strategies.
    """

    def __init__(self, kind: Literal["simple", "auto"]) -> None:
        self._kind = kind
        self._poll_at = 0.0
        self._idle_since: float | None = None
        self._killed: set[BlockId] = set()
        self._orders = 0

    @property
    def wake_at(self) -> float:
        return self._poll_at

    def tick(self, now: float, stage: Stage) -> None:
        """Poll once."""
        bounds = stage.setup.bounds
        self._poll_at = now + stage.setup.period
        active = [
            block_id
            for block_id, entry in stage.provider.blocks.items()
            if entry.state.is_active and block_id not in self._killed
        ]
        tasks = len(stage.interchange.ledger.entries)
        slots = len(active) * bounds.slots_per_block
        if tasks == 0:
            if self._idle_since is None:
                self._idle_since = now
            if (
                len(active) > bounds.min_blocks
                and now - self._idle_since > bounds.max_idletime
            ):
                self._scale_in(active, len(active) - bounds.min_blocks, 0.0, now, stage)
            return
        self._idle_since = None
        if slots / tasks < bounds.parallelism:
            excess = math.ceil(tasks * bounds.parallelism - slots)
            wanted = math.ceil(excess / bounds.slots_per_block)
            self._scale_out(min(wanted, bounds.max_blocks - len(active)), stage)
        elif slots == 0:
            self._scale_out(min(1, bounds.max_blocks), stage)
        elif slots > tasks and self._kind == "auto":
            excess = math.floor(slots - tasks * bounds.parallelism)
            count = min(
                excess // bounds.slots_per_block, len(active) - bounds.min_blocks
            )
            self._scale_in(active, count, bounds.max_idletime, now, stage)

    def _scale_out(self, count: int, stage: Stage) -> None:
        if count > 0:
            self._orders += 1
            stage.order(LaunchBlocks(f"parsl-{self._orders}", count, ""))

    def _scale_in(
        self, active: list[BlockId], count: int, least: float, now: float, stage: Stage
    ) -> None:
        loads = {load.block_id: load for load in stage.interchange.fleet.loads(now)}

        def idle(block_id: BlockId) -> float:
            load = loads.get(block_id)
            return math.inf if load is None else load.idle

        def tasks(block_id: BlockId) -> int:
            return loads[block_id].leases if block_id in loads else 0

        chosen = sorted(active, key=lambda b: (-idle(b), tasks(b)))
        chosen = [b for b in chosen if not tasks(b) and idle(b) >= least][:count]
        if chosen:
            self._killed.update(chosen)
            stage.order(CancelBlocks(chosen, "parsl"))


def in_random_order(seed: int) -> Order:
    """Serve managers as Parsl's interchange does: whoever, at random."""
    chance = random.Random(seed)

    def shuffle(managers: Iterable[ManagerEntry]) -> list[ManagerEntry]:
        shuffled = list(managers)
        chance.shuffle(shuffled)
        return shuffled

    return shuffle
