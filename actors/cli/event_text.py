"""Events in a line for people."""

from actors.cli.words import amount, first_line
from actors.messages import (
    ActorRestarted,
    AnyEvent,
    BlockChanged,
    FrameRefused,
    JournalStalled,
    LoadReported,
    MemberJoined,
    MemberLeft,
    MemberRefused,
    Notice,
    ScalingDecided,
    TaskEnded,
)

__all__ = ["describe"]


def describe(event: AnyEvent) -> str:
    """Say in one line what an event tells."""
    match event:
        case MemberJoined(kind, member_id, host, slots):
            with_slots = f" with {amount(slots, 'worker')}" if slots else ""
            return f"{kind} {member_id} on {host or '?'}{with_slots}"
        case MemberLeft(kind, member_id, reason, is_lost):
            how = "lost" if is_lost else "left"
            return f"{kind} {member_id} {how}: {first_line(reason)}"
        case MemberRefused(kind, member_id, reason):
            return f"{kind} {member_id}: {first_line(reason)}"
        case FrameRefused(sender, reason):
            return f"{sender}: {first_line(reason)}"
        case BlockChanged(block_id, state, message):
            why = f": {first_line(message)}" if message else ""
            return f"{block_id} is {state}{why}"
        case ScalingDecided(action, count, reason):
            return f"{action} {count}: {reason}" if count else reason
        case TaskEnded(task_id, state, message):
            why = f": {first_line(message)}" if message else ""
            return f"{task_id} {state.label}{why}"
        case ActorRestarted(actor, reason, restarts):
            return f"{actor}, the {restarts}. time: {first_line(reason)}"
        case JournalStalled(reason, is_over):
            if is_over:
                return "there is room again: all goes on"
            return f"all stands still: {first_line(reason)}"
        case Notice(_, text):
            return first_line(text)
        case LoadReported(waiting, leased):
            return f"{waiting} waiting, {leased} with managers"
