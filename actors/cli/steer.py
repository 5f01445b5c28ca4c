"""`actors hold`, `quiesce`, `resume`, `drain`, `scale`, `cancel`, `restart`."""

import time

import click
import msgspec

from actors.api.addressing import Entrance
from actors.api.operator import ask
from actors.cli.asking import Asking, address_argument, asking, split_address
from actors.endpoint.pictures import Snapshot

__all__ = ["cancel", "drain", "hold", "quiesce", "restart", "resume", "scale"]

# Chosen: what max_blocks in endpoint.toml may be at most.
_MOST_BLOCKS = 1_000_000
# Seconds from one look to the next while tasks go on. Chosen.
_LOOK_PERIOD = 1.0

_names = click.argument("words", metavar="[ADDRESS] NAME...", nargs=-1)


@click.command()
@_names
@asking()
def hold(words: tuple[str, ...], *, how: Asking) -> None:
    """Give blocks or managers no more tasks until they are resumed.

    What they have goes on. A held block counts as there, so no other one is started in
    its place. `actors status` shows the names.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if it was done and 1 if not.

    \b
    Examples:
        actors hold lab block-1
        actors hold lab block-1.0 block-2.0
    """  # noqa: D301 (click wants the character backspace)
    address, names = split_address(words, "NAME...")
    how.steer(address, "hold", names)


@click.command()
@address_argument
@click.option("--wait", is_flag=True, help="Return only when nothing runs any more.")
@asking(timeout_help="How long to wait for an answer.")
def quiesce(address: str | None, *, wait: bool, how: Asking) -> None:
    """Take no tasks and start none, until the endpoint is resumed.

    Tasks that managers have already go on, and results are delivered. What waits is on
    disk, as far as [journal] durability says; what clients submit stays with them, in
    the state waiting-for-endpoint. No blocks are started, and idle ones end as usual.
    The endpoint stays quiesced when it is restarted. `actors status` tells.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if it was done and 1 if not.

    \b
    Example, before a maintenance:
        actors quiesce --wait lab
        actors stop lab
        actors run lab
        actors resume lab
    """  # noqa: D301 (click wants the character backspace)
    entrance = how.entrance(address)
    answer = ask(entrance, "quiesce", timeout=how.timeout)
    while wait and answer.is_done and (left := _with_managers(entrance, how.timeout)):
        click.echo(f"tasks that go on: {left}", err=True)
        time.sleep(_LOOK_PERIOD)
    how.tell(answer.text, is_done=answer.is_done)


def _with_managers(entrance: Entrance, timeout: float) -> int:
    answer = ask(entrance, "status", timeout=timeout)
    snapshot = msgspec.json.decode(answer.body, type=Snapshot)
    return sum(manager.leases for manager in snapshot.managers)


@click.command()
@click.argument("words", metavar="[ADDRESS] [NAME...]", nargs=-1)
@asking()
def resume(words: tuple[str, ...], *, how: Asking) -> None:
    """Undo `quiesce`; or, with NAMEs, let held blocks or managers take tasks again.

    Without NAMEs it also ends the bad state that an endpoint is in after its last
    blocks have all failed: blocks are started, and tasks taken, again. A block that
    drains goes on draining.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if it was done and 1 if not.

    \b
    Examples:
        actors resume lab
        actors resume lab block-1
    """  # noqa: D301 (click wants the character backspace)
    address, names = split_address(words)
    how.steer(address, "resume", names)


@click.command()
@_names
@asking()
def drain(words: tuple[str, ...], *, how: Asking) -> None:
    """Let blocks or managers finish what they run, and end.

    Tasks that have not begun go elsewhere; nothing is lost. The strategy may start
    another block if tasks wait, or if there are fewer than min_blocks.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if it was begun and 1 if not.

    \b
    Example:
        actors drain lab block-1
    """  # noqa: D301 (click wants the character backspace)
    address, names = split_address(words, "NAME...")
    how.steer(address, "drain", names)


@click.command()
@click.argument("words", metavar="[ADDRESS] BLOCKS", nargs=-1)
@asking()
def scale(words: tuple[str, ...], *, how: Asking) -> None:
    """Start or end blocks, now, until there are BLOCKS of them.

    Blocks that end are drained: pending ones first, then idle ones, and busy ones once
    they have finished what they run. BLOCKS may exceed max_blocks. The strategy goes on
    with its rules from there: it starts blocks again when tasks wait, and ends those
    that are idle for max_idletime.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if it was begun and 1 if not.

    \b
    Examples:
        actors scale lab 4
        actors scale 0
    """  # noqa: D301 (click wants the character backspace)
    # The number comes last, and never is an address.
    if len(words) == 1 and words[0].isdecimal():
        address, numbers = None, list(words)
    else:
        address, more = split_address(words, "BLOCKS")
        numbers = list(more)
    if len(numbers) > 1:
        raise click.UsageError(f"Got unexpected extra argument ({numbers[1]})")
    blocks = int(numbers[0]) if numbers[0].isdecimal() else -1
    if not 0 <= blocks <= _MOST_BLOCKS:
        raise click.UsageError(
            f"BLOCKS {numbers[0]} must be a whole number from 0 to {_MOST_BLOCKS}"
        )
    how.steer(address, "scale", number=blocks)


@click.command()
@click.argument("words", metavar="[ADDRESS] TASK...", nargs=-1)
@asking()
def cancel(words: tuple[str, ...], *, how: Asking) -> None:
    """Cancel tasks, whoever submitted them.

    A waiting task ends at once; a running one ends with its worker process, which is
    replaced. Whoever waits for the result gets a CancelledError. `actors status` names
    the tasks that run; a future knows its own as `task_id`.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if all were cancelled and 1 if one
    of them was unknown or had ended.

    \b
    Example:
        actors cancel lab node1-3f29ab04c1d2-17
    """  # noqa: D301 (click wants the character backspace)
    address, names = split_address(words, "TASK...")
    how.steer(address, "cancel", names)


@click.command()
@click.argument("words", metavar="[ADDRESS] ACTOR...", nargs=-1)
@asking()
def restart(words: tuple[str, ...], *, how: Asking) -> None:
    """Restart what behaves oddly: a service, a manager, or a client's actor.

    The interchange, the strategy or the provider is killed and started again, as after
    a crash: nothing is lost, tasks that run go on, and clients and managers come back
    by themselves. The supervisor gives up an endpoint whose services end too often.

    A manager (block-1.0) begins anew in its block, with other workers: what they run
    begins again, there or elsewhere, or fails if its retries are used up.

    A client's actor, by its id or its name (or NAMESPACE/NAME), is killed and started
    again with the arguments that it was made with; calls that had begun fail unless
    they may be retried, the others wait and keep their order. That does not count
    against its max_restarts; one with max_restarts 0 is not restarted.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if it was begun and 1 if not: all
    that is named is restarted, or nothing.

    \b
    Examples:
        actors restart lab strategy
        actors restart lab block-1.0
        actors restart lab counter
    """  # noqa: D301 (click wants the character backspace)
    address, names = split_address(words, "ACTOR...")
    how.steer(address, "restart", names)
