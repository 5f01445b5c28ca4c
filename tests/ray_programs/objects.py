"""Objects and errors, in the ways that Ray's own guide shows."""

import numpy as np

import ray

ray.init(num_cpus=2, log_to_driver=False)

array = np.arange(1_000_000)
ref = ray.put(array)


@ray.remote
def total(values):
    return int(values.sum()), values.flags.writeable


print(">", ray.get(total.remote(ref)))
copy = ray.get(ref)
print(">", copy.flags.writeable, bool((copy == array).all()))


@ray.remote
def make(n):
    return np.ones(n)


print(">", ray.get(make.remote(500_000)).sum())


# Errors
@ray.remote
def fail():
    raise ValueError("bad")


@ray.remote
def after(x):
    return x


for ref in (fail.remote(), after.remote(fail.remote())):
    try:
        ray.get(ref)
    except ValueError as error:
        print(">", "ValueError", "bad" in str(error))


@ray.remote
def forever():
    import time

    time.sleep(100)


try:
    ray.get(forever.remote(), timeout=0.1)
except ray.exceptions.GetTimeoutError as error:
    print(">", isinstance(error, TimeoutError))


@ray.remote(max_retries=0)
def die():
    import os

    os._exit(1)


try:
    ray.get(die.remote())
except ray.exceptions.WorkerCrashedError:
    print(">", "crashed")

try:
    total()
except TypeError:
    print(">", "call it by remote")

for wrong in (
    lambda: ray.get([1]),
    lambda: ray.wait(ray.put(1)),
    lambda: ray.put(ray.put(1)),
):
    try:
        wrong()
    except (TypeError, ValueError):
        print(">", "wrong")
twice = ray.put(1)
try:
    ray.wait([twice, twice])
except ValueError:
    print(">", "twice")
print(">", ray.cluster_resources()["CPU"])
