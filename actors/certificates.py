"""A certificate authority of the endpoint's own, made once by `actors init`.

    ca.pem       the authority's certificate: who signed the other two
    server.pem   certificate and key of the endpoint, for the host names given
    client.pem   certificate and key that every member shows: clients, managers

Both sides of a `wss` connection must show a certificate of this authority. The two
cannot be swapped: each names the only purpose that it may serve, so whoever holds
client.pem cannot pose as the endpoint.

The authority's own key is never written down: once the two are signed, nobody can sign
a third. The cost is that another host name needs a new set of all three.
"""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from actors.errors import ConfigError

__all__ = ["CA_FILE", "CLIENT_FILE", "SERVER_FILE", "make_certificates"]

CA_FILE = "ca.pem"
SERVER_FILE = "server.pem"
CLIENT_FILE = "client.pem"

# Chosen: longer than an endpoint is likely to live. Nobody renews these by themselves,
# a set that ran out would stop the endpoint one night, and a short life protects from
# little where all three are replaced together with one command.
_VALIDITY = datetime.timedelta(days=3650)
# Chosen: hosts whose clocks differ by less must accept a set made a moment ago.
_CLOCK_SKEW = datetime.timedelta(days=1)

_OWNER_ONLY_FILE = 0o600
_OWNER_ONLY_FOLDER = 0o700


def make_certificates(
    folder: str | os.PathLike[str], hosts: Sequence[str], *, overwrite: bool = False
) -> None:
    """Make an authority, a server certificate and a client certificate.

    ca.pem is written last, so a run that was interrupted can just be repeated.

    Args:
        folder: where the three files go; made if missing, and closed to everybody but
            its owner (0700). The files are 0600.
        hosts: the names and IP addresses by which members reach the endpoint, at least
            one; a member accepts no other.
        overwrite: replace an existing set. Members that hold the old one are refused
            from then on.

    Raises:
        ConfigError: no host, a host that is neither name nor address, or a set that
            exists already.
        OSError: the folder or a file cannot be written.
    """
    names = [_subject_name(host) for host in hosts]
    if not names:
        raise ConfigError(
            "No host to make a server certificate for: give at least one name or "
            "address by which members reach the endpoint"
        )
    folder = Path(folder)
    if (folder / CA_FILE).exists() and not overwrite:
        raise ConfigError(
            f"{folder / CA_FILE} exists already: members that use it would be refused "
            "after a change; choose another folder, or ask for overwriting"
        )
    folder.mkdir(mode=_OWNER_ONLY_FOLDER, parents=True, exist_ok=True)
    folder.chmod(_OWNER_ONLY_FOLDER)

    authority = _Authority()
    server = authority.issue("server", ExtendedKeyUsageOID.SERVER_AUTH, names)
    client = authority.issue("client", ExtendedKeyUsageOID.CLIENT_AUTH, [])
    _write(folder / SERVER_FILE, server)
    _write(folder / CLIENT_FILE, client)
    _write(folder / CA_FILE, authority.pem)


class _Authority:
    """A certificate authority that lives as long as this object."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(
            self._key.public_key()
        )
        # Two authorities of the same name would be told apart by their keys alone, and
        # the error of whoever mixes two sets would name the signature.
        self._name = _distinguished_name(f"authority {self._identifier.digest.hex()}")
        self._certificate = (
            _certificate(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, name: str, purpose: x509.ObjectIdentifier, hosts: list[x509.GeneralName]
    ) -> bytes:
        """Return a new certificate followed by its key, both as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _certificate(_distinguished_name(name), self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                    self._identifier
                ),
                critical=False,
            )
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALIDITY)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _distinguished_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"actors {name}")])


def _subject_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass  # not an address: a name, or nonsense
    labels = host.split(".")
    if host.isascii() and all(
        label.replace("-", "").replace("_", "").isalnum() for label in labels
    ):
        return x509.DNSName(host)
    raise ConfigError(
        f"{host!r} is neither a host name nor an IP address: give it as members dial "
        "it, without scheme or port"
    )


def _write(path: Path, content: bytes) -> None:
    """Replace a file as a whole; at no time can others read it."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)  # left by a run that was interrupted
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
