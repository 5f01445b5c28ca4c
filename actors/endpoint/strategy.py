"""Strategy: watches the load and decides how many blocks there should be. Pure.

    interchange ──LoadReported (events)─► Strategy ──LaunchBlocks─► provider
        ▲  └─────────BlocksHeld─────────────►│ ▲  └──CancelBlocks─►   │
        └────────────RetireBlocks────────────┘ └─────BlocksReported───┘

It launches through the provider. It ends a block in three steps, so that no busy block
is killed: the interchange holds it if it is idle in that very step, its managers drain
and exit, and only what is left after `DRAIN_TIMEOUT` is cancelled.
"""

import math
import random
from dataclasses import dataclass
from typing import Any, Literal

from actors.logic.backoff import Backoff
from actors.logic.membership import Membership
from actors.logic.scaling import Bounds, Decision, Demand, decide_none, decide_simple
from actors.logic.turn import Admission, Exit, Quit, Turn
from actors.messages import (
    PROTOCOL,
    AnyEvent,
    Block,
    BlockId,
    BlocksHeld,
    BlocksReported,
    BlockState,
    CancelBlocks,
    Goodbye,
    Hello,
    LaunchBlocks,
    LoadReported,
    Published,
    Relay,
    RetireBlocks,
    ScaleTo,
    ScalingDecided,
)

__all__ = ["Strategy", "StrategySettings"]

# The load is told every second; one that is older than this is no ground to act on.
STALE_LOAD = 10.0
# How long a held, idle block may take to end by itself before it is cancelled. Chosen:
# a manager ends in well under a second, a batch system notices within a poll or two.
DRAIN_TIMEOUT = 30.0
# The first wait after a block that failed; chosen: one tick of the default period.
FAILURE_PAUSE = 5.0
FAILURE_PAUSE_LIMIT = 300.0


@dataclass(frozen=True, slots=True)
class StrategySettings:
    """What a strategy needs to know.

    Args:
        kind: whose rules.
        bounds: what the operator allows.
        init_blocks: launched at the endpoint's start; 0 for a restarted strategy.
        period: seconds between decisions.
        instance, token, python: for the doors.
    """

    kind: Literal["none", "simple"]
    bounds: Bounds
    init_blocks: int
    period: float
    instance: str
    token: str
    python: str


