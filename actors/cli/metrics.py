"""`actors metrics`: an endpoint in numbers, for Prometheus and its kind."""

import signal
from pathlib import Path

import click

from actors.api.addressing import find_entrance
from actors.cli.asking import address_argument, credentials_option, timeout_option
from actors.cli.pipes import INTERRUPTED
from actors.config import EndpointPaths, parse_web_listen
from actors.errors import AddressError, ConfigError
from actors.monitor.service import Monitor, server_security

__all__ = ["metrics"]


@click.command()
@address_argument
@click.option(
    "--listen",
    metavar="URL",
    help="Serve them there until Ctrl-C: http://127.0.0.1:PORT, or https://HOST:PORT.",
)
@credentials_option
@timeout_option("How long to wait for an answer, without --listen.")
def metrics(
    address: str | None,
    *,
    listen: str | None,
    credentials: Path | None,
    timeout: float,
) -> None:
    """Print an endpoint's metrics, or serve them.

    In Prometheus' text format: tasks, blocks, managers, workers, clients, services,
    events. An endpoint serves them itself if its endpoint.toml has [metrics] listen;
    this command is for a look, for a file that another program collects, and for
    endpoints elsewhere.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if the endpoint answered.

    With --listen it serves /metrics; /healthz, which says that this process answers;
    and /readyz, which says 503, and why, unless the interchange and all services are
    there. The endpoint may come and go meanwhile. Over https it shows the endpoint's
    server.pem and lets in who shows client.pem. Ctrl-C ends it with exit code 130.

    \b
    Examples:
        actors metrics lab
        actors metrics lab > /var/lib/node_exporter/actors.prom
        actors metrics lab --listen http://127.0.0.1:9464
    """  # noqa: D301 (click wants the character backspace)
    entrance = find_entrance(address, "operator", credentials=credentials, listens=True)
    monitor = Monitor(entrance)
    if listen is not None:
        _serve(monitor, listen, EndpointPaths.of(credentials or entrance.name))
    if entrance.obstacle:
        raise AddressError(f"Nobody answers at {entrance.name}; {entrance.obstacle}")
    monitor.start()
    try:
        if not monitor.await_picture(timeout):
            why = "; ".join(monitor.obstacles())
            raise AddressError(
                f"No answer from {entrance.name} within {round(timeout, 1):g} s: {why}"
            )
        click.echo(monitor.text(), nl=False)
    finally:
        monitor.close()


def _serve(monitor: Monitor, url: str, paths: EndpointPaths) -> None:
    """Serve until Ctrl-C or SIGTERM, and exit."""
    try:
        where = parse_web_listen(url)
    except ValueError as error:
        raise ConfigError(f"--listen {url} {error}") from error
    security = server_security(paths) if where.scheme == "https" else None
    with monitor.serve(where, security) as server:
        monitor.start()
        click.echo(f"Metrics are at {where.url}/metrics; Ctrl-C stops it", err=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            monitor.close()
    click.get_current_context().exit(INTERRUPTED)
