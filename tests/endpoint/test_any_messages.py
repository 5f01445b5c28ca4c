"""Whatever members say, in whatever order and how often, an interchange stays sound.

Each message is one that its sender may send, and its frame has been decoded: what is
left are values that make no sense, replays, and words about what is long over.
"""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from actors import messages
from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.logic.liveness import Tempo
from actors.messages import ActorWork, Needs, Submit, Task, TaskId
from tests.endpoint.talk import PYTHON, TOKEN, Talk, hello, manager_hello, task
from tests.message_values import values

# Names that meet: those of the members, and of two tasks and a block.
NAMES = st.sampled_from(["t1", "t2", "c1", "m1", "m2", "block-1", "", "running"])
SENDERS = {
    "client:c1": messages.FromClient,
    "client:c2": messages.FromClient,
    "manager:m1": messages.FromManager,
    "manager:m2": messages.FromManager,
    "strategy:strategy": messages.FromStrategy,
    "provider:provider": messages.FromProvider,
    "operator:o1": messages.FromOperator,
    "supervisor:supervisor": messages.FromSupervisor,
}
SAYINGS = st.one_of(
    [
        st.tuples(st.just(sender), values(kind, NAMES))
        for sender, kind in SENDERS.items()
    ]
)

BARE_CREATION = Task(TaskId("t1"), b"", b"", 0.0, 0, actor=ActorWork("t1", "create"))
HOMELESS = Task(TaskId("t1"), b"", b"", 0.0, 0, needs=Needs("nowhere"))


def enter(talk: Talk, sender: str) -> None:
    """Let a member in, if it is not in."""
    kind, _, member_id = sender.partition(":")
    newcomer: Any = (
        manager_hello(member_id) if kind == "manager" else hello(kind, member_id)  # type: ignore[arg-type]
    )
    talk.ask(newcomer)


# All went wrong once: an id twice in one message, and retries below none; and an id of
# another client's.
@example(
    [
        (("client:c2", Submit([HOMELESS])), 1, 0.0),
        (("client:c1", Submit([task(HOMELESS.task_id)])), 1, 0.0),
    ]
)
@example([(("client:c1", Submit([BARE_CREATION, task("t1", retries=-1)])), 1, 0.0)])
@example([(("client:c1", Submit([HOMELESS, task("t1")])), 1, 0.0)])
@example([(("client:c1", Submit([BARE_CREATION, HOMELESS])), 1, 0.0)])
@given(sayings=st.lists(st.tuples(SAYINGS, st.integers(1, 2), st.floats(0.0, 3.0))))
def test_any_message_of_anybody_leaves_the_interchange_sound(
    sayings: list[tuple[tuple[str, Any], int, float]],
) -> None:
    settings = InterchangeSettings(
        "n", "e", TOKEN, PYTHON, tempo=Tempo(2.0, 8.0, 1.5), keep_results=60.0
    )
    talk = Talk(Interchange(settings, 100.0))
    for sender in SENDERS:
        enter(talk, sender)
    for (sender, message), times, pause in sayings:
        for _ in range(times):
            talk.tell(message, sender)
        talk.wait(pause)
        enter(talk, sender)
