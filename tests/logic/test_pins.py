"""Promise: a segment is gone with its last pin, never before, and never twice."""

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.logic.pins import Pins

_SEGMENTS = st.sampled_from(["a", "b", "c"])
_HOLDERS = st.sampled_from(["owner", "w1", "w2"])


class PinsAgainstCounter(RuleBasedStateMachine):
    """A counter of pairs knows the same."""

    def __init__(self) -> None:
        super().__init__()
        self.pins = Pins()
        self.model: Counter[tuple[str, str]] = Counter()

    def _has(self, segment: str) -> bool:
        return any(count for (name, _), count in self.model.items() if name == segment)

    @rule(segment=_SEGMENTS, holder=_HOLDERS)
    def add(self, segment: str, holder: str) -> None:
        if self._has(segment):
            with pytest.raises(ValueError, match="before"):
                self.pins.add(segment, holder)
        else:
            self.pins.add(segment, holder)
            self.model[segment, holder] = 1

    @rule(segment=_SEGMENTS, holder=_HOLDERS)
    def pin(self, segment: str, holder: str) -> None:
        if self._has(segment):
            self.pins.pin(segment, holder)
            self.model[segment, holder] += 1
        else:
            with pytest.raises(KeyError):
                self.pins.pin(segment, holder)

    @rule(segment=_SEGMENTS, holder=_HOLDERS)
    def release(self, segment: str, holder: str) -> None:
        is_held = self.model[segment, holder] > 0
        self.model[segment, holder] -= is_held
        is_gone = self.pins.release(segment, holder)
        assert is_gone == (is_held and not self._has(segment))

    @rule(holder=_HOLDERS)
    def forget(self, holder: str) -> None:
        held = [s for s in "abc" if self.model[s, holder]]
        for segment in held:
            self.model[segment, holder] = 0
        assert self.pins.forget(holder) == [s for s in held if not self._has(s)]

    @invariant()
    def same(self) -> None:
        self.pins.check()
        assert len(self.pins) == sum(map(self._has, "abc"))
        for segment in "abc":
            assert (segment in self.pins) == self._has(segment)


TestPins = PinsAgainstCounter.TestCase
