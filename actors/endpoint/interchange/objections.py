"""Objections: tasks that nothing here will ever run, and what others wait for. Pure.

What an endpoint can start is known from its settings, and better once blocks have come
up: they may live for less than was asked for, and have more than was said.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from actors.logic.fleet import Fleet, need_of
from actors.logic.placement import PlacementRules
from actors.logic.resources import CPU, Capacity, Need
from actors.logic.worker_types import no_such_type
from actors.messages import Failure, FailureKind, Needs, Task

__all__ = ["Objections"]

# What tasks wait for is said so often, for so many needs. Chosen: for people.
_TELL_WAIT_PERIOD = 60.0
_MOST_TOLD = 1000
# Blocks in a row that come up with less time left than a task needs, until it is told
# so. Chosen: as many as must fail for a bad state.
_OFFERS_KEPT = 3


class Objections:
    """What is said of tasks that ask for something.

    Args:
        rules: the operator's, of placement.
        node: {name: amount} of what a node has; CPU may be missing: then nodes have as
            many as they have.
        fleet: the managers that there are.
    """

    def __init__(
        self, rules: PlacementRules, node: Mapping[str, float], fleet: Fleet
    ) -> None:
        self._rules = rules
        self._node = node
        self._fleet = fleet
        # Seconds that the last blocks which came up had for tasks
        self._offers: deque[float] = deque(maxlen=_OFFERS_KEPT)
        self._told_waits: dict[str, float] = {}  # {need, or tag: when it was said}

    def note_offer(self, seconds: float) -> None:
        """Note how much time a block that has come up has for tasks."""
        self._offers.append(seconds)

    def sort_out(
        self, tasks: Iterable[Task]
    ) -> tuple[list[Task], list[tuple[Task, Failure]]]:
        """Tell what can run here from what nobody here will ever run, and why."""
        suited: list[Task] = []
        nowhere: list[tuple[Task, Failure]] = []
        verdicts: dict[Needs, Failure | None] = {}
        for task in tasks:
            if task.needs is None:
                suited.append(task)
                continue
            if task.needs not in verdicts:
                verdicts[task.needs] = self.to_needs(task.needs, task.name)
            failure = verdicts[task.needs]
            if failure is not None:
                nowhere.append((task, failure))
            elif task.needs == Needs():
                suited.append(msgspec.structs.replace(task, needs=None))
            else:
                suited.append(task)
        return suited, nowhere

    def to_needs(self, needs: Needs, name: str) -> Failure | None:
        """Say why nothing that this endpoint starts can have such a task.

        Args:
            needs: of the task.
            name: of the task, for people.
        """
        rules, walltime = self._rules, needs.walltime
        if needs.worker_type and needs.worker_type not in rules.worker_types:
            return no_such_type(needs.worker_type, rules.worker_types)
        if not 0 <= walltime <= rules.longest:
            return Failure(
                FailureKind.REFUSED,
                f"walltime {walltime:g} s fits in no block: tasks may have "
                f"{rules.longest:g} s of a block's life of {rules.walltime:g} s "
                "([blocks] walltime and [placement] end_margin in endpoint.toml): ask "
                "for less, or raise that",
            )
        is_known = len(self._offers) == _OFFERS_KEPT
        if walltime and is_known and walltime > max(self._offers):
            return Failure(
                FailureKind.REFUSED,
                f"walltime {walltime:g} s fits in no block: the last "
                f"{_OFFERS_KEPT} had at most {max(self._offers):g} s for tasks when "
                "they came up: ask for less, or raise [blocks] walltime in "
                "endpoint.toml",
            )
        return None if needs.amounts is None else self.to_need(need_of(needs), name)

    def to_need(self, need: Need, name: str) -> Failure | None:
        """Say why no node will ever have what is needed; None: one may.

        Args:
            need: of a task, or of an actor.
            name: of what needs it, for people.
        """
        node = Capacity({CPU: math.inf, **self._node})
        lack = node.lack(need, of_all=True)
        managers = self._fleet.managers.values()
        if not lack or any(not m.capacity.lack(need, of_all=True) for m in managers):
            return None
        return Failure(
            FailureKind.IMPOSSIBLE,
            f"{name} needs {need}, but a node of this endpoint has "
            f"{node.total().get(lack, 0):g} {lack}: ask for less, or give nodes more "
            "([workers] of endpoint.toml)",
        )

    def explain_wait(self, need: Need, now: float) -> str:
        """Say what something waits for; empty: that was said lately, or is unknown."""
        return self._unless_told(self._fleet.explain_wait(need), str(need), now)

    def explain_tag(self, tag: str, now: float) -> str:
        """Say that nobody has a tag; empty: that was said lately, or is not so."""
        there = [m.tag for m in self._fleet.managers.values() if m.is_connected]
        if not there or tag in there:
            return ""
        why = (
            f"none of {len(there)} has it; nodes get theirs by [workers] tag, or by "
            "ACTORS_TAG in [workers] init"
        )
        return self._unless_told(why, f"tag {tag}", now)

    def _unless_told(self, why: str, key: str, now: float) -> str:
        told_at = self._told_waits.get(key, -math.inf)
        if not why or now < told_at + _TELL_WAIT_PERIOD:
            return ""
        if len(self._told_waits) >= _MOST_TOLD:
            self._told_waits.clear()
        self._told_waits[key] = now
        return why
