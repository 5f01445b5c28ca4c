"""`actors init`: the folder of a new endpoint."""

import re
import shlex
from pathlib import Path

import click
import msgspec

from actors.certificates import make_certificates
from actors.cli.paths import GivenPath
from actors.config import (
    EndpointConfig,
    EndpointPaths,
    TransportConfig,
    certificate_hosts,
    examine_table,
    parse_listen,
    render_config,
)
from actors.errors import ConfigError

__all__ = ["init"]

# What an endpoint's name may not hold.
_OUTSIDE_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_NAME_CHARACTERS = 64
# {key that an option sets: the option}
_OPTIONS = {
    "name": "--name",
    "[transport] listen": "--listen",
    "[transport] advertise": "--advertise",
}


@click.command()
@click.argument("folder", metavar="DIR", type=GivenPath())
@click.option(
    "--listen",
    metavar="WHERE",
    default="ipc",
    show_default=True,
    help='Where members come in: "ipc" for this host only, "wss://HOST:PORT" with '
    'mutual TLS for others, or "ws://127.0.0.1:PORT" without encryption.',
)
@click.option(
    "--advertise",
    metavar="HOST[:PORT]",
    default="",
    help="What members dial, if it is not where the endpoint listens, as with 0.0.0.0.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="What people call the endpoint.  [default: the name of DIR]",
)
def init(folder: Path, listen: str, advertise: str, name: str | None) -> None:
    """Write the files of a new endpoint.

    Into the folder DIR go endpoint.toml with every key explained, a secret token
    without which nobody comes in and, for wss, certificates of the endpoint's own. The
    folder is made if it is missing; an endpoint.toml that is there stays as it is.

    \b
    Examples:
        actors init lab
        actors init lab --listen wss://node1.example.org:5555
        actors init lab --listen wss://0.0.0.0:5555 --advertise node1.example.org
    """  # noqa: D301 (click wants the character backspace)
    if folder.suffix == ".toml":
        raise click.UsageError(
            f"DIR must be a folder, and {folder} looks like a file; try "
            f"`actors init {folder.parent}`"
        )
    paths = EndpointPaths(folder)
    if paths.config.exists():
        raise ConfigError(
            f"{paths.config} exists already: edit it, or give another folder"
        )
    if paths.ca_pem.exists():
        raise ConfigError(
            f"{paths.credentials} holds certificates already: move it away for new "
            "ones; members that use the old ones would be refused"
        )
    config = _make_config(
        _name_after(paths.folder) if name is None else name, listen, advertise
    )
    try:
        written = _write_endpoint(paths, config)
    except OSError as error:
        raise ConfigError(f"Cannot write {error.filename}: {error.strerror}") from error
    width = max(len(str(path)) for path, _ in written)
    for path, purpose in written:
        click.echo(f"wrote {path!s:<{width}}  {purpose}")
    shown = shlex.quote(click.format_filename(folder / paths.config.name))
    click.echo(
        "\nNext: change what you want changed, then"
        f"\n    actors check {shown}\n    actors run {shown}"
    )


def _name_after(folder: Path) -> str:
    name = _OUTSIDE_NAMES.sub("-", folder.name).strip("-")[:_NAME_CHARACTERS]
    return name or EndpointConfig().name


def _make_config(name: str, listen: str, advertise: str) -> EndpointConfig:
    """Put the options into a configuration.

    Raises:
        click.UsageError: one of them is wrong.
    """
    transport = TransportConfig(listen=listen, advertise=advertise)
    asked = EndpointConfig(name=name, transport=transport)
    config, problems = examine_table(msgspec.to_builtins(asked))
    if config is None:
        raise click.UsageError(
            "\n".join(f"{_OPTIONS[p.key]} {p.value} {p.text}" for p in problems)
        )
    return config


def _write_endpoint(
    paths: EndpointPaths, config: EndpointConfig
) -> list[tuple[Path, str]]:
    """Write all files, endpoint.toml last: until it is there, `init` can be repeated.

    Returns:
        What was written, and what it is for.

    Raises:
        OSError: a file or folder cannot be made.
        ConfigError: a token that is there cannot be used.
    """
    paths.folder.mkdir(parents=True, exist_ok=True)
    written = []
    if not paths.token.exists():
        written.append((paths.token, "who knows it may come in: keep it secret"))
    paths.make_token()
    if parse_listen(config.transport.listen).scheme == "wss":
        make_certificates(paths.credentials, certificate_hosts(config.transport))
        written += [
            (paths.ca_pem, "by which both sides check each other"),
            (paths.server_pem, "certificate and key of the endpoint: keep it secret"),
            (paths.client_pem, "certificate and key of who dials: keep it secret"),
        ]
    with paths.config.open("x", encoding="utf-8") as file:
        file.write(render_config(config))
    written.append((paths.config, "every key, explained"))
    return written
