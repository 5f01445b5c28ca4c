"""Frames arrive whole and in order, a peer harms nobody else, and nothing blocks."""

import gc
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.address import Address
from actors.certificates import make_certificates
from actors.errors import ConfigError, PayloadTooLarge
from actors.transport import (
    Change,
    Door,
    Knock,
    Link,
    Publisher,
    Relay,
    Security,
    Signal,
    Subscriber,
)
from tests.support import eventually, free_port

pytestmark = pytest.mark.slow

MAX_BYTES = 100_000


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, ["127.0.0.1", "localhost"])
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="a-"))
    yield path
    shutil.rmtree(path)


class Network:
    """One endpoint's address, what both sides need for it, and all that was opened.

    Args:
        address: of the endpoint.
        certificates: the folder of a set; None: there is no need of any.
    """

    def __init__(self, address: Address, certificates: Path | None = None) -> None:
        self.address = address
        self._certificates = certificates
        self._relays: list[Relay] = []
        self.server = self.relay("server.pem")
        self.client = self.relay("client.pem")
        self.signal = Signal()
        self.changes: list[tuple[Link, Change]] = []
        self._open: list[Door | Knock | Link | Publisher | Subscriber] = []
        self._links = 0

    def relay(
        self, cert_key_file: str | Path, ca: Path | None = None, name: str = ""
    ) -> Relay:
        """Make a relay of a side; with the network's own certificates unless told."""
        security = None
        if self._certificates is not None:
            ca_file = str(ca or self._certificates / "ca.pem")
            pem = str(self._certificates / cert_key_file)
            security = Security(ca_file, pem, name)
        self._relays.append(Relay(security))
        return self._relays[-1]

    def url(self, link_id: str) -> str:
        return self.address.link("interchange", link_id)

    def door(self, max_bytes: int = MAX_BYTES) -> Door:
        door = Door(self.address.door("interchange"), self.server, max_bytes)
        self._open.append(door)
        return door

    def knock(self, frame: bytes, max_bytes: int = MAX_BYTES) -> Knock:
        url = self.address.door("interchange")
        knock = Knock(url, self.client, frame, max_bytes)
        self._open.append(knock)
        return knock

    def listen(self, link_id: str, max_bytes: int = MAX_BYTES) -> Link:
        link = Link.listen(self.url(link_id), self.server, max_bytes, self.signal)
        self._open.append(link)
        return link

    def dial(self, link_id: str, max_bytes: int = MAX_BYTES) -> Link:
        link = Link.dial(self.url(link_id), self.client, max_bytes, self.signal)
        self._open.append(link)
        return link

    def pair(self, max_bytes: int = MAX_BYTES) -> tuple[Link, Link]:
        """Return two links that are connected: listener, dialer."""
        self._links += 1
        link_id = f"pair{self._links}"
        pair = self.listen(link_id, max_bytes), self.dial(link_id, max_bytes)
        eventually(
            lambda: pair[0].is_connected and pair[1].is_connected, what="a connection"
        )
        return pair

    def publisher(self) -> Publisher:
        publisher = Publisher(self.address.events("interchange"), self.server)
        self._open.append(publisher)
        return publisher

    def subscriber(self) -> Subscriber:
        url = self.address.events("interchange")
        subscriber = Subscriber(url, self.client, MAX_BYTES)
        self._open.append(subscriber)
        return subscriber

    def changes_of(self, link: Link) -> list[Change]:
        self.changes += self.signal.drain()
        return [change for changed, change in self.changes if changed is link]

    def close(self) -> None:
        for thing in self._open:
            thing.close()
        for relay in self._relays:
            relay.close()
        names = [thread.name for thread in threading.enumerate()]
        assert "actors-relay" not in names


@pytest.fixture(params=["ipc", "ws", "wss"])
def network(
    request: pytest.FixtureRequest, folder: Path, certificates: Path
) -> Iterator[Network]:
    match request.param:
        case "ipc":
            opened = Network(Address.parse(f"ipc://{folder}"))
        case "ws":
            opened = Network(Address.parse(f"ws://127.0.0.1:{free_port()}"))
        case _:
            address = Address.parse(f"wss://127.0.0.1:{free_port()}")
            opened = Network(address, certificates)
    yield opened
    opened.close()


