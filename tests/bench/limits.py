"""What the machine and the building blocks allow, for reference: no peer can beat these."""

import asyncio
import functools
import multiprocessing
import os
import pickle
import queue
import socket
import tempfile
import threading
import time
from concurrent.futures import Future

import tasks

MSG = bytes(100)
clock = time.perf_counter
fork = multiprocessing.get_context("fork")


def per_call(fn, n):
    t = clock()
    for _ in range(n):
        fn()
    return dict(n=n, seconds=clock() - t)


def ping(send, recv, n=5000):
    """n round trips; the other side echoes."""
    us = []
    for _ in range(n):
        t = clock()
        send(MSG)
        recv()
        us.append((clock() - t) * 1e6)
    return dict(n=n, seconds=sum(us) / 1e6, us=us)


def child(fn, *args, method="fork"):
    p = multiprocessing.get_context(method).Process(target=fn, args=args, daemon=True)
    p.start()
    return p


def ipc():
    return f"ipc://{tempfile.mkdtemp()}/s"


# serialising one call


def cloudpickle_by_reference():
    import cloudpickle

    return per_call(
        lambda: pickle.loads(cloudpickle.dumps((tasks.noop, (1,), {}))), 20_000
    )


def cloudpickle_by_value():
    import cloudpickle

    fn = lambda x: x  # noqa: E731
    return per_call(lambda: pickle.loads(cloudpickle.dumps((fn, (1,), {}))), 2_000)


def pickle_by_reference():
    return per_call(
        lambda: pickle.loads(pickle.dumps((tasks.noop, (1,), {}), 5)), 50_000
    )


def msgpack_struct():
    import msgspec

    Call = msgspec.defstruct(
        "Call", [("id", int), ("fn", str), ("args", bytes)], array_like=True
    )
    encode, decode = (
        msgspec.msgpack.Encoder().encode,
        msgspec.msgpack.Decoder(Call).decode,
    )
    return per_call(lambda: decode(encode(Call(7, "tasks.noop", MSG))), 200_000)


# ping-pong of 100 bytes


def pingpong_unix_socket():
    a, b = socket.socketpair()

    def echo():
        while True:
            b.send(b.recv(200))

    child(echo)
    return ping(a.send, functools.partial(a.recv, 200))


def pingpong_pipe():
    a, b = fork.Pipe()

    def echo():
        while True:
            b.send_bytes(b.recv_bytes())

    child(echo)
    return ping(a.send_bytes, a.recv_bytes)


def pingpong_simple_queue():
    a, b = fork.SimpleQueue(), fork.SimpleQueue()

    def echo():
        while True:
            b.put(a.get())

    child(echo)
    return ping(a.put, b.get)


def pingpong_threads():
    """Two threads of one process."""
    a, b = queue.SimpleQueue(), queue.SimpleQueue()

    def echo():
        while True:
            b.put(a.get())

    threading.Thread(target=echo, daemon=True).start()
    return ping(a.put, b.get)


def future_between_threads():
    """A caller blocked on a Future that another thread sets: the floor of a sync API over one."""
    jobs = queue.SimpleQueue()

    def serve():
        while True:
            jobs.get().set_result(1)

    threading.Thread(target=serve, daemon=True).start()

    def send(_):
        send.future = Future()
        jobs.put(send.future)

    return ping(send, lambda: send.future.result())


