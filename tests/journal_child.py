"""A process that writes to a journal until it is told how much is enough.

    python -m tests.journal_child FOLDER COUNT

Appends 0, 1, 2, ... up to COUNT in small batches, with rotations and compactions;
prints each number up to which all is acknowledged, then waits for its standard input.
"""

import sys
from pathlib import Path

from actors.journal import RealFiles
from tests.journal_cases import noted, opened

__all__ = ["LIVE_RECORDS", "main"]

LIVE_RECORDS = 20
_BATCH_RECORDS = 7
_BATCHES_BETWEEN_COMPACTIONS = 11


def main(folder: Path, count: int) -> None:
    """Write, then wait."""
    journal, found = opened(RealFiles(), folder, segment_bytes=1000)
    start = found[-1].number + 1 if found else 0
    for batch, first in enumerate(range(start, start + count, _BATCH_RECORDS)):
        end = min(first + _BATCH_RECORDS, start + count)
        journal.append(noted(*range(first, end)))
        journal.sync(0)
        print(end, flush=True)
        if batch % _BATCHES_BETWEEN_COMPACTIONS == 0:
            journal.compact(noted(*range(max(0, end - LIVE_RECORDS), end)))
    print("done", flush=True)
    sys.stdin.read()
    journal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
