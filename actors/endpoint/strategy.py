"""Strategy: watches the load and decides how many blocks there should be. Pure.

    interchange ──LoadReported (events)─► Strategy ──LaunchBlocks─► provider
        ▲  └─────────BlocksHeld─────────────►│ ▲  └──CancelBlocks─►   │
        └────────────RetireBlocks────────────┘ └─────BlocksReported───┘

It launches through the provider. It ends a block in three steps, so that no busy block
is killed: the interchange holds it if it is idle in that very step, its managers drain
and exit, and only what is left after `drain_timeout` is cancelled.
"""

import math
import random
from typing import Any

import msgspec
from msgspec.structs import replace

from actors.logic.backoff import Backoff
from actors.logic.launch_rate import LaunchRate
from actors.logic.membership import Membership
from actors.logic.outlook import Outlook
from actors.logic.relayed import Relays
from actors.logic.scaling import (
    Bounds,
    Decision,
    Demand,
    StrategyKind,
    decide,
    decide_each,
)
from actors.logic.turn import Admission, Exit, Quit, Turn
from actors.messages import (
    PROTOCOL,
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

# The first wait after a block that failed; chosen: one tick of the default period.
FAILURE_PAUSE = 5.0
FAILURE_PAUSE_LIMIT = 300.0


class StrategySettings(msgspec.Struct, frozen=True):
    """What a strategy needs to know.

    Args:
        kind: whose rules.
        bounds: what the operator allows.
        init_blocks: launched at the endpoint's start; 0 for a restarted strategy.
        period: seconds between decisions.
        instance, token, python: for the doors.
        max_launches_per_minute: of blocks, at least 1.
        connect_timeout: seconds that a block may run without any manager.
        drain_timeout: seconds that a held, idle block may take to end by itself. A
            manager ends in well under a second, a batch system notices within a poll
            or two.
    """

    kind: StrategyKind
    bounds: Bounds
    init_blocks: int
    period: float
    instance: str
    token: str
    python: str
    max_launches_per_minute: int = 60
    connect_timeout: float = 600.0
    drain_timeout: float = 30.0


class Strategy:
    """The machine; see the module's docstring."""

    def __init__(
        self, settings: StrategySettings, chance: random.Random, now: float
    ) -> None:
        self.settings = settings
        self.interchange = Membership(
            "interchange", self._hello, chance, entered=self._found_interchange
        )
        self.provider = Membership(
            "provider", self._hello, chance, entered=self._found_provider
        )
        self.outlook = Outlook(settings.bounds.max_idletime, now)
        self.last_decision = Decision("none", 0, "nothing is known yet")
        self._orders: dict[str, LaunchBlocks] = {}  # {launch_id: not yet reported}
        self._ordered = 0
        self._retiring: dict[BlockId, float] = {}  # {held block: when to cancel it}
        self._asked: set[BlockId] = set()  # retirement asked for, not yet answered
        self._deserted: dict[BlockId, str] = {}  # {block without managers: the reason}
        self._knows_blocks = False
        self._is_initiated = False
        self._init_blocks = 0  # still to be launched, as the endpoint's first
        self._decide_at = now
        self._launched_at = -math.inf  # the last time
        self._launch_after = -math.inf  # so long a failed block delays the next launch
        self._untold = Relays()  # decisions made while the interchange was away
        self._rate = LaunchRate(settings.max_launches_per_minute)
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
        is_done = self.interchange.take(message, sender, now, turn)
        if self.provider.take(message, sender, now, turn) or is_done:
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
            again_at = now + max(self.settings.drain_timeout, self.settings.period)
            for block_id in late:
                self._retiring[block_id] = again_at
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

    def _found_interchange(self, now: float, turn: Turn) -> None:
        # The answer may have been lost with the link: decide anew.
        self._asked.clear()
        if self._untold:
            events = [event for _, event in self._untold]
            self.interchange.send(Relay(events), now, turn)
            self._untold.clear()

    def _found_provider(self, now: float, turn: Turn) -> None:
        for order in self._orders.values():
            self.provider.send(order, now, turn)

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
        before = self.outlook.load
        if before and before.bad_state and not load.bad_state:
            # An operator has mended what made blocks fail.
            self._launch_after = -math.inf
            self._failures.reset()
            self._decide_at = min(self._decide_at, now)
        had_tasks = self.outlook.tasks > 0
        self.outlook.note_load(load, now)
        joined = {b.block_id for b in load.blocks if b.managers}
        if joined - self._joined:
            # A block came up: whatever made earlier ones fail is over.
            self._failures.reset()
        self._joined = joined
        if self.outlook.tasks and not had_tasks:
            # Somebody waits: decide at once rather than at the next period.
            self._decide_at = min(self._decide_at, now)

    def _note_blocks(self, report: BlocksReported, now: float) -> None:
        for launch_id in report.launch_ids:
            self._orders.pop(launch_id, None)
        self.outlook.note_blocks(report.blocks)
        known = {block.launch_id for block in report.blocks} | self._orders.keys()
        self.outlook.elastic &= known
        if not self._knows_blocks:
            self._knows_blocks = True
            self._decide_at = now
        for block in report.blocks:
            is_ours = block.launch_id.startswith(self.settings.instance)
            if block.state.is_active or block.block_id in self._judged or not is_ours:
                continue
            self._judged.add(block.block_id)
            if self._has_failed(block):
                self._launch_after = now + self._failures.next()
            else:
                self._failures.reset()
        self._judged &= self.outlook.blocks.keys()
        active = {b.block_id for b in report.blocks if b.state.is_active}
        self._asked &= active
        self._deserted = {b: why for b, why in self._deserted.items() if b in active}
        for block_id in [b for b in self._retiring if b not in active]:
            del self._retiring[block_id]

    def _has_failed(self, block: Block) -> bool:
        if block.state in (BlockState.COMPLETED, BlockState.TIMEOUT):
            # It was of no use, whatever the batch system thinks of it.
            return block.block_id not in self.outlook.ever_joined
        return block.state in (BlockState.FAILED, BlockState.MISSING)

    def _leaving(self) -> set[BlockId]:
        return {*self._retiring, *self._asked}

    def _demands(self, now: float) -> dict[str, Demand]:
        orders = self._orders.values()
        return self.outlook.demands(
            self._leaving(),
            orders,
            self._launched_at,
            now,
            slots_per_block=self.settings.bounds.slots_per_block,
        )

    # What is decided

    def _decide(self, now: float, turn: Turn) -> None:
        if not self._asked and self._ask_deserted(now, turn):
            return
        demands = self._demands(now)
        victims: list[BlockId] = []
        for wanted in self._decisions(demands, now):
            decision = self._restrain(wanted, now)
            if decision.action == "launch":
                order = self._launch(decision, now, turn)
                if not self._init_blocks:
                    self.outlook.elastic.add(order.launch_id)
                self._init_blocks = max(0, self._init_blocks - decision.count)
            elif decision.action == "retire":
                victims += self._victims(decision, now)
            self._tell_decision(decision, demands, now, turn)
            self.last_decision = decision
        if victims:
            self.outlook.note_stop(now)
            # In one question, so that its answer says of all whether they stay.
            reason = self.last_decision.reason
            self._ask_to_retire(victims, reason, now, turn, if_busy=False)

    def _ask_deserted(self, now: float, turn: Turn) -> bool:
        """Give up blocks that have run for long and have no manager.

        Returns:
            Whether there are any; whatever else is to be decided can wait until the
            interchange has answered that it lets nobody join from them any more.
        """
        limit = self.settings.connect_timeout
        outlook, leaving = self.outlook, self._leaving()
        if outlook.is_stale(now) or not self.interchange.is_in:
            return False
        given_up = []
        for block in outlook.active(leaving):
            seconds = outlook.deserted_for(block)
            if seconds < limit or not seconds:
                continue
            what = "it runs and no manager of it has connected"
            if block.block_id in outlook.ever_joined:
                what = "its managers were lost and have not come back"
            self._deserted[block.block_id] = (
                f"{what} for {seconds:.0f} s: connect_timeout is {limit:g} s"
            )
            given_up.append(block.block_id)
        if given_up:
            reason = self._deserted[given_up[0]]
            self._ask_to_retire(given_up, reason, now, turn, if_busy=False)
            decision = Decision("retire", len(given_up), f"{given_up[0]}: {reason}")
            self._tell_decision(decision, self._demands(now), now, turn)
            self.last_decision = decision
        return bool(given_up)

    def _decisions(self, demands: dict[str, Demand], now: float) -> list[Decision]:
        settings, bounds = self.settings, self.settings.bounds
        if not self._knows_blocks:
            return [Decision("none", 0, "the provider has not reported yet")]
        if self._asked:
            # Those that turn out to be busy stay, and count.
            reason = f"it is open which of {len(self._asked)} blocks can be retired"
            return [Decision("none", 0, reason)]
        active = sum(demand.active_blocks for demand in demands.values())
        if not self._is_initiated:
            self._is_initiated = True
            first = max(settings.init_blocks, bounds.min_blocks)
            self._init_blocks = max(0, first - active)
        if self._init_blocks:
            reason = f"the endpoint starts with {active + self._init_blocks} blocks"
            return [Decision("launch", self._init_blocks, reason)]
        if self.outlook.is_stale(now) and settings.kind != "none":
            refill = decide("none", Demand(0, active, 0.0), bounds)
            if refill.action == "none":
                return [Decision("none", 0, "the interchange has not told its load")]
            return [refill]
        return decide_each(settings.kind, demands, bounds)

    def _restrain(self, decision: Decision, now: float) -> Decision:
        """Make of a wish to launch what failures and the rate of launches allow."""
        if decision.action != "launch":
            return decision
        veto = ""
        room = self._rate.room(now)
        load = self.outlook.load
        if load is not None and load.bad_state:
            veto = f"the endpoint is in a bad state: {load.bad_state}"
        elif now < self._launch_after:
            veto = (
                "a block failed: the next launch is in "
                f"{self._launch_after - now:.0f} s"
            )
        elif room == 0:
            veto = (
                f"{self._rate.limit} blocks were launched within a minute, which is "
                "max_launches_per_minute: the next launch is in "
                f"{self._rate.wait(now):.0f} s"
            )
        if veto:
            reason = f"{decision.reason}, but {veto}"
            return Decision("none", 0, reason, worker_type=decision.worker_type)
        return replace(decision, count=min(decision.count, room))

    def _victims(
        self, decision: Decision, now: float, *, is_of_any_type: bool = False
    ) -> list[BlockId]:
        """Choose blocks to end: those to come first, then the longest idle."""
        outlook = self.outlook
        active = outlook.active(self._leaving())
        age = {block.block_id: number for number, block in enumerate(active)}

        def reluctance(block: Block) -> tuple[bool, bool, float]:
            if not outlook.has_joined(block.block_id):
                # The newest first: others have waited for long, and may start soon.
                return False, block.state is BlockState.RUNNING, -age[block.block_id]
            idle = outlook.idle_for(block, now)
            return True, outlook.loads[block.block_id].leases > 0, -idle

        candidates = [
            block
            for block in active
            if (is_of_any_type or outlook.is_of(block, decision.worker_type))
            and (
                decision.who == "any"
                or outlook.is_idle(block, now)
                or (decision.who == "idle or spare" and outlook.is_spare(block, now))
            )
        ]
        chosen = sorted(candidates, key=reluctance)[: decision.count]
        return [block.block_id for block in chosen]

    def _launch(self, decision: Decision, now: float, turn: Turn) -> LaunchBlocks:
        self._ordered += 1
        launch_id = f"{self.settings.instance}-{self._ordered}"
        order = LaunchBlocks(
            launch_id, decision.count, decision.reason, decision.worker_type
        )
        self._orders[launch_id] = order
        self._launched_at = now
        self._rate.note(decision.count, now)
        self.provider.send(order, now, turn)
        return order

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
        """Go on with those that the interchange holds; the others stay.

        It may hold blocks unasked: those that an operator drains, or whose end is near.
        """
        if answer.is_unasked:
            self._asked.difference_update(answer.block_ids)
        else:
            # Those that were asked about may have ended meanwhile.
            self._asked.clear()
        if self.outlook.tasks:
            # What came while the question was open has waited long enough.
            self._decide_at = now
        cancel_at = now + self.settings.drain_timeout
        for block_id in answer.block_ids:
            is_busy = block_id in answer.busy
            self._retiring[block_id] = math.inf if is_busy else cancel_at
        # No manager connected: nothing can drain, and nobody can join any more.
        empty = [b for b in answer.block_ids if b not in answer.draining]
        missing = [b for b in empty if b in self._deserted]
        for block_id in missing:
            order = CancelBlocks([block_id], self._deserted[block_id], is_missing=True)
            self.provider.send(order, now, turn)
        surplus = [b for b in empty if b not in self._deserted]
        if surplus:
            self.provider.send(CancelBlocks(surplus, "scaled in"), now, turn)
        self._deserted.clear()

    def _scale_to(self, blocks: int, now: float, turn: Turn) -> None:
        demands = self._demands(now)
        active = sum(demand.active_blocks for demand in demands.values())
        reason = f"an operator asked for {blocks} blocks"
        if blocks > active:
            decision = Decision("launch", blocks - active, reason)
            self._launch(decision, now, turn)
        elif blocks < active:
            decision = Decision("retire", active - blocks, reason)
            victims = self._victims(decision, now, is_of_any_type=True)
            self._ask_to_retire(victims, reason, now, turn, if_busy=True)
            decision = replace(decision, count=len(victims))
        else:
            decision = Decision("none", 0, f"{reason}: there are")
        self._tell_decision(decision, demands, now, turn, kind="")

    def _tell_decision(
        self,
        decision: Decision,
        demands: dict[str, Demand],
        now: float,
        turn: Turn,
        *,
        kind: str | None = None,
    ) -> None:
        worker_type = decision.worker_type
        on = [d for t, d in demands.items() if not worker_type or t == worker_type]
        active = sum(demand.active_blocks for demand in on)
        event = ScalingDecided(
            decision.action,
            decision.count,
            decision.reason,
            self.settings.kind if kind is None else kind,
            sum(demand.tasks for demand in on),
            sum(demand.waiting for demand in on),
            active,
            sum(demand.pending_blocks for demand in on),
            active * self.settings.bounds.slots_per_block,
            worker_type,
        )
        if self.interchange.is_in:
            self.interchange.send(Relay([event]), now, turn)
        else:
            self._untold.note(event, now)

    def check(self) -> None:
        """Raise AssertionError if the state contradicts itself."""
        assert not (self._asked & self._retiring.keys())
