"""Take the README's picture of the dashboard, from a real endpoint at work.

    python -m tests.tui.take_picture docs/overview.svg

It runs an endpoint of two blocks for half a minute, with tasks in waves and some that
fail, and draws the overview as `actors tui` does.
"""

import asyncio
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

from actors.api.addressing import find_entrance
from actors.api.executor import EndpointExecutor
from tests.endpoints import RunningEndpoint
from tui.app import Dashboard
from tui.reader import Reader
from tui.view import View

_SIZE = (104, 26)
# Long enough for a task to be reported as running, in seconds.
_LONG = 3.0
# Long enough for sparklines that show something.
_DURATION, _PERIOD = 40.0, 0.5


def simulate(seconds: float) -> None:
    """Take a while, or fail."""
    time.sleep(seconds)
    if seconds > 0.29:
        raise ValueError("the solution diverges")


def submit_wave(executor: EndpointExecutor, number: int) -> None:
    """Submit more tasks than there is room for, then fewer."""
    count = round(11 + 10 * math.sin(number / 4))
    if number % 2 == 0:
        executor.submit(time.sleep, _LONG)
    for index in range(count):
        executor.submit(simulate, 0.05 + 0.25 * ((7 * index + number) % 30) / 29)


async def watch(endpoint: RunningEndpoint, submit: Callable[[int], None]) -> str:
    """Work for a while; return the overview as SVG."""
    entrance = find_entrance(endpoint.folder, "operator", listens=True)
    app = Dashboard(View(entrance.name, time.time()))
    reader = Reader(entrance, app.post)
    app.source = reader
    async with app.run_test(size=_SIZE) as pilot:
        reader.start()
        try:
            for number in range(round(_DURATION / _PERIOD)):
                submit(number)
                await pilot.pause(_PERIOD)
            return app.export_screenshot(title="actors tui lab")
        finally:
            reader.close()


def main(path: Path) -> None:
    """Write the picture."""
    with RunningEndpoint(
        name="lab",
        blocks={"init_blocks": 2, "max_blocks": 2},
        workers={"workers_per_node": 4},
    ) as endpoint:
        executor = endpoint.executor()
        svg = asyncio.run(watch(endpoint, lambda n: submit_wave(executor, n)))
        executor.shutdown(cancel_futures=True)
    path.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
