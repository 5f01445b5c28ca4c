"""Where the state of an endpoint lives: a folder, and what has which name in it.

DIR/endpoint.toml    written by people
DIR/token            who knows it may come in; 0600
DIR/lock             held by the one `actors run` of this folder
DIR/status.json      where the running endpoint is found
DIR/credentials/     ca.pem, server.pem, client.pem, for wss
DIR/logs/  DIR/journals/  DIR/blocks/
DIR/run/             sockets; elsewhere if that path would be too long
"""

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

from actors.errors import ConfigError

__all__ = ["CONFIG_NAME", "SOCKET_NAME_BYTES", "EndpointPaths", "place_sockets"]

CONFIG_NAME = "endpoint.toml"

# Specified: unix(7), sun_path has 108 bytes with the closing zero.
_SOCKET_PATH_BYTES = 107
# What the names of sockets may take of it: an actor's name, a purpose, 128 random bits.
SOCKET_NAME_BYTES = 48
# Not tempfile.gettempdir(): batch systems give each job a TMPDIR of its own, and all
# processes of an endpoint must come to the same folder.
_TEMP_DIR = Path("/tmp")
# Of a SHA-256 in hexadecimal: 64 bits tell the endpoints of one user apart.
_DIGEST_CHARACTERS = 16
_TOKEN_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class EndpointPaths:
    """The places of one endpoint; making an instance touches no file.

    Args:
        folder: of the endpoint; symbolic links in it are resolved, so that everybody
            comes to the same places.
        socket_dir: `[transport] socket_dir`; relative to `folder`.

    Raises:
        ConfigError: sockets in `socket_dir` would have too long a path.
    """

    def __init__(self, folder: Path | str, socket_dir: str = "") -> None:
        self.folder = Path(folder).resolve()
        self.config = self.folder / CONFIG_NAME
        self.token = self.folder / "token"
        self.lock = self.folder / "lock"
        self.status = self.folder / "status.json"
        self.credentials = self.folder / "credentials"
        self.logs = self.folder / "logs"
        self.journals = self.folder / "journals"
        self.blocks = self.folder / "blocks"
        try:
            self.sockets = place_sockets(self.folder, socket_dir)
        except ValueError as error:
            raise ConfigError(
                f"[transport] socket_dir {socket_dir} {error} ({self.config})"
            ) from error

    @classmethod
    def of(cls, path: Path | str, socket_dir: str = "") -> "EndpointPaths":
        """Make the paths of an endpoint given by its folder or by its endpoint.toml.

        Raises:
            ConfigError: a file of another name; or as for the class itself.
        """
        path = Path(path)
        if path.is_dir():
            return cls(path, socket_dir)
        if path.name != CONFIG_NAME:
            raise ConfigError(
                f"{path} must be a folder or a file named {CONFIG_NAME}: the processes "
                "of an endpoint find everything by its folder"
            )
        return cls(path.parent, socket_dir)

    def __repr__(self) -> str:
        return f"EndpointPaths({str(self.folder)!r})"

    @property
    def ca_pem(self) -> Path:
        """The certificate that both sides check the other's against."""
        return self.credentials / "ca.pem"

    @property
    def server_pem(self) -> Path:
        """Certificate and key of who listens."""
        return self.credentials / "server.pem"

    @property
    def client_pem(self) -> Path:
        """Certificate and key of who dials."""
        return self.credentials / "client.pem"

    def make_folders(self) -> None:
        """Make what is missing of the folders, the sockets' for this user alone.

        Raises:
            ConfigError: the sockets' folder exists and others may enter it, or it is
                somebody else's; or a folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.logs, self.journals, self.blocks):
                folder.mkdir(mode=0o700, exist_ok=True)
            self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"Cannot make {error.filename}: {error.strerror}"
            ) from error
        # Under /tmp anybody may have made it first, or a link in its place.
        found = self.sockets.lstat()
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != os.getuid()
            or found.st_mode & _OTHERS
        ):
            raise ConfigError(
                f"Folder of the sockets {self.sockets} (owner {found.st_uid}, mode "
                f"{stat.S_IMODE(found.st_mode):04o}) must be a folder of yours that "
                "nobody else may enter: chmod 700 it, or set [transport] socket_dir in "
                f"{self.config}"
            )

    def make_token(self) -> str:
        """Make the token, readable by this user alone; one that is there stays.

        Returns:
            The token.

        Raises:
            ConfigError: as for `read_token`.
        """
        if self.token.exists():
            return self.read_token()
        # Written beside it and linked into place: nobody reads half a token, and of
        # two that make one at the same time one wins.
        beside = self.token.with_name(f"token.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(beside, flags, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
            with contextlib.suppress(FileExistsError):
                os.link(beside, self.token)
            beside.unlink()
        except OSError as error:
            raise ConfigError(
                f"Cannot write the token {self.token}: {error.strerror}"
            ) from error
        return self.read_token()

    def read_token(self) -> str:
        """Read the token.

        Raises:
            ConfigError: missing, empty, or readable by others.
        """
        try:
            with self.token.open() as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                token = file.read().strip()
        except OSError as error:
            raise ConfigError(
                f"Cannot read the token {self.token}: {error.strerror}; "
                f"`actors init {self.folder}` writes one"
            ) from error
        if mode & _OTHERS:
            raise ConfigError(
                f"Token {self.token} has mode {mode:04o} and must be readable by you "
                "alone: chmod 600 it, or remove it to get a new one"
            )
        if not token:
            raise ConfigError(
                f"Token {self.token} is empty: remove it to get a new one"
            )
        return token


def place_sockets(folder: Path, socket_dir: str) -> Path:
    """Choose the folder of the sockets.

    Args:
        folder: of the endpoint, resolved.
        socket_dir: `[transport] socket_dir`; "" leaves the choice here.

    Raises:
        ValueError: what `socket_dir` must be, as the end of a sentence.
    """
    place = folder / (socket_dir or "run")
    room = _SOCKET_PATH_BYTES - SOCKET_NAME_BYTES - 1  # 1: the slash between
    if len(os.fsencode(place)) <= room:
        return place
    if socket_dir:
        raise ValueError(
            f"must give a path of at most {room} bytes, so that sockets in it keep "
            f"below the system's limit, but gives {place}; choose a shorter one, or "
            f'"" for a folder under {_TEMP_DIR}'
        )
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
    return _TEMP_DIR / f"actors-{os.getuid()}-{digest[:_DIGEST_CHARACTERS]}"
