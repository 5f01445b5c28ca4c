"""`actors tui`: the dashboard."""

import os
import sys
import time
from pathlib import Path

import click

from actors.api.addressing import find_entrance
from actors.cli.asking import address_argument, credentials_option
from actors.process import die_with_parent
from tui.app import Dashboard
from tui.program import ProgramDashboard
from tui.program_view import ProgramReader, ProgramView
from tui.reader import Reader
from tui.view import View

__all__ = ["tui"]

# By it textual-serve tells textual to draw into a pipe.
_DRIVER_VARIABLE = "TEXTUAL_DRIVER"


@click.command()
@address_argument
@credentials_option
@click.option(
    "--pid",
    type=click.IntRange(min=1),
    help="Look into a running program of yours instead, which has workers of its own.",
)
@click.option("--parent", type=int, default=0, hidden=True)
def tui(
    address: str | None, *, credentials: Path | None, pid: int | None, parent: int
) -> None:
    """Look at an endpoint, and steer it, in the terminal.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The endpoint need not run yet, and may be restarted
    meanwhile. Press ? for the keys.

    With --pid it shows the tasks, actors, workers and objects of a Python program that
    uses `actors` without an endpoint.

    \b
    Examples:
        actors tui lab
        actors tui --pid 4711
    """  # noqa: D301 (click wants the character backspace)
    if parent:  # of the web server, whose pages end with it
        die_with_parent(parent)
    if pid is not None:
        _show_program(pid)
        return
    entrance = find_entrance(address, "operator", credentials=credentials, listens=True)
    if not _has_screen():
        raise click.ClickException(
            f"the dashboard needs a terminal: `actors status {entrance.name}` prints "
            "what an endpoint does"
        )
    app = Dashboard(View(entrance.name, time.time()))
    reader = Reader(entrance, app.post)
    app.source = reader
    reader.start()
    try:
        app.run()
    finally:
        reader.close()


def _show_program(pid: int) -> None:
    """Look into a program until the user has seen enough."""
    if not _has_screen():
        raise click.ClickException(
            "the dashboard needs a terminal: in the program, `actors.state` lists what "
            "it does"
        )
    app = ProgramDashboard(ProgramView(pid))
    reader = ProgramReader(pid, app.post)
    first = reader.look()
    if first.state is None:
        raise click.ClickException(first.trouble)
    reader.start()
    try:
        app.run()
    finally:
        reader.close()


def _has_screen() -> bool:
    is_in_browser = bool(os.environ.get(_DRIVER_VARIABLE))
    return is_in_browser or (sys.stdout.isatty() and sys.stdin.isatty())
