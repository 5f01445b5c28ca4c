"""Sharing places out in proportion to what is wanted."""

from collections.abc import Mapping
from typing import TypeVar

__all__ = ["apportion"]

Wish = TypeVar("Wish")


def apportion(places: int, wants: Mapping[Wish, int]) -> dict[Wish, int]:
    """Share places out in proportion to the wants; each wish gets one if it can.

    By largest remainders. Nobody gets more than it wants; what is wanted by nobody is
    left over.

    Args:
        places: how many there are, >= 0.
        wants: of each wish how many it would take; who stands first goes first if
            there are fewer places than wishes.
    """
    wants = {wish: want for wish, want in wants.items() if want > 0}
    total = sum(wants.values())
    if total <= places:
        return dict(wants)
    shares = {w: max(1, places * want // total) for w, want in wants.items()}
    # Those that were rounded up to one have had theirs.
    remainders = {
        wish: places * want % total
        for wish, want in wants.items()
        if places * want >= total
    }
    missing = places - sum(shares.values())
    for wish in sorted(remainders, key=lambda w: -remainders[w])[: max(0, missing)]:
        shares[wish] += 1
    while (excess := sum(shares.values()) - places) > 0:
        # The least were rounded up to one: the largest, and among them the last, pay.
        largest = max(shares.values())
        payers = [wish for wish in shares if shares[wish] == largest]
        for wish in payers[-min(excess, len(payers)) :]:
            shares[wish] -= 1
    return shares
