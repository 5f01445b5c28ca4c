"""What tasks need and what there is of it: processors, GPUs, anything with a name.

Amounts are whole numbers of ten-thousandths, as Ray's: fractions that are given back
add up to what they were.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from actors.messages import Amount

__all__ = [
    "CPU",
    "GPU",
    "GPU_VARIABLE",
    "ONE_CPU",
    "Capacity",
    "Need",
    "amounts_of",
    "name_gpus",
]

CPU = "CPU"
GPU = "GPU"
# Where tasks find their GPUs.
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"

_PARTS = 10_000
# What a message says beyond it is nonsense, infinity perhaps; there is never so much.
_MOST = 1e9
_MOST_GPUS = 10_000


class _Options(Protocol):
    """Of tasks, or of actors."""

    @property
    def num_cpus(self) -> float: ...
    @property
    def num_gpus(self) -> float: ...
    @property
    def resources(self) -> list[Amount]: ...


def amounts_of(
    num_cpus: float, num_gpus: float, resources: Iterable[Amount]
) -> tuple[Amount, ...] | None:
    """Return what is asked for, as it travels; None: one processor, the usual."""
    amounts = [Amount(CPU, num_cpus), Amount(GPU, num_gpus), *resources]
    wanted = tuple(each for each in amounts if each.amount)
    return None if wanted == (Amount(CPU, 1),) else wanted


class Need(msgspec.Struct, frozen=True):
    """What a task takes while it runs: {name: parts}, nothing that is zero."""

    amounts: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, options: _Options) -> "Need":
        """Return what a task, or an actor, with these options needs."""
        return cls.of_amounts(
            amounts_of(options.num_cpus, options.num_gpus, options.resources)
        )

    @classmethod
    def of_amounts(cls, amounts: Iterable[Amount] | None) -> "Need":
        """Return what somebody has asked for; of what is there twice, the last."""
        if amounts is None:
            return ONE_CPU
        wanted = {each.name: _parts(each.amount) for each in amounts}
        return cls(tuple((name, x) for name, x in sorted(wanted.items()) if x))

    def fits_cpus(self, count: int) -> bool:
        """Tell whether so many processors are enough."""
        return self.cpu_parts <= count * _PARTS

    @property
    def cpu_parts(self) -> int:
        """Ten-thousandths of a processor."""
        return next((parts for name, parts in self.amounts if name == CPU), 0)

    @property
    def is_one_cpu(self) -> bool:
        return self == ONE_CPU

    @property
    def whole_cpus(self) -> int:
        """Processors, rounded up."""
        return -(-self.cpu_parts // _PARTS)

    @property
    def processors(self) -> "Need":
        """The part of it that a task which waits does not need."""
        return Need(tuple(each for each in self.amounts if each[0] == CPU))

    @property
    def besides_processors(self) -> "Need":
        """The part of it that a task which waits keeps."""
        return Need(tuple(each for each in self.amounts if each[0] != CPU))

    def __str__(self) -> str:
        if not self.amounts:
            return "nothing"
        return ", ".join(f"{parts / _PARTS:g} {name}" for name, parts in self.amounts)


ONE_CPU = Need(((CPU, _PARTS),))


class Capacity:
    """What there is, and what of it is free; less than nothing while too many run.

    What tasks take comes back by itself; what actors take lasts.

    Args:
        total: {name: amount}.
    """

    __slots__ = ("_free", "_gpus", "_lasting", "_total")

    def __init__(self, total: Mapping[str, float]) -> None:
        self._total = {name: _parts(x) for name, x in total.items()}
        self._free = dict(self._total)
        self._lasting: dict[str, int] = {}  # taken by actors
        # Parts of each GPU that are taken, by its number.
        self._gpus = [0] * min(_MOST_GPUS, self._total.get(GPU, 0) // _PARTS)

    def copy(self) -> "Capacity":
        """Return one of its own, to try on it what would be."""
        same = Capacity({})
        same._total, same._gpus = self._total, list(self._gpus)
        same._free, same._lasting = dict(self._free), dict(self._lasting)
        return same

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
            if name == GPU and not of_all:
                # Parts of several are no whole one.
                each, count = _share(parts)
                if sum(taken + each <= _PARTS for taken in self._gpus) < count:
                    return name
        return ""

    def will_have(self, need: Need) -> bool:
        """Tell whether there is enough once nothing is taken but what lasts."""
        total, lasting = self._total, self._lasting
        return not lasting or all(
            parts <= total.get(name, 0) - lasting.get(name, 0)
            for name, parts in need.amounts
        )

    def shortfall(self, need: Need) -> float:
        """Return how far this is from having room: the largest lack, of its total."""
        lacks = (
            (parts - self._free.get(name, 0)) / self._total[name]
            for name, parts in need.amounts
            if self._total.get(name)
        )
        return max(lacks, default=0.0)

    def share(self, need: Need) -> float:
        """Return which part of all that there is a need takes, of what is scarcest."""
        shares = (
            parts / self._total[name]
            for name, parts in need.amounts
            if self._total.get(name)
        )
        return max(shares, default=0.0)

    def describe(self, need: Need) -> str:
        """Say of all that is needed how much is free."""
        return ", ".join(
            f"{max(0, self._free.get(name, 0)) / _PARTS:g} of "
            f"{self._total.get(name, 0) / _PARTS:g} {name} free"
            for name, _ in need.amounts
        )

    @property
    def taken_cpus(self) -> int:
        """Processors of which at least a part is taken: whole ones, rounded up."""
        return -((self._free.get(CPU, 0) - self._total.get(CPU, 0)) // _PARTS)

    def has_cpus(self, need: Need, claimed: int, busy: int) -> bool:
        """Tell whether the processors that a need has taken are free by now.

        Args:
            need: taken already.
            claimed: ten-thousandths taken by who waits as this one does, itself too.
            busy: processors that others use without having taken them.
        """
        free = self._free.get(CPU, 0) + claimed - busy * _PARTS
        return not need.cpu_parts or need.cpu_parts <= free

    def take(self, need: Need, *, lasts: bool = False) -> list[int]:
        """Take what a task needs, or what an actor does; return its GPUs' numbers."""
        gpus: list[int] = []
        if lasts:
            for name, parts in need.amounts:
                self._lasting[name] = self._lasting.get(name, 0) + parts
        for name, parts in need.amounts:
            self._free[name] = self._free.get(name, 0) - parts
            if name == GPU:
                gpus = self._take_gpus(parts)
        return gpus

    def give_back(
        self, need: Need, gpus: Iterable[int], *, lasted: bool = False
    ) -> None:
        """Give back what was taken."""
        if lasted:
            for name, parts in need.amounts:
                self._lasting[name] -= parts
        for name, parts in need.amounts:
            self._free[name] += parts
            if name == GPU:
                each = min(parts, _PARTS)
                for gpu in gpus:
                    self._gpus[gpu] -= each

    def is_as_free_as(self, other: "Capacity") -> bool:
        """Tell whether as much of everything is free."""
        mine, others = self.free(), other.free()
        return all(mine.get(x, 0) == others.get(x, 0) for x in {*mine, *others})

    def free(self) -> dict[str, float]:
        """Return what is free."""
        return {name: parts / _PARTS for name, parts in self._free.items()}

    def total(self) -> dict[str, float]:
        """Return what there is."""
        return {name: parts / _PARTS for name, parts in self._total.items()}

    def _take_gpus(self, parts: int) -> list[int]:
        # A part of one goes to the fullest that has room: the others stay whole. Who
        # was let in without any room gets the emptiest.
        each, count = _share(parts)
        order = sorted(range(len(self._gpus)), key=lambda gpu: -self._gpus[gpu])
        chosen = [gpu for gpu in order if self._gpus[gpu] + each <= _PARTS][:count]
        rest = [gpu for gpu in reversed(order) if gpu not in chosen]
        chosen += rest[: count - len(chosen)]
        for gpu in chosen:
            self._gpus[gpu] += each
        return chosen


def name_gpus(gpus: Iterable[int], names: Sequence[str]) -> str:
    """Return what the variable has to say; those without a name have numbers."""
    return ",".join(names[gpu] if gpu < len(names) else str(gpu) for gpu in gpus)


def _parts(amount: float) -> int:
    """Count ten-thousandths; of what makes no sense, none, or more than there is."""
    return round(min(max(amount, 0.0), _MOST) * _PARTS)


def _share(parts: int) -> tuple[int, int]:
    """Return how much of each GPU somebody takes, and of how many."""
    return min(parts, _PARTS), max(1, parts // _PARTS)
