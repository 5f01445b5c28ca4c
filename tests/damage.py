"""Good bytes and texts with something wrong, for tests of whatever reads them."""

from hypothesis import strategies as st

__all__ = ["HUGE", "damaged", "damaged_text"]

# More changes find no more: each is a place where a reader can go wrong.
_MAX_CHANGES = 4
# More digits than Python converts to a number.
HUGE = "9" * 5000


@st.composite
def damaged(draw: st.DrawFn, *wholes: bytes) -> bytes:
    """Overwrite, insert, double or cut some of one of these."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, _MAX_CHANGES))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["overwrite", "insert", "double", "cut off"])):
            case "overwrite":
                content[at:to] = draw(st.binary(min_size=to - at, max_size=to - at))
            case "insert":
                content[at:at] = draw(st.binary(max_size=12))
            case "double":
                content[at:at] = content[at:to]
            case _:
                del content[at:]
    return bytes(content)


@st.composite
def damaged_text(draw: st.DrawFn, *wholes: str) -> str:
    """Overwrite, double, leave out or cut some words of one of these, or all."""
    words = draw(st.sampled_from(wholes))
    for _ in range(draw(st.integers(1, _MAX_CHANGES))):
        at = draw(st.integers(0, len(words)))
        to = min(len(words), at + draw(st.integers(0, 12)))
        new = draw(
            st.sampled_from(["", " ", "|", ":", "\t", "\n", "-1", "null", "[]", HUGE])
            | st.text(max_size=6)
        )
        words = words[:at] + new + words[to:]
    return words
