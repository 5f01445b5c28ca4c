"""Only who holds a certificate of the endpoint's own authority gets in, on one port."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from actors.address import Address
from actors.certificates import make_certificates
from actors.errors import ConfigError
from actors.transport import Door, Link, Relay
from tests.support import eventually, free_port
from tests.test_transport import MAX_BYTES, Network, certificates, received

__all__ = ["certificates"]

pytestmark = pytest.mark.slow


@pytest.fixture
def secure(certificates: Path) -> Iterator[Network]:
    opened = Network(Address.parse(f"wss://127.0.0.1:{free_port()}"), certificates)
    yield opened
    opened.close()


def test_a_path_that_does_not_exist_is_refused(secure: Network) -> None:
    secure.listen("x")
    stranger = secure.dial("y")
    eventually(lambda: stranger.trouble == "nobody listens there", what="a refusal")
    assert not stranger.was_connected


@pytest.fixture(scope="module")
def foreign_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    make_certificates(folder, ["127.0.0.1", "localhost"])
    return folder


def assert_refused(secure: Network, relay: Relay) -> None:
    """Check that a dialer gets nowhere and knows why, and the next one does."""
    listener = secure.listen("x")
    stranger = Link.dial(secure.url("x"), relay, MAX_BYTES, secure.signal)
    stranger.send(b"intruder")
    eventually(lambda: "does not accept" in stranger.trouble, what="a refusal")
    assert not stranger.was_connected
    stranger.close()
    assert not listener.was_connected
    friend = secure.dial("x")
    friend.send(b"friend")
    assert received(listener) == b"friend"


def test_a_dialer_with_a_foreign_certificate_is_refused(
    secure: Network, foreign_certificates: Path
) -> None:
    assert_refused(secure, secure.relay(foreign_certificates / "client.pem"))


def test_a_dialer_does_not_talk_to_a_listener_of_a_foreign_authority(
    secure: Network, foreign_certificates: Path
) -> None:
    ca = foreign_certificates / "ca.pem"
    assert_refused(secure, secure.relay(foreign_certificates / "client.pem", ca))


def test_a_dialer_does_not_talk_to_a_listener_of_another_name(secure: Network) -> None:
    assert_refused(secure, secure.relay("client.pem", name="lab.example"))


def test_a_name_in_the_certificate_can_be_expected_instead_of_the_hosts(
    secure: Network,
) -> None:
    secure.client = secure.relay("client.pem", name="localhost")
    secure.pair()


def test_a_client_certificate_cannot_pose_as_the_endpoint(secure: Network) -> None:
    secure.server = secure.relay("client.pem")
    secure.listen("x")
    dialer = secure.dial("x")
    eventually(lambda: "does not accept" in dialer.trouble, what="a refusal")
    assert "purpose" in dialer.trouble
    assert not dialer.was_connected


def test_a_peer_without_a_certificate_is_refused(
    secure: Network, certificates: Path
) -> None:
    listener = secure.listen("x")
    url = urlsplit(secure.url("x"))
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    request = (
        f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: actors\r\n"
        "Connection: Upgrade\r\n\r\n"
    )

    def answer(context: ssl.SSLContext) -> bytes:
        try:
            with (
                socket.create_connection(
                    (str(url.hostname), int(url.port or 0))
                ) as raw,
                context.wrap_socket(raw, server_hostname=url.hostname) as stranger,
            ):
                stranger.sendall(request.encode())
                return stranger.recv(1000)
        except (ssl.SSLError, ConnectionError):
            return b""

    assert answer(context) == b""
    assert not listener.was_connected
    context.load_cert_chain(certificates / "client.pem")
    assert answer(context).startswith(b"HTTP/1.1 101")


def test_plain_ws_gets_nowhere_at_a_wss_port(secure: Network) -> None:
    listener = secure.listen("x")
    url = secure.url("x").replace("wss:", "ws:")
    relay = Relay()
    stranger = Link.dial(url, relay, MAX_BYTES, secure.signal)
    eventually(lambda: "not ours" in stranger.trouble, what="a refusal")
    assert not listener.was_connected
    stranger.close()
    relay.close()


def test_wss_without_certificates_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"wss://127.*needs certificates"):
        Door(f"wss://127.0.0.1:{free_port()}/x", Relay(), MAX_BYTES)


def test_certificate_files_that_are_wrong_are_named(
    secure: Network, tmp_path: Path
) -> None:
    missing = secure.relay(tmp_path / "client.pem", tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match=r"ca\.pem is missing or not readable"):
        Link.dial(secure.url("x"), missing, MAX_BYTES, secure.signal)
    for name in ("ca.pem", "client.pem"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(ConfigError, match=r"ca\.pem or .*client\.pem is not what"):
        Link.dial(secure.url("x"), missing, MAX_BYTES, secure.signal)
