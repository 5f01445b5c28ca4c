"""Tools of ray.util, in the ways that Ray's own guide shows."""

import ray
from ray.util import ActorPool
from ray.util.multiprocessing import Pool
from ray.util.queue import Empty, Queue

ray.init(num_cpus=3, log_to_driver=False)


@ray.remote
class Worker:
    def double(self, x):
        return 2 * x


pool = ActorPool([Worker.remote(), Worker.remote()])
print(">", list(pool.map(lambda worker, x: worker.double.remote(x), [1, 2, 3, 4])))
pool.submit(lambda worker, x: worker.double.remote(x), 5)
print(">", pool.has_next(), pool.get_next(), pool.has_next())

queue = Queue(maxsize=10)


@ray.remote
def consume(queue, count):
    return [queue.get(timeout=20) for _ in range(count)]


taken = consume.remote(queue, 3)
for item in "abc":
    queue.put(item)
print(">", ray.get(taken))
try:
    queue.get(block=False)
except Empty:
    print(">", "empty")
queue.put_nowait_batch([1, 2])
print(">", queue.qsize(), queue.get_nowait_batch(2))
queue.shutdown()


def square(x):
    return x * x


with Pool(2) as processes:
    print(">", processes.map(square, range(5)))
    print(">", sorted(processes.imap_unordered(square, range(5))))
    print(">", processes.apply_async(square, (9,)).get())
    print(">", processes.starmap(pow, [(2, 3), (3, 2)]))
