"""Service: an observer behind an HTTP server.

    /metrics   for Prometheus, in its text format or OpenMetrics, as asked for
    /healthz   200 as long as this process answers
    /readyz    200 if the endpoint takes tasks and runs them, else 503 and why not

A scrape reads what is known already: how often anybody scrapes is nothing to the
interchange, which is asked every few seconds whatever happens.
"""

import importlib.metadata
import json
import logging
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import msgspec
import psutil
from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from actors.api.addressing import Entrance
from actors.api.observer import Changed, Heard, Observation, Told, Unanswered
from actors.api.service_processes import find_services
from actors.config import EndpointPaths, Listen
from actors.errors import AddressError, ConfigError
from actors.monitor.figures import Figures, Used

__all__ = ["Monitor", "server_security"]

logger = logging.getLogger(__name__)

# Seconds between two pictures. Chosen: far below what Prometheus waits by default;
# of a small endpoint the interchange pays a thousandth of a core for it.
_PERIOD = 2.0
# A picture of a large endpoint comes later, see `observer`. Chosen.
_PATIENCE = 60.0
# Of a list of tasks a third is of those that ended; all that are kept.
_TASKS_ASKED = 750
# Who has sent no whole request by then, in seconds, is not waited for. Chosen.
_REQUEST_TIMEOUT = 10.0

_JSON = ("Content-Type", "application/json")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_INDEX = b"/metrics\n/healthz\n/readyz\n"

Start = Callable[..., Any]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


class Monitor(Collector):
    """Watches an endpoint and tells programs of it; see the module's docstring.

    Args:
        entrance: of the endpoint, for kind "operator", with its events.
    """

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._lock = threading.Lock()  # around the figures
        self._figures = Figures(importlib.metadata.version("actors"))
        self._is_told = threading.Event()
        self._observation: Observation | None = None
        self._journals = _journals(entrance)
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)

    def start(self) -> None:
        """Begin to watch; once.

        Raises:
            ConfigError: the credentials are wrong.
        """
        self._observation = Observation(self._entrance, self, period=_PERIOD)
        self._observation.look("tasks", [""], _TASKS_ASKED)
        self._observation.look("status")
        self._observation.start()

    def close(self) -> None:
        """Leave in order; once, and nothing before `start`."""
        if self._observation is not None:
            self._observation.close()

    def take(self, news: Changed | Told | Unanswered | Heard) -> None:
        """Take what the observer tells, in its thread."""
        try:
            with self._lock:
                self._figures.take(news, time.monotonic())
        except msgspec.MsgspecError as error:
            # The picture that there is grows old, which is told in its place.
            logger.error("an answer of another version makes no sense: %s", error)
            return
        if isinstance(news, Told) and news.command.verb == "status":
            self._is_told.set()

    def await_picture(self, timeout: float) -> bool:
        """Wait for the first picture; false: there was none in so many seconds."""
        return self._is_told.wait(timeout)

    def obstacles(self) -> list[str]:
        """Say why the endpoint does not serve; nothing: it does."""
        with self._lock:
            return self._figures.obstacles(time.monotonic(), _PATIENCE)

    def text(self) -> bytes:
        """Write the metrics of this moment in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of this moment, for the registry."""
        used = dict(self._used())
        with self._lock:
            families = self._figures.families(
                time.monotonic(), _PATIENCE, time.time(), used, self._journal_bytes()
            )
            found = list(families)
        yield from found

    def _used(self) -> Iterator[tuple[str, Used]]:
        for name, process in find_services(self._entrance):
            try:
                times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:  # it goes just now
                continue
            yield name, Used(times.user + times.system, memory.rss)

    def _journal_bytes(self) -> int | None:
        if self._journals is None:
            return None
        sizes = 0
        for path in self._journals.rglob("*"):
            try:
                sizes += path.stat().st_size if path.is_file() else 0
            except OSError:  # compacted away just now
                continue
        return sizes

    # HTTP

    def serve(self, listen: Listen, security: ssl.SSLContext | None) -> "_Server":
        """Open the port; `serve_forever` of what comes back answers.

        Raises:
            AddressError: the port is taken, or the host is not ours.
        """
        host = listen.host.strip("[]")
        try:
            found = socket.getaddrinfo(host, listen.port, type=socket.SOCK_STREAM)
            server = _Server(found[0][0], (host, listen.port))
        except OSError as error:
            raise AddressError(
                f"Cannot listen on {listen.url}: {error.strerror}; choose another "
                "port, or end who has it"
            ) from error
        if security is not None:
            # The handshake is its thread's business: one peer delays nobody else.
            server.socket = security.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        server.set_app(self._application())
        return server

    def _application(self) -> Application:
        metrics: Application = make_wsgi_app(self.registry)

        def answer(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
            if environ["REQUEST_METHOD"] != "GET":
                start("405 Method Not Allowed", [_TEXT, ("Allow", "GET")])
                return [b"only GET\n"]
            match environ["PATH_INFO"]:
                case "/metrics":
                    return metrics(environ, start)
                case "/healthz":
                    start("200 OK", [_JSON])
                    return [_as_json({"ok": True})]
                case "/readyz":
                    reasons = self.obstacles()
                    status = "503 Service Unavailable" if reasons else "200 OK"
                    start(status, [_JSON])
                    return [_as_json({"ok": not reasons, "reasons": reasons})]
                case "/":
                    start("200 OK", [_TEXT])
                    return [_INDEX]
            start("404 Not Found", [_TEXT])
            return [b"there are:\n", _INDEX]

        return answer


def _as_json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _journals(entrance: Entrance) -> Path | None:
    if "://" in entrance.name:
        return None
    return EndpointPaths.of(entrance.name).journals


def server_security(
    paths: EndpointPaths, *, needs_client: bool = True
) -> ssl.SSLContext:
    """Show the endpoint's certificate.

    Args:
        paths: of the endpoint, or of a copy of its credentials.
        needs_client: let in only who shows one of the same authority.

    Raises:
        ConfigError: the certificates are missing or wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if needs_client:
        context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(paths.server_pem)
        context.load_verify_locations(paths.ca_pem)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"Cannot read the certificates in {paths.credentials}: {error}; "
            "`actors init DIR --listen wss://HOST:PORT` makes them"
        ) from error
    return context


class _Request(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  wsgiref's
        logger.debug(format, *args)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, family: int, address: tuple[str, int]) -> None:
        self.address_family = family
        super().__init__(address, _Request)

    def server_bind(self) -> None:
        # Not WSGIServer's: it asks for our name in the whole network.
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note a peer that speaks nonsense, or no TLS, and go on."""
        logger.info("a request from %s failed: %r", client_address, sys.exception())