@pytest.fixture
def local(folder: Path) -> Iterator[Network]:
    opened = Network(Address.parse(f"ipc://{folder}"))
    yield opened
    opened.close()


def received(source: Door | Knock | Link | Subscriber, what: str = "a frame") -> bytes:
    """Return the next frame, waiting for it."""
    frames: list[bytes] = []

    def has_arrived() -> bool:
        frame = source.receive()
        if frame is not None:
            frames.append(frame)
        return frame is not None

    eventually(has_arrived, what=what)
    return frames[0]


def wait_for_connection(link: Link) -> None:
    eventually(lambda: link.was_connected, what="a connection")


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def send_until_full(link: Link, frame: bytes) -> int:
    """Send until nng takes no more, also not after a while; return how many it took."""
    count = 0
    refused_at: float | None = None
    while refused_at is None or time.monotonic() - refused_at < 0.3:
        if link.send(frame):
            count += 1
            refused_at = None
        else:
            refused_at = refused_at or time.monotonic()
            select.select([link.send_fileno()], [], [], 0.1)
    return count


# Links


def test_frames_arrive_whole_and_in_order_both_ways(network: Network) -> None:
    listener, dialer = network.pair()
    frames = [b"%d" % i * (i * i) for i in range(1, 60)]
    for sender, receiver in ((listener, dialer), (dialer, listener)):
        waiting = list(frames)
        arrived: list[bytes] = []
        while len(arrived) < len(frames):
            while waiting and sender.send(waiting[0]):
                del waiting[0]
            frame = receiver.receive()
            if frame is not None:
                arrived.append(frame)
        assert arrived == frames


def test_an_empty_frame_is_a_frame(network: Network) -> None:
    listener, dialer = network.pair()
    assert dialer.send(b"")
    assert received(listener) == b""


def test_the_descriptor_is_readable_as_long_as_there_is_something(
    network: Network,
) -> None:
    listener, dialer = network.pair()
    assert not is_readable(listener.fileno())
    dialer.send(b"one")
    dialer.send(b"two")
    eventually(lambda: is_readable(listener.fileno()), what="a readable descriptor")
    assert received(listener) == b"one"
    eventually(lambda: is_readable(listener.fileno()), what="a readable descriptor")
    assert received(listener) == b"two"
    assert listener.receive() is None
    assert not is_readable(listener.fileno())


def test_frames_sent_before_anybody_is_there_arrive(network: Network) -> None:
    dialer = network.dial("x")
    assert dialer.send(b"early")
    assert received(network.listen("x")) == b"early"


def test_the_sender_is_told_to_keep_what_a_slow_reader_cannot_take(
    network: Network,
) -> None:
    listener, dialer = network.pair()
    frame = b"x" * MAX_BYTES
    sent = send_until_full(dialer, frame)
    assert not is_readable(dialer.send_fileno())
    # The queues of both sides, and what the kernel holds: memory has a bound.
    assert sent * len(frame) < 16_000_000

    for _ in range(sent):
        assert received(listener) == frame
    eventually(lambda: is_readable(dialer.send_fileno()), what="room to send")
    assert dialer.send(b"last")
    assert received(listener) == b"last"


def test_coming_and_going_is_reported_once_to_both_sides(network: Network) -> None:
    listener = network.listen("x")
    assert network.signal.drain() == []
    assert not is_readable(network.signal.fileno())
    assert not listener.was_connected

    dialer = network.dial("x")
    eventually(lambda: network.changes_of(listener) == ["up"], what="up")
    eventually(lambda: network.changes_of(dialer) == ["up"], what="up")
    assert listener.is_connected
    assert dialer.is_connected

    dialer.close()
    eventually(lambda: network.changes_of(listener) == ["up", "down"], what="down")
    assert not listener.is_connected
    assert listener.was_connected
    # The closed one has nothing to say any more.
    assert network.changes_of(dialer) == ["up"]
    assert not is_readable(network.signal.fileno())


def test_the_signal_wakes_a_selector(network: Network) -> None:
    network.listen("x")
    network.dial("x")
    with select.epoll() as selector:
        selector.register(network.signal.fileno(), select.EPOLLIN)
        assert selector.poll(timeout=10)


