"""What workers print, on its way to who wants to see it: whole lines, and not too many.

A flood shall hold up nobody: whoever passes text on has an allowance per second, and
what exceeds it is left out. It stands in the worker's log all the same.
"""

__all__ = ["MAX_TEXT_BYTES", "Allowance", "LineCutter", "fitting"]

# A line that is longer is cut, and more is not told in one message: who prints no ends
# of lines shall cost no more memory. Chosen: far longer than what people read, and far
# below what fits into a frame.
MAX_TEXT_BYTES = 65_536


class Allowance:
    """How many bytes may pass: so many at a time, and so many per second.

    Args:
        most: bytes that may pass at once after a while without any.
        rate: bytes per second.
        now: monotonic seconds.
    """

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, most: int, rate: int, now: float) -> None:
        self._most = most
        self._rate = rate
        self._left = float(most)
        self._at = now

    def take(self, wanted: int, now: float) -> int:
        """Let up to `wanted` bytes pass, and return how many may."""
        earned = self._rate * max(0.0, now - self._at)
        self._left = min(self._most, self._left + earned)
        self._at = now
        given = min(wanted, int(self._left))
        self._left -= given
        return given


class LineCutter:
    """Cuts what one process writes into texts of whole lines."""

    def __init__(self) -> None:
        self._begun = b""  # a line without its end

    @property
    def is_within_line(self) -> bool:
        """Whether a line has begun that has no end yet."""
        return bool(self._begun)

    def add(self, text: bytes, *, is_end: bool = False) -> list[bytes]:
        """Take what was written next, and give the lines that are whole now.

        Args:
            text: perhaps nothing.
            is_end: whether there comes no more: the last line is whole, then, too.

        Returns:
            Texts that end with a line, each of at most `MAX_TEXT_BYTES`.
        """
        text = self._begun + text
        if is_end and text and not text.endswith(b"\n"):
            text += b"\n"
        end = text.rfind(b"\n") + 1
        if len(text) - end >= MAX_TEXT_BYTES:
            text, end = text + b"\n", len(text) + 1
        whole, self._begun = text[:end], text[end:]
        texts = []
        while len(whole) > MAX_TEXT_BYTES:
            cut = whole.rfind(b"\n", 0, MAX_TEXT_BYTES) + 1
            if cut:
                texts.append(whole[:cut])
            else:
                # One line: the rest of it is told as another one.
                cut = MAX_TEXT_BYTES - 1
                texts.append(whole[:cut] + b"\n")
            whole = whole[cut:]
        if whole:
            texts.append(whole)
        return texts


def fitting(text: bytes, most: int) -> bytes:
    """Return the lines of a text that have at most so many bytes together."""
    if len(text) <= most:
        return text
    return text[: text.rfind(b"\n", 0, most) + 1]
