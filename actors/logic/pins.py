"""Who still needs which segment, counted, so that none is freed or reused too early.

A segment is one object's memory. Its pins are counted for each holder: the owner has
one while references to the object live, every reader one for each copy of the reference
that was sent to it. With the last pin the segment is gone from here, and its name never
comes back.
"""

__all__ = ["Pins"]


class Pins:
    """The pins of all segments of one owner."""

    def __init__(self) -> None:
        # {segment: {holder: count}}; a count is >= 1, a segment has a holder.
        self._counts: dict[str, dict[str, int]] = {}
        # {holder: segments}; the same, seen from the holders.
        self._held: dict[str, set[str]] = {}

    def __contains__(self, segment: str) -> bool:
        return segment in self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return {segment: {holder: pins}}, a copy."""
        return {segment: dict(counts) for segment, counts in self._counts.items()}

    def add(self, segment: str, holder: str) -> None:
        """Note a new segment and its first pin.

        Raises:
            ValueError: the segment is known already.
        """
        if segment in self._counts:
            raise ValueError(f"Segment {segment} was added before")
        self._counts[segment] = {holder: 1}
        self._held.setdefault(holder, set()).add(segment)

    def pin(self, segment: str, holder: str) -> None:
        """Add a pin.

        Raises:
            KeyError: the segment is gone, or was never added.
        """
        counts = self._counts[segment]
        counts[holder] = counts.get(holder, 0) + 1
        self._held.setdefault(holder, set()).add(segment)

    def release(self, segment: str, holder: str) -> bool:
        """Take one pin away; tell whether it was the segment's last.

        A pin that is not there changes nothing: what a holder released may still be
        under way when it is forgotten.
        """
        counts = self._counts.get(segment)
        if counts is None or holder not in counts:
            return False
        counts[holder] -= 1
        if counts[holder]:
            return False
        self._unhold(segment, holder)
        return segment not in self._counts

    def forget(self, holder: str) -> list[str]:
        """Take all pins of a holder away; return the segments that are gone by that."""
        gone = []
        for segment in sorted(self._held.get(holder, ())):
            self._unhold(segment, holder)
            if segment not in self._counts:
                gone.append(segment)
        return gone

    def _unhold(self, segment: str, holder: str) -> None:
        counts = self._counts[segment]
        del counts[holder]
        if not counts:
            del self._counts[segment]
        held = self._held[holder]
        held.discard(segment)
        if not held:
            del self._held[holder]

    def check(self) -> None:
        """Assert what the comments of the fields say."""
        seen: dict[str, set[str]] = {}
        for segment, counts in self._counts.items():
            assert counts, f"{segment} has no holder"
            for holder, count in counts.items():
                assert count >= 1, f"{holder} holds {segment} {count} times"
                seen.setdefault(holder, set()).add(segment)
        assert seen == self._held, "both sides tell the same"
