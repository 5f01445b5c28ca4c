"""What `actors doctor` looks at, on the spot: each look gives findings.

    versions, configuration ─► folder, ports, certificates, clock, batch system, room
                            └► the endpoint, if it runs

Nothing is started, and nothing is left behind. A look that finds something wrong says
what to do; one that cannot look says why.
"""

import contextlib
import datetime
import ipaddress
import os
import platform
import resource
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import filelock
import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from actors.api.addressing import find_entrance
from actors.api.operator import ask
from actors.cli.type_checkup import find_lacks, find_versions
from actors.config import (
    EndpointConfig,
    EndpointPaths,
    Listen,
    certificate_hosts,
    examine_config,
    is_experimental,
    parse_listen,
    parse_web_listen,
)
from actors.endpoint.probe import probe_provider
from actors.endpoint.surroundings import RunStatus, Surroundings
from actors.errors import ActorsError, ConfigError

__all__ = ["Finding", "check_up"]

Verdict = Literal["good", "doubtful", "bad"]

# How long a running endpoint may take to answer; chosen: it is under way for long.
_PATIENCE = 5.0
# Certificates are news so many days before they end; chosen.
_DAYS_LEFT = 30
# The clock of a shared folder's host may differ by so much, in seconds. Chosen: logs
# still read in order.
_SKEW = 5.0
# Less room is soon used up; chosen: some segments of a journal, some large values.
_LEAST_DISK_BYTES = 1 << 30
_LEAST_SHM_BYTES = 256 << 20
# Descriptors that an interchange takes per manager, beside its own: a socket, the pipe
# in it, and as much again while one leaves and the next comes. Chosen.
_FILES_PER_MEMBER, _FILES_OWN = 4, 200
# What the kernel calls file systems that other hosts can have, too.
_SHARED = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "cifs",
    "smb",
    "glusterfs",
    "fuse",
)
# Providers whose nodes find the endpoint's folder, or work without it.
_NEEDS_NO_SHARED_FOLDER = ("local", "ssh", "dask", "ray", "aws_batch")
# What is imported on both sides of a link, and may differ in what it makes of bytes.
_LIBRARIES = ("pynng", "msgspec", "cloudpickle", "cryptography", "psutil")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Finding(msgspec.Struct, frozen=True):
    """What one look found."""

    subject: str  # what was looked at, in a word or two
    verdict: Verdict
    text: str  # what was found
    advice: str = ""  # what to do; "" if it is good


def check_up(file: Path, now: datetime.datetime) -> Iterator[Finding]:
    """Look at everything an endpoint needs; findings come as they are made.

    Args:
        file: endpoint.toml, or its folder.
        now: with its zone; for certificates.
    """
    yield from _versions()
    examination = examine_config(file)
    config = examination.config
    if config is None:
        for problem in examination.problems:
            yield Finding("configuration", "bad", str(problem), "Mend that first")
        return
    yield _configuration(examination.file, config)
    try:
        paths = EndpointPaths.of(file, config.transport.socket_dir)
        run_status = None
        if paths.token.exists():
            paths.read_token()
            run_status = Surroundings.of(paths.folder).read_status()
    except ConfigError as error:
        yield Finding("token", "bad", str(error), "Mend that first")
        return
    is_running = run_status is not None and run_status.is_running
    yield from _folder(paths, config)
    yield from _ports(config, is_running=is_running)
    yield from _certificates(paths, config, now)
    yield from _clock(paths)
    yield from _batch_system(config)
    yield from _worker_types(config)
    yield from _room(paths, config)
    yield _endpoint(paths, run_status)


def _versions() -> Iterator[Finding]:
    found, missing = [], []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    with contextlib.suppress(metadata.PackageNotFoundError):
        found.insert(0, f"actors {metadata.version('actors')}")
    text = f"Python {platform.python_version()}, {', '.join(found)}"
    if missing:
        advice = f"pip install {' '.join(missing)}"
        yield Finding("versions", "bad", f"{', '.join(missing)} not installed", advice)
    yield Finding("versions", "good", text)


def _configuration(file: Path, config: EndpointConfig) -> Finding:
    if is_experimental(config.blocks.provider):
        return Finding(
            "configuration",
            "doubtful",
            f"{file} is right; provider {config.blocks.provider} is experimental",
            "Try it with one block first: it was not tested against a real system",
        )
    return Finding("configuration", "good", f"{file} is right: endpoint {config.name}")


# The folder


