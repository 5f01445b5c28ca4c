"""`actors web`: the dashboard in a browser."""

import importlib
import logging
import ssl
from pathlib import Path

import click

from actors.api.addressing import find_entrance
from actors.cli.asking import address_argument, credentials_option
from actors.cli.pipes import INTERRUPTED
from actors.config import EndpointPaths, Listen, parse_web_listen
from actors.errors import ConfigError
from actors.monitor.service import server_security
from actors.process import die_with_parent

__all__ = ["web"]

_DEFAULT = "http://127.0.0.1:8042"


@click.command()
@address_argument
@click.option(
    "--listen",
    metavar="URL",
    default=_DEFAULT,
    show_default=True,
    help="Where: http://127.0.0.1:PORT, or https://HOST:PORT.",
)
@click.option(
    "--public-url",
    metavar="URL",
    default="",
    help="As browsers know it behind a proxy of yours.",
)
@click.option(
    "--no-token",
    is_flag=True,
    help="Let in whoever reaches the port; on http only, for a proxy that asks itself.",
)
@credentials_option
@click.option(
    "--pid",
    type=click.IntRange(min=1),
    help="Show a running program of yours instead, which has workers of its own.",
)
@click.option("--parent", type=int, default=0, hidden=True)
def web(
    address: str | None,
    *,
    listen: str,
    public_url: str,
    no_token: bool,
    credentials: Path | None,
    pid: int | None,
    parent: int,
) -> None:
    """Serve the dashboard, `actors tui`, to browsers.

    Prints the address to open, with a token in it, which is another one each time: who
    has it can do whatever `actors tui` can. Each page has a dashboard of its own, which
    ends when the page is closed. It listens on this host only; from elsewhere use
    `ssh -L 8042:127.0.0.1:8042 HOST`, or --listen https://HOST:PORT, which shows the
    endpoint's server.pem.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The endpoint need not run yet. Needs the extra `web`:
    pip install 'actors[web]'. Ctrl-C ends it with exit code 130.

    \b
    Example:
        actors web lab
    """  # noqa: D301 (click wants the character backspace)
    if parent:  # the program that it shows
        die_with_parent(parent)
    where = _where(listen)
    words, folder = ["--pid", str(pid)], ""
    if pid is None:
        entrance = find_entrance(
            address, "operator", credentials=credentials, listens=True
        )
        words, folder = [entrance.name], str(credentials or entrance.name)
        if credentials is not None:
            words += ["--credentials", str(credentials)]
    if no_token and where.scheme == "https":
        raise ConfigError(
            f"--no-token would let everybody in who reaches {listen}: leave it out, or "
            "listen on http://127.0.0.1:PORT behind a proxy that asks itself"
        )
    security: ssl.SSLContext | None = None
    if where.scheme == "https":
        if not folder:
            raise ConfigError(
                f"--listen {listen} would show an endpoint's certificate, and --pid "
                "has none: listen on http://127.0.0.1:PORT"
            )
        paths = EndpointPaths.of(folder)
        security = server_security(paths, needs_client=False)
    try:
        # By name: without the extra, all other commands are there.
        module = importlib.import_module("tui.web")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"actors web needs {error.name}: pip install 'actors[web]'"
        ) from error
    server = module.WebServer(
        words,
        where,
        security=security,
        has_token=not no_token,
        public_url=public_url.rstrip("/"),
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    greeting = "Dashboard: {}" if parent else "Open {}\nCtrl-C stops it"
    server.run(lambda: click.echo(greeting.format(server.url)))
    click.get_current_context().exit(INTERRUPTED)


def _where(listen: str) -> Listen:
    try:
        return parse_web_listen(listen)
    except ValueError as error:
        raise ConfigError(f"--listen {listen} {error}") from error
