"""Window: where somebody of the same user may look into a running program.

    /tmp/actors-UID-programs/PID-N.sock     one for each runtime of a program

Who connects gets one picture, as JSON, and the end of the stream. Nothing can be
ordered here. The folder is its user's alone; a program that cannot have a window does
without, and says so in its log.
"""

import contextlib
import itertools
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from actors.errors import AddressError, ConfigError

__all__ = ["Window", "find_windows", "look_into", "open_window"]

logger = logging.getLogger(__name__)

# Not tempfile.gettempdir(): a batch job's TMPDIR is its own, who looks has another.
_ROOT = Path("/tmp")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Who looks is slow, or gone, after so many seconds. Chosen.
_PATIENCE = 5.0
_CHUNK_BYTES = 1 << 16
_SUFFIX = ".sock"

# A program may have several runtimes: executors have their own.
_numbers = itertools.count(1)


def _folder() -> Path:
    return _ROOT / f"actors-{os.getuid()}-programs"


def open_window(picture: Callable[[], bytes]) -> "Window | None":
    """Make a window; None if there cannot be one.

    Args:
        picture: what is to be seen now; called in a thread of the window's own.
    """
    try:
        return Window(picture)
    except (OSError, ConfigError) as error:
        logger.info("nobody can look into this program: %s", error)
        return None


class Window:
    """A socket and a thread; see the module's docstring.

    Raises:
        OSError: the socket cannot be made.
        ConfigError: its folder is not ours alone.
    """

    def __init__(self, picture: Callable[[], bytes]) -> None:
        folder = _folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # Anybody may have made it first, or a link in its place.
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != os.getuid()
            or found.st_mode & _OTHERS
        ):
            raise ConfigError(f"{folder} must be a folder of yours alone: chmod 700 it")
        self._picture = picture
        self._pid = os.getpid()
        self._is_closed = False
        self.path = folder / f"{self._pid}-{next(_numbers)}{_SUFFIX}"
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            _sweep(folder)
            # Left by a process that had our number, and was killed.
            self.path.unlink(missing_ok=True)
            self._listener.bind(str(self.path))
            self._listener.listen()
        except OSError:
            self._listener.close()
            raise
        self._thread = threading.Thread(
            target=self._serve, name="actors-window", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Let nobody look any more; once."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self.path.unlink()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                if self._is_closed:
                    return
                raise
            with stream, contextlib.suppress(OSError):
                stream.settimeout(_PATIENCE)
                if not self._is_closed:
                    stream.sendall(self._picture())


def _sweep(folder: Path) -> None:
    """Remove what programs left that were killed."""
    for path in folder.glob(f"*{_SUFFIX}"):
        pid = path.name.partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)


def find_windows(pid: int) -> list[Path]:
    """Return the windows of a program, the oldest first; none if it has none."""
    paths = _folder().glob(f"{pid}-*{_SUFFIX}")
    return sorted(paths, key=lambda path: int(path.stem.partition("-")[2]))


def look_into(path: Path) -> bytes:
    """Take one picture.

    Raises:
        AddressError: nobody answers there.
    """
    parts = []
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(_PATIENCE)
            stream.connect(str(path))
            while part := stream.recv(_CHUNK_BYTES):
                parts.append(part)
    except OSError as error:
        raise AddressError(f"Nobody answers at {path}: {error}") from error
    if not parts:
        raise AddressError(f"The program at {path} is about to end")
    return b"".join(parts)
