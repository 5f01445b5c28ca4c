"""`actors logs`: what all processes of an endpoint had to say, in one stream."""

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from actors.api.addressing import ADDRESS_VARIABLE
from actors.cli.log_files import Line, LogReader
from actors.cli.pipes import is_reader_gone, quiet_end
from actors.config import EndpointPaths
from actors.errors import AddressError, ConfigError
from actors.log_lines import utc_text

__all__ = ["logs"]

# How often files are looked at; chosen: at once for a person, nothing for the machine.
_POLL_PERIOD = 0.25
_DEFAULT_LINES = 100


def _line_count(_ctx: click.Context, _param: click.Parameter, value: str) -> int | None:
    """Read a number of lines, or "all", which is None."""
    if value == "all":
        return None
    if not value.isdecimal():
        raise click.BadParameter(f'{value!r} is not a number of lines, or "all"')
    return int(value)


@click.command()
@click.argument("address", metavar="[ADDRESS]", required=False, envvar=ADDRESS_VARIABLE)
@click.option(
    "--actor",
    "names",
    metavar="NAME",
    multiple=True,
    help="Only of interchange, strategy, provider, a block, a manager or a worker; "
    "a block comes with its managers and workers. May be repeated.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is being written.")
@click.option(
    "-n",
    "--lines",
    "count",
    metavar="N|all",
    callback=_line_count,
    default=str(_DEFAULT_LINES),
    show_default=True,
    help="Begin with the last N lines.",
)
@click.option("--json", "is_json", is_flag=True, help="Print an object per line.")
def logs(
    address: str | None,
    *,
    names: tuple[str, ...],
    follow: bool,
    count: int | None,
    is_json: bool,
) -> None:
    """Show what an endpoint's processes wrote.

    Actors, managers and workers; what tasks print is their worker's. Lines come in the
    order of their times; one without a time comes after the line before it in its file,
    and at the time of its file's last change if no line has one.

    ADDRESS is the endpoint's folder; left out, it is what ACTORS_ADDRESS says. The
    endpoint need not run. With --follow, Ctrl-C ends it with exit code 130.

    With --json each line is an object with "source", who wrote it, "time" in UTC, and
    "message"; of an endpoint with [log] format = "json" also "level", "logger",
    "actor", "pid" and, if there is one, "exception".

    \b
    Examples:
        actors logs lab
        actors logs lab -f --actor block-1
        actors logs lab --actor provider -n all | less
    """  # noqa: D301 (click wants the character backspace)
    paths = _find_paths(address)
    reader = LogReader(paths.logs, paths.blocks, names)
    if not reader.sources and not follow:
        raise _nothing(paths, names)
    show = _print_objects if is_json else _print
    with quiet_end():
        show(reader.last_lines(count, whole=follow))
        while follow and not is_reader_gone(_POLL_PERIOD):
            show(reader.new_lines())


def _find_paths(address: str | None) -> EndpointPaths:
    if not address:
        raise AddressError(
            f"No endpoint's folder: give it, such as 'lab', or set {ADDRESS_VARIABLE}"
        )
    if "://" in address:
        raise ConfigError(
            f"{address} gives no logs, they are files: give the endpoint's folder, on "
            "its own host or one that shares it"
        )
    if not Path(address).exists():
        raise AddressError(f"{address} does not exist: give the folder of an endpoint")
    return EndpointPaths.of(address)


def _nothing(paths: EndpointPaths, names: tuple[str, ...]) -> click.ClickException:
    there = LogReader(paths.logs, paths.blocks, ()).sources
    if not there:
        return click.ClickException(
            f"{paths.folder} has no logs: it was never started; `actors run "
            f"{paths.folder}` does"
        )
    return click.ClickException(
        f"no log of {', '.join(names)} in {paths.folder}; there are: {', '.join(there)}"
    )


def _print(lines: Iterable[Line]) -> None:
    for line in lines:
        click.echo(f"{line.source} | {line.text}")


def _print_objects(lines: Iterable[Line]) -> None:
    for line in lines:
        if line.is_more:
            continue
        written = {"time": utc_text(line.at), "message": line.text}
        if line.record is not None:
            written = msgspec.to_builtins(line.record)
        click.echo(msgspec.json.encode({"source": line.source, **written}))