def run_coroutine_threadsafe():
    """A caller blocked on a no-op coroutine run by an event loop in another thread."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def noop():
        return 1

    def send(_):
        send.future = asyncio.run_coroutine_threadsafe(noop(), loop)

    return ping(send, lambda: send.future.result())


def nng_echo(url):  # in a spawned process: a fork of a process that has used nng hangs
    import pynng

    with pynng.Pair0(dial=url) as s:
        while True:
            s.send(s.recv())


def pingpong_nng():
    import pynng

    url = ipc()
    s = pynng.Pair0(listen=url)
    child(nng_echo, url, method="spawn")
    s.send(MSG), s.recv()
    return ping(s.send, s.recv)


def pingpong_nng_async():
    """asend and arecv on our side, blocking send and recv on the other."""
    import pynng

    url = ipc()
    s = pynng.Pair0(listen=url)
    child(nng_echo, url, method="spawn")
    s.send(MSG), s.recv()

    async def go():
        us = []
        for _ in range(2000):
            t = clock()
            await s.asend(MSG)
            await s.arecv()
            us.append((clock() - t) * 1e6)
        return us

    us = asyncio.run(go())
    return dict(n=2000, seconds=sum(us) / 1e6, us=us)


# one way; the receiver counts, and answers once at the end


def nng_source(url, size, n, pipeline):
    import pynng

    message = os.urandom(size)
    s = (pynng.Push0 if pipeline else pynng.Pair0)(dial=url, send_buffer_size=128)
    for _ in range(n):
        s.send(message)
    time.sleep(30)


def one_way_nng(size, n, per_message=1, pipeline=False):
    import pynng

    url = ipc()
    s = (pynng.Pull0 if pipeline else pynng.Pair0)(listen=url, recv_buffer_size=128)
    child(nng_source, url, size, n, pipeline, method="spawn")
    s.recv()
    t = clock()
    for _ in range(n - 1):
        s.recv()
    seconds = clock() - t
    return dict(
        n=(n - 1) * per_message,
        seconds=seconds,
        mib_per_s=size * (n - 1) / seconds / (1 << 20),
    )


def oneway_nng_100B():
    return one_way_nng(100, 50_000)


def oneway_nng_push_pull_100B():
    return one_way_nng(100, 50_000, pipeline=True)


def oneway_nng_100B_by_100():
    """100 calls of 100 bytes to a message; the rate is in calls."""
    return one_way_nng(10_000, 20_000, per_message=100)


def oneway_nng_1MiB():
    return one_way_nng(1 << 20, 1000)


def oneway_nng_64MiB():
    return one_way_nng(64 << 20, 15)


def one_way_pipe(size, n):
    a, b = fork.Pipe(duplex=False)

    def source():
        message = os.urandom(size)
        for _ in range(n):
            b.send_bytes(message)
        time.sleep(30)

    child(source)
    a.recv_bytes()
    t = clock()
    for _ in range(n - 1):
        a.recv_bytes()
    seconds = clock() - t
    return dict(
        n=n - 1, seconds=seconds, mib_per_s=size * (n - 1) / seconds / (1 << 20)
    )


def oneway_pipe_100B():
    return one_way_pipe(100, 200_000)


def oneway_pipe_1MiB():
    return one_way_pipe(1 << 20, 1000)


def oneway_pipe_64MiB():
    return one_way_pipe(64 << 20, 15)


# memory and processes


def copy_64MiB(fresh=False):
    import numpy as np

    a = tasks.make(64 << 20)
    b = a.copy()
    line = per_call(a.copy if fresh else lambda: np.copyto(b, a), 10)
    return dict(**line, mib_per_s=640 / line["seconds"])


def copy_64MiB_to_fresh_pages():
    return copy_64MiB(fresh=True)


def shared_memory_64MiB():
    """Create, fill by copy, map again, read one byte, unlink."""
    import numpy as np
    from multiprocessing.shared_memory import SharedMemory

    a = tasks.make(64 << 20)

    def go():
        shm = SharedMemory(create=True, size=64 << 20)
        np.copyto(np.frombuffer(shm.buf, np.uint8), a)
        again = SharedMemory(shm.name)
        assert again.buf[-1] == a[-1]
        again.close(), shm.close(), shm.unlink()

    line = per_call(go, 10)
    return dict(**line, mib_per_s=640 / line["seconds"])


def process_start(method):
    ctx = multiprocessing.get_context(method)

    def go():
        a, b = ctx.Pipe()
        p = ctx.Process(target=b.__class__.send_bytes, args=(b, b"up"))
        p.start()
        a.recv_bytes()
        p.join()

    go()
    return per_call(go, 10)


def process_start_fork():
    return process_start("fork")


def process_start_forkserver():
    return process_start("forkserver")


def process_start_spawn():
    return process_start("spawn")


LIMITS = [
    cloudpickle_by_reference,
    cloudpickle_by_value,
    pickle_by_reference,
    msgpack_struct,
    pingpong_unix_socket,
    pingpong_pipe,
    pingpong_simple_queue,
    pingpong_threads,
    future_between_threads,
    run_coroutine_threadsafe,
    pingpong_nng,
    pingpong_nng_async,
    oneway_nng_100B,
    oneway_nng_push_pull_100B,
    oneway_nng_100B_by_100,
    oneway_nng_1MiB,
    oneway_nng_64MiB,
    oneway_pipe_100B,
    oneway_pipe_1MiB,
    oneway_pipe_64MiB,
    copy_64MiB,
    copy_64MiB_to_fresh_pages,
    shared_memory_64MiB,
    process_start_fork,
    process_start_forkserver,
    process_start_spawn,
]
