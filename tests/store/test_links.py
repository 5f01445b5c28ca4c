"""Promise: who has a payload can read it, whoever has let go of it; then it is gone."""

import contextlib
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.errors import MalformedFrame, ObjectLostError
from actors.journal import Journal, read_journal
from actors.logic.records import (
    TasksAccepted,
    decode_record,
    encode_record,
    encode_record_apart,
)
from actors.messages import (
    ClientId,
    Heartbeat,
    Item,
    ItemsYielded,
    Large,
    LargeName,
    Lease,
    Leased,
    Outcome,
    Ran,
    Results,
    Submit,
    Task,
    TaskId,
    TaskState,
    Value,
    Yielded,
    encode_frame,
    encode_inline,
    encode_marked,
    from_member,
    from_worker,
    name_of_large,
    portions,
    to_member,
)
from actors.store import INLINE_BYTES
from actors.store.layout import parse
from actors.store.links import (
    MEMORY_VARIABLE,
    Links,
    SenderGone,
    SharedDecoder,
    load_inline,
    memory_place,
    worker_write,
)
from actors.store.parts import Parts
from actors.store.session import MEMORY_ROOT
from tests.store.support import Bytes, filled, parts_of, run_python

BYTES = 300_000


@pytest.fixture
def links() -> Iterator[Links]:
    with contextlib.closing(Links()) as links:
        yield links


@pytest.fixture
def others() -> Iterator[Links]:
    with contextlib.closing(Links()) as links:
        yield links


def path_of(payload: bytes) -> Path:
    where = name_of_large(payload)
    return Path(MEMORY_ROOT, where.folder, where.name)


def reference_of(payload: bytes) -> bytes:
    """Return what travels."""
    assert isinstance(payload, Large)
    return payload.reference


def loaded(payload: bytes) -> Any:
    return load_inline(payload)


# One payload


def test_an_array_is_read_where_it_lies_and_cannot_be_changed(links: Links) -> None:
    payload = links.write(parts_of(filled(BYTES, 7)))
    array = loaded(payload)
    assert (array == 7).all()
    assert not array.flags.writeable
    assert _maps(array) == str(path_of(payload))


