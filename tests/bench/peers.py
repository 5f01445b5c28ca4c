"""One adapter per peer.  To add one: subclass Peer, set `venv`, fill in what it has.

A peer with tasks fills in submit and gather (map too where it has a batched one); a
peer with actors fills in actor and send.  Whatever is missing is reported as
unsupported.  Import the peer's package in start(), so that the import counts as
start-up.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tasks import Counter

WORKERS = 2
ACTORS = "actors", "data"
ALL = "tasks", "actors", "data", "queue"
CHUNK = 100  # tasks per message in noop_map, where the peer lets the caller choose


class Peer:
    venv = None  # name of its venv under the folder given to bench.py
    package = None  # whose version is reported
    groups = (
        "tasks",
        "data",
        "queue",
    )  # of workloads.GROUPS; ACTORS for peers with actors only
    n_noop = 20_000
    n_latency = 2_000
    n_actor = 20_000

    def start(self): ...
    def stop(self): ...

    # tasks
    def submit(self, fn, x):
        raise NotImplementedError

    def gather(self, futures):
        return [f.result() for f in futures]

    def map(self, fn, xs):
        raise NotImplementedError

    def call(self, fn, x):
        return self.gather([self.submit(fn, x)])[0]

    # actors: a handle on a tasks.Counter elsewhere
    def actor(self):
        raise NotImplementedError

    def send(self, actor, by):
        raise NotImplementedError

    def ask(self, actor, by):
        return self.gather([self.send(actor, by)])[0]

    def kill(self, actor): ...

    # the two loops that an async peer overrides, not to pay for entering its loop per call
    def ask_loop(self, actor, n):
        """Microseconds of each of n sequential calls."""
        times = []
        for _ in range(n):
            t = time.perf_counter()
            self.ask(actor, 1)
            times.append(time.perf_counter() - t)
        return [t * 1e6 for t in times]

    def send_all(self, actor, n):
        return self.gather([self.send(actor, 1) for _ in range(n)])


class ActorsEndpoint(Peer):
    """An endpoint of this repository: `actors run` on a folder that was never used.

    What `actors init` writes is written here, without an interpreter's start: it is
    done once in the life of an endpoint.
    """

    venv = package = "actors"
    # Short, as sockets live below it. The frame limit lets 64 MiB pass.
    config = f"""\
