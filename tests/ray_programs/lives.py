"""Actors, in the ways that Ray's own guide shows."""

import asyncio
import os

import ray

ray.init(num_cpus=4, log_to_driver=False)


@ray.remote
class Counter:
    def __init__(self, start=0):
        self.value = start

    def increment(self, by=1):
        self.value += by
        return self.value

    @ray.method(num_returns=2)
    def both(self):
        return self.value, -self.value

    def fail(self):
        raise RuntimeError("broken")

    def leave(self):
        ray.actor.exit_actor()


counter = Counter.remote(10)
print(">", ray.get([counter.increment.remote() for _ in range(3)]))
print(">", ray.get(counter.both.remote()))
try:
    ray.get(counter.fail.remote())
except RuntimeError as error:
    print(">", "RuntimeError", "broken" in str(error))
print(">", ray.get(counter.increment.remote(by=5)))


# Handles travel
@ray.remote
def use(counter):
    return ray.get(counter.increment.remote(100))


print(">", ray.get(use.remote(counter)))

# Names
named = Counter.options(name="named", namespace="here", get_if_exists=True).remote(1)
same = ray.get_actor("named", namespace="here")
print(">", ray.get(same.increment.remote()))
try:
    ray.get_actor("nobody")
except ValueError:
    print(">", "no such actor")

# Death
ray.kill(counter)
try:
    ray.get(counter.increment.remote())
except ray.exceptions.RayActorError as error:
    print(">", isinstance(error, ray.exceptions.ActorDiedError))
try:
    ray.get(named.leave.remote())
except ray.exceptions.RayActorError:
    print(">", "it left")


@ray.remote
class Broken:
    def __init__(self):
        raise ValueError("no start")

    def ping(self):
        return "pong"


try:
    ray.get(Broken.remote().ping.remote())
except ray.exceptions.ActorDiedError as error:
    print(">", "no start" in str(error))


# Restarts
@ray.remote(max_restarts=1, max_task_retries=-1)
class Phoenix:
    def __init__(self):
        self.count = 0

    def up(self):
        self.count += 1
        return self.count

    def die(self):
        os._exit(1)


phoenix = Phoenix.remote()
print(">", ray.get([phoenix.up.remote(), phoenix.up.remote()]))
try:
    ray.get(phoenix.die.options(max_task_retries=0).remote())
except ray.exceptions.RayActorError:
    print(">", "it died")
print(">", ray.get(phoenix.up.remote()))


# asyncio
@ray.remote
class Signal:
    def __init__(self):
        self.event = asyncio.Event()

    async def wait(self):
        await self.event.wait()
        return "set"

    async def send(self):
        self.event.set()


signal = Signal.remote()
waiting = [signal.wait.remote() for _ in range(3)]
ray.get(signal.send.remote())
print(">", ray.get(waiting))


async def main():
    print(">", await Counter.remote(1).increment.remote())
    print(
        ">",
        await asyncio.gather(*[Counter.remote(i).increment.remote() for i in (1, 2)]),
    )


asyncio.run(main())


# Concurrency groups and threads
@ray.remote(concurrency_groups={"io": 2}, max_concurrency=2)
class Grouped:
    def __init__(self):
        self.barrier = __import__("threading").Barrier(2)

    @ray.method(concurrency_group="io")
    def meet(self):
        return self.barrier.wait(20)

    def meet_too(self):
        return self.barrier.wait(20)


grouped = Grouped.remote()
print(">", sorted(ray.get([grouped.meet.remote(), grouped.meet.remote()])))
print(">", sorted(ray.get([grouped.meet.remote(), grouped.meet_too.remote()])))


# Streams
@ray.remote
class Stream:
    def items(self, n):
        for i in range(n):
            yield i


streaming = Stream.remote().items.options(num_returns="streaming")
print(">", [ray.get(ref) for ref in streaming.remote(3)])


# A full mailbox
@ray.remote(max_pending_calls=1)
class Slow:
    async def wait(self, signal):
        await signal.wait.remote()


gate = Signal.remote()
slow = Slow.remote()
first = slow.wait.remote(gate)
try:
    slow.wait.remote(gate)
except ray.exceptions.PendingCallsLimitExceeded:
    print(">", "full")
ray.get(gate.send.remote())
ray.get(first)
