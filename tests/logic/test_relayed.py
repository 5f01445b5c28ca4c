"""Whoever comes later finds the decisions that mattered, not the many that did not."""

from actors.logic.relayed import RELAYED_KEPT, Relays
from actors.messages import ActorRestarted, ScalingDecided

LAUNCH = ScalingDecided("launch", 1, "tasks wait")


def quiet(reason: str, worker_type: str = "") -> ScalingDecided:
    return ScalingDecided("none", 0, reason, worker_type=worker_type)


def test_of_decisions_to_do_nothing_in_a_row_the_newest_is_kept() -> None:
    relays = Relays()
    restarted = ActorRestarted("provider", "signal 9", 1)
    for event in (quiet("a"), LAUNCH, quiet("b"), restarted, quiet("c")):
        relays.note(event, 1.0)
    assert [e for _, e in relays] == [quiet("a"), LAUNCH, restarted, quiet("c")]


def test_each_worker_type_has_its_own_row() -> None:
    relays = Relays()
    for event in (quiet("a", "gpu"), quiet("b"), quiet("c", "gpu")):
        relays.note(event, 1.0)
    assert [e for _, e in relays] == [quiet("b"), quiet("c", "gpu")]


def test_the_oldest_decisions_go_and_take_nothing_else_with_them() -> None:
    """A strategy that decides something each time does not hide a restart."""
    relays = Relays()
    restarted = ActorRestarted("provider", "signal 9", 1)
    relays.note(restarted, 0.0)
    for number in range(RELAYED_KEPT + 1):
        relays.note(ScalingDecided("launch", number, "x"), float(number))
    kept = list(relays)
    assert len(relays) == len(kept) == RELAYED_KEPT + 1
    assert kept[0] == (0.0, restarted)
    assert [at for at, _ in kept[1:]] == [n + 1.0 for n in range(RELAYED_KEPT)]
    relays.clear()
    assert not relays
