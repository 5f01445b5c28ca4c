"""Strangers at the port cost little, harm nobody, and are gone after a while.

What members see of a relay is tested with the sockets that it serves, in
`test_transport.py` and `test_transport_over_wss.py`.
"""

import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from actors.certificates import make_certificates
from actors.greeting import HEAD_BYTES, request
from actors.relay import MAX_NEWCOMERS
from actors.transport import Link, Relay, Security, Signal
from tests.support import eventually, free_port
from tests.test_transport import send_until_full

pytestmark = pytest.mark.slow

MAX_BYTES = 100_000
GREETING_OF_NNG = b"\0SP\0\0\x10\0\0"


class Port:
    """A port where one link listens, and a friend who can talk to it."""

    def __init__(
        self, scheme: str, folder: Path, *, greeting_timeout: float = 30.0
    ) -> None:
        self.number = free_port()
        self.url = f"{scheme}://127.0.0.1:{self.number}/lab/link/x"
        self._folder = folder
        security = self._security("server.pem") if scheme == "wss" else None
        self.server = Relay(security, greeting_timeout=greeting_timeout)
        self.client = Relay(self._security("client.pem") if scheme == "wss" else None)
        self.signal = Signal()
        self.link = Link.listen(self.url, self.server, MAX_BYTES, self.signal)

    def _security(self, name: str) -> Security:
        return Security(str(self._folder / "ca.pem"), str(self._folder / name))

    def connect(self) -> socket.socket:
        """Connect as a stranger."""
        stranger = socket.create_connection(("127.0.0.1", self.number), 10)
        stranger.settimeout(10)
        return stranger

    def connect_as_member(self) -> socket.socket:
        """Connect, and shake hands if need be."""
        if self.url.startswith("ws:"):
            return self.connect()
        context = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
        context.load_cert_chain(self._folder / "client.pem")
        return context.wrap_socket(self.connect(), server_hostname="127.0.0.1")

    def expect_friend(self) -> None:
        """Show that who comes in earnest is served."""
        friend = Link.dial(self.url, self.client, MAX_BYTES, self.signal)
        with closing(friend):
            friend.send(b"well")
            eventually(lambda: self.link.receive() == b"well", what="the friend's word")

    def close(self) -> None:
        self.link.close()
        self.server.close()
        self.client.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="a-", dir="/tmp"))
    make_certificates(path, ["127.0.0.1"])
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["ws", "wss"])
def port(request: pytest.FixtureRequest, folder: Path) -> Iterator[Port]:
    opened = Port(request.param, folder)
    yield opened
    opened.close()


def hear_all(stranger: socket.socket) -> bytes:
    """Read until the other side hangs up."""
    heard = b""
    while True:
        try:
            more = stranger.recv(1000)
        except ConnectionError:
            return heard
        if not more:
            return heard
        heard += more


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 Upgrade Required"),
        (b"hello\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (request("/lab/link/y", "x"), b"HTTP/1.1 404 Not Found"),
        (b"x" * HEAD_BYTES, b""),
    ],
)
def test_who_asks_for_something_else_is_answered_and_let_go(
    port: Port, words: bytes, answer: bytes
) -> None:
    with closing(port.connect_as_member()) as stranger:
        stranger.sendall(words)
        heard = hear_all(stranger)
        assert heard.startswith(answer)
        assert bool(heard) == bool(answer)
    assert not port.link.was_connected
    port.expect_friend()


def test_strangers_who_say_nothing_do_not_keep_anybody_out(port: Port) -> None:
    with ExitStack() as stack:
        strangers = [
            stack.enter_context(closing(port.connect()))
            for _ in range(MAX_NEWCOMERS + 20)
        ]
        # The oldest had to go.
        assert hear_all(strangers[0]) == b""
        port.expect_friend()


@pytest.mark.parametrize("words", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET /lab"])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_who_does_not_go_on_with_the_greeting_is_let_go(
    folder: Path, scheme: str, words: bytes
) -> None:
    with (
        closing(Port(scheme, folder, greeting_timeout=0.2)) as port,
        closing(port.connect()) as stranger,
    ):
        stranger.sendall(words)
        assert hear_all(stranger) == b""
        port.expect_friend()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_who_greets_and_then_says_nothing_is_let_go(folder: Path, scheme: str) -> None:
    with (
        closing(Port(scheme, folder, greeting_timeout=0.2)) as port,
        closing(port.connect_as_member()) as stranger,
    ):
        stranger.sendall(request("/lab/link/x", "x"))
        assert hear_all(stranger).endswith(GREETING_OF_NNG)
        port.expect_friend()


def test_who_reads_nothing_costs_a_bounded_number_of_bytes(port: Port) -> None:
    with closing(port.connect_as_member()) as reader:
        reader.sendall(request("/lab/link/x", "x") + GREETING_OF_NNG)
        eventually(lambda: port.link.is_connected, what="the link")
        sent = send_until_full(port.link, bytes(MAX_BYTES))
        # The kernel's buffers of three sockets, nng's and the relay's own.
        assert sent * MAX_BYTES < 16_000_000


FULL_LISTENER = """
import os, resource, sys
from actors.transport import Link, Relay, Security, Signal
url, *files = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
relay, signal = Relay(Security(*files)), Signal()
link = Link.listen(url, relay, 1000, signal)
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    print("full", flush=True)
sys.stdin.readline()
for descriptor in taken:
    os.close(descriptor)
sys.stdin.readline()
link.close()
relay.close()
"""


def test_a_listener_without_descriptors_lets_in_again_when_it_has_some(
    folder: Path,
) -> None:
    url = f"wss://127.0.0.1:{free_port()}/x"
    files = [str(folder / name) for name in ("ca.pem", "server.pem")]
    command = [sys.executable, "-c", FULL_LISTENER, url, *files]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as full:
        assert full.stdin is not None
        assert full.stdout is not None
        assert full.stdout.readline() == "full\n"
        relay, signal = Relay(Security(files[0], str(folder / "client.pem"))), Signal()
        link = Link.dial(url, relay, 1000, signal)
        eventually(lambda: spent(full.pid) > 0, what="its first seconds")
        before = spent(full.pid)
        with pytest.raises(AssertionError, match="a connection"):
            eventually(lambda: link.is_connected, 1.0, "a connection")
        # It is not busy with trying.
        assert spent(full.pid) - before < 0.5
        full.stdin.write("\n")
        full.stdin.flush()
        eventually(lambda: link.is_connected, what="the link")
        link.close()
        relay.close()
        _, errors = full.communicate("\n", timeout=20)
    assert full.returncode == 0
    assert "nobody can come in for a moment" in errors


def spent(pid: int) -> float:
    """Seconds of processor time."""
    usage = psutil.Process(pid).cpu_times()
    return usage.user + usage.system


@pytest.mark.parametrize("host", ["a..b", "no-such-host.invalid"])
def test_a_host_that_is_none_is_said_so(host: str) -> None:
    relay = Relay()
    link = Link.dial(f"ws://{host}:1/x", relay, MAX_BYTES, Signal())
    eventually(lambda: "the host is not known" in link.trouble, what="a reason")
    link.close()
    relay.close()


def test_a_port_of_the_other_family_works_too() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    relay, signal = Relay(), Signal()
    url = f"ws://[::1]:{free_port()}/x"
    listener = Link.listen(url, relay, MAX_BYTES, signal)
    dialer = Link.dial(url, relay, MAX_BYTES, signal)
    dialer.send(b"found")
    eventually(lambda: listener.receive() == b"found", what="a frame")
    for link in (listener, dialer):
        link.close()
    relay.close()
