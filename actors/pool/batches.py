"""Batches: tasks for one worker, cut into the frames that they travel in."""

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

from actors.errors import PayloadTooLarge
from actors.messages import Call, Define, Equip, HostActor, Introduce, Run
from actors.pipe import MAX_FRAME_BYTES

__all__ = ["MAX_BYTES_PER_FRAME", "ForMain", "Unnumbered", "batches"]

# A frame holds no more tasks, or bytes of them, if it can be helped: a worker shall
# begin with the first while it decodes no others, and a recall can split no frame.
_MAX_RUNS_PER_FRAME = 256
MAX_BYTES_PER_FRAME = 65_536

# What fits into a frame with its other fields.
_MAX_RUN_BYTES = MAX_FRAME_BYTES - 2**20

# What goes through the main pipe, and what of it is no task.
ForMain = Run | Call | Define | Introduce | HostActor | Equip
Unnumbered = Define | Introduce | HostActor | Equip

_function_of: Callable[[ForMain], bytes] = attrgetter("function")
_arguments_of: Callable[[ForMain], bytes] = attrgetter("arguments")


def batches(runs: Sequence[ForMain]) -> Iterator[list[ForMain]]:
    """Cut tasks into frames' worth, in order.

    Raises:
        PayloadTooLarge: a task does not fit into one frame; all before it have been
            yielded.
    """
    if (
        len(runs) <= _MAX_RUNS_PER_FRAME
        and set(map(type, runs)) == {Run}
        and sum(map(len, map(_arguments_of, runs)))
        + sum(map(len, map(_function_of, runs)))
        <= MAX_BYTES_PER_FRAME
    ):
        # The usual case, by loops that C runs.
        yield list(runs)
        return
    batch: list[ForMain] = []
    batch_bytes = 0
    for run in runs:
        if type(run) is Run:
            run_bytes = len(run.function) + len(run.arguments)
        else:
            run_bytes = _bytes_of(run)
        if run_bytes > _MAX_RUN_BYTES:
            if batch:
                yield batch
            raise PayloadTooLarge(
                f"Task of {run_bytes} bytes exceeds {_MAX_RUN_BYTES} bytes; "
                "pass large values by file or by reference"
            )
        if batch and (
            batch_bytes + run_bytes > MAX_BYTES_PER_FRAME
            or len(batch) >= _MAX_RUNS_PER_FRAME
        ):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(run)
        batch_bytes += run_bytes
    if batch:
        yield batch


def _bytes_of(run: ForMain) -> int:
    match run:
        case Call(_, function, arguments, values):
            dependencies = sum(len(value.payload) for value in values)
            return len(function) + len(arguments.payload) + dependencies
        case Run(_, function, arguments):
            return len(function) + len(arguments)
        case Define(_, function) | HostActor(_, _, function):
            return len(function)
        case Introduce() | Equip():
            return 0
