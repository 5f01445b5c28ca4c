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
from tui.reader import Reader
from tui.view import View

__all__ = ["tui"]

# By it textual-serve tells textual to draw into a pipe.
_DRIVER_VARIABLE = "TEXTUAL_DRIVER"


@click.command()
@address_argument
@credentials_option
@click.option("--parent", type=int, default=0, hidden=True)
def tui(address: str | None, *, credentials: Path | None, parent: int) -> None:
    """Look at an endpoint, and steer it, in the terminal.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The endpoint need not run yet, and may be restarted
    meanwhile. Press ? for the keys.

    \b
    Example:
        actors tui lab
    """  # noqa: D301 (click wants the character backspace)
    if parent:  # of the web server, whose pages end with it
        die_with_parent(parent)
    entrance = find_entrance(address, "operator", credentials=credentials, listens=True)
    is_in_browser = bool(os.environ.get(_DRIVER_VARIABLE))
    if not is_in_browser and not (sys.stdout.isatty() and sys.stdin.isatty()):
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
