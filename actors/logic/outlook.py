"""What a strategy has been told of load and blocks, made into demands. Pure.

The provider tells which blocks there are, the interchange how busy those are whose
managers have joined. Each may be behind the other: a block that a manager has joined
from is there, whatever the batch system still says; one that it calls running, and that
nobody has joined from, counts as to come.
"""

import math
from collections.abc import Collection, Iterable

from actors.logic.scaling import Demand
from actors.messages import (
    Block,
    BlockId,
    BlockLoad,
    BlockState,
    LaunchBlocks,
    LoadReported,
)

__all__ = ["Outlook"]

# The load is told every second; one that is older than this is no ground to act on.
STALE_LOAD = 10.0


class Outlook:
    """The newest reports, and since when things are as they are.

    Args:
        max_idletime: seconds without a task after which a block is called idle.
        now: monotonic seconds.
    """

    def __init__(self, max_idletime: float, now: float) -> None:
        # Blocks that a manager has joined from, now or before
        self.ever_joined: set[BlockId] = set()
        # Launches that the rules wanted for the sake of the tasks there were
        self.elastic: set[str] = set()
        self._stopped_at = -math.inf
        self._tasks_at_stop: dict[str, int] = {}  # {worker type: at the last stop}
        self.blocks: dict[BlockId, Block] = {}
        self.loads: dict[BlockId, BlockLoad] = {}  # of blocks that managers joined from
        self.load: LoadReported | None = None
        self._max_idletime = max_idletime
        self._load_at = -math.inf
        self._started_at = now
        # {worker type: the last moment at which there was such a task, or one waited}
        self._busy_at: dict[str, float] = {}
        # {running block without managers: since when, as far as loads were told}
        self._deserted_at: dict[BlockId, float] = {}
        self._waited_at: dict[str, float] = {}

    def note_load(self, load: LoadReported, now: float) -> None:
        """Take what the interchange tells."""
        before = self._tasks()
        if self.is_stale(now):
            # Who knows what managers there were meanwhile.
            self._deserted_at.clear()
        self.load, self._load_at = load, now
        self.loads = {block.block_id: block for block in load.blocks}
        self.ever_joined.update(b.block_id for b in load.blocks if b.managers)
        self._note_deserted(now)
        # What was so at the last report was so, as far as we know, until now.
        for worker_type, (waiting, leased) in (*before.items(), *self._tasks().items()):
            if waiting:
                self._waited_at[worker_type] = now
            if waiting or leased:
                self._busy_at[worker_type] = now

    def note_stop(self, now: float) -> None:
        """Note that blocks are retired because of how many tasks there are."""
        self._stopped_at = now
        tasks = self._tasks().items()
        self._tasks_at_stop = {t: waiting + leased for t, (waiting, leased) in tasks}

    def note_blocks(self, blocks: Iterable[Block]) -> None:
        """Take what the provider tells: all blocks that it knows."""
        self.blocks = {block.block_id: block for block in blocks}
        self.ever_joined &= self.blocks.keys()

    def _note_deserted(self, now: float) -> None:
        self._deserted_at = {
            block.block_id: self._deserted_at.get(block.block_id, now)
            for block in self.blocks.values()
            if block.state is BlockState.RUNNING and not self.has_joined(block.block_id)
        }

    def deserted_for(self, block: Block) -> float:
        """Seconds that a block has run without any manager; 0 if it has one."""
        since = self._deserted_at.get(block.block_id)
        return 0.0 if since is None else self._load_at - since

    @property
    def tasks(self) -> int:
        """Tasks that are not finished and may run, of all types."""
        return sum(waiting + leased for waiting, leased in self._tasks().values())

    def is_stale(self, now: float) -> bool:
        """Tell whether the load is too old to act on, or was never told."""
        return self.load is None or now > self._load_at + STALE_LOAD

    def has_joined(self, block_id: BlockId) -> bool:
        """Tell whether a block has managers now."""
        load = self.loads.get(block_id)
        return load is not None and load.managers > 0

    def active(self, leaving: Collection[BlockId]) -> list[Block]:
        """List the blocks that are there or to come, without those that leave."""
        return [
            block
            for block in self.blocks.values()
            if block.state.is_active and block.block_id not in leaving
        ]

    def idle_for(self, block: Block, now: float) -> float:
        """Seconds that a block had nothing to do; 0 if it has.

        One that nobody has joined from yet is idle for as long as no task waited.
        """
        load = self.loads.get(block.block_id)
        if load is None or not load.managers:
            waited_at = self._waited_at.get(self._type_of(block), self._started_at)
            return now - waited_at
        return load.idle + now - self._load_at if not load.leases else 0.0

    def is_idle(self, block: Block, now: float) -> bool:
        """Tell whether a block was idle for `max_idletime`."""
        idle = self.idle_for(block, now)
        return idle > 0 and idle >= self._max_idletime

    def is_spare(self, block: Block, now: float) -> bool:
        """Tell whether a block is to come only for tasks, and not called idle yet."""
        return (
            block.launch_id in self.elastic
            and not self.has_joined(block.block_id)
            and not self.is_idle(block, now)
        )

    def demands(
        self,
        leaving: Collection[BlockId],
        ordered: Iterable[LaunchBlocks],
        last_start: float,
        now: float,
        *,
        slots_per_block: int = 1,
    ) -> dict[str, Demand]:
        """Sum up, by worker type; "" stands for all where there are no types.

        Where there are, a block that has none yet counts for the type that lacks most
        slots; if none lacks any, it stands under "".

        Args:
            leaving: blocks that do not count, as they are about to end.
            ordered: launches that the provider has not confirmed: they count.
            last_start: when blocks were launched last, in monotonic seconds.
            now: monotonic seconds.
            slots_per_block: what such a block has.
        """
        tasks = self._tasks()
        blocks: dict[str, list[Block]] = {}
        for block in self.active(leaving):
            blocks.setdefault(self._type_of(block), []).append(block)
        to_come: dict[str, int] = {}
        for order in ordered:
            mine = order.worker_type if self._is_typed else ""
            to_come[mine] = to_come.get(mine, 0) + order.count
        if self._is_typed:
            _give_untyped(tasks, blocks, to_come, slots_per_block)
        too_long = self.load.too_long if self.load else 0
        # They are told in one number; most tasks wait of the type that they are of.
        neediest = max(tasks, key=lambda t: tasks[t][0], default="")
        demands = {}
        for worker_type in {**tasks, **blocks, **to_come}:
            waiting, leased = tasks.get(worker_type, (0, 0))
            mine_now = blocks.get(worker_type, [])
            coming = to_come.get(worker_type, 0)
            joined = sum(self.has_joined(block.block_id) for block in mine_now)
            busy_at = self._busy_at.get(worker_type, self._started_at)
            demands[worker_type] = Demand(
                waiting + leased,
                len(mine_now) + coming,
                0.0 if waiting or leased else now - busy_at,
                waiting,
                len(mine_now) - joined + coming,
                sum(self.is_idle(block, now) for block in mine_now),
                sum(self.is_spare(block, now) for block in mine_now),
                now - last_start,
                now - self._stopped_at,
                self._tasks_at_stop.get(worker_type, 0),
                too_long if worker_type == neediest else 0,
            )
        return demands

    @property
    def _is_typed(self) -> bool:
        return self.load is not None and bool(self.load.types)

    def is_of(self, block: Block, worker_type: str) -> bool:
        """Tell whether a block is of a type; where there are none, all are of ""."""
        return self._type_of(block) == worker_type

    def _type_of(self, block: Block) -> str:
        if not self._is_typed:
            return ""
        load = self.loads.get(block.block_id)
        # It may have been launched for any, and have become one.
        return (load.worker_type if load else "") or block.worker_type

    def _tasks(self) -> dict[str, tuple[int, int]]:
        """Count what waits and what is leased, by worker type."""
        load = self.load
        if load is None:
            return {"": (0, 0)}
        # No block is started for what shall not run.
        waits = not load.is_quiesced
        if not load.types:
            return {"": (waits * load.waiting, load.leased)}
        return {t.worker_type: (waits * t.waiting, t.leased) for t in load.types}


def _give_untyped(
    tasks: dict[str, tuple[int, int]],
    blocks: dict[str, list[Block]],
    to_come: dict[str, int],
    slots_per_block: int,
) -> None:
    """Count each block without a type for the type that lacks most slots."""

    def lack(worker_type: str) -> int:
        there = len(blocks.get(worker_type, ())) + to_come.get(worker_type, 0)
        return sum(tasks[worker_type]) - there * slots_per_block

    while blocks.get("") or to_come.get(""):
        neediest = max((t for t in tasks if t), key=lack, default="")
        if not neediest or lack(neediest) <= 0:
            return
        if blocks.get(""):
            blocks.setdefault(neediest, []).append(blocks[""].pop(0))
        else:
            to_come[""] -= 1
            to_come[neediest] = to_come.get(neediest, 0) + 1
