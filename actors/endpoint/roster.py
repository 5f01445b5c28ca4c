"""Roster: what clients want of actors, and of the endpoint itself as one. Pure.

Whatever a client wants comes as a task with a word on the actor that it is for
(`ActorWork`), and is answered by that task's outcome: so it is accepted, written down,
answered and acknowledged like any other.
"""

import pickle
from typing import Protocol

from actors.errors import MalformedFrame
from actors.logic.clients import ClientEntry
from actors.logic.turn import Turn
from actors.messages import (
    ActorWork,
    Answer,
    Command,
    Failure,
    FailureKind,
    Outcome,
    Task,
    TaskState,
)
from actors.messages import command as decode_command

__all__ = ["Endpoint", "Roster"]

# As users' own payloads are.
_PICKLE_PROTOCOL = 5


class Endpoint(Protocol):
    """What a roster needs of its interchange."""

    @property
    def wall_offset(self) -> float: ...
    def obey(self, command: Command, now: float, turn: Turn) -> Answer: ...
    def answer(
        self, outcome: Outcome, client: ClientEntry, now: float, turn: Turn
    ) -> None: ...


class Roster:
    """Does what clients want of actors.

    Args:
        endpoint: whose actors.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def take(
        self,
        task: Task,
        work: ActorWork,
        client: ClientEntry,
        now: float,
        turn: Turn,
    ) -> None:
        """Do what a client wants; it was not known before."""
        match work.verb:
            case "command":
                outcome = self._command(task, now, turn)
        self._endpoint.answer(outcome, client, now, turn)

    def _command(self, task: Task, now: float, turn: Turn) -> Outcome:
        try:
            command = decode_command.decode(task.arguments)
        except MalformedFrame as error:
            return self._failed(task, FailureKind.REFUSED, str(error), now)
        answer = self._endpoint.obey(command, now, turn)
        told = (answer.is_done, answer.text, answer.body)
        return self._done(task, told, now)

    def _done(self, task: Task, value: object, now: float) -> Outcome:
        payload = pickle.dumps(value, _PICKLE_PROTOCOL)
        at = now + self._endpoint.wall_offset
        return Outcome(task.task_id, 1, TaskState.SUCCESS, payload, None, at, at)

    def _failed(self, task: Task, kind: FailureKind, text: str, now: float) -> Outcome:
        at = now + self._endpoint.wall_offset
        return Outcome(
            task.task_id, 1, TaskState.FAILED, b"", Failure(kind, text), at, at
        )