class Strategy:
    """The machine; see the module's docstring."""

    def __init__(
        self, settings: StrategySettings, chance: random.Random, now: float
    ) -> None:
        self.settings = settings
        self.interchange = Membership("interchange", self._hello, chance)
        self.provider = Membership("provider", self._hello, chance)
        self.blocks: dict[BlockId, Block] = {}
        self.last_decision = Decision("none", 0, "nothing is known yet")
        self._orders: dict[str, LaunchBlocks] = {}  # {launch_id: not yet reported}
        self._ordered = 0
        self._retiring: dict[BlockId, float] = {}  # {held block: when to cancel it}
        self._asked: set[BlockId] = set()  # retirement asked for, not yet answered
        self._load: LoadReported | None = None
        self._load_at = -math.inf
        self._idle_since = now
        self._knows_blocks = False
        self._is_initiated = False
        self._decide_at = now
        self._launch_after = -math.inf
        self._failures = Backoff(chance, first=FAILURE_PAUSE, limit=FAILURE_PAUSE_LIMIT)
        self._judged: set[BlockId] = set()  # ended blocks that were counted
        self._joined: set[BlockId] = set()  # blocks that have managers

    # The loop's calls

    def admit(self, hello: Hello, now: float) -> tuple[Admission, Turn]:
        """Refuse everybody: a strategy has no door."""
        return Admission("", "a strategy admits nobody"), Turn()

    def handle(self, message: Any, sender: str, now: float) -> Turn:
        """Take a message from the interchange, the provider, or an event."""
        turn = Turn()
        was_in = self.provider.is_in
        was_heard = self.interchange.is_in
        is_done = self.interchange.take(message, sender, now, turn)
        is_done = self.provider.take(message, sender, now, turn) or is_done
        if self.provider.is_in and not was_in:
            for order in self._orders.values():
                self.provider.send(order, now, turn)
        if self.interchange.is_in and not was_heard:
            # The answer may have been lost with the link: decide anew.
            self._asked.clear()
        if is_done:
            return turn
        match message:
            case Published(body=LoadReported() as load):
                self._note_load(load, now)
            case BlocksReported():
                self._note_blocks(message, now)
            case BlocksHeld():
                self._retire(message, now, turn)
            case ScaleTo(blocks):
                self._scale_to(blocks, now, turn)
            case Quit(reason):
                self.interchange.send(Goodbye(reason), now, turn)
                self.provider.send(Goodbye(reason), now, turn)
                turn.effects.append(Exit(0, reason))
        return turn

    def tick(self, now: float) -> Turn:
        """Decide, and cancel what did not drain."""
        turn = Turn()
        self.interchange.tick(now, turn)
        self.provider.tick(now, turn)
        late = [b for b, cancel_at in self._retiring.items() if cancel_at <= now]
        if late:
            for block_id in late:
                self._retiring[block_id] = now + DRAIN_TIMEOUT
            self.provider.send(CancelBlocks(late, "did not drain in time"), now, turn)
        if self._decide_at <= now:
            self._decide_at = now + self.settings.period
            self._decide(now, turn)
        return turn

    @property
    def wake_at(self) -> float:
        return min(
            self.interchange.wake_at,
            self.provider.wake_at,
            self._decide_at,
            min(self._retiring.values(), default=math.inf),
        )

    # What is known

    def _hello(self) -> Hello:
        settings = self.settings
        return Hello(
            "strategy",
            "strategy",
            settings.instance,
            PROTOCOL,
            settings.python,
            settings.token,
        )

    def _note_load(self, load: LoadReported, now: float) -> None:
        joined = {b.block_id for b in load.blocks if b.managers}
        if joined - self._joined:
            # A block came up: whatever made earlier ones fail is over.
            self._failures.reset()
        self._joined = joined
        had_tasks = self._load is not None and _tasks(self._load) > 0
        self._load, self._load_at = load, now
        if _tasks(load) == 0:
            if had_tasks:
                self._idle_since = now
        elif not had_tasks:
            # Somebody waits: decide at once rather than at the next period.
            self._decide_at = min(self._decide_at, now)

    def _note_blocks(self, report: BlocksReported, now: float) -> None:
        for launch_id in report.launch_ids:
            self._orders.pop(launch_id, None)
        self.blocks = {block.block_id: block for block in report.blocks}
        if not self._knows_blocks:
            self._knows_blocks = True
            self._decide_at = now
        for block in report.blocks:
            is_ours = block.launch_id.startswith(self.settings.instance)
            if block.state.is_active or block.block_id in self._judged or not is_ours:
                continue
            self._judged.add(block.block_id)
            if block.state in (BlockState.FAILED, BlockState.MISSING):
                self._launch_after = now + self._failures.next()
            else:
                self._failures.reset()
        self._judged &= self.blocks.keys()
        active = {b.block_id for b in report.blocks if b.state.is_active}
        self._asked &= active
        for block_id in [b for b in self._retiring if b not in active]:
            del self._retiring[block_id]

    def _active(self) -> list[Block]:
        return [
            block
            for block in self.blocks.values()
            if block.state.is_active
            and block.block_id not in self._retiring
            and block.block_id not in self._asked
        ]

    def _ordered_blocks(self) -> int:
        return sum(order.count for order in self._orders.values())

    # What is decided

    def _decide(self, now: float, turn: Turn) -> None:
        decision = self._decision(now)
        if decision.action == "launch" and now < self._launch_after:
            decision = Decision(
                "none",
                0,
                f"{decision.reason}, but a block failed: the next launch is in "
                f"{self._launch_after - now:.0f} s",
            )
        if decision.action == "launch":
            self._launch(decision.count, decision.reason, now, turn)
        elif decision.action == "retire":
            chosen = self._victims(decision.count)
            if chosen:
                self._ask_to_retire(chosen, decision.reason, now, turn, if_busy=False)
        if decision.action != "none" or decision.action != self.last_decision.action:
            self._tell(
                ScalingDecided(decision.action, decision.count, decision.reason),
                now,
                turn,
            )
        self.last_decision = decision

    def _decision(self, now: float) -> Decision:
        settings = self.settings
        if not self._knows_blocks:
            return Decision("none", 0, "the provider has not reported yet")
        if self._asked:
            # Those that turn out to be busy stay, and count.
            return Decision(
                "none",
                0,
                f"it is open which of {len(self._asked)} blocks can be retired",
            )
        active = len(self._active()) + self._ordered_blocks()
        if not self._is_initiated:
            self._is_initiated = True
            missing = max(settings.init_blocks, settings.bounds.min_blocks) - active
            if missing > 0:
                reason = f"the endpoint starts with {active + missing} blocks"
                return Decision("launch", missing, reason)
        stale = self._load is None or now > self._load_at + STALE_LOAD
        if settings.kind == "none" or stale:
            refill = decide_none(Demand(0, active, 0.0), settings.bounds)
            if stale and refill.action == "none":
                return Decision("none", 0, "the interchange has not told its load")
            return refill
        assert self._load is not None
        tasks = _tasks(self._load)
        idle = 0.0 if tasks else now - self._idle_since
        return decide_simple(Demand(tasks, active, idle), settings.bounds)

    def _victims(self, count: int) -> list[BlockId]:
        """Choose blocks to end: pending ones first, then the longest idle."""
        loads = {b.block_id: b for b in self._load.blocks} if self._load else {}

        def reluctance(block: Block) -> tuple[bool, bool, float]:
            load = loads.get(block.block_id)
            return (
                block.state is not BlockState.PENDING,
                load is not None and load.leases > 0,
                -load.idle if load else -math.inf,
            )

        chosen = sorted(self._active(), key=reluctance)[:count]
        return [block.block_id for block in chosen]

    def _launch(self, count: int, reason: str, now: float, turn: Turn) -> None:
        self._ordered += 1
        launch_id = f"{self.settings.instance}-{self._ordered}"
        order = LaunchBlocks(launch_id, count, reason)
        self._orders[launch_id] = order
        self.provider.send(order, now, turn)

    def _ask_to_retire(
        self,
        block_ids: list[BlockId],
        reason: str,
        now: float,
        turn: Turn,
        *,
        if_busy: bool,
    ) -> None:
        if self.interchange.is_in:
            self._asked.update(block_ids)
            message = RetireBlocks(block_ids, reason, if_busy)
            self.interchange.send(message, now, turn)

    def _retire(self, answer: BlocksHeld, now: float, turn: Turn) -> None:
        """Go on with those that the interchange holds; the others stay."""
        self._asked.clear()
        if self._load is not None and _tasks(self._load):
            # What came while the question was open has waited long enough.
            self._decide_at = now
        for block_id in answer.block_ids:
            is_busy = block_id in answer.busy
            self._retiring[block_id] = math.inf if is_busy else now + DRAIN_TIMEOUT
        empty = [b for b in answer.block_ids if b not in answer.draining]
        if empty:
            # No manager connected: nothing can drain, and nobody can join any more.
            self.provider.send(CancelBlocks(empty, "scaled in"), now, turn)

    def _scale_to(self, blocks: int, now: float, turn: Turn) -> None:
        active = len(self._active()) + self._ordered_blocks()
        reason = f"an operator asked for {blocks} blocks"
        if blocks > active:
            self._launch(blocks - active, reason, now, turn)
            decision = ScalingDecided("launch", blocks - active, reason)
        elif blocks < active:
            victims = self._victims(active - blocks)
            self._ask_to_retire(victims, reason, now, turn, if_busy=True)
            decision = ScalingDecided("retire", len(victims), reason)
        else:
            decision = ScalingDecided("none", 0, f"{reason}: there are")
        self._tell(decision, now, turn)

    def _tell(self, event: AnyEvent, now: float, turn: Turn) -> None:
        self.interchange.send(Relay([event]), now, turn)

    def check(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        assert self._ordered_blocks() >= 0
        assert not (self._asked & self._retiring.keys())


def _tasks(load: LoadReported) -> int:
    # No block is started for what shall not run.
    return load.leased + (0 if load.is_quiesced else load.waiting)
