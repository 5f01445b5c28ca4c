"""Load teller: what the strategy hears of the load, and when. Pure."""

import math

from actors.endpoint.interchange.books import Books
from actors.logic.fleet import need_of
from actors.logic.turn import Turn
from actors.messages import LoadReported

__all__ = ["LoadTeller"]

# How often the strategy is told the load, at least and at most; chosen: a fraction of
# the shortest sensible strategy period, and far below one percent of a core.
LOAD_PERIOD = 1.0
LOAD_PERIOD_MIN = 0.05


class LoadTeller:
    """The machine; see the module's docstring.

    Args:
        books: of the interchange.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._told_at = -math.inf

    @property
    def wake_at(self) -> float:
        """When to tell it next."""
        is_news = self._books.is_load_news
        return self._told_at + (LOAD_PERIOD_MIN if is_news else LOAD_PERIOD)

    def tick(self, now: float, turn: Turn) -> None:
        """Tell it if it has changed, or was not told for long."""
        books, fleet = self._books, self._books.fleet
        if not books.is_load_news and now < self._told_at + LOAD_PERIOD:
            return
        self._told_at = now
        books.is_load_news = False
        turn.events.append(
            LoadReported(
                self._wanted_places(),
                books.ledger.leased + fleet.reserved,
                books.finished,
                fleet.loads(now),
                fleet.is_quiesced,
                books.placement.type_loads(),
                too_long=books.placement.count_too_long(now),
                bad_state=fleet.bad_state.text if fleet.bad_state else "",
            )
        )

    def _wanted_places(self) -> int:
        """Count workers' places that are waited for."""
        ledger, fleet = self._books.ledger, self._books.fleet
        asked = sum(
            count * fleet.places_for(need_of(needs))
            for needs, count in ledger.asking.counts()
        )
        plain = len(ledger.backlog) + len(ledger.demanding)
        return plain + asked + self._books.roster.wanted
