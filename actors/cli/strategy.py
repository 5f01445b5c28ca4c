"""`actors strategy`: ask the strategy why it does what it does."""

from collections.abc import Iterator, Sequence

import click
import msgspec

from actors.api.operator import ask
from actors.cli.asking import Asking, address_argument, asking, echo_json
from actors.cli.picture import count, duration
from actors.endpoint.pictures import Snapshot
from actors.messages import ScalingDecided

__all__ = ["strategy"]

# Launches and retirements of the past that are told; chosen: half a screen.
_PAST_SHOWN = 10

_Decision = tuple[float, ScalingDecided]  # seconds ago, and what


@click.group()
def strategy() -> None:
    """Ask the strategy, which starts and ends blocks, for its reasons."""


@strategy.command()
@address_argument
@asking()
def explain(address: str | None, *, how: Asking) -> None:
    """Say why the strategy starts or ends blocks now, or why it does not.

    The last decision stands first, with what it was made on; below it the blocks that
    were started and ended before, newest first.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if there is a decision to explain.

    With --json standard output gets one object: "ok", and "decisions", newest first:

    \b
        age             seconds ago
        action          launch, retire, none
        count           of blocks
        reason          in a sentence
        kind            of the strategy; "" if an operator wanted it
        tasks           that were accepted and not finished
        waiting         those of them that no manager had
        active_blocks   launched and not about to end
        pending_blocks  those of them that no manager had joined from
        slots           workers of the active blocks, there or to come
        worker_type     of these tasks and blocks; "" for all
    Keys may be added; these stay. Of decisions to do nothing in a row only the newest
    is listed.

    \b
    Examples:
        actors strategy explain lab
        actors strategy explain --json lab | jq -r .decisions[0].reason
    """  # noqa: D301 (click wants the character backspace)
    answer = ask(how.entrance(address), "status", timeout=how.timeout)
    snapshot = msgspec.json.decode(answer.body, type=Snapshot)
    decisions: list[_Decision] = [
        (relayed.age, relayed.event)
        for relayed in reversed(snapshot.relayed)
        if isinstance(relayed.event, ScalingDecided)
    ]
    if not decisions:
        how.tell(
            "the strategy has decided nothing since the interchange started: ask again "
            "in a few seconds",
            is_done=False,
        )
    if how.is_json:
        told = [{"age": age, **_fields(decision)} for age, decision in decisions]
        echo_json({"ok": True, "decisions": told})
    else:
        click.echo("\n".join(_draw(decisions)))


def _fields(decision: ScalingDecided) -> dict[str, object]:
    return {name: getattr(decision, name) for name in decision.__struct_fields__}


def _draw(decisions: Sequence[_Decision]) -> Iterator[str]:
    newest = {}
    for age, decision in reversed(decisions):
        newest[decision.worker_type] = age, decision
    for age, decision in newest.values():
        yield from _draw_newest(age, decision)
    past = [
        (age, decision)
        for age, decision in decisions
        if decision.action != "none" and (age, decision) not in newest.values()
    ]
    if past:
        yield "Before that:"
    for age, decision in past[:_PAST_SHOWN]:
        yield f"  {duration(age)} ago: {_action(decision)}: {decision.reason}"


def _draw_newest(age: float, decision: ScalingDecided) -> Iterator[str]:
    who = f"Strategy {decision.kind}" if decision.kind else "An operator"
    worker_type = decision.worker_type
    of_type = f", for workers of type {worker_type}" if worker_type else ""
    yield f"{who}, {duration(age)} ago{of_type}: {_action(decision)}: {decision.reason}"
    yield (
        f"  {count(decision.tasks, 'task')}, {decision.waiting} of them waiting; "
        f"{count(decision.active_blocks, 'block')}, {decision.pending_blocks} of them "
        f"still to come; {count(decision.slots, 'worker')}"
    )


def _action(decision: ScalingDecided) -> str:
    blocks = count(decision.count, "block")
    match decision.action:
        case "launch":
            return f"start {blocks}"
        case "retire":
            return f"end {blocks}"
        case _:
            return "do nothing"
