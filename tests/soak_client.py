"""A client of the soak that is killed and comes back: `python -m tests.soak_client`.

Its tasks have keys. Each process of it takes over what those before it have left, and
submits what is missing; the one that lives to see all results checks them, prints how
many there were, and leaves in order.
"""

import sys
from collections import deque
from concurrent.futures import Future

from actors.api.executor import EndpointExecutor
from tests.system import tasks

# Tasks under way at a time, and how long each takes, in seconds.
UNDER_WAY = 50
DURATION = 0.005


def main(name: str, count: int) -> int:
    """Have so many tasks done, whoever began them; return the exit code."""
    wrong = 0
    with EndpointExecutor(name=name, resume=True, retries=1000) as executor:
        left: dict[str, Future[int]] = dict(executor.resumed(60))
        under_way: deque[tuple[int, Future[int]]] = deque()
        for number in range(count):
            key = str(number)
            future = left.pop(key, None) or executor.submit_keyed(
                key, tasks.echo, number, DURATION
            )
            under_way.append((number, future))
            if len(under_way) > UNDER_WAY:
                wrong += _is_wrong(*under_way.popleft())
        wrong += sum(_is_wrong(*each) for each in under_way)
        # Every key was submitted once: nothing else may have been left.
        wrong += len(left)
    print(f"{count} keyed tasks, {wrong} wrong")
    return 1 if wrong else 0


def _is_wrong(number: int, future: Future[int]) -> bool:
    result = future.result(120)
    if result != number:
        print(f"{number} gave {result}")
    return result != number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
