"""Blocks: what becomes of them, and which of them get no tasks. Pure.

retire ─► held, their managers drain ─► the strategy has them ended
block after block fails ─► a bad state: all tasks fail, until `resume`
"""

from collections.abc import Iterable

from actors.endpoint.interchange.books import Books
from actors.endpoint.interchange.delivery import Delivery
from actors.endpoint.interchange.departures import Departures
from actors.endpoint.interchange.leasing import Leasing
from actors.endpoint.interchange.restoration import steering_record
from actors.logic.block_errors import describe_end
from actors.logic.turn import Turn
from actors.messages import (
    Block,
    BlockChanged,
    BlockId,
    BlocksHeld,
    BlockState,
    Notice,
    Reregister,
)

__all__ = ["Blocks"]


class Blocks:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
        leasing: which goes on after `resume`.
        delivery: of why all tasks fail.
        departures: of managers.
    """

    def __init__(
        self,
        books: Books,
        leasing: Leasing,
        delivery: Delivery,
        departures: Departures,
    ) -> None:
        self._books = books
        self._fleet = books.fleet
        self._leasing = leasing
        self._delivery = delivery
        self._departures = departures
        # {id: as the provider reported it last}
        self.known: dict[BlockId, Block] = {}

    # Those that shall end

    def retire(
        self, block_ids: Iterable[BlockId], turn: Turn, *, if_busy: bool
    ) -> list[BlockId]:
        """Hold and drain blocks that are idle in this very step.

        Returns:
            Those held; busy ones only if asked for.
        """
        held: list[BlockId] = []
        for block_id in block_ids:
            managers = self._fleet.of_block(block_id)
            if not if_busy and any(m.is_busy for m in managers):
                continue
            self._fleet.retired.add(block_id)
            held.append(block_id)
            for manager in managers:
                self._departures.drain(manager, turn)
        self._books.is_load_news = True
        self.note_steering(turn)
        return held

    def drain_ending(self, now: float, turn: Turn) -> None:
        """Give blocks nothing more that are about to end, and let others take over."""
        ending = self._fleet.take_ending(now)
        if not ending:
            return
        held = self.retire(ending, turn, if_busy=True)
        members = self._books.members
        for strategy in members.services("strategy"):
            members.send(strategy, self.held(held, is_unasked=True), now, turn)
        for block_id in held:
            text = f"block {block_id} drains: its time ends soon"
            turn.events.append(Notice("info", text))

    def held(self, block_ids: list[BlockId], *, is_unasked: bool = False) -> BlocksHeld:
        """Tell the strategy how blocks that were just held are."""
        managers = {block_id: self._fleet.of_block(block_id) for block_id in block_ids}
        return BlocksHeld(
            block_ids,
            [b for b in block_ids if managers[b]],
            [b for b in block_ids if any(m.is_busy for m in managers[b])],
            is_unasked,
        )

    # What the provider tells

    def reported(self, blocks: list[Block], now: float, turn: Turn) -> None:
        """Take the provider's word on all blocks that there are."""
        errors = self._books.block_errors
        has_failed = False
        for reported_block in blocks:
            known = self.known.get(reported_block.block_id)
            is_retired = reported_block.block_id in self._fleet.retired
            block = errors.judge(reported_block, known, is_retired=is_retired)
            if known is None or known.state != block.state:
                turn.events.append(
                    BlockChanged(block.block_id, block.state, block.message)
                )
                has_failed = has_failed or errors.is_failure(block)
            self.known[block.block_id] = block
            if block.state.is_active:
                continue
            # The batch system's word is final: nobody waits for heartbeats.
            for manager in self._fleet.of_block(block.block_id):
                self._departures.ended(manager, describe_end(block), now, turn)
        reported = {block.block_id for block in blocks}
        for block_id in [b for b in self.known if b not in reported]:
            # Either it ended long ago, or its end was seen by a provider that crashed.
            gone = self.known.pop(block_id)
            self._fleet.types.pop(block_id, None)
            if block_id in self._fleet.retired:
                self._fleet.retired.remove(block_id)
                self.note_steering(turn)
            if gone.state.is_active:
                text = "it ended while the provider was away"
                turn.events.append(BlockChanged(block_id, BlockState.MISSING, text))
        errors.keep(reported)
        if has_failed:
            self._look_for_bad_state(now, turn)
        self._books.is_load_news = True

    def _look_for_bad_state(self, now: float, turn: Turn) -> None:
        """Give up if block after block failed, and no other is left to run tasks."""
        fleet = self._fleet
        if fleet.bad_state or any(
            m.block_id not in fleet.retired for m in fleet.managers.values()
        ):
            return
        bad_state = self._books.block_errors.find_bad_state(self.known.values())
        if bad_state is not None:
            # Every task fails that waits, and every new one, until it is forgiven.
            fleet.bad_state = bad_state
            self._delivery.fail_all(bad_state.failure, now, turn)
            self.note_steering(turn)
            turn.events.append(Notice("error", f"Bad state: {bad_state.text}"))

    # What gets no tasks

    def note_steering(self, turn: Turn) -> None:
        """Record what gets no tasks."""
        self._books.roster.look_again()
        self._fleet.look_again()
        turn.records.append(steering_record(self._fleet))

    def quiesce(self, turn: Turn) -> None:
        """Take no task and hand none out, until `resume`; what runs goes on."""
        self._fleet.is_quiesced = True
        self._books.is_load_news = True
        self.note_steering(turn)

    def resume(self, now: float, turn: Turn) -> None:
        """Undo `quiesce`, and have clients say again what was not taken.

        Leave the bad state, too: the blocks so far do not count any more.
        """
        books = self._books
        self._fleet.is_quiesced = False
        self._fleet.bad_state = None
        books.block_errors.forgive(self.known)
        self._books.is_load_news = True
        self.note_steering(turn)
        for client in books.clients.values():
            if client.is_put_off:
                turn.sends.append((client.peer, Reregister("tasks are taken again")))
        self._leasing.place(now, turn)