def test_what_came_before_the_far_side_went_can_still_be_read(
    network: Network,
) -> None:
    listener, dialer = network.pair()
    dialer.send(b"last word")
    eventually(lambda: is_readable(listener.fileno()), what="the frame")
    dialer.close()
    eventually(lambda: "down" in network.changes_of(listener), what="down")
    assert listener.receive() == b"last word"
    assert listener.receive() is None


def test_the_last_word_arrives_when_its_sender_waits_for_the_reader_to_close(
    network: Network,
) -> None:
    listener, dialer = network.pair()
    frame = b"x" * MAX_BYTES
    sent = send_until_full(dialer, frame)
    arrived = 0
    while True:
        last = dialer.send(b"last word")
        if last:
            break
        received(listener)
        arrived += 1
    while received(listener) != b"last word":
        arrived += 1
    listener.close()
    eventually(lambda: "down" in network.changes_of(dialer), what="down")
    assert arrived == sent


def test_a_second_dialer_is_let_go_and_the_first_does_not_notice(
    network: Network,
) -> None:
    listener, first = network.pair()
    second = network.dial("pair1")
    eventually(lambda: "down" in network.changes_of(second), what="down")
    second.send(b"intruder")
    assert first.send(b"hello")
    assert received(listener) == b"hello"
    assert listener.send(b"back")
    assert received(first) == b"back"
    assert network.changes_of(listener) == ["up"]
    assert second.receive() is None


def test_nobody_inherits_what_was_queued_for_a_peer_that_is_gone(
    network: Network,
) -> None:
    listener, first = network.pair()
    send_until_full(listener, b"x" * MAX_BYTES)
    first.close()
    eventually(lambda: "down" in network.changes_of(listener), what="down")
    assert not listener.send(b"more")

    second = network.dial("pair1")
    eventually(lambda: "down" in network.changes_of(second), what="down")
    assert second.receive() is None
    assert network.changes_of(listener) == ["up", "down"]


def test_a_dialer_does_not_connect_a_second_time(network: Network) -> None:
    listener, dialer = network.pair()
    dialer.send(b"old")
    assert received(listener) == b"old"
    listener.close()
    eventually(lambda: "down" in network.changes_of(dialer), what="down")
    assert not dialer.send(b"more")
    heir = network.listen("pair1")
    # Without care it would redial within its longest pause, a second.
    with pytest.raises(AssertionError, match="a connection"):
        eventually(lambda: network.changes_of(heir), within=1.5, what="a connection")
    assert network.changes_of(dialer) == ["up", "down"]
    # So the name still serves who comes in earnest.
    friend = network.dial("pair1")
    friend.send(b"new")
    assert received(heir) == b"new"


def test_a_frame_that_is_too_large_is_refused_by_its_own_sender(
    local: Network,
) -> None:
    listener, dialer = local.pair()
    with pytest.raises(PayloadTooLarge, match=r"100001 bytes exceeds the 100000"):
        dialer.send(b"x" * (MAX_BYTES + 1))
    assert dialer.send(b"x" * MAX_BYTES)
    assert len(received(listener)) == MAX_BYTES


def test_a_frame_that_is_too_large_ends_its_own_link_only(network: Network) -> None:
    bystander, friend = network.pair()
    listener = network.listen("x", max_bytes=1000)
    dialer = network.dial("x")
    assert dialer.send(b"y" * 1000)
    assert len(received(listener)) == 1000
    assert dialer.send(b"y" * 1001)
    eventually(lambda: "down" in network.changes_of(listener), what="down")
    eventually(lambda: "down" in network.changes_of(dialer), what="down")
    assert listener.receive() is None
    friend.send(b"well")
    assert received(bystander) == b"well"


def test_garbage_at_a_link_ends_this_link_only(local: Network) -> None:
    bystander, friend = local.pair()
    local.listen("x")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\0SP\0\0\x31\0\0", os.urandom(4096)):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(local.url("x").removeprefix("ipc://"))
            stranger.sendall(garbage)
            stranger.settimeout(10)
            while True:  # until the other side hangs up
                try:
                    if not stranger.recv(100):
                        break
                except ConnectionError:
                    break
    friend.send(b"well")
    assert received(bystander) == b"well"


