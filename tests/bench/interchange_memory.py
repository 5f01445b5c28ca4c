"""What a queued task costs the interchange beyond its payload, in bytes.

    python interchange_memory.py [--tasks 100000]

Submits tasks in frames of 1,000, as a client does, to an interchange's machine that has
no manager, and measures by tracemalloc what stays. The frames are decoded from bytes as
in the real process, so ids and payloads are objects of their own.
"""

import argparse
import gc
import time
import tracemalloc

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.messages import (
    PROTOCOL,
    Hello,
    Submit,
    Task,
    TaskId,
    encode_frame,
    from_member,
)

FRAME = 1_000
PAYLOAD = bytes(100)


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    count = parser.parse_args().tasks
    now = time.monotonic()
    interchange = Interchange(InterchangeSettings("bench", "epoch", "t", "3.11"), now)
    interchange.admit(Hello("client", "c", "i", PROTOCOL, "3.11", "t"), now)
    frames = [
        encode_frame(
            [
                Submit(
                    [
                        Task(
                            TaskId(f"some-host-0123456789ab-{n}"), PAYLOAD, PAYLOAD, now
                        )
                        for n in range(start, min(start + FRAME, count))
                    ]
                )
            ]
        )
        for start in range(0, count, FRAME)
    ]
    gc.collect()
    tracemalloc.start()
    for frame in frames:
        for message in from_member["client"].decode(frame):
            interchange.handle(message, "client:c", now)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    assert interchange.ledger.waiting == count
    per_task = kept / count
    payload = 2 * len(PAYLOAD)
    print(
        f"{count} queued tasks: {per_task:.0f} bytes each, {per_task - payload:.0f} "
        f"beyond the payload of {payload}"
    )


if __name__ == "__main__":
    main()
