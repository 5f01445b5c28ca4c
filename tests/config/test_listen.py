"""Promise: who may reach an endpoint is exactly what its configuration says."""

import pytest

from actors.config import (
    Listen,
    TransportConfig,
    certificate_hosts,
    dialled_url,
    parse_listen,
)


@pytest.mark.parametrize(
    ("text", "listen", "is_loopback"),
    [
        ("ipc", Listen("ipc"), True),
        ("wss://node1.example.org:1", Listen("wss", "node1.example.org", 1), False),
        ("wss://10.0.0.1:65535", Listen("wss", "10.0.0.1", 65535), False),
        ("wss://[fe80::1]:5555", Listen("wss", "[fe80::1]", 5555), False),
        ("ws://127.0.0.1:5555", Listen("ws", "127.0.0.1", 5555), True),
        ("ws://127.9.9.9:5555", Listen("ws", "127.9.9.9", 5555), True),
        ("ws://[::1]:5555", Listen("ws", "[::1]", 5555), True),
        ("ws://localhost:5555", Listen("ws", "localhost", 5555), True),
    ],
)
def test_a_way_in_is_read(text: str, listen: Listen, is_loopback: bool) -> None:
    assert parse_listen(text) == listen
    assert listen.is_loopback == is_loopback
    assert listen.url == ("" if text == "ipc" else text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "IPC",
        "ipc\n",
        "ipc:///tmp/x",
        "tcp://127.0.0.1:5555",
        "wss://node1",
        "wss://node1:0",
        "wss://node1:65536",
        "wss://node1:99999",
        "wss://node1:5555/path",
        "wss://user@node1:5555",
        "wss://:5555",
        "wss://[zz]:5555",
        "wss://[node1]:5555",
        "wss://[::1:5555",
        "wss://::1:5555",
        "wss://*:5555",
        "wss://node 1:5555",
    ],
)
def test_what_is_no_way_in_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        parse_listen(text)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "10.0.0.1", "example.org", "127.example.org"]
)
def test_without_encryption_only_loopback_is_a_way_in(host: str) -> None:
    with pytest.raises(ValueError, match="not encrypted and must stay on a loopback"):
        parse_listen(f"ws://{host}:5555")


@pytest.mark.parametrize(
    ("listen", "advertise", "url", "hosts"),
    [
        ("ipc", "", "", ["localhost", "127.0.0.1"]),
        (
            "wss://node1:5555",
            "",
            "wss://node1:5555",
            ["node1", "localhost", "127.0.0.1"],
        ),
        (
            "wss://0.0.0.0:5555",
            "node1",
            "wss://node1:5555",
            ["node1", "localhost", "127.0.0.1"],
        ),
        (
            "wss://[fe80::1]:5555",
            "gate:443",
            "wss://gate:443",
            ["gate", "fe80::1", "localhost", "127.0.0.1"],
        ),
        (
            "wss://127.0.0.1:5555",
            "",
            "wss://127.0.0.1:5555",
            ["127.0.0.1", "localhost"],
        ),
    ],
)
def test_members_dial_what_is_advertised_or_listened_on(
    listen: str, advertise: str, url: str, hosts: list[str]
) -> None:
    transport = TransportConfig(listen=listen, advertise=advertise)
    assert dialled_url(transport) == url
    assert certificate_hosts(transport) == hosts


@pytest.mark.parametrize(
    ("listen", "advertise"),
    [
        ("wss://0.0.0.0:5555", ""),
        ("wss://0.0.0.0:5555", "0.0.0.0"),
        ("wss://0.0.0.0:5555", "[::]:80"),
        ("wss://0.0.0.0:5555", "node1:0"),
        ("wss://0.0.0.0:5555", "node1:70000"),
        ("wss://0.0.0.0:5555", "wss://node1:80"),
        ("ws://127.0.0.1:5555", "node1"),
        ("ipc", "node1"),
    ],
)
def test_what_nobody_can_dial_is_refused(listen: str, advertise: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        dialled_url(TransportConfig(listen=listen, advertise=advertise))
