"""Ray program: what code knows of where it runs, and what it asks for."""

import os

import ray

ray.init(
    num_cpus=2, num_gpus=2, resources={"slot": 1}, namespace="mine", log_to_driver=False
)


def say(*words):
    print(">", *words, flush=True)


# Contexts
@ray.remote
def ids():
    here = ray.get_runtime_context()
    return here.get_job_id(), here.get_node_id(), here.get_task_id(), here.namespace


told = ray.get([ids.remote() for _ in range(4)])
here = ray.get_runtime_context()
say(len({job for job, _, _, _ in told}), "job", len({task for _, _, task, _ in told}))
say(told[0][0] == here.get_job_id(), told[0][3], here.namespace, here.get_actor_id())
say({node["NodeID"] for node in ray.nodes()} == {node for _, node, _, _ in told})
say([node["Alive"] for node in ray.nodes()])


@ray.remote(max_restarts=1, max_task_retries=1)
class Actor:
    def who(self):
        here = ray.get_runtime_context()
        return here.get_actor_id(), here.was_current_actor_reconstructed

    def crash(self, really):
        if not ray.get_runtime_context().was_current_actor_reconstructed:
            os._exit(1)
        return "crashed once"


a, b = Actor.remote(), Actor.remote()
(first, was_there), (second, _) = ray.get([a.who.remote(), b.who.remote()])
say(first != second, was_there)
say(ray.get(a.crash.remote(True)), ray.get(a.who.remote()) == (first, True))
del a, b


# GPUs
@ray.remote(num_gpus=1)
def gpu():
    return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]


@ray.remote(num_gpus=2)
def both():
    return sorted(map(int, ray.get_gpu_ids()))


ids_there, variable = ray.get(gpu.remote())
say(len(ids_there), variable in ("0", "1"), ray.get(both.remote()), ray.get_gpu_ids())


# Resources of one's own limit what runs at a time
@ray.remote
class Meter:
    def __init__(self):
        self.now = self.most = 0

    def enter(self):
        self.now += 1
        self.most = max(self.most, self.now)

    def leave(self):
        self.now -= 1

    def top(self):
        return self.most


@ray.remote(resources={"slot": 1}, num_cpus=0)
def alone(meter):
    ray.get(meter.enter.remote())
    ray.get(meter.leave.remote())


meter = Meter.remote()
ray.get([alone.remote(meter) for _ in range(6)])
say("at most", ray.get(meter.top.remote()))
say(ray.cluster_resources()["slot"], ray.cluster_resources()["GPU"])


# Names in namespaces
named = Meter.options(name="meter").remote()
other = Meter.options(name="meter", namespace="other").remote()
ray.get([named.enter.remote(), other.enter.remote(), other.enter.remote()])
say(ray.get(ray.get_actor("meter").top.remote()))
say(ray.get(ray.get_actor("meter", namespace="other").top.remote()))
same = Meter.options(name="meter", get_if_exists=True).remote()
say(ray.get(same.top.remote()))


@ray.remote
def look():
    return ray.get(ray.get_actor("meter").top.remote())


say(ray.get(look.remote()))


# A generator feeds tasks as its items come
@ray.remote
def numbers(count):
    for number in range(count):
        yield number


@ray.remote
def double(x):
    return 2 * x


say(ray.get([double.remote(ref) for ref in numbers.remote(4)]))


# As many under way as fit, whoever ends first makes room
@ray.remote(num_cpus=0.5)
def half(x):
    return x


left, under_way, total = list(range(10)), [], 0
while left or under_way:
    while left and len(under_way) < 4:
        under_way.append(half.remote(left.pop()))
    ready, under_way = ray.wait(under_way, num_returns=1)
    total += sum(ray.get(ready))
say(total)


# Tasks that call themselves
@ray.remote
def sort(items):
    if len(items) < 2:
        return items
    middle = len(items) // 2
    parts = ray.get([sort.remote(items[:middle]), sort.remote(items[middle:])])
    merged = []
    while parts[0] and parts[1]:
        merged.append(min(parts, key=lambda part: part[0]).pop(0))
    return merged + parts[0] + parts[1]


say(ray.get(sort.remote([5, 3, 8, 1, 9, 2])))