def test_links_can_be_closed_while_peers_come_and_go(local: Network) -> None:
    """Callbacks run on nng's threads at the very moment of the close."""
    for i in range(100):
        listener = local.listen(f"l{i}")
        links = [listener, local.dial(f"l{i}"), local.dial(f"l{i}")]
        if i % 3:
            wait_for_connection(listener)
        if i % 2:
            links.reverse()
        for link in links:
            link.close()
            assert not link.is_connected
    assert local.signal.drain() == []


def test_a_link_that_was_dropped_is_closed_and_tells_so(local: Network) -> None:
    with pytest.warns(ResourceWarning, match=r"Link ipc.*never closed"):
        Link.listen(local.url("x"), None, MAX_BYTES, local.signal)
    local.listen("x")  # the name is free again


# Doors


def test_a_knock_is_answered(network: Network) -> None:
    door = network.door()
    assert door.receive() is None
    knock = network.knock(b"hello")
    assert received(door) == b"hello"
    assert knock.receive() is None
    door.answer(b"welcome")
    eventually(lambda: is_readable(knock.fileno()), what="an answer")
    assert knock.receive() == b"welcome"
    assert knock.receive() is None


def test_many_knocks_get_each_its_own_answer(network: Network) -> None:
    door = network.door()
    knocks = {b"%d" % i: network.knock(b"%d" % i) for i in range(20)}
    for _ in knocks:
        eventually(lambda: is_readable(door.fileno()), what="a knock")
        frame = door.receive()
        assert frame is not None
        door.answer(b"for " + frame)
    for frame, knock in knocks.items():
        assert received(knock) == b"for " + frame


def test_a_knock_waits_for_the_door_to_be_there_and_says_what_it_waits_for(
    network: Network,
) -> None:
    knock = network.knock(b"hello")
    eventually(lambda: knock.trouble == "nobody listens there", what="a refusal")
    assert knock.receive() is None
    door = network.door()
    assert received(door) == b"hello"
    assert knock.trouble == ""
    door.answer(b"welcome")
    assert received(knock) == b"welcome"


def test_a_knock_is_repeated_when_the_door_dies_before_it_answers(
    network: Network,
) -> None:
    door = network.door()
    knock = network.knock(b"hello")
    assert received(door) == b"hello"
    door.close()
    successor = network.door()
    assert received(successor) == b"hello"
    successor.answer(b"welcome")
    assert received(knock) == b"welcome"


def test_who_knocks_and_leaves_does_not_disturb_the_next(network: Network) -> None:
    door = network.door()
    for _ in range(5):
        leaving = network.knock(b"leaving")
        assert received(door) == b"leaving"
        leaving.close()
        door.answer(b"too late")
    door.answer(b"to nobody")
    staying = network.knock(b"staying")
    assert received(door) == b"staying"
    door.answer(b"welcome")
    assert received(staying) == b"welcome"


def test_a_knock_that_is_too_large_is_not_heard_and_the_next_is(
    network: Network,
) -> None:
    door = network.door(max_bytes=1000)
    large = network.knock(b"x" * 1001)
    small = network.knock(b"small")
    assert received(door) == b"small"
    door.answer(b"welcome")
    assert received(small) == b"welcome"
    assert large.receive() is None


def test_garbage_at_the_door_does_not_disturb_the_next_knock(local: Network) -> None:
    door = local.door()
    path = local.address.door("interchange").removeprefix("ipc://")
    strangers = []
    hello_of_a_requester = b"\0SP\0\0\x30\0\0"
    for garbage in (
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        hello_of_a_requester,
        hello_of_a_requester + b"\x01" + (2).to_bytes(8, "big") + b"xx",
        hello_of_a_requester + b"\x01" + (2**63).to_bytes(8, "big"),
        hello_of_a_requester + os.urandom(1000),
    ):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(path)
        stranger.sendall(garbage)
        strangers.append(stranger)
    knock = local.knock(b"hello")
    assert received(door) == b"hello"
    door.answer(b"welcome")
    assert received(knock) == b"welcome"
    for stranger in strangers:
        stranger.close()


# Events