[transport]
max_frame_bytes = {1 << 28}
[blocks]
provider = "local"
nodes_per_block = 1
init_blocks = 1
min_blocks = 1
max_blocks = 1
[workers]
workers_per_node = {WORKERS}
[strategy]
kind = "none"
"""

    def start(self):
        self.dir = tempfile.mkdtemp(prefix="a-", dir="/tmp")
        Path(self.dir, "endpoint.toml").write_text(self.config)
        command = [Path(sys.executable).with_name("actors"), "run", "--quiet", self.dir]
        # The endpoint starts while this process imports the client.
        self.root = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        import actors

        self.executor = actors.Executor(self.dir)

    def stop(self):
        self.executor.shutdown()
        self.root.terminate()
        self.root.wait()
        shutil.rmtree(self.dir)

    def submit(self, fn, x):
        return self.executor.submit(fn, x)

    def map(self, fn, xs):
        return list(self.executor.map(fn, xs, chunksize=CHUNK))

    def call(self, fn, x):
        return self.executor.submit(fn, x).result()


class ActorsEndpointOff(ActorsEndpoint):
    """An endpoint that persists nothing, as the peers."""

    config = ActorsEndpoint.config + '[journal]\ndurability = "off"\n'


class Actors(Peer):
    """This repository, embedded: worker processes of the caller."""

    venv = package = "actors"
    groups = ALL

    def start(self):
        import actors

        self.actors, self.fns = actors, {}
        actors.init(num_workers=WORKERS)
        self.Counter = actors.remote(Counter)

    def stop(self):
        self.actors.shutdown()

    def submit(self, fn, x):
        remote = self.fns.get(fn)
        if remote is None:
            remote = self.fns[fn] = self.actors.remote(fn)
        return remote.remote(x)

    def gather(self, futures):
        return self.actors.get(futures)

    def actor(self):
        return self.Counter.remote()

    def send(self, actor, by):
        return actor.increment.remote(by)

    def kill(self, actor):
        self.actors.kill(actor)


class ProcessPool(Peer):
    venv = "base"

    def start(self):
        from concurrent.futures import ProcessPoolExecutor

        self.pool = ProcessPoolExecutor(WORKERS)

    def stop(self):
        self.pool.shutdown()

    def submit(self, fn, x):
        return self.pool.submit(fn, x)

    def map(self, fn, xs):
        return list(self.pool.map(fn, xs, chunksize=CHUNK))


class Loky(ProcessPool):
    package = "loky"

    def start(self):
        from loky import get_reusable_executor

        self.pool = get_reusable_executor(WORKERS, timeout=None)


class MpPool(Peer):
    venv = "base"

    def start(self):
        import multiprocessing

        self.pool = multiprocessing.Pool(WORKERS)

    def stop(self):
        self.pool.close()
        self.pool.join()

    def submit(self, fn, x):
        return self.pool.apply_async(fn, (x,))

    def gather(self, futures):
        return [f.get() for f in futures]

    def map(self, fn, xs):
        return self.pool.map(fn, xs, chunksize=CHUNK)


class Joblib(Peer):
    """Has no futures: gather is one Parallel call.  Single submits are batch_size=1."""

    venv = "base"
    package = "joblib"
    n_noop = 10_000
    n_latency = 500

    def start(self):
        import joblib

        self.joblib = joblib
        self.one = joblib.Parallel(WORKERS, batch_size=1).__enter__()
        self.auto = joblib.Parallel(WORKERS).__enter__()

    def stop(self):
        self.one.__exit__(None, None, None)
        self.auto.__exit__(None, None, None)

    def submit(self, fn, x):
        return self.joblib.delayed(fn)(x)

    def gather(self, futures):
        return self.one(futures)

    def map(self, fn, xs):
        return self.auto(self.joblib.delayed(fn)(x) for x in xs)


class Ray(Peer):
    venv = package = "ray"
    groups = ALL
    n_noop = n_actor = 10_000

    def start(self):
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self.ray, self.fns = ray, {}
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
        self.Counter = ray.remote(num_cpus=0)(
            Counter
        )  # the 20 of actor_start fit on 2 CPUs

    def stop(self):
        self.ray.shutdown()

    def submit(self, fn, x):
        remote = self.fns.get(fn)
        if remote is None:
            remote = self.fns[fn] = self.ray.remote(fn)
        return remote.remote(x)

    def gather(self, futures):
        return self.ray.get(futures)

    def map(self, fn, xs):
        from ray.util.multiprocessing import Pool

        if not hasattr(self, "pool"):
            self.pool = Pool(WORKERS)
            self.pool.map(fn, range(WORKERS), chunksize=1)
        return self.pool.map(fn, xs, chunksize=CHUNK)

    def actor(self):
        return self.Counter.remote()

    def send(self, actor, by):
        return actor.increment.remote(by)

    def kill(self, actor):
        self.ray.kill(actor)


class Parsl(Peer):
    """HighThroughputExecutor under the DataFlowKernel."""

    venv = package = "parsl"
    n_noop = 10_000
    encrypted = False

    def start(self):
        import parsl
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        self.parsl, self.apps, self.dir = parsl, {}, tempfile.TemporaryDirectory()
        self.htex = HighThroughputExecutor(
            address="127.0.0.1",
            max_workers_per_node=WORKERS,
            encrypted=self.encrypted,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        self.dfk = parsl.load(
            parsl.Config(
                executors=[self.htex],
                usage_tracking=0,
                strategy="none",
                run_dir=self.dir.name,
                initialize_logging=False,
            )
        )

    def stop(self):
        self.dfk.cleanup()
        self.parsl.clear()
        self.dir.cleanup()

    def submit(self, fn, x):
        app = self.apps.get(fn)
        if app is None:
            app = self.apps[fn] = self.parsl.python_app(fn)
        return app(x)


class ParslEncrypted(Parsl):
    groups = "tasks", "data"
    encrypted = True


class ParslHtex(Parsl):
    """The executor alone, without the DataFlowKernel: how funcX endpoints use it."""

    groups = "tasks", "queue"

    def submit(self, fn, x):
        return self.htex.submit(fn, {}, x)


class Dask(Peer):
    """Actors live in the two workers, not in a process each."""

    venv = "dask"
    package = "distributed"
    groups = ALL
    n_noop = n_actor = 5_000
    n_latency = 500

    def start(self):
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None
        )
        self.client = Client(self.cluster)

    def stop(self):
        self.client.close()
        self.cluster.close()

    def submit(self, fn, x):
        return self.client.submit(fn, x, pure=False)

    def gather(self, futures):
        if len(futures) == 1 or not hasattr(
            futures[0], "key"
        ):  # actor futures are not keyed
            return [f.result() for f in futures]
        return self.client.gather(futures)

    def map(self, fn, xs):
        return self.client.gather(self.client.map(fn, xs, pure=False))

    def actor(self):
        return self.client.submit(Counter, actor=True, pure=False).result()

    def send(self, actor, by):
        return actor.increment(by)


class DaskScatter(Dask):
    """As Dask, but big arguments are scattered to a worker first, as its manual advises."""

    groups = ("data",)

    def call(self, fn, x):
        return self.client.submit(
            fn, self.client.scatter(x, hash=False), pure=False
        ).result()


class Xoscar(Peer):
    """Actors only, and async only; they live in the pool's two processes."""

    venv = package = "xoscar"
    groups = ACTORS

    def start(self):
        import xoscar

        self.xo, self.loop, self.made = xoscar, asyncio.new_event_loop(), 0

        class XoCounter(Counter, xoscar.Actor):
            def __init__(self):
                super().__init__()

        self.Counter = XoCounter
        self.pool = self.run(xoscar.create_actor_pool("127.0.0.1:0", n_process=WORKERS))
        self.worker = self.actor()

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def stop(self):
        self.run(self.pool.stop())

    def call(self, fn, x):
        return self.run(self.worker.run(fn, x))

    def actor(self):
        self.made += 1
        place = self.xo.allocate_strategy.ProcessIndex(1 + self.made % WORKERS)
        return self.run(
            self.xo.create_actor(
                self.Counter,
                address=self.pool.external_address,
                uid=f"counter{self.made}",
                allocate_strategy=place,
            )
        )

    def ask(self, actor, by):
        return self.run(actor.increment(by))

    def kill(self, actor):
        self.run(self.xo.destroy_actor(actor))

    def ask_loop(self, actor, n):
        async def go():
            times = []
            for _ in range(n):
                t = time.perf_counter()
                await actor.increment(1)
                times.append(time.perf_counter() - t)
            return [t * 1e6 for t in times]

        return self.run(go())

    def send_all(self, actor, n):
        async def go():
            return await asyncio.gather(*[actor.increment(1) for _ in range(n)])

        return self.run(go())


