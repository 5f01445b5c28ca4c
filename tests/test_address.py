"""An address that is accepted works; one that cannot is refused with what would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.address import Address
from actors.errors import ConfigError


def test_a_folder_gives_socket_files() -> None:
    address = Address.parse("ipc:///run/lab")
    assert address.door("interchange") == "ipc:///run/lab/interchange.door"
    assert address.events("interchange") == "ipc:///run/lab/interchange.events"
    assert address.link("interchange", "x7") == "ipc:///run/lab/interchange.x7"
    assert address.is_local
    assert address.host == ""


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_port_gives_paths(scheme: str) -> None:
    address = Address.parse(f"{scheme}://127.0.0.1:8443")
    base = f"{scheme}://127.0.0.1:8443/interchange"
    assert address.door("interchange") == f"{base}/door"
    assert address.events("interchange") == f"{base}/events"
    assert address.link("interchange", "x7") == f"{base}/link/x7"
    assert address.is_local == (scheme == "ws")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("wss://lab.example.org:1", "lab.example.org"),
        ("wss://[2001:db8::1]:65535", "2001:db8::1"),
        ("ws://[::1]:80", "::1"),
        ("ws://localhost:80", "localhost"),
        ("ws://127.8.9.1:80", "127.8.9.1"),
    ],
)
def test_host_names_and_addresses_are_taken(text: str, host: str) -> None:
    address = Address.parse(text)
    assert address.host == host
    assert str(address) == text
    assert Address.parse(text + "/") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lab",
        "ipc://relative",
        "ipc:///",
        "ipc:///with\0zero",
        "tcp://127.0.0.1:80",
        "wss://lab",
        "wss://lab:0",
        "wss://lab:65536",
        "wss://lab:http",
        "wss://lab:80/path",
        "wss://user@lab:80",
        "wss://:80",
        "wss://lab:80\n",
        "wss://::1:80",
    ],
)
def test_anything_else_is_refused_with_the_value(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "lab", "[::]"])
def test_plain_ws_is_refused_beyond_loopback(host: str) -> None:
    with pytest.raises(ConfigError, match=r"in the clear.*use wss://"):
        Address.parse(f"ws://{host}:80")


def test_the_longest_folder_leaves_room_for_every_name() -> None:
    address = Address.parse("ipc:///" + "d" * 69)
    assert len(address.link("interchange", "i" * 22)) == len("ipc://") + 105


def test_a_longer_folder_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="71 bytes, at most 70"):
        Address.parse("ipc:///" + "d" * 70)


def test_a_folder_is_measured_in_bytes() -> None:
    with pytest.raises(ConfigError, match="81 bytes"):
        Address.parse("ipc:///" + "ä" * 40)


def test_a_name_that_is_too_long_is_refused_with_path_and_length() -> None:
    address = Address.parse("ipc:///" + "d" * 60)
    with pytest.raises(ConfigError, match=r"/x\.i+ has 108 bytes.*107.*nearer"):
        address.link("x", "i" * 44)


@given(st.text())
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    for prefix in ("", "ipc://", "ipc:///", "wss://", "ws://127.0.0.1:"):
        try:
            address = Address.parse(prefix + text)
        except ConfigError:
            continue
        assert Address.parse(str(address)) == address
