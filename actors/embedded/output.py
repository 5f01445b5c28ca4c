"""What workers print, as lines with a prefix."""

from collections.abc import Iterator

__all__ = ["Lines", "prefixed"]

# A line that is longer is cut: who prints no ends of lines shall cost no more memory.
_MAX_LINE_BYTES = 65_536


class Lines:
    """Cuts what several processes write into whole lines."""

    def __init__(self) -> None:
        self._begun: dict[int, bytes] = {}  # {pid: a line without its end}

    def add(self, pid: int, output: bytes) -> Iterator[str]:
        """Take what a process wrote, and give the lines that are whole now."""
        text = self._begun.pop(pid, b"") + output
        *whole, rest = text.split(b"\n")
        if len(rest) > _MAX_LINE_BYTES:
            whole.append(rest)
        elif rest:
            self._begun[pid] = rest
        for line in whole:
            yield prefixed(pid, line)

    def rest(self) -> Iterator[str]:
        """Give the lines that have no end yet, as there will be none."""
        begun, self._begun = self._begun, {}
        for pid, line in begun.items():
            yield prefixed(pid, line)


def prefixed(pid: int, line: bytes, host: str = "") -> str:
    """Return a line for people to read, with its end.

    Args:
        pid: who has written it.
        line: without its end.
        host: where, if it is not here.
    """
    text = line.decode("utf-8", "replace")
    where = f", host={host}" if host else ""
    return f"(pid={pid}{where}) {text}\n"