def _maps(array: Bytes) -> str:
    """Return the file whose memory an array is."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, _, end = line.partition(" ")[0].partition("-")
        if int(start, 16) <= address < int(end, 16):
            return line.partition("/")[1] + line.partition("/")[2]
    raise AssertionError("it is nowhere")


def test_a_value_without_buffers_is_read_as_well(links: Links) -> None:
    text = "x" * BYTES
    assert loaded(links.write(parts_of([text, 1]))) == [text, 1]


def test_a_payload_counts_as_what_it_stands_for(links: Links) -> None:
    payload = links.write(parts_of(filled(BYTES)))
    assert BYTES < len(payload) < BYTES + 1000
    assert len(reference_of(payload)) < 100


def test_an_array_outlives_its_payload_and_its_process(links: Links) -> None:
    payload = links.write(parts_of(filled(BYTES, 3)))
    array = loaded(payload)
    path = path_of(payload)
    del payload
    assert not path.exists()
    links.close()
    assert (array == 3).all()


def test_nothing_is_made_before_it_is_needed() -> None:
    def open_files() -> list[str]:
        links = Path("/proc/self/fd").iterdir()
        return [os.readlink(link) for link in links if link.exists()]

    links = Links()
    before = [path for path in open_files() if path.startswith(MEMORY_ROOT)]
    kept = links.write(parts_of(filled(BYTES)))
    after = [path for path in open_files() if path.startswith(MEMORY_ROOT)]
    assert set(after) - set(before) == {str(path_of(kept).parent / "lock")}
    links.close()


def test_what_was_removed_by_somebody_else_fails_where_it_is_read(
    links: Links, others: Links
) -> None:
    payload = links.write(parts_of(filled(BYTES)))
    reference = reference_of(payload)
    path_of(payload).unlink()
    with pytest.raises(ObjectLostError, match="somebody has removed them"):
        loaded(payload)
    # Those whom it is sent to see that, too, and do not ask for it again and again.
    assert others.take(reference) is None
    with pytest.raises(ObjectLostError, match="somebody has removed them"):
        loaded(reference_of(payload))
    with pytest.raises(ObjectLostError, match="somebody has removed them"):
        (outcome,) = _sent(encode_inline([_results(payload)]))[0].outcomes
        loaded(outcome.payload)


def test_what_has_no_room_in_memory_travels_in_messages(links: Links) -> None:
    parts = parts_of(filled(4 << 20, 5))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        payload = links.write(parts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert type(payload) is bytes
    assert (loaded(payload) == 5).all()


@pytest.mark.parametrize(
    "path",
    [
        b"../../etc/passwd",
        b"actors-objects-0-0123456789abcdef/../../../etc/passwd",
        b"actors-objects-0-0123456789abcdef/lock",
        b"actors-objects-0-0123456789abcdef/1\n",
        b"other-folder/1",
        b"",
    ],
)
def test_a_reference_leads_to_no_other_file(links: Links, path: bytes) -> None:
    reference = b"\x00actors2" + (5).to_bytes(8, "little") + path
    for read in (links.take, links.take_over, loaded):
        with pytest.raises(MalformedFrame, match="is no reference"):
            read(reference)


def test_a_reference_to_what_is_no_payload_is_refused(
    links: Links, others: Links
) -> None:
    own = links.write(parts_of(filled(BYTES)))
    folder = path_of(own).parent
    (folder / "77").mkdir()
    (folder / "78").write_bytes(b"short")
    directory = LargeName(folder.name, "77", 5)
    with pytest.raises(MalformedFrame, match="is no payload"):
        others.take(reference_of(Large(directory)))
    # What is too short is found when it is opened, for who wants it alone.
    short = others.take(reference_of(Large(LargeName(folder.name, "78", 500))))
    assert short is not None
    with pytest.raises(ValueError, match="is missing"):
        loaded(short)
    with pytest.raises(ObjectLostError):
        (outcome,) = _sent(encode_inline([_results(short)]))[0].outcomes
        loaded(outcome.payload)


def test_a_symbolic_link_is_not_followed(links: Links, tmp_path: Path) -> None:
    payload = links.write(parts_of(filled(BYTES)))
    path = path_of(payload)
    path.unlink()
    target = tmp_path / "file"
    target.write_bytes(bytes(BYTES + 1000))
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        loaded(payload)


# Two processes


def test_who_has_linked_a_payload_keeps_it(links: Links, others: Links) -> None:
    payload = links.write(parts_of(filled(BYTES, 9)))
    taken = others.take(reference_of(payload))
    assert taken is not None
    links.close()
    assert (loaded(taken) == 9).all()
    assert len(taken) == len(payload)
    path = path_of(taken)
    del taken
    assert not path.exists()


def test_what_nobody_needs_any_more_is_not_there(links: Links, others: Links) -> None:
    payload = links.write(parts_of(filled(BYTES)))
    reference = reference_of(payload)
    del payload
    assert others.take(reference) is None


def test_a_sender_that_is_gone_is_told_from_one_that_let_go(others: Links) -> None:
    links = Links()
    reference = reference_of(links.write(parts_of(filled(BYTES))))
    links.close()
    with pytest.raises(SenderGone, match="is gone, with the process that had it"):
        others.take(reference)
    with pytest.raises(SenderGone):
        others.take_over(reference)


def test_a_process_whose_own_folder_was_removed_reads_what_it_cannot_link(
    links: Links, others: Links
) -> None:
    own = others.write(parts_of(filled(BYTES)))
    folder = path_of(own).parent
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    payload = links.write(parts_of(filled(BYTES, 4)))
    taken = others.take(reference_of(payload))
    assert type(taken) is bytes
    assert (loaded(taken) == 4).all()


@pytest.fixture
def worker(links: Links, monkeypatch: pytest.MonkeyPatch) -> Callable[[Parts], bytes]:
    """What a worker of the process writes with that `links` are of."""
    monkeypatch.setenv(MEMORY_VARIABLE, links.offer())
    return worker_write()


def test_what_a_worker_has_written_is_its_managers(
    links: Links, worker: Callable[[Parts], bytes]
) -> None:
    written = worker(parts_of(filled(BYTES, 6)))
    there = path_of(written)
    taken = links.take_over(reference_of(written))
    assert (loaded(taken) == 6).all()
    assert not there.exists()


def test_what_a_worker_did_not_tell_of_goes_with_it(
    links: Links, worker: Callable[[Parts], bytes]
) -> None:
    own = links.write(parts_of(filled(BYTES)))
    taken = links.take_over(reference_of(worker(parts_of(filled(BYTES)))))
    untold = worker(parts_of(filled(BYTES)))
    links.worker_ended(os.getpid() + 1)
    assert path_of(untold).exists()
    links.worker_ended(os.getpid())
    assert not path_of(untold).exists()
    assert path_of(own).exists()
    assert path_of(taken).exists()


def test_a_folder_goes_with_the_last_that_is_in_it() -> None:
    links = Links()
    payload = links.write(parts_of(filled(BYTES, 2)))
    folder = path_of(payload).parent
    links.close_when_unused()
    assert (loaded(payload) == 2).all()
    del payload
    assert not folder.exists()
    assert type(links.write(parts_of(filled(BYTES)))) is bytes


def test_a_fork_takes_nothing_with_it(links: Links) -> None:
    payload = links.write(parts_of(filled(BYTES, 8)))
    pid = os.fork()
    if not pid:
        del payload
        links.close()
        os._exit(type(links.write(parts_of(filled(BYTES)))) is not bytes)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (loaded(payload) == 8).all()


_WRITE = (
    "import signal, numpy as np\n"
    "from actors.store.links import Links\n"
    "from actors.store import dump_parts\n"
    f"kept = Links().write(dump_parts(np.ones({BYTES}, np.uint8), list))\n"
    "print(kept.reference.hex(), flush=True)\n"
)


def test_the_dead_are_swept_and_what_others_have_linked_stays(links: Links) -> None:
    command = [sys.executable, "-c", _WRITE + "signal.pause()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        reference = bytes.fromhex(sender.stdout.readline())
        taken = links.take(reference)
        sender.kill()
    links.sweep()
    assert not path_of(reference).parent.exists()
    assert taken is not None
    assert (loaded(taken) == 1).all()
    with pytest.raises(SenderGone):
        links.take(reference)


def test_a_process_that_ends_in_order_leaves_nothing() -> None:
    reference = bytes.fromhex(run_python(["-c", _WRITE]))
    assert not path_of(reference).parent.exists()


def test_workers_of_another_machine_send_all_that_there_is(
    links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(filled(BYTES))
    offer = links.offer()
    for place in ("", offer.replace(memory_place(), "another kernel")):
        monkeypatch.setenv(MEMORY_VARIABLE, place)
        assert type(worker_write()(parts)) is bytes
    monkeypatch.setenv(MEMORY_VARIABLE, offer)
    written = worker_write()
    assert isinstance(written(parts), Large)
    # Its manager has ended.
    links.close()
    assert type(written(parts)) is bytes


# Messages


def _results(payload: bytes) -> Results:
    return Results([Outcome(TaskId("t"), 1, TaskState.SUCCESS, payload)])


def _sent(frame: bytes) -> list[Any]:
    return to_member["client"].decode(frame)


def test_a_frame_with_references_is_marked_and_refused_by_others(
    links: Links, others: Links
) -> None:
    results = _results(links.write(parts_of(filled(BYTES, 5))))
    frame = encode_marked([results])
    assert len(frame) < 300
    with pytest.raises(MalformedFrame):
        _sent(frame)
    decoder = SharedDecoder(to_member["client"].decode, others.take)
    ((outcome,),) = [message.outcomes for message in decoder.decode(frame)]
    assert (loaded(outcome.payload) == 5).all()
    assert path_of(outcome.payload).parent != path_of(results.outcomes[0].payload)


def test_a_frame_without_references_is_as_any_other(others: Links) -> None:
    results = [_results(b"\x80small")]
    assert encode_marked(results) == encode_inline(results) == encode_frame(results)
    decoder = SharedDecoder(to_member["client"].decode, others.take)
    assert decoder.decode(encode_marked(results)) == results
    with pytest.raises(MalformedFrame):
        decoder.decode(b"\x00nonsense")
    with pytest.raises(MalformedFrame):
        decoder.decode(b"")


def test_who_does_not_see_the_memory_gets_the_content(links: Links) -> None:
    payload = links.write(parts_of(filled(BYTES, 5)))
    ((outcome,),) = [m.outcomes for m in _sent(encode_inline([_results(payload)]))]
    assert type(outcome.payload) is bytes
    assert len(outcome.payload) == len(payload)
    assert (loaded(outcome.payload) == 5).all()


def _accepted(*arguments: bytes) -> TasksAccepted:
    tasks = [Task(TaskId("t"), b"f", each, 0.0) for each in arguments]
    return TasksAccepted(ClientId("c"), 0.0, tasks)


def test_a_record_has_the_content(links: Links) -> None:
    some = [links.write(parts_of(filled(BYTES, n))) for n in range(3)]
    record = _accepted(some[0], b"\x80small", *some[1:])
    pieces = encode_record_apart(record)
    assert isinstance(pieces, list)
    assert max(map(len, pieces)) == len(some[0]), "it was copied with others"
    whole = encode_record(record)
    assert b"".join(pieces) == whole
    del pieces
    links.close()
    found = decode_record(whole)
    assert isinstance(found, TasksAccepted)
    numbers = [int(loaded(found.tasks[n].arguments)[0]) for n in (0, 2, 3)]
    assert numbers == [0, 1, 2]


def test_a_record_of_what_is_gone_can_be_read(links: Links) -> None:
    payload = links.write(parts_of(filled(BYTES)))
    path_of(payload).unlink()
    found = decode_record(b"".join(_pieces(encode_record_apart(_accepted(payload)))))
    assert isinstance(found, TasksAccepted)
    with pytest.raises(ObjectLostError):
        loaded(found.tasks[0].arguments)


def test_a_small_payload_may_look_as_it_likes(links: Links) -> None:
    payload = links.write(parts_of(filled(BYTES, 5)))
    (before, *_) = encode_record_apart(_accepted(payload))
    assert isinstance(before, bytes)
    gap = b"\xc1 a large payload goes here \xc1"
    record = _accepted(gap, payload, gap + before + gap)
    assert b"".join(_pieces(encode_record_apart(record))) == encode_record(record)
    assert encode_record_apart(_accepted(gap)) == encode_record(_accepted(gap))


def _pieces(encoded: Any) -> list[Any]:
    return encoded if isinstance(encoded, list) else [encoded]


def test_a_journal_has_the_content(links: Links, tmp_path: Path) -> None:
    some = [links.write(parts_of(filled(n * BYTES, n))) for n in (1, 7)]
    with Journal[Any](
        tmp_path, encode=encode_record_apart, decode=decode_record
    ) as journal:
        assert not list(journal.replay())
        journal.append([_accepted(b"\x80"), _accepted(*some), _accepted()])
    links.close()
    first, found, last = read_journal(tmp_path, decode_record)
    assert (first, last) == (_accepted(b"\x80"), _accepted())
    assert isinstance(found, TasksAccepted)
    assert [int(loaded(t.arguments)[-1]) for t in found.tasks] == [1, 7]


def test_only_what_nobody_needs_is_left_out_of_a_message(
    links: Links, others: Links
) -> None:
    def leased(name: str, arguments: bytes) -> Leased:
        return Leased(TaskId(name), 1, b"f", arguments)

    kept = links.write(parts_of(filled(BYTES)))
    lost = links.write(parts_of(filled(BYTES)))
    tasks = [leased("a", lost), leased("b", kept), leased("c", b"\x80")]
    frame = encode_marked([Lease(tasks)])
    del lost, tasks
    decoder = SharedDecoder(to_member["manager"].decode, others.take)
    (lease,) = decoder.decode(frame)
    assert [task.task_id for task in lease.tasks] == ["b", "c"]


def test_a_manager_that_has_given_up_items_is_to_come_again(
    links: Links, others: Links
) -> None:
    """It may have said that they are all: found by the simulation."""

    def item(index: int) -> Item:
        return Item(TaskId("t"), index, links.write(parts_of(filled(BYTES))))

    items = [item(0), item(1)]
    frame = encode_marked([ItemsYielded(items), Heartbeat()])
    decode = from_member["manager"].decode
    interchange = SharedDecoder(decode, others.take, are_items_vital=True)
    assert len(interchange.decode(frame)[0].items) == 2
    del items[1]
    with pytest.raises(SenderGone, match="given up"):
        interchange.decode(frame)
    client = SharedDecoder(to_member["client"].decode, others.take)
    assert [i.index for i in client.decode(frame)[0].items] == [0]


def test_results_and_items_of_workers_are_taken_over(
    links: Links, worker: Callable[[Parts], bytes]
) -> None:
    def write() -> bytes:
        return worker(parts_of(filled(BYTES, 4)))

    frame = encode_marked([Ran(1, True, write(), 0, 0), Yielded(2, 0, Value(write()))])
    decoder = SharedDecoder(from_worker.decode, links.take_over)
    ran, yielded = decoder.decode(frame)
    assert isinstance(ran, Ran)
    assert isinstance(yielded, Yielded)
    assert (loaded(ran.payload) == 4).all()
    assert (loaded(yielded.value.payload) == 4).all()


def test_messages_are_cut_by_what_is_behind_their_references(links: Links) -> None:
    tasks = [
        Task(TaskId(str(n)), b"f", links.write(parts_of(filled(BYTES))), 0.0)
        for n in range(4)
    ]
    parts = portions(Submit(tasks), 2 * BYTES + 10_000)
    assert [len(part.tasks) for part, _ in parts if isinstance(part, Submit)] == [2, 2]
    frame = encode_marked([parts[0][0]])
    with contextlib.closing(Links()) as others:
        decoder = SharedDecoder(from_member["client"].decode, others.take)
        (submit,) = decoder.decode(frame)
        assert [task.task_id for task in submit.tasks] == ["0", "1"]


def test_a_large_value_is_larger_than_what_travels_inline() -> None:
    assert BYTES > INLINE_BYTES
    where = LargeName("actors-objects-0-0123456789abcdef", "1", 5)
    assert name_of_large(Large(where)) == where


# Any order of things


class Passing(RuleBasedStateMachine):
    """Four processes pass payloads on, let go of them, end and die."""

    def __init__(self) -> None:
        super().__init__()
        self.fill = 0
        self.processes = [Links() for _ in range(4)]
        # What each keeps: (payload, what its bytes are).
        self.kept: list[list[tuple[bytes, int]]] = [[] for _ in self.processes]
        self.under_way: list[tuple[bytes, int]] = []  # references in frames
        self.arrays: list[tuple[Bytes, int]] = []

    @rule(who=st.integers(0, 3))
    def write(self, who: int) -> None:
        self.fill = self.fill % 255 + 1
        payload = self.processes[who].write(parts_of(filled(70_000, self.fill)))
        self.kept[who].append((payload, self.fill))

    @precondition(lambda self: any(self.kept))
    @rule(who=st.integers(0, 3), index=st.integers(0, 100))
    def send(self, who: int, index: int) -> None:
        if self.kept[who]:
            payload, fill = self.kept[who][index % len(self.kept[who])]
            self.under_way.append((reference_of(payload), fill))

    @precondition(lambda self: self.under_way)
    @rule(who=st.integers(0, 3), index=st.integers(0, 100))
    def receive(self, who: int, index: int) -> None:
        reference, fill = self.under_way.pop(index % len(self.under_way))
        exists = path_of(reference).exists()
        try:
            taken = self.processes[who].take(reference)
        except SenderGone:
            assert not path_of(reference).parent.exists()
            return
        assert (taken is not None) == exists
        if taken is not None:
            self.kept[who].append((taken, fill))

    @rule(who=st.integers(0, 3), index=st.integers(0, 100))
    def let_go(self, who: int, index: int) -> None:
        if self.kept[who]:
            payload, _ = self.kept[who].pop(index % len(self.kept[who]))
            path = path_of(payload)
            del payload
            assert not path.exists()

    @rule(who=st.integers(0, 3), index=st.integers(0, 100))
    def read(self, who: int, index: int) -> None:
        if self.kept[who]:
            payload, fill = self.kept[who][index % len(self.kept[who])]
            self.arrays.append((loaded(payload), fill))

    @rule(who=st.integers(0, 3))
    def end(self, who: int) -> None:
        """Be gone, with all that this process has, and another one comes."""
        self.processes[who].close()
        self.kept[who] = []
        self.processes[who] = Links()

    @invariant()
    def all_that_is_kept_is_what_it_was(self) -> None:
        for some in self.kept:
            for payload, fill in some:
                content = path_of(payload).read_bytes()
                (buffer,) = parse(memoryview(content))[1]
                assert bytes(buffer) == bytes([fill]) * 70_000
        for array, fill in self.arrays:
            assert (np.asarray(array) == fill).all()

    def teardown(self) -> None:
        folders = {path_of(p).parent for some in self.kept for p, _ in some}
        self.kept.clear()
        gc.collect()
        for folder in folders:
            assert os.listdir(folder) == ["lock"]
        for links in self.processes:
            links.close()
        assert not any(folder.exists() for folder in folders)


TestPassing = Passing.TestCase
# Each of them makes some hundred files.
TestPassing.settings = settings(max_examples=max(10, settings().max_examples // 4))
