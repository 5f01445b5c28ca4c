"""What clients want of the actors of an endpoint, and what they are answered. Pure.

It comes as a task with a word on it (`ActorWork`), and is answered by that task's
outcome. Calls, watches and the starts of groups wait; all else is answered at once.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from actors.endpoint.interchange.roster_calls import RosterCalls
from actors.endpoint.interchange.roster_entry import Actor, done, failed
from actors.endpoint.interchange.roster_groups import (
    RosterGroups,
    actors_in,
    ids_in,
    objection_to,
)
from actors.errors import MalformedFrame
from actors.logic.actor_life import DeathReason, LifeState
from actors.logic.clients import ClientEntry
from actors.logic.ledger import Ledger
from actors.logic.records import ActorAdmitted, TasksAccepted
from actors.logic.resources import Need
from actors.logic.turn import Turn
from actors.messages import (
    ActorOptions,
    ActorWork,
    Answer,
    ClientId,
    Command,
    Failure,
    FailureKind,
    Needs,
    NewGroup,
    Outcome,
    Task,
)
from actors.messages import command as decode_command
from actors.messages import new_group as decode_group

__all__ = ["Desk", "RosterWishes"]

# Chosen: no node has as many, and it is a number.
_MOST_CPUS = 1_000_000


class Desk(Protocol):
    """What is needed of the interchange."""

    ledger: Ledger

    @property
    def wall_offset(self) -> float: ...
    def obey(self, command: Command, now: float, turn: Turn) -> Answer: ...
    def answer(
        self, outcome: Outcome, client: ClientEntry, now: float, turn: Turn
    ) -> None: ...
    def impossible(self, name: str, need: Need) -> Failure | None: ...
    def objection_to(self, needs: Needs, name: str) -> Failure | None: ...


class _Roster(Protocol):
    """What is needed of the roster."""

    actors: dict[str, Actor]
    names: dict[tuple[str, str], Actor]

    def enter(self, record: ActorAdmitted) -> None: ...
    def seek_home(self, actor: Actor) -> None: ...
    def hold(self, actor: Actor, client: ClientEntry, turn: Turn) -> None: ...
    def release(
        self, actor: Actor, client_id: ClientId, now: float, turn: Turn
    ) -> None: ...
    def kill(self, actor: Actor, now: float, turn: Turn) -> None: ...
    def end_process(self, actor: Actor, turn: Turn, *, is_killed: bool) -> None: ...


class RosterWishes:
    """The machine; see the module's docstring.

    Args:
        desk: that answers.
        roster: of the actors.
        calls: where those wait that are not answered at once.
        groups: that they are in.
    """

    def __init__(
        self, desk: Desk, roster: _Roster, calls: RosterCalls, groups: RosterGroups
    ) -> None:
        self._desk = desk
        self._roster = roster
        self._calls = calls
        self._groups = groups

    def take(
        self, tasks: Sequence[Task], client: ClientEntry, now: float, turn: Turn
    ) -> None:
        """Do what a client wants, in order; nothing of it was known before.

        An id that stands there twice counts once.
        """
        entered: list[Task] = []
        known = self._desk.ledger.entries
        for task in tasks:
            work = task.actor
            if work is None or task.task_id in known:
                continue
            if task.task_id in client.unacknowledged:
                continue
            outcome: Outcome | None
            waiting = task
            match work.verb:
                case "call" | "watch":
                    outcome = self._refusal(task, work, now)
                case "supervise":
                    outcome = self._supervise(task, work, client, now, turn)
                    # What is in it is kept, and written down, by itself.
                    waiting = msgspec.structs.replace(task, arguments=b"")
                case _:
                    outcome = self._do(task, work, client, now, turn)
            if outcome is not None:
                self._desk.answer(outcome, client, now, turn)
                continue
            entered.append(waiting)
            entry = self._desk.ledger.enter_call(waiting, client.client_id, now)
            client.unfinished += 1
            self._calls.queue(entry)
        if entered:
            at = now + self._desk.wall_offset
            turn.records.append(TasksAccepted(client.client_id, at, entered))
        self._groups.settle(now, turn)

    def _do(
        self, task: Task, work: ActorWork, client: ClientEntry, now: float, turn: Turn
    ) -> Outcome:
        """Do what is answered at once."""
        actor = self._roster.actors.get(work.actor_id)
        group = self._groups.known.get(work.actor_id)
        match work.verb:
            case "create":
                return self._create(task, work, client, now, turn)
            case "find":
                return self._find(task, client, now, turn)
            case "command":
                return self._command(task, now, turn)
            case "suits" if task.needs is not None:
                failure = self._desk.objection_to(task.needs, task.name)
                verdict = (failure.kind.value, failure.message) if failure else None
                return self._done(task, verdict, now)
            case "hold" if actor is not None:
                self._roster.hold(actor, client, turn)
            case "release" if actor is not None:
                self._roster.release(actor, client.client_id, now, turn)
            case "kill" if actor is not None:
                self._roster.kill(actor, now, turn)
            case "restart" if actor is not None and actor.manager_id:
                self._roster.end_process(actor, turn, is_killed=True)
            case "hold" if group is not None:
                self._groups.hold(group, client, turn)
            case "release" if group is not None:
                self._groups.release(group, client.client_id, now, turn)
            case "stop" if group is not None:
                self._groups.stop(group, now)
                # To be written down before its answer, as all that is answered here.
                self._groups.settle(now, turn)
        return self._done(task, None, now)

    def _refusal(self, task: Task, work: ActorWork, now: float) -> Outcome | None:
        """Say why a call, or a watch, need not wait; None: it has to."""
        actor = self._roster.actors.get(work.actor_id)
        if work.verb == "watch" and work.actor_id in self._groups.known:
            return None
        if actor is None:
            text = f"Actor {work.actor_id} is dead and forgotten"
            failure = Failure(
                FailureKind.ACTOR_DIED, text, reason=DeathReason.EXITED.value
            )
            return self._failed(task, failure, now)
        if work.verb == "watch":
            return self._done(task, actor.death(), now) if actor.is_dead else None
        if actor.is_dead:
            return self._unanswered(task, actor, now)
        is_restarting = actor.life.state is LifeState.RESTARTING
        if is_restarting and actor.options.fails_on_restart:
            return self._unanswered(task, actor, now)
        return None

    def _command(self, task: Task, now: float, turn: Turn) -> Outcome:
        try:
            command = decode_command.decode(task.arguments)
        except MalformedFrame as error:
            return self._refused(task, str(error), now)
        answer = self._desk.obey(command, now, turn)
        told = (answer.is_done, answer.text, answer.body)
        return self._done(task, told, now)

    def _create(
        self, task: Task, work: ActorWork, client: ClientEntry, now: float, turn: Turn
    ) -> Outcome:
        options = work.options
        if options is None:
            return self._refused(task, "no options", now)
        namesake = self._namesake(options)
        if namesake is not None and options.get_if_exists:
            self._roster.hold(namesake, client, turn)
            return self._introduced(task, namesake, now)
        failure = self._objection_to(options)
        if failure is not None:
            return self._failed(task, failure, now)
        if work.actor_id not in self._roster.actors:
            record = ActorAdmitted(
                work.actor_id,
                task.function,
                task.arguments,
                options,
                client_id=client.client_id,
                caller_seq=task.caller_seq,
            )
            turn.records.append(record)
            self._roster.enter(record)
        actor = self._roster.actors[work.actor_id]
        self._roster.hold(actor, client, turn)
        self._roster.seek_home(actor)
        return self._introduced(task, actor, now)

    def _namesake(self, options: ActorOptions) -> Actor | None:
        """Return who has an actor's name, and will keep it."""
        found = self._roster.names.get((options.namespace, options.name))
        return None if found is None or found.is_doomed else found

    def _objection_to(self, options: ActorOptions) -> Failure | None:
        """Say why an actor cannot be made; None: it can."""
        if not 0 <= options.num_cpus <= _MOST_CPUS:
            text = f"num_cpus {options.num_cpus} must be from 0 to {_MOST_CPUS}"
            return Failure(FailureKind.REFUSED, text)
        if options.name and self._namesake(options) is not None:
            text = f"An actor named {options.name!r} exists in this namespace; "
            text += "use get_actor(), or get_if_exists=True"
            return Failure(FailureKind.NAME_TAKEN, text)
        return self._desk.impossible(options.class_name, Need.of(options))

    def _supervise(
        self, task: Task, work: ActorWork, client: ClientEntry, now: float, turn: Turn
    ) -> Outcome | None:
        """Begin a group; the outcome says why not."""
        try:
            new = decode_group.decode(task.arguments)
        except MalformedFrame as error:
            return self._refused(task, str(error), now)
        failure = self._objection_to_group(new, work.actor_id)
        if failure is not None:
            return self._failed(task, failure, now)
        self._groups.admit(new, client, now, turn)
        for child in actors_in(new):
            self._roster.hold(self._roster.actors[child.actor_id], client, turn)
        return None

    def _objection_to_group(self, new: NewGroup, group_id: str) -> Failure | None:
        objection = objection_to(new)
        ids = list(ids_in(new))
        if new.group_id != group_id:
            objection = f"supervisor {new.group_id} is not {group_id}"
        elif group_id in self._groups.known:
            return None  # and goes on
        elif len(set(ids)) < len(ids) or any(
            each in self._roster.actors for each in ids
        ):
            objection = f"an id in supervisor {group_id} is another's"
        if objection:
            return Failure(FailureKind.REFUSED, objection)
        names: set[tuple[str, str]] = set()
        for child in actors_in(new):
            options = child.options
            failure = self._objection_to(options)
            if failure is not None:
                return failure
            key = options.namespace, options.name
            if options.name and key in names:
                text = f"Two actors of one supervisor are named {options.name!r}"
                return Failure(FailureKind.NAME_TAKEN, text)
            names.add(key)
        return None

    def _find(self, task: Task, client: ClientEntry, now: float, turn: Turn) -> Outcome:
        name = task.function.decode(errors="replace")
        namespace = task.arguments.decode(errors="replace")
        actor = self._roster.names.get((namespace, name))
        if actor is None or actor.is_doomed or actor.is_released:
            where = f" in namespace {namespace!r}" if namespace else ""
            text = f"There is no actor named {name!r}{where}"
            return self._failed(task, Failure(FailureKind.NO_SUCH_ACTOR, text), now)
        self._roster.hold(actor, client, turn)
        return self._introduced(task, actor, now)

    def _introduced(self, task: Task, actor: Actor, now: float) -> Outcome:
        return self._done(task, (actor.actor_id, actor.options.picture), now)

    def _done(self, task: Task, value: object, now: float) -> Outcome:
        return done(task.task_id, value, now + self._desk.wall_offset)

    def _failed(self, task: Task, failure: Failure, now: float) -> Outcome:
        return failed(task.task_id, failure, now + self._desk.wall_offset)

    def _refused(self, task: Task, text: str, now: float) -> Outcome:
        return self._failed(task, Failure(FailureKind.REFUSED, text), now)

    def _unanswered(self, task: Task, actor: Actor, now: float) -> Outcome:
        failure, payload = actor.failure()
        return failed(task.task_id, failure, now + self._desk.wall_offset, payload)
