"""Certificates are made once, are readable by their owner alone, and really work."""

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from actors.certificates import make_certificates
from actors.errors import ConfigError
from actors.transport import Link, Relay, Security, Signal
from tests.support import eventually, free_port

MAX_BYTES = 1000


def loaded(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_three_files_are_made_and_nobody_else_can_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "certificates"
    make_certificates(folder, ["localhost"])
    assert sorted(path.name for path in folder.iterdir()) == [
        "ca.pem",
        "client.pem",
        "server.pem",
    ]
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_certificates(tmp_path, ["localhost"])
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_the_server_certificate_carries_all_hosts(tmp_path: Path) -> None:
    hosts = ["localhost", "login_1.lab.example", "127.0.0.1", "2001:db8::1"]
    make_certificates(tmp_path, hosts)
    names = loaded(tmp_path / "server.pem").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    carried = names.value.get_values_for_type(x509.DNSName)
    carried += [str(ip) for ip in names.value.get_values_for_type(x509.IPAddress)]
    assert carried == hosts


def test_each_certificate_serves_one_purpose(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["localhost"])
    for name, purpose in (
        ("server.pem", ExtendedKeyUsageOID.SERVER_AUTH),
        ("client.pem", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        certificate = loaded(tmp_path / name)
        certificate.verify_directly_issued_by(loaded(tmp_path / "ca.pem"))
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(usage.value) == [purpose]


def test_the_authority_has_no_key_left_to_sign_more(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["localhost"])
    assert b"PRIVATE KEY" not in (tmp_path / "ca.pem").read_bytes()
    for name in ("server.pem", "client.pem"):
        assert (tmp_path / name).read_bytes().count(b"BEGIN PRIVATE KEY") == 1


def test_certificates_hold_from_yesterday_for_ten_years(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["localhost"])
    now = datetime.datetime.now(datetime.UTC)
    for path in tmp_path.iterdir():
        certificate = loaded(path)
        assert certificate.not_valid_before_utc < now - datetime.timedelta(hours=23)
        assert certificate.not_valid_after_utc > now + datetime.timedelta(days=3649)


def test_an_existing_set_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    make_certificates(tmp_path, ["localhost"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"ca\.pem exists already.*overwriting"):
        make_certificates(tmp_path, ["localhost"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    make_certificates(tmp_path, ["localhost"], overwrite=True)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


def test_what_an_interrupted_run_left_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "server.new").write_text("half")
    (tmp_path / "server.pem").write_text("old")
    make_certificates(tmp_path, ["localhost"])
    assert len(list(tmp_path.iterdir())) == 3


def test_no_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one name or address"):
        make_certificates(tmp_path, [])


@pytest.mark.parametrize(
    "host", ["", "wss://lab:80", "lab:80", "lab/x", "two words", "labör", "*.lab"]
)
def test_what_is_no_host_is_refused_before_anything_is_made(
    tmp_path: Path, host: str
) -> None:
    with pytest.raises(ConfigError, match="neither a host name nor an IP address"):
        make_certificates(tmp_path / "new", ["localhost", host])
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_mutual_tls_works_with_them_and_refuses_another_authority(
    tmp_path: Path, host: str
) -> None:
    make_certificates(tmp_path / "ours", ["localhost", "127.0.0.1"])
    make_certificates(tmp_path / "theirs", ["localhost", "127.0.0.1"])

    relays = []

    def relay(set_name: str, name: str) -> Relay:
        folder = tmp_path / set_name
        relays.append(Relay(Security(str(folder / "ca.pem"), str(folder / name))))
        return relays[-1]

    url = f"wss://{host}:{free_port()}/x"
    signal = Signal()
    listener = Link.listen(url, relay("ours", "server.pem"), MAX_BYTES, signal)
    stranger = Link.dial(url, relay("theirs", "client.pem"), MAX_BYTES, signal)
    eventually(lambda: "does not accept" in stranger.trouble, what="a refusal")
    stranger.close()
    assert not listener.was_connected
    friend = Link.dial(url, relay("ours", "client.pem"), MAX_BYTES, signal)
    friend.send(b"hello")
    eventually(lambda: listener.receive() == b"hello", what="a frame")
    friend.close()
    listener.close()
    for used in relays:
        used.close()
