"""`actors journal`: look into an endpoint's journals, mend them, make them short."""

import random
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from actors.cli.paths import GivenPath
from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.provider import Provider, ProviderRecord, ProviderSettings
from actors.errors import ConfigError
from actors.journal import Inspection, Journal, SegmentReport
from actors.journal import inspect as inspect_journal
from actors.journal import repair as repair_journal
from actors.journal import verify as verify_journal
from actors.logic.records import InterchangeRecord, decode_record, encode_record

__all__ = ["journal"]

# Where an endpoint's folder has its journals.
_JOURNALS = "journals"
_provider_decoder = msgspec.msgpack.Decoder(ProviderRecord)

# {folder's name: what turns bytes into its records}
_DECODERS: dict[str, Callable[[bytes], object]] = {
    "interchange": decode_record,
    "provider": _provider_decoder.decode,
}

_folder = click.argument(
    "folder",
    metavar="DIR",
    type=GivenPath(exists=True, file_okay=False),
)


@click.group()
def journal() -> None:
    """Look into journals, mend them, make them short.

    DIR is a journal's folder, such as lab/journals/interchange, or an endpoint's: then
    all of its journals are meant.
    """


@journal.command()
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def inspect(folder: Path, *, as_json: bool) -> None:
    """Tell what journals consist of; nothing is changed.

    Reads little, and may be used while the endpoint runs.
    """
    found = [inspect_journal(path) for path in _journals(folder)]
    _print(found, as_json=as_json)


@journal.command()
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.pass_context
def verify(ctx: click.Context, folder: Path, *, as_json: bool) -> None:
    """Read every byte of journals and tell what is wrong; nothing is changed.

    The exit code is 0 if they are sound, or torn at the end, which the next start
    heals; 1 if they are damaged. While the endpoint runs, the record that is just
    being written looks like a torn end.
    """
    found = [
        verify_journal(path, _DECODERS.get(path.name)) for path in _journals(folder)
    ]
    _print(found, as_json=as_json)
    ctx.exit(0 if all(inspection.is_sound for inspection in found) else 1)


@journal.command()
@_folder
@click.option(
    "--keep-later",
    is_flag=True,
    help="Keep whole records behind the damage, too; tasks may come back to life.",
)
def repair(folder: Path, *, keep_later: bool) -> None:
    """Make damaged journals usable again; the endpoint must not run.

    A journal then ends before the first damage. What is left out is kept in files
    beside it, whose names are told.
    """
    for path in _journals(folder):
        done = repair_journal(path, _DECODERS.get(path.name), keep_later=keep_later)
        if done.before.is_sound and not done.copies:
            click.echo(f"{path}: is sound, {done.records} records")
            continue
        click.echo(
            f"{path}: {done.records} records kept, {done.lost_bytes} bytes left out"
        )
        for copy in done.copies:
            click.echo(f"  kept aside: {copy}")


@journal.command()
@_folder
def compact(folder: Path) -> None:
    """Make journals as short as they can be; the endpoint must not run.

    A running endpoint does so by itself.
    """
    for path in _journals(folder):
        if path.name not in _COMPACTIONS:
            names = " or ".join(sorted(_COMPACTIONS))
            raise ConfigError(
                f"{path} is no journal of an endpoint: it must be called {names}"
            )
        before = _size(path)
        _COMPACTIONS[path.name](path)
        click.echo(f"{path}: {before} bytes before, {_size(path)} now")


def _compact_interchange(path: Path) -> None:
    settings = InterchangeSettings("", "", "", "")
    machine = Interchange(settings, 0.0)
    with Journal[InterchangeRecord](
        path, encode=encode_record, decode=decode_record
    ) as opened:
        machine.restore(opened.replay(), 0.0)
        compaction = opened.start_compaction()
        for portion in machine.snapshot():
            compaction.add(portion)
        compaction.finish()


def _compact_provider(path: Path) -> None:
    settings = ProviderSettings(1.0, 1.0, "", "", "")
    machine = Provider(settings, random.Random(0), 0.0)
    with Journal[ProviderRecord](
        path,
        encode=msgspec.msgpack.Encoder().encode,
        decode=_provider_decoder.decode,
    ) as opened:
        for record in opened.replay():
            machine.replay(record)
        opened.compact(machine.snapshot())


# {folder's name: what makes it short}
_COMPACTIONS: dict[str, Callable[[Path], None]] = {
    "interchange": _compact_interchange,
    "provider": _compact_provider,
}


def _journals(folder: Path) -> list[Path]:
    """Find what is meant: one journal, or all of an endpoint."""
    journals = folder / _JOURNALS
    if not journals.is_dir():
        return [folder]
    return sorted(path for path in journals.iterdir() if path.is_dir())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.journal"))


def _print(found: list[Inspection], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    for inspection in found:
        click.echo(inspection.folder)
        if inspection.holder_pid:
            click.echo(
                f"  written by process {inspection.holder_pid} on "
                f"{inspection.holder_host}"
            )
        for segment in inspection.segments:
            click.echo(f"  {_describe(segment)}")
        if inspection.missing:
            click.echo(f"  {inspection.missing}  is missing")
        for name in inspection.leftovers:
            click.echo(f"  {name}  is left over, the next start removes it")
        for name in inspection.kept_aside:
            click.echo(f"  {name}  was cut away, for you to look at")


def _describe(segment: SegmentReport) -> str:
    text = f"{segment.name}  {segment.size_bytes} bytes"
    if segment.records is not None:
        text += f", {segment.records} records"
    if segment.is_torn:
        text += f"; torn at byte {segment.problem_offset}, the next start heals it"
    elif segment.problem:
        text += f"; DAMAGED at byte {segment.problem_offset}: {segment.problem}"
    return text
