"""What workers print appears on our standard error, as lines with a prefix."""

from collections.abc import Iterable

from actors.logic.output import LineCutter
from actors.standard_error import StandardError, prefixed

__all__ = ["Printer"]

# So many seconds it is waited at the end for who reads slowly. Chosen.
_PATIENCE = 2.0


class Printer:
    """Shows what is read, and waits for nobody.

    While our standard error is not read, what is not shown stays where it was written.
    """

    def __init__(self) -> None:
        self._cutters: dict[int, LineCutter] = {}  # {pid: a line without its end}
        self._waiting = ""
        self._stderr = StandardError()

    def show(self, outputs: Iterable[tuple[int, bytes]]) -> None:
        """Show the lines that are whole now.

        Args:
            outputs: what processes wrote, by their pids; nothing is taken from it while
                what was taken before is not shown.
        """
        self._write(0.0)
        if not self._waiting:
            for pid, output in outputs:
                self._add(pid, output)
            self._write(0.0)

    def close(self, outputs: Iterable[tuple[int, bytes]]) -> None:
        """Show everything, as there will be no more."""
        for pid, output in outputs:
            self._add(pid, output)
        for pid in list(self._cutters):
            self._add(pid, b"", is_end=True)
        self._write(_PATIENCE)
        self._waiting = ""

    def _add(self, pid: int, output: bytes, *, is_end: bool = False) -> None:
        cutter = self._cutters.pop(pid, None) or LineCutter()
        whole = b"".join(cutter.add(output, is_end=is_end))
        if cutter.is_within_line:
            self._cutters[pid] = cutter
        lines = whole.removesuffix(b"\n").split(b"\n") if whole else []
        self._waiting += "".join(prefixed(pid, line) for line in lines)

    def _write(self, patience: float) -> None:
        if self._waiting:
            written = self._stderr.write(self._waiting, patience)
            self._waiting = self._waiting[written:]
