"""What runs in the workers: importable by every peer, and the same for all of them."""

import time


def noop(x):
    return x


def nap(x):
    time.sleep(0.01)
    return x


def size_and_first(array):
    return array.nbytes, int(array[0])


_made = {}


def make(n):
    """n incompressible bytes; made once, so that transport is measured and not the making."""
    if n not in _made:
        import numpy as np

        _made[n] = np.random.default_rng(0).integers(0, 256, n, np.uint8)
    return _made[n]


class Counter:
    def __init__(self):
        self.value = 0

    def increment(self, by):
        self.value += by
        return self.value

    def run(self, fn, x):
        """A task, for peers which have actors only."""
        return fn(x)
