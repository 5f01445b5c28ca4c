"""A program with one thread that makes children by fork; `test_forked` looks at it."""

import os
import signal
import subprocess
import sys
import time

from actors.endpoint.spares import Spares
from actors.forked import ForkedChild
from actors.process import ProcessIdentity


def fail() -> int:
    raise ValueError("the child's own error")


def sleep() -> int:
    time.sleep(600)
    return 0


def describe() -> int:
    print(
        f"leads its group: {os.getpgid(0) == os.getpid()}; reads {sys.stdin.read()!r}"
    )
    return 7


def main() -> None:
    print("said before")
    print("describe:", ForkedChild(describe).wait())
    print("fail:", ForkedChild(fail).wait())
    sleeper = ForkedChild(sleep)
    try:
        sleeper.wait(0.0)
    except subprocess.TimeoutExpired:
        print("sleeps:", sleeper.poll())
    sleeper.send_signal(signal.SIGTERM)
    print("sleep:", sleeper.wait())
    sleeper.kill()  # is nobody any more
    print("in the end:", sleeper.wait(0.0), sleeper.returncode)
    with Spares(["strategy", "provider"]) as spares:
        pids = spares.pids
    print("spares left:", [pid for pid in pids if _is_there(pid)])


def _is_there(pid: int) -> bool:
    try:
        return ProcessIdentity.of(pid).is_alive()
    except ProcessLookupError:
        return False


if __name__ == "__main__":
    main()