def _folder(paths: EndpointPaths, config: EndpointConfig) -> Iterator[Finding]:
    folder = paths.folder
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
            with filelock.FileLock(file.name, timeout=0):
                pass
    except (OSError, NotImplementedError) as error:
        yield Finding(
            "folder",
            "bad",
            f"{folder} cannot be written, synced and locked: {error}",
            "Put the endpoint's folder where that works",
        )
        return
    yield Finding("folder", "good", f"{folder} can be written, synced and locked")
    provider = config.blocks.provider
    if provider in _NEEDS_NO_SHARED_FOLDER:
        return
    kind = _file_system(folder)
    if kind.startswith(_SHARED):
        yield Finding("shared folder", "good", f"{folder} is on {kind}")
        return
    yield Finding(
        "shared folder",
        "doubtful",
        f"{folder} is on {kind or 'an unknown file system'}, which other hosts rarely "
        f"see; blocks of {provider} read and write there",
        "See that `ls` shows it under the same path on a node, or move it to a shared "
        "file system",
    )


def _file_system(folder: Path) -> str:
    """Return what the kernel calls the file system of a folder; "": not known."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, name, *_ = line.split(" ")
        place = mounted.replace("\\040", " ")
        if folder.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, name
    return kind


# Ports


def _ports(config: EndpointConfig, *, is_running: bool) -> Iterator[Finding]:
    listens = [("[transport] listen", parse_listen(config.transport.listen))]
    if config.metrics.listen:
        listens.append(("[metrics] listen", parse_web_listen(config.metrics.listen)))
    for key, listen in listens:
        if listen.scheme != "ipc":
            yield _port(key, listen, is_running=is_running)
    if listens[0][1].scheme == "wss":
        for host in certificate_hosts(config.transport):
            if not _is_number(host):
                yield _name(host)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _port(key: str, listen: Listen, *, is_running: bool) -> Finding:
    host, port = listen.host.strip("[]"), listen.port
    subject = f"port {port}"
    if is_running:
        dialled = "localhost" if listen.is_wildcard else host
        try:
            socket.create_connection((dialled, port), _PATIENCE).close()
        except OSError as error:
            return Finding(
                subject,
                "bad",
                f"The endpoint runs, and nobody takes connections there: {error}",
                "See its logs: `actors logs`",
            )
        return Finding(subject, "good", f"Somebody takes connections ({key})")
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: what an ended one left does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return Finding(
            subject,
            "bad",
            f"Cannot listen at {host}:{port} ({key}): {error.strerror or error}",
            "End what listens there (`ss -ltnp` names it), or choose another host or "
            "port",
        )
    return Finding(subject, "good", f"{host}:{port} is free ({key})")


def _name(host: str) -> Finding:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding(
            "host name",
            "bad",
            f"{host} cannot be found: {error.strerror or error}",
            "Members dial it: let [transport] advertise have a name that they know",
        )
    return Finding("host name", "good", f"{host} is {found[0][4][0]}")


# Certificates


def _certificates(
    paths: EndpointPaths, config: EndpointConfig, now: datetime.datetime
) -> Iterator[Finding]:
    if parse_listen(config.transport.listen).scheme != "wss":
        return
    renew = (
        f"Move {paths.credentials} away, and make new ones by `actors init` in another "
        "folder; members need the new client.pem and ca.pem"
    )
    try:
        authority, server, client = (
            _read_certificate(path)
            for path in (paths.ca_pem, paths.server_pem, paths.client_pem)
        )
    except (OSError, ValueError) as error:
        yield Finding("certificates", "bad", str(error), renew)
        return
    first, last = authority, authority
    for path, certificate in (
        (paths.ca_pem, authority),
        (paths.server_pem, server),
        (paths.client_pem, client),
    ):
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            yield Finding(
                "certificates", "bad", f"{path} is not of {paths.ca_pem}", renew
            )
            return
        first = max(first, certificate, key=lambda c: c.not_valid_before_utc)
        last = min(last, certificate, key=lambda c: c.not_valid_after_utc)
        mode = stat.S_IMODE(path.stat().st_mode)
        if path != paths.ca_pem and mode & _OTHERS:
            yield Finding(
                "certificates",
                "bad",
                f"{path} holds a key and has mode {mode:04o}",
                f"chmod 600 {path}",
            )
    if now < first.not_valid_before_utc:
        since = f"{first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        advice = "Set this host's clock: they were made in its future"
        yield Finding("certificates", "bad", f"Not valid before {since}", advice)
    days = (last.not_valid_after_utc - now).days
    until = f"{last.not_valid_after_utc:%Y-%m-%d}"
    if days < 0:
        yield Finding("certificates", "bad", f"They ended on {until}", renew)
    elif days < _DAYS_LEFT:
        yield Finding("certificates", "doubtful", f"They end on {until}", renew)
    else:
        yield Finding("certificates", "good", f"Valid until {until}")
    unnamed = _unnamed(server, config)
    if unnamed:
        text = f"server.pem does not name {', '.join(unnamed)}, which members dial"
        yield Finding("certificates", "bad", text, renew)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} holds no certificate: {error}") from error


def _unnamed(server: x509.Certificate, config: EndpointConfig) -> list[str]:
    """Return the hosts that members dial and the certificate does not name."""
    try:
        names = server.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        named: set[str] = set()
    else:
        named = {str(name.value) for name in names}
    hosts = (host.strip("[]") for host in certificate_hosts(config.transport))
    return [host for host in hosts if host not in named]


# The rest of the world


def _clock(paths: EndpointPaths) -> Iterator[Finding]:
    """Compare this host's clock with that of the host which keeps the folder."""
    try:
        with tempfile.NamedTemporaryFile(dir=paths.folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
            skew = os.stat(file.name).st_mtime - time.time()
    except OSError:
        return  # told by the look at the folder
    if abs(skew) > _SKEW:
        yield Finding(
            "clock",
            "doubtful",
            f"The host of {paths.folder} is {abs(skew):.0f} s "
            f"{'ahead of' if skew > 0 else 'behind'} this one",
            "Have both set by NTP: times in logs, and of certificates, will be wrong",
        )
    else:
        yield Finding("clock", "good", "As that of the folder's host")


def _batch_system(config: EndpointConfig) -> Iterator[Finding]:
    name = config.blocks.provider
    try:
        has_answered = probe_provider(config)
    except ConfigError as error:
        yield Finding(
            "batch system",
            "bad",
            str(error),
            f"Let provider {name} work here first, outside of `actors`",
        )
        return
    answer = "its system answers" if has_answered else "it takes its options"
    yield Finding("batch system", "good", f"provider {name}: {answer}")


def _worker_types(config: EndpointConfig) -> Iterator[Finding]:
    """Look whether this host has what types name; with other nodes that says little."""
    subject = "worker type"
    verdict: Verdict = "bad" if config.blocks.provider == "local" else "doubtful"
    faults = [*find_lacks(config), *find_versions(config)]
    for name, fault in faults:
        if fault:
            yield Finding(
                subject,
                verdict,
                f"{name}: {fault}",
                f"Mend [worker_types.{name}], or install it; nodes must have it",
            )
    faulty = {name for name, fault in faults if fault}
    for name in config.worker_types.keys() - faulty:
        yield Finding(subject, "good", f"{name}: what it names is here")


def _room(paths: EndpointPaths, config: EndpointConfig) -> Iterator[Finding]:
    for place, least, what in (
        (paths.folder, _LEAST_DISK_BYTES, "journals and logs"),
        (Path("/dev/shm"), _LEAST_SHM_BYTES, "large values"),
    ):
        if not place.is_dir():
            continue
        free = shutil.disk_usage(place).free
        text = f"{free / 2**30:.1f} GiB free in {place}"
        if free < least:
            advice = f"Make room there for {what}: {least / 2**30:.2g} GiB"
            yield Finding("room", "doubtful", text, advice)
        else:
            yield Finding("room", "good", text)
    # The interchange takes what the hard limit allows.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    nodes = config.blocks.max_blocks * config.blocks.nodes_per_block
    needed = _FILES_OWN + _FILES_PER_MEMBER * nodes
    if most != resource.RLIM_INFINITY and most < needed:
        yield Finding(
            "open files",
            "bad",
            f"{most} may be open, and {nodes} managers need {needed}",
            f"ulimit -Hn {needed}, before `actors run`",
        )


def _endpoint(paths: EndpointPaths, run_status: RunStatus | None) -> Finding:
    if run_status is None or not run_status.is_running:
        return Finding("endpoint", "good", "It does not run")
    where = f"on {run_status.host}, pid {run_status.root_pid}"
    try:
        ask(find_entrance(paths.folder, "operator"), "status", timeout=_PATIENCE)
    except ActorsError as error:
        if not run_status.is_here:
            advice = f"Go to {run_status.host}, if it should run"
            return Finding("endpoint", "doubtful", f"It ran {where}: {error}", advice)
        return Finding(
            "endpoint",
            "bad",
            f"It runs {where}, and does not answer us: {error}",
            "Have the same versions on both sides; else see `actors logs`",
        )
    return Finding("endpoint", "good", f"It runs {where}, and answers")
