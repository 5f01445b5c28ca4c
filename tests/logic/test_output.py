"""What workers print is told in whole lines, each once, and never more than allowed."""

from hypothesis import given
from hypothesis import strategies as st

from actors.logic.output import MAX_TEXT_BYTES, Allowance, LineCutter, fitting

PIECES = st.lists(st.text("ab\n", max_size=8).map(str.encode))


@given(PIECES)
def test_whole_lines_come_in_order_and_the_last_one_at_the_end(
    pieces: list[bytes],
) -> None:
    cutter = LineCutter()
    texts = [text for piece in pieces for text in cutter.add(piece)]
    whole = b"".join(pieces)
    assert b"".join(texts) == whole[: whole.rfind(b"\n") + 1]
    assert all(text.endswith(b"\n") for text in texts)
    texts += cutter.add(b"", is_end=True)
    ended = whole if whole.endswith(b"\n") or not whole else whole + b"\n"
    assert b"".join(texts) == ended
    assert cutter.add(b"", is_end=True) == []


def test_a_long_line_is_cut_and_nothing_of_it_is_lost() -> None:
    cutter = LineCutter()
    line = b"x" * (3 * MAX_TEXT_BYTES)
    texts = [text for _ in range(3) for text in cutter.add(line)]
    texts += cutter.add(b"y", is_end=True)
    assert max(map(len, texts)) <= MAX_TEXT_BYTES
    assert b"".join(texts).replace(b"\n", b"") == 3 * line + b"y"


def test_many_lines_are_told_in_several_texts() -> None:
    text = b"0123456789abcde\n" * 10_000
    texts = LineCutter().add(text)
    assert b"".join(texts) == text
    assert max(map(len, texts)) <= MAX_TEXT_BYTES


def test_an_allowance_is_used_up_and_grows_again_up_to_its_limit() -> None:
    allowance = Allowance(100, 10, now=5.0)
    assert allowance.take(60, 5.0) == 60
    assert allowance.take(60, 5.0) == 40
    assert allowance.take(60, 5.0) == 0
    assert allowance.take(60, 7.0) == 20
    assert allowance.take(1000, 1e6) == 100
    assert allowance.take(1, 0.0) == 0  # a clock that goes back earns nothing


def test_what_fits_is_whole_lines() -> None:
    assert fitting(b"ab\ncd\n", 6) == b"ab\ncd\n"
    assert fitting(b"ab\ncd\n", 5) == b"ab\n"
    assert fitting(b"ab\ncd\n", 2) == b""
    assert fitting(b"ab\ncd\n", 0) == b""