class Pykka(Peer):
    """Actors only, and they are threads of this very process."""

    venv = package = "pykka"
    groups = ("actors",)

    def start(self):
        import pykka

        class PykkaCounter(Counter, pykka.ThreadingActor):
            def __init__(self):
                pykka.ThreadingActor.__init__(self)
                Counter.__init__(self)

        self.pykka, self.Counter = pykka, PykkaCounter
        self.worker = self.actor()

    def stop(self):
        self.pykka.ActorRegistry.stop_all()

    def call(self, fn, x):
        return self.worker.run(fn, x).get()

    def actor(self):
        return self.Counter.start().proxy()

    def send(self, actor, by):
        return actor.increment(by)

    def gather(self, futures):
        return [f.get() for f in futures]

    def kill(self, actor):
        actor.actor_ref.stop()


class Thespian(Peer):
    """Actors only, a process each; replies are listened for, there are no futures."""

    venv = package = "thespian"
    groups = ACTORS
    n_actor = 2_000

    def start(self):
        from thespian.actors import ActorSystem
        from thespian_actor import ThespianCounter

        self.Counter = ThespianCounter
        self.system = ActorSystem(
            "multiprocTCPBase", {"Admin Port": 19_000 + os.getpid() % 10_000}
        )
        self.worker = self.actor()

    def stop(self):
        self.system.shutdown()

    def call(self, fn, x):
        return self.system.ask(self.worker, ("run", fn, x), 60)[0]

    def actor(self):
        return self.system.createActor(self.Counter)

    def ask(self, actor, by):
        return self.system.ask(actor, ("increment", by), 60)[0]

    def send_all(self, actor, n):
        for _ in range(n):
            self.system.tell(actor, ("increment", 1))
        return [self.system.listen(60)[0] for _ in range(n)]

    def kill(self, actor):
        from thespian.actors import ActorExitRequest

        self.system.tell(actor, ActorExitRequest())


class Pipe(Peer):
    """The floor: a process per actor behind a bare multiprocessing.Pipe (pickle)."""

    venv = "base"
    groups = ACTORS
    method = "fork"

    def start(self):
        import multiprocessing
        import pipe_actor

        self.ctx, self.serve = (
            multiprocessing.get_context(self.method),
            pipe_actor.serve,
        )
        self.worker = self.actor()

    def actor(self):
        ours, theirs = self.ctx.Pipe()
        self.ctx.Process(target=self.serve, args=(theirs,), daemon=True).start()
        theirs.close()
        return ours

    def call(self, fn, x):
        self.worker.send(("run", fn, x))
        return self.worker.recv()

    def ask(self, actor, by):
        actor.send(("increment", by))
        return actor.recv()

    def send_all(self, actor, n, window=500):
        """At most `window` unanswered, as both ends block when the pipes are full."""
        sent, got = 0, []
        while len(got) < n:
            while sent < n and sent - len(got) < window:
                actor.send(("increment", 1))
                sent += 1
            got.append(actor.recv())
        return got

    def kill(self, actor):
        actor.send(None)
        actor.close()


class PipeSpawn(Pipe):
    groups = ("actors",)
    method = "spawn"


class PipeForkserver(Pipe):
    groups = ("actors",)
    method = "forkserver"


PEERS = {
    "actors": Actors,
    "actors_endpoint": ActorsEndpoint,
    "actors_endpoint_off": ActorsEndpointOff,
    "process_pool": ProcessPool,
    "mp_pool": MpPool,
    "loky": Loky,
    "joblib": Joblib,
    "ray": Ray,
    "parsl": Parsl,
    "parsl_encrypted": ParslEncrypted,
    "parsl_htex": ParslHtex,
    "dask": Dask,
    "dask_scatter": DaskScatter,
    "xoscar": Xoscar,
    "pykka": Pykka,
    "thespian": Thespian,
    "pipe": Pipe,
    "pipe_spawn": PipeSpawn,
    "pipe_forkserver": PipeForkserver,
}