def test_every_subscriber_is_told(network: Network) -> None:
    publisher = network.publisher()
    subscribers = [network.subscriber() for _ in range(3)]
    arrived: list[bytes | None] = []

    def all_are_there() -> bool:
        publisher.send(b"are you there")
        arrived[:] = [subscriber.receive() for subscriber in subscribers]
        return None not in arrived

    eventually(all_are_there, what="subscribers")
    publisher.send(b"news")
    for subscriber in subscribers:
        while received(subscriber) != b"news":
            pass
        assert not is_readable(subscriber.fileno())


def test_a_subscriber_finds_the_next_publisher_by_itself(network: Network) -> None:
    first = network.publisher()
    subscriber = network.subscriber()

    def hears(publisher: Publisher) -> bool:
        publisher.send(b"news")
        return subscriber.receive() is not None

    eventually(lambda: hears(first), what="news")
    first.close()
    second = network.publisher()
    eventually(lambda: hears(second), what="news of the next publisher")


def test_a_slow_subscriber_does_not_hold_up_the_publisher(network: Network) -> None:
    publisher = network.publisher()
    slow = network.subscriber()

    def hears() -> bool:
        publisher.send(b"are you there")
        return slow.receive() is not None

    eventually(hears, what="a subscriber")
    for i in range(2000):
        publisher.send(b"%d" % i * 1000)
    last = b"last"

    def hears_the_last() -> bool:
        publisher.send(last)
        return slow.receive() == last

    eventually(hears_the_last, what="the end of the news")


# Listening


def test_a_socket_file_of_a_dead_process_is_replaced(local: Network) -> None:
    url = local.url("x")
    script = (
        "import sys, time\n"
        "from actors.transport import Link, Signal\n"
        "link = Link.listen(sys.argv[1], None, 1000, Signal())\n"
        "print('listening', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, url], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        with pytest.raises(ConfigError, match=r"x is taken: another process listens"):
            local.listen("x")
        process.kill()
    assert Path(url.removeprefix("ipc://")).exists()
    listener, dialer = local.listen("x"), local.dial("x")
    dialer.send(b"alive")
    assert received(listener) == b"alive"


def test_closing_a_listener_removes_its_socket_file(local: Network) -> None:
    link = local.listen("x")
    path = Path(local.url("x").removeprefix("ipc://"))
    assert path.exists()
    link.close()
    assert not path.exists()


@pytest.mark.parametrize("name", ["with space", "100%41", "a?b#c", "größe"])
def test_a_folder_may_have_any_name(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    opened = Network(Address.parse(f"ipc://{folder}/{name}"))
    listener, dialer = opened.pair()
    dialer.send(b"found")
    assert received(listener) == b"found"
    assert [path.name for path in (folder / name).iterdir()] == ["interchange.pair1"]
    opened.close()


def test_the_longest_socket_path_works(folder: Path) -> None:
    name = "x" * (107 - len(f"{folder}/a."))
    opened = Network(Address.parse(f"ipc://{folder}"))
    url = opened.address.link("a", name)
    listener = Link.listen(url, None, MAX_BYTES, opened.signal)
    dialer = Link.dial(url, None, MAX_BYTES, opened.signal)
    dialer.send(b"found")
    assert received(listener) == b"found"
    listener.close()
    dialer.close()


def test_a_listener_that_cannot_be_names_the_reason(tmp_path: Path) -> None:
    url = f"ipc://{tmp_path}/missing/x"
    with pytest.raises(ConfigError, match=r"missing/x cannot be.*does not exist"):
        Door(url, None, MAX_BYTES)
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=rf":{port}/x is taken"):
        Door(f"ws://127.0.0.1:{port}/x", Relay(), MAX_BYTES)
    taken.close()
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1.*must be an address of this"):
        Door(f"ws://192.0.2.1:{free_port()}/x", Relay(), MAX_BYTES)


def test_nonsense_cannot_be_dialed() -> None:
    with pytest.raises(ConfigError, match="nonsense cannot be dialed"):
        Knock("nonsense", None, b"x", MAX_BYTES)


def test_one_port_serves_many_paths(network: Network) -> None:
    network.door()
    network.publisher()
    pairs = [network.pair() for _ in range(10)]
    for i, (_, dialer) in enumerate(pairs):
        dialer.send(b"%d" % i)
    for i, (listener, _) in enumerate(pairs):
        assert received(listener) == b"%d" % i


# Hygiene


def test_everything_can_be_closed_twice(network: Network) -> None:
    things: list[Door | Knock | Link | Publisher | Subscriber] = [
        network.door(),
        network.knock(b"x"),
        network.listen("x"),
        network.dial("x"),
        network.publisher(),
        network.subscriber(),
    ]
    for thing in things:
        thing.close()
        thing.close()
    for thing in things:
        if not isinstance(thing, Publisher):
            assert thing.receive() is None


def test_descriptors_and_threads_do_not_grow_with_sessions(network: Network) -> None:
    door = network.door()

    def session(i: int) -> None:
        knock = network.knock(b"x")
        received(door)
        door.answer(b"y")
        received(knock)
        knock.close()
        listener, dialer = network.listen(f"s{i}"), network.dial(f"s{i}")
        dialer.send(b"x")
        received(listener)
        dialer.send_fileno()
        dialer.close()
        listener.close()

    def count() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    for i in range(10):
        session(i)
    before = count()
    for i in range(10, 150 if network.address.scheme == "ipc" else 60):
        session(i)
    # What nng closed on its own threads may take it a moment.
    eventually(
        lambda: all(now <= then for now, then in zip(count(), before, strict=True)),
        what=f"no more than {before} descriptors and threads",
    )


SAY_HELLO = """
import sys, time
from actors.transport import Link, Relay, Security, Signal
url, *files = sys.argv[1:]
signals = Signal()
link = Link.dial(url, Relay(Security(*files) if files else None), 1000, signals)
link.send(b"hello")
time.sleep(60)
"""


def test_closing_does_not_wait_for_a_far_side_that_hangs(
    network: Network, certificates: Path
) -> None:
    listener = network.listen("x")
    command = [sys.executable, "-c", SAY_HELLO, network.url("x")]
    if network.address.scheme == "wss":
        command += [str(certificates / "ca.pem"), str(certificates / "client.pem")]
    with subprocess.Popen(command) as process:
        try:
            assert received(listener) == b"hello"
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: is_stopped(process.pid), what="a process that hangs")
            send_until_full(listener, b"x" * MAX_BYTES)
            listener.close()
            assert network.listen("x") is not listener
        finally:
            process.kill()


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "T"


