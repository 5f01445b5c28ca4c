r"""What two relays say to each other before the bytes of their nng sockets flow.

    dialer     GET /interchange/door HTTP/1.1\r\n
               Host: lab:7443\r\n
               Connection: Upgrade\r\n
               Upgrade: actors\r\n
               \r\n
    listener   HTTP/1.1 101 Switching Protocols\r\n
               Connection: Upgrade\r\n
               Upgrade: actors\r\n
               \r\n

This is HTTP's way to change the protocol of a connection, so whoever comes with a
browser, `curl` or a port scanner gets an answer that they understand; and no web page
can make a browser say it: those upgrade to `websocket` only.

From then on the bytes are those of nng's stream transports: each side's protocol number
in 8 bytes, then frames with their lengths in 8 bytes.
"""

import re

from actors.errors import MalformedFrame

__all__ = ["HEAD_BYTES", "answer", "head_end", "read_answer", "read_request", "request"]

# The longest there is has some 200 bytes; chosen.
HEAD_BYTES = 4096

_END = b"\r\n\r\n"
_REQUEST = re.compile(rb"GET (/[!-~]{0,1000}) HTTP/1\.1")
_ANSWER = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})( [ -~]*)?")
_UPGRADE = re.compile(rb"upgrade:[ \t]*actors[ \t]*", re.IGNORECASE)
_REASONS = {
    101: b"Switching Protocols",
    400: b"Bad Request",
    404: b"Not Found",
    426: b"Upgrade Required",
}


def request(path: str, host: str) -> bytes:
    """Ask to be connected to who listens at a path.

    Args:
        path: with its leading slash; printable ASCII without spaces.
        host: `host:port` as it was dialed.
    """
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
        "Upgrade: actors\r\n\r\n"
    ).encode("ascii")


def answer(status: int) -> bytes:
    """Say yes (101), or no and why (400, 404, 426)."""
    line = b"HTTP/1.1 %d %s\r\n" % (status, _REASONS[status])
    more = b"" if status == 101 else b"Content-Length: 0\r\n"
    connection = b"close" if status in (400, 404) else b"Upgrade\r\nUpgrade: actors"
    return line + more + b"Connection: " + connection + _END


def head_end(heard: bytes | bytearray) -> int:
    """Return where a request or an answer ends; 0: more must come.

    Raises:
        MalformedFrame: more than `HEAD_BYTES`, and no end.
    """
    end = heard.find(_END, 0, HEAD_BYTES)
    if end < 0:
        if len(heard) >= HEAD_BYTES:
            raise MalformedFrame(f"{HEAD_BYTES} bytes without the end of a greeting")
        return 0
    return end + len(_END)


def read_request(head: bytes) -> tuple[int, str]:
    """Read what a dialer asks for.

    Returns:
        (101, the path), or the status to refuse it with, and "".
    """
    line, *fields = head.split(b"\r\n")
    match = _REQUEST.fullmatch(line)
    if match is None:
        return 400, ""
    if not any(_UPGRADE.fullmatch(field) for field in fields):
        return 426, ""
    return 101, match[1].decode("ascii")


def read_answer(head: bytes) -> int:
    """Read the status that a listener answered with.

    Raises:
        MalformedFrame: this is no answer, or a yes to something else.
    """
    line, *fields = head.split(b"\r\n")
    match = _ANSWER.fullmatch(line)
    if match is None:
        raise MalformedFrame(f"{line[:40]!r} is no answer to a request")
    status = int(match[1])
    if status == 101 and not any(_UPGRADE.fullmatch(field) for field in fields):
        raise MalformedFrame("an upgrade to something that was not asked for")
    return status
