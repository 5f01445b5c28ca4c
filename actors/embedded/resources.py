"""What tasks need and what there is of it: processors, GPUs, anything with a name.

Amounts are whole numbers of ten-thousandths, as Ray's: fractions that are given back
add up to what they were.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actors.messages import TaskOptions

__all__ = ["CPU", "GPU", "ONE_CPU", "Capacity", "Need"]

CPU = "CPU"
GPU = "GPU"

_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Need:
    """What a task takes while it runs: {name: parts}, nothing that is zero."""

    amounts: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, options: TaskOptions) -> "Need":
        """Return what a task with these options needs."""
        wanted = {CPU: options.num_cpus, GPU: options.num_gpus}
        wanted.update({each.name: each.amount for each in options.resources})
        amounts = ((name, round(x * _PARTS)) for name, x in sorted(wanted.items()))
        return cls(tuple((name, parts) for name, parts in amounts if parts))

    @property
    def is_one_cpu(self) -> bool:
        return self == ONE_CPU

    @property
    def processors(self) -> "Need":
        """The part of it that a task which waits does not need."""
        return Need(tuple(each for each in self.amounts if each[0] == CPU))

    def __str__(self) -> str:
        if not self.amounts:
            return "nothing"
        return ", ".join(f"{parts / _PARTS:g} {name}" for name, parts in self.amounts)


ONE_CPU = Need(((CPU, _PARTS),))


class Capacity:
    """What there is, and what of it is free; less than nothing while too many run.

    Args:
        total: {name: amount}.
    """

    def __init__(self, total: Mapping[str, float]) -> None:
        self._total = {name: round(x * _PARTS) for name, x in total.items()}
        self._free = dict(self._total)
        # Parts of each GPU that are taken, by its number.
        self._gpus = [0] * round(total.get(GPU, 0))

    def lack(self, need: Need, *, of_all: bool = False) -> str:
        """Name what there is too little of; empty: there is enough.

        Args:
            need: of one task.
            of_all: compare with all that there is, not with what is free now.
        """
        there = self._total if of_all else self._free
        for name, parts in need.amounts:
            if parts > there.get(name, 0):
                return name
        return ""

    def take(self, need: Need) -> list[int]:
        """Take what a task needs; return the numbers of its GPUs."""
        gpus: list[int] = []
        for name, parts in need.amounts:
            self._free[name] = self._free.get(name, 0) - parts
            if name == GPU:
                gpus = self._take_gpus(parts)
        return gpus

    def give_back(self, need: Need, gpus: Iterable[int]) -> None:
        """Give back what was taken."""
        for name, parts in need.amounts:
            self._free[name] += parts
            if name == GPU:
                each = min(parts, _PARTS)
                for gpu in gpus:
                    self._gpus[gpu] -= each

    def free(self) -> dict[str, float]:
        """Return what is free."""
        return {name: parts / _PARTS for name, parts in self._free.items()}

    def total(self) -> dict[str, float]:
        """Return what there is."""
        return {name: parts / _PARTS for name, parts in self._total.items()}

    def _take_gpus(self, parts: int) -> list[int]:
        # A part of one goes to the fullest that has room: the others stay whole.
        each, count = min(parts, _PARTS), max(1, parts // _PARTS)
        order = sorted(range(len(self._gpus)), key=lambda gpu: -self._gpus[gpu])
        chosen = [gpu for gpu in order if self._gpus[gpu] + each <= _PARTS][:count]
        for gpu in chosen:
            self._gpus[gpu] += each
        return chosen