@pytest.mark.parametrize("far_side", ["nobody", "silent", "honest"])
def test_a_dialer_can_be_closed_at_any_moment_of_an_attempt(
    network: Network, far_side: str
) -> None:
    silent = None
    if far_side == "honest":
        network.door()
    elif far_side == "silent" and network.address.scheme != "ipc":
        port = int(network.address.location.rpartition(":")[2])
        silent = socket.create_server(("127.0.0.1", port))
    for i in range(10):
        knock = network.knock(b"x")
        until = time.monotonic() + i * 0.001
        while time.monotonic() < until:
            assert knock.receive() is None
        knock.close()
    if silent is not None:
        silent.close()


def test_nothing_is_written_to_standard_error(
    network: Network, capfd: pytest.CaptureFixture[str]
) -> None:
    """Refusals, deaths and closes are for the owner to report."""
    listener, dialer = network.pair()
    second = network.dial("pair1")
    eventually(lambda: "down" in network.changes_of(second), what="down")
    dialer.close()
    eventually(lambda: "down" in network.changes_of(listener), what="down")
    network.dial("nowhere")
    network.knock(b"x")
    network.close()
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out == ""


def test_a_program_that_ends_without_closing_ends_quietly(folder: Path) -> None:
    script = (
        "import sys\n"
        "from actors.transport import Door, Knock, Link, Signal\n"
        "signals = Signal()\n"
        "url = sys.argv[1]\n"
        "links = [Link.listen(url, None, 1000, signals)]\n"
        "links += [Link.dial(url, None, 1000, signals) for _ in range(3)]\n"
        "door = Door(url + 'd', None, 1000)\n"
        "knock = Knock(url + 'd', None, b'x', 1000)\n"
        "lost = Knock(url + 'e', None, b'x', 1000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"ipc://{folder}/x"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_importing_loads_no_cryptography() -> None:
    script = "import sys, actors.transport\nsys.exit('cryptography' in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", script], timeout=30, check=False)
    assert done.returncode == 0
