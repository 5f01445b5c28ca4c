"""Patterns of Ray's documentation: trees of actors, limited tasks, pipelines."""

import ray

ray.init(num_cpus=2, log_to_driver=False)


# A tree of actors
@ray.remote(num_cpus=0)
class Trainer:
    def __init__(self, rate):
        self.rate = rate

    def train(self, steps):
        return self.rate * steps


@ray.remote(num_cpus=0)
class Supervisor:
    def __init__(self, rate, trainers):
        self.trainers = [Trainer.remote(rate + i) for i in range(trainers)]

    def train(self, steps):
        return sum(ray.get([trainer.train.remote(steps) for trainer in self.trainers]))


supervisors = [Supervisor.remote(rate, 2) for rate in (1, 10)]
print(">", ray.get([supervisor.train.remote(3) for supervisor in supervisors]))


# Limit what is under way by wait
@ray.remote
def work(x):
    return x


limit, pending, results = 4, [], []
for x in range(20):
    if len(pending) > limit:
        ready, pending = ray.wait(pending, num_returns=1)
        results += ray.get(ready)
    pending.append(work.remote(x))
results += ray.get(pending)
print(">", sorted(results) == list(range(20)))


# A pipeline
@ray.remote
def load(x):
    return [x] * 3


@ray.remote
def transform(rows):
    return [row * 2 for row in rows]


@ray.remote
def reduce(*parts):
    return sum(map(sum, parts))


parts = [transform.remote(load.remote(x)) for x in range(5)]
print(">", ray.get(reduce.remote(*parts)))


# Monte Carlo with an actor that gathers progress
@ray.remote
class Progress:
    def __init__(self, total):
        self.total, self.done = total, {}

    def report(self, worker, done):
        self.done[worker] = done

    def fraction(self):
        return sum(self.done.values()) / self.total


@ray.remote
def sample(worker, count, progress):
    inside = 0
    for i in range(count):
        x, y = (i * 7 % 100) / 100, (i * 13 % 100) / 100
        inside += x * x + y * y <= 1
    ray.get(progress.report.remote(worker, count))
    return inside


progress = Progress.remote(2000)
inside = ray.get([sample.remote(i, 1000, progress) for i in range(2)])
print(">", inside, ray.get(progress.fraction.remote()))
