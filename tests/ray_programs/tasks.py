"""Remote functions, in the ways that Ray's own guide shows."""

import time

import ray

ray.init(num_cpus=2, log_to_driver=False)


@ray.remote
def square(x):
    return x * x


print(">", ray.get([square.remote(x) for x in range(4)]))
print(">", ray.get(square.options(num_cpus=1, name="nine").remote(3)))


@ray.remote(num_returns=3)
def three():
    return 0, 1, 2


a, b, c = three.remote()
print(">", ray.get([a, b, c]))


# Refs as arguments, and refs inside other values
@ray.remote
def add(x, y=0):
    return x + y


print(">", ray.get(add.remote(square.remote(2), y=square.remote(3))))


@ray.remote
def kinds(ref, refs):
    return type(ref).__name__, isinstance(refs[0], ray.ObjectRef), ray.get(refs[0])


print(">", ray.get(kinds.remote(ray.put(1), [ray.put(2)])))


# Nested
@ray.remote
def fib(n):
    if n < 2:
        return n
    return sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))


print(">", ray.get(fib.remote(5)))


# A generator
@ray.remote
def split(n):
    for i in range(n):
        yield i * 10


print(">", [ray.get(ref) for ref in split.remote(3)])


@ray.remote(num_returns="dynamic")
def split_all(n):
    yield from range(n)


print(">", [ray.get(ref) for ref in ray.get(split_all.remote(3))])


# Retries
@ray.remote(max_retries=2, retry_exceptions=[KeyError])
def flaky(counter):
    if ray.get(counter.up.remote()) < 3:
        raise KeyError("again")
    return "done"


@ray.remote
class Counter:
    def __init__(self):
        self.count = 0

    def up(self):
        self.count += 1
        return self.count


print(">", ray.get(flaky.remote(Counter.remote())))


# Waiting
@ray.remote
def sleep(seconds):
    time.sleep(seconds)
    return seconds


refs = [sleep.remote(s) for s in (0.0, 30.0)]
ready, pending = ray.wait(refs, num_returns=1, timeout=20)
print(">", len(ready), len(pending), ray.get(ready))
ray.cancel(pending[0])
try:
    ray.get(pending[0])
except ray.exceptions.TaskCancelledError:
    print(">", "cancelled")
print(">", ray.is_initialized())
ray.shutdown()
print(">", ray.is_initialized())
