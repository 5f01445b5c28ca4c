"""Why an actor, or a call of it, has no value, and how it died, in words. Pure."""

from actors.embedded.actor_calls import Actor
from actors.embedded.workers import HubWorker
from actors.logic.actor_life import DeathReason, LifeState
from actors.logic.workers import WorkerDied, how_it_died
from actors.messages import Failure, FailureKind, Value
from actors.refs import Promise, Settled

__all__ = [
    "death_of",
    "describe_end",
    "name_taken",
    "no_such_actor",
    "reason_of",
    "unavailable",
]

_NEVER_MADE = (DeathReason.CONSTRUCTOR_FAILED, DeathReason.UNPICKLABLE)


def _failed(kind: FailureKind, text: str) -> Settled:
    return Settled(Value(b"", failure=Failure(kind, text)))


def name_taken(name: str) -> Settled:
    """Tell that there is an actor of a name already."""
    text = f"An actor named {name!r} exists in this namespace; "
    text += "use get_actor(), or get_if_exists=True"
    return _failed(FailureKind.NAME_TAKEN, text)


def no_such_actor(name: str, namespace: str) -> Settled:
    """Tell that there is no actor of a name."""
    where = f" in namespace {namespace!r}" if namespace else ""
    return _failed(
        FailureKind.NO_SUCH_ACTOR, f"There is no actor named {name!r}{where}"
    )


def death_of(actor: Actor) -> Settled:
    """Return the outcome of what is asked of a dead actor."""
    reason = actor.life.reason or DeathReason.EXITED
    text = f"{actor.title} is dead: {actor.message}"
    failure = Failure(FailureKind.ACTOR_DIED, text, actor.last_words, reason.value)
    outcome = _outcome_of_creation(actor)
    # What its constructor raised, or what its arguments should have been.
    payload = outcome.value.payload if isinstance(outcome, Settled) else b""
    return Settled(Value(payload, failure=failure))


def unavailable(actor: Actor, *, may_have_run: bool = False) -> Settled:
    """Return the outcome of what is asked of an actor that is being restarted."""
    text = f"{actor.title} is being restarted: {actor.message}"
    if may_have_run:
        text += "; the call had begun and may have run"
    reason = (actor.life.reason or DeathReason.CRASHED).value
    kind = FailureKind.ACTOR_UNAVAILABLE
    return Settled(Value(b"", failure=Failure(kind, text, actor.last_words, reason)))


def _outcome_of_creation(actor: Actor) -> bytes | Settled | None:
    """Return what the last call of the constructor came to; None: nothing yet."""
    creation = actor.creation
    if creation is None or not isinstance(creation.returns, Promise):
        return None
    return creation.returns.outcome


def reason_of(actor: Actor, death: WorkerDied) -> DeathReason:
    """Return why an actor's process is gone."""
    known = actor.life.reason
    if (
        actor.life.state is LifeState.STARTING
        and known in _NEVER_MADE
        and _outcome_of_creation(actor) is not None
    ):
        return known
    if actor.is_killed:
        return DeathReason.KILLED
    if actor.is_exiting:
        return DeathReason.EXITED
    if death.has_memory_run_out:
        return DeathReason.OUT_OF_MEMORY
    return DeathReason.CRASHED


def describe_end(
    actor: Actor, host: HubWorker, death: WorkerDied, reason: DeathReason
) -> None:
    """Note how an actor's process ended; a failed constructor has said so already."""
    if reason in _NEVER_MADE:
        return
    actor.last_words = death.stderr_tail
    if reason is DeathReason.KILLED:
        actor.message = "it was killed by actors.kill()"
    elif reason is DeathReason.EXITED:
        actor.message = "it has ended"
    else:
        actor.message = f"its process (pid {host.pid}) {how_it_died(death)}"
        if host.why_killed:
            actor.message += f": {host.why_killed}"
        if reason is DeathReason.OUT_OF_MEMORY:
            peak = death.peak_rss_bytes / 2**20
            actor.message += f"; memory ran out, its own peak was {peak:.0f} MiB"
