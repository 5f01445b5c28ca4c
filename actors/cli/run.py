"""`actors run`: be an endpoint."""

import importlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from actors.cli.bottom_line import BottomLine
from actors.cli.paths import GivenPath
from actors.config import CONFIG_NAME, load_config
from actors.endpoint.root import run_endpoint
from actors.endpoint.surroundings import RunStatus

if TYPE_CHECKING:
    from actors.cli.run_progress import RunProgress

__all__ = ["run"]

logger = logging.getLogger(__name__)

# By name: an endpoint starts sooner without it.
_PROGRESS = "actors.cli.run_progress"


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("file", metavar=CONFIG_NAME, type=GivenPath())
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("-q", "--quiet", is_flag=True, help="Say only what goes wrong.")
@click.option(
    "--progress",
    is_flag=True,
    help="Keep the terminal's last line for a bar: tasks that ended, and all.",
)
@click.pass_context
def run(
    ctx: click.Context,
    file: Path,
    command: tuple[str, ...],
    *,
    quiet: bool,
    progress: bool,
) -> None:
    """Run an endpoint until it is stopped, or until COMMAND has ended.

    Give endpoint.toml or its folder. Without COMMAND the endpoint runs until Ctrl-C,
    SIGTERM or `actors stop`; a second Ctrl-C does not wait for anybody. With COMMAND it
    lives as long as the command, which finds it through the environment variable
    ACTORS_ADDRESS, and whose exit code is the exit code of `actors run`.

    What the endpoint's actors have to say stands in DIR/logs; `actors logs` shows it.

    \b
    Examples:
        actors run lab/endpoint.toml
        actors run lab/endpoint.toml -- python analysis.py
        actors run --progress lab -- python analysis.py
    """  # noqa: D301 (click wants the character backspace)
    logging.basicConfig(
        level=logging.WARNING if quiet or command else logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(message)s",
    )

    bars: list[RunProgress] = []

    def ready(status: RunStatus) -> None:
        if not quiet and not command:
            where = f"runs at {status.address} (pid {status.root_pid})"
            if load_config(file).log.format == "json":
                # Whoever collects these lines wants no others among them.
                logger.info("endpoint %s %s", status.name, where)
            else:
                click.echo(f"Endpoint {status.name} {where}; Ctrl-C stops it", err=True)
        if progress and not quiet and sys.stderr.isatty():
            made = importlib.import_module(_PROGRESS).RunProgress
            bars.append(made(file, BottomLine(sys.stderr.fileno())))
            bars[0].start()

    try:
        exit_code = run_endpoint(file, command, ready)
    finally:
        for bar in bars:
            bar.close()
    ctx.exit(exit_code)
