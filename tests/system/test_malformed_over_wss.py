"""What makes no sense is refused alone behind TLS, too; strangers cannot even knock."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from actors.messages import Refused, encode_one
from actors.tls import Security
from actors.transport import Knock, Relay
from tests.endpoints import RunningEndpoint
from tests.support import eventually, free_port
from tests.system.peers import Member, hello_to, knock, raw_connection, security_of
from tests.system.support import picture
from tests.system.test_malformed import (
    MAX_FRAME_BYTES,
    NO_MESSAGES,
    expect_answer,
    work,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def far_endpoint(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningEndpoint, Security]]:
    """Run an endpoint behind TLS; give it with certificates of another one."""
    folders = [tmp_path_factory.mktemp(name) / "e" for name in ("own", "foreign")]
    listen = f"wss://127.0.0.1:{free_port()}"
    for folder in folders:
        subprocess.run(
            [sys.executable, "-m", "actors", "init", str(folder), "--listen", listen],
            check=True,
            capture_output=True,
            timeout=60,
            cwd=Path(__file__).parents[2],
        )
    own, foreign = (folder / "credentials" for folder in folders)
    running = RunningEndpoint(
        transport={"listen": listen, "max_frame_bytes": MAX_FRAME_BYTES},
        heartbeat={"reconnect_grace": 0.3},
    )
    own.rename(running.paths.credentials)
    with running:
        running.await_workers(2)
        yield running, Security(str(foreign / "ca.pem"), str(foreign / "client.pem"))


def test_bytes_over_wss_are_refused_like_others(
    far_endpoint: tuple[RunningEndpoint, Security],
) -> None:
    endpoint, _ = far_endpoint
    door, security = endpoint.address.door("interchange"), security_of(endpoint)
    before = picture(endpoint).malformed
    with work(endpoint), Member(endpoint, "client") as member:
        for frame in NO_MESSAGES.values():
            assert isinstance(knock(door, frame, security), Refused)
            member.send(frame)
        expect_answer(member)
        assert picture(endpoint).malformed == before + 2 * len(NO_MESSAGES)
        member.send(bytes(MAX_FRAME_BYTES + 1))
        eventually(lambda: member.is_down, what="the end of the link")
        member.enter_again()
        expect_answer(member)


def test_connections_without_tls_do_not_block_the_port(
    far_endpoint: tuple[RunningEndpoint, Security],
) -> None:
    endpoint, _ = far_endpoint
    door, security = endpoint.address.door("interchange"), security_of(endpoint)
    with work(endpoint), ExitStack() as stack:
        # The second is the beginning of a handshake that never goes on.
        for frame in (b"", b"\x16\x03\x01\x02\x00\x01", *NO_MESSAGES.values()):
            raw = stack.enter_context(closing(raw_connection(door)))
            with suppress(OSError):
                raw.sendall(frame)
        assert isinstance(knock(door, b"", security), Refused)


def test_who_has_a_foreign_certificate_cannot_even_knock(
    far_endpoint: tuple[RunningEndpoint, Security],
) -> None:
    endpoint, foreign = far_endpoint
    door = endpoint.address.door("interchange")
    own = security_of(endpoint)
    assert own is not None
    before = picture(endpoint).malformed
    # One that trusts us, or not; what it shows is of another authority.
    for security in (foreign, Security(own.ca_file, foreign.cert_key_file)):
        relay = Relay(security)
        request = Knock(door, relay, encode_one(hello_to(endpoint)), 1 << 20)
        try:
            eventually(lambda r=request: r.trouble, what="a reason")  # type: ignore[misc]
            assert request.receive() is None
        finally:
            request.close()
            relay.close()
    assert picture(endpoint).malformed == before
    with work(endpoint):
        pass


def test_who_has_no_certificate_cannot_even_knock(
    far_endpoint: tuple[RunningEndpoint, Security],
) -> None:
    endpoint, _ = far_endpoint
    door = endpoint.address.door("interchange")
    own = security_of(endpoint)
    assert own is not None
    context = ssl.create_default_context(cafile=own.ca_file)
    upgrade = (
        "GET /interchange/door HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: actors\r\n"
        "Connection: Upgrade\r\n\r\n"
    )
    answer = b""
    # Where it fails depends on the protocol's version: in the handshake, or with the
    # first bytes after it.
    with (
        raw_connection(door) as raw,
        suppress(ssl.SSLError, ConnectionError),
        context.wrap_socket(raw, server_hostname="127.0.0.1") as shaken,
    ):
        shaken.sendall(upgrade.encode())
        answer = shaken.recv(100)
    assert answer == b""
