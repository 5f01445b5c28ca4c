"""`actors top`: an endpoint at a glance."""

import queue
import shutil
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from actors.api.addressing import find_entrance
from actors.api.observer import ConnectionState
from actors.cli.asking import address_argument, credentials_option, timeout_option
from actors.cli.pipes import INTERRUPTED, quiet_end
from tui.reader import Reader
from tui.top import glance
from tui.view import View

__all__ = ["top"]

# What rates are made of.
_PICTURES_FOR_A_RATE = 2
# Where nobody looks at a screen; chosen: fits into mails and logs.
_COLUMNS, _LINES = 120, 1000


@click.command()
@address_argument
@credentials_option
@click.option("--once", is_flag=True, help="Print one picture, and end.")
@timeout_option("How long to wait for an answer, for one picture.")
def top(
    address: str | None, *, credentials: Path | None, once: bool, timeout: float
) -> None:
    """Watch an endpoint at a glance: counts, what needs you, and busy workers.

    Workers are listed by the processor time they take now, each with its memory and
    what it runs. Ctrl-C ends it. Without a terminal, or with --once, one picture is
    printed; the exit code is 1 if nobody answered. `actors tui` shows more, and steers.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says.

    \b
    Examples:
        actors top lab
        actors top --once lab
    """  # noqa: D301 (click wants the character backspace)
    entrance = find_entrance(address, "operator", credentials=credentials, listens=True)
    views: queue.SimpleQueue[View] = queue.SimpleQueue()
    reader = Reader(entrance, views.put)
    reader.start()
    try:
        if once or not sys.stdout.isatty():
            _print_once(views, timeout)
        else:
            _watch(views)
    finally:
        reader.close()


def _print_once(views: "queue.SimpleQueue[View]", timeout: float) -> None:
    """Print the first picture that has a rate, or say why there is none."""
    until, view = time.monotonic() + timeout, View("", 0.0)
    while len(view.history.ended) < _PICTURES_FOR_A_RATE:
        try:
            view = views.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if view.connection.state is ConnectionState.REFUSED:
            break
    lines = glance(view, _COLUMNS, _LINES)
    if not view.is_connected:
        raise click.ClickException(lines[0])
    with quiet_end():
        click.echo("\n".join(lines))


def _watch(views: "queue.SimpleQueue[View]") -> None:
    """Show each picture in place of the last one, until Ctrl-C."""
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                lines = glance(views.get(), *shutil.get_terminal_size())
                live.update(Text("\n".join(lines)), refresh=True)
        except KeyboardInterrupt:
            pass
    click.get_current_context().exit(INTERRUPTED)
