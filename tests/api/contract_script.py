"""What scripts of `test_cpython_contract` import: functions that workers find, too."""

import time
from concurrent.futures import Future

__all__ = ["nap_and_return", "tell"]


def nap_and_return(duration: float, message: str) -> str:
    """Take a while."""
    time.sleep(duration)
    return message


def tell(future: "Future[str]") -> None:
    """Print a result, also while the interpreter ends."""
    print(future.result(), flush=True)
