"""Steering: what operators may ask of an interchange. Pure."""

from typing import Protocol

import msgspec

from actors.endpoint.interchange.delivery import Delivery
from actors.endpoint.interchange.departures import Departures
from actors.endpoint.interchange.drawing import Drawing, Drawn
from actors.endpoint.interchange.leasing import Leasing
from actors.endpoint.interchange.restarting import restart
from actors.endpoint.task_pictures import list_tasks, tell_story
from actors.logic.turn import Turn
from actors.messages import (
    Answer,
    BlockId,
    BlocksHeld,
    Command,
    ManagerId,
    ScaleTo,
    StopEndpoint,
    TaskId,
)

__all__ = ["Steered", "Steering"]

# Tasks in one list. Chosen: it takes the interchange a few milliseconds.
_MOST_TASKS = 2000
# {verb: what was done, for the answer}
_DONE = {"hold": "held", "resume": "resumed", "drain": "draining"}


class Steered(Drawn, Protocol):
    """What steering needs of an interchange."""

    leasing: Leasing
    delivery: Delivery
    departures: Departures


class Steering:
    """Carry out commands on an interchange.

    Args:
        interchange: which one.
    """

    def __init__(self, interchange: Steered) -> None:
        self._interchange = interchange
        self._books = interchange.books
        self._members = interchange.books.members
        self._drawing = Drawing(interchange)

    def obey(self, command: Command, now: float, turn: Turn) -> Answer:
        """Do what is asked, or say why not; never raises."""
        match command.verb:
            case "status":
                body = msgspec.json.encode(self._drawing.snapshot(now))
                return Answer(command.request_id, True, "", body)
            case "quiesce":
                done, text = self._quiesce(turn)
            case "resume" if not command.names:
                done, text = self._resume(now, turn)
            case "hold" | "resume" | "drain":
                done, text = self._on_members(command, now, turn)
            case "scale":
                done, text = self._scale(command.number, now, turn)
            case "cancel":
                done, text = self._cancel(command.names, now, turn)
            case "stop":
                done, text = self._stop(now, turn)
            case "restart":
                done, text = restart(self._books, command.names, now, turn)
            case "tasks":
                return self._list_tasks(command)
            case "story":
                return self._tell_story(command)
        return Answer(command.request_id, done, text)

    def _list_tasks(self, command: Command) -> Answer:
        text, states = "".join(command.names[:1]), command.names[1:]
        limit = min(max(1, command.number), _MOST_TASKS)
        ledger, fleet = self._books.ledger, self._books.fleet
        picture = list_tasks(ledger, fleet, text, states, limit)
        return Answer(command.request_id, True, "", msgspec.json.encode(picture))

    def _tell_story(self, command: Command) -> Answer:
        name = "".join(command.names[:1])
        story = tell_story(self._books.ledger, self._books.fleet, TaskId(name))
        if story is None:
            text = f"nothing is known (any more) of a task {name or '(nothing)'}"
            return Answer(command.request_id, False, text)
        return Answer(command.request_id, True, "", msgspec.json.encode(story))

    def _on_members(self, command: Command, now: float, turn: Turn) -> tuple[bool, str]:
        fleet = self._books.fleet
        known = {
            *fleet.managers,
            *self._interchange.blocks.known,
            *(m.block_id for m in fleet.managers.values()),
            # One that is held and away would come back held.
            *fleet.held,
        }
        unknown = [name for name in command.names if name not in known]
        if unknown or not command.names:
            return False, (
                f"no block or manager is called {', '.join(unknown) or '(nothing)'}; "
                f"there are: {', '.join(sorted(known)) or 'none'}"
            )
        for name in command.names:
            match command.verb:
                case "hold":
                    fleet.held.add(name)
                case "resume":
                    fleet.held.discard(name)
                case "drain" if name in fleet.managers:
                    manager = fleet.managers[ManagerId(name)]
                    self._interchange.departures.drain(manager, turn)
                case "drain":
                    self._drain_block(BlockId(name), now, turn)
        self._interchange.blocks.note_steering(turn)
        if command.verb == "resume":
            self._interchange.leasing.place(now, turn)
        return True, f"{_DONE[command.verb]}: {', '.join(command.names)}"

    def _quiesce(self, turn: Turn) -> tuple[bool, str]:
        ledger = self._books.ledger
        self._interchange.blocks.quiesce(turn)
        return True, (
            f"quiesced: tasks with managers ({ledger.leased}) go on, those that wait "
            f"({ledger.waiting}) do so until it is resumed, and no new ones are taken"
        )

    def _resume(self, now: float, turn: Turn) -> tuple[bool, str]:
        fleet = self._books.fleet
        if not fleet.is_quiesced and not fleet.bad_state:
            held = ", ".join(sorted(fleet.held)) or "none"
            return False, (
                "the endpoint is neither quiesced nor in a bad state; name the blocks "
                f"or managers that shall be resumed; held are: {held}"
            )
        was_bad = fleet.bad_state is not None
        self._interchange.blocks.resume(now, turn)
        again = "; blocks are started again" if was_bad else ""
        return True, f"resumed: tasks are taken and handed out again{again}"

    def _drain_block(self, block_id: BlockId, now: float, turn: Turn) -> None:
        self._interchange.blocks.retire([block_id], turn, if_busy=True)
        if not self._books.fleet.of_block(block_id):
            # Nobody there can drain, and nobody may join any more: the strategy has
            # what is left of the block cancelled.
            for strategy in self._members.services("strategy")[:1]:
                held = BlocksHeld([block_id], is_unasked=True)
                self._members.send(strategy, held, now, turn)

    def _scale(self, blocks: int, now: float, turn: Turn) -> tuple[bool, str]:
        if blocks < 0:
            return False, f"{blocks} blocks cannot be: give 0 or more"
        if self._books.fleet.bad_state:
            return False, "the endpoint is in a bad state: `actors resume` first"
        strategies = self._members.services("strategy")
        if not strategies:
            return False, "the strategy is not connected: try again in a moment"
        self._members.send(strategies[0], ScaleTo(blocks), now, turn)
        return True, f"the strategy was asked for {blocks} blocks"

    def _cancel(self, names: list[str], now: float, turn: Turn) -> tuple[bool, str]:
        asked = self._interchange.delivery.cancel(map(TaskId, names), now, turn)
        missing = [name for name in names if name not in asked]
        if missing or not names:
            return False, (
                f"not among the unfinished tasks: {', '.join(missing) or '(nothing)'}"
                + (f"; cancelled: {', '.join(asked)}" if asked else "")
            )
        return True, f"cancelled: {', '.join(asked)}"

    def _stop(self, now: float, turn: Turn) -> tuple[bool, str]:
        supervisors = self._members.services("supervisor")
        if not supervisors:
            return (
                False,
                (
                    "the supervisor is not connected: try again in a moment, or end "
                    "`actors run` by a signal"
                ),
            )
        stop = StopEndpoint("asked by an operator")
        self._members.send(supervisors[0], stop, now, turn)
        return True, "the endpoint stops"
