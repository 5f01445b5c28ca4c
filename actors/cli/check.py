"""`actors check` and `actors schema`: is a configuration right, what may it hold?"""

import json
from pathlib import Path

import click
import msgspec

from actors.cli.paths import GivenPath
from actors.cli.type_checkup import find_lacks
from actors.config import (
    CONFIG_NAME,
    EndpointConfig,
    EndpointPaths,
    Examination,
    dialled_url,
    examine_config,
    is_experimental,
    json_schema,
)

__all__ = ["check", "schema"]


@click.command()
@click.argument("file", metavar=CONFIG_NAME, type=GivenPath())
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.pass_context
def check(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Tell everything that is wrong with a configuration.

    Give the file or its folder. Nothing is started or changed. The exit code is 0 if
    the configuration is right and 1 if it is not.

    With --json standard output gets one object: "ok", "file", "config" (all keys, with
    defaults; null if wrong), "problems", each with "key", "value" and "text", and
    "notes", texts on what is right but should be known.

    \b
    Examples:
        actors check lab/endpoint.toml
        actors check lab --json
    """  # noqa: D301 (click wants the character backspace)
    examination = examine_config(file)
    if as_json:
        click.echo(_as_json(examination))
    elif examination.config is not None:
        click.echo(_summarize(examination.file, examination.config))
    else:
        for problem in examination.problems:
            click.echo(str(problem), err=True)
        count = len(examination.problems)
        click.echo(f"{count} problem{'s' if count > 1 else ''}", err=True)
    ctx.exit(0 if examination.config is not None else 1)


@click.command()
def schema() -> None:
    """Print the JSON Schema of endpoint.toml.

    For editors and other programs. It holds every key with its type, bounds, default
    and description. What keys can get wrong only together, `actors check` tells.

    \b
    Example:
        actors schema > endpoint.schema.json
    """  # noqa: D301 (click wants the character backspace)
    click.echo(json.dumps(json_schema(), indent=2))


def _as_json(examination: Examination) -> str:
    answer = {
        "ok": examination.config is not None,
        "file": str(examination.file),
        "config": msgspec.to_builtins(examination.config),
        "problems": [
            {"key": problem.key, "value": problem.value, "text": problem.text}
            for problem in examination.problems
        ],
        "notes": _notes(examination.config),
    }
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()


def _summarize(file: Path, config: EndpointConfig) -> str:
    """Say in a few lines what an endpoint of this configuration would do."""
    blocks, heartbeat, strategy = config.blocks, config.heartbeat, config.strategy
    url = dialled_url(config.transport)
    sockets = EndpointPaths(file.parent, config.transport.socket_dir).sockets
    workers = config.workers.workers_per_node or "one per core"
    rows = {
        "members": f"come in by {url or f'sockets in {sockets}'}",
        "heartbeat": f"every {heartbeat.period:g} s, lost after "
        f"{heartbeat.threshold:g} s of silence",
        "blocks": f"{blocks.init_blocks} at the start, {blocks.min_blocks} to "
        f"{blocks.max_blocks}, from provider {blocks.provider}",
        "workers": f"{workers} on each node, nodes of a block: "
        f"{blocks.nodes_per_block}",
        "strategy": f"{strategy.kind}, every {strategy.period:g} s",
        "metrics": config.metrics.listen or "not served",
    }
    lines = [f"{file} is right: endpoint {config.name}"]
    lines += [f"  {subject:<10} {text}" for subject, text in rows.items()]
    lines += [f"  {'note':<10} {note}" for note in _notes(config)]
    return "\n".join(lines)


def _notes(config: EndpointConfig | None) -> list[str]:
    """Say what is right but should be known."""
    if config is None:
        return []
    notes = []
    name = config.blocks.provider
    if is_experimental(name):
        notes = [f"provider {name} is experimental: not tested against a real system"]
    notes += [
        f"worker type {type_name}, on this host: {lack}"
        for type_name, lack in find_lacks(config)
    ]
    return notes
