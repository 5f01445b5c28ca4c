"""What an interchange remembers of one client."""

import math

from actors.messages import ClientId, Outcome, TaskId

__all__ = ["ClientEntry"]


class ClientEntry:
    """One client, from its first admission until it left or was away too long."""

    __slots__ = (
        "client_id",
        "gone_at",
        "instance",
        "is_leaving",
        "is_put_off",
        "unacknowledged",
        "unfinished",
    )

    def __init__(self, client_id: ClientId, instance: str) -> None:
        self.client_id = client_id
        self.instance = instance
        self.unacknowledged: dict[TaskId, Outcome] = {}
        self.unfinished = 0  # its tasks in the ledger
        self.gone_at = math.inf  # since when its link is closed
        self.is_leaving = False  # nobody will come for its results
        self.is_put_off = False  # it has tasks that were not taken: call it back

    @property
    def peer(self) -> str:
        return f"client:{self.client_id}"
