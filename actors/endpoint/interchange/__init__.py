"""The interchange: the actor between clients and managers, which has all the tasks.

Read `machine` first: it takes the messages and lets its parts answer, which work with
the same `books`. A task comes in by the `intake`, waits in the ledger, and goes to a
manager by `leasing`; `lease_ends` says what becomes of it there, and `delivery` gives
its outcome to the client, or holds a client back that does not read. Who comes goes
through the `door`, and is one of the `members`; `absences` gives up who stays away, and
managers leave by `departures`. `blocks` are retired, and fail. The strategy hears of
the load from the `load_teller`.

Actors are the business of the `roster`, items of generators that of `item_flow`, what
tasks print that of the `audience`, operators' commands that of `steering`. What an
earlier process has left is rebuilt by `restoration`.
"""

from actors.endpoint.interchange.absences import RETURN_GRACE
from actors.endpoint.interchange.machine import Interchange
from actors.endpoint.interchange.settings import InterchangeSettings

__all__ = ["RETURN_GRACE", "Interchange", "InterchangeSettings"]
