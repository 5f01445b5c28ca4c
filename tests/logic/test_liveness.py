"""Nobody is lost before its time, and nobody waits for a heartbeat in vain."""

import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.logic.liveness import Liveness, Tempo

TEMPO = Tempo(period=2.0, threshold=8.0, reconnect_grace=1.5)


def watching(*peers: str) -> Liveness:
    liveness = Liveness(TEMPO)
    for peer in peers:
        liveness.joined(peer, 100.0)
    liveness.lost(100.0)
    return liveness


def test_a_silent_peer_is_lost_at_the_threshold() -> None:
    liveness = watching("a", "b")
    for now in (103.0, 106.0, 107.9):
        assert liveness.lost(now) == []
    liveness.heard("b", 107.9)
    assert liveness.lost(108.0) == ["a"]
    assert liveness.silence("a", 108.0) == 8.0


def test_a_peer_whose_link_closed_has_a_short_grace() -> None:
    liveness = watching("a")
    liveness.closed("a", 101.0)
    assert not liveness.is_connected("a")
    assert liveness.lost(102.4) == []
    liveness.closed("a", 102.4)
    assert liveness.lost(102.5) == ["a"], "the first closing counts"


def test_who_comes_back_in_time_has_the_whole_threshold_again() -> None:
    liveness = watching("a")
    liveness.closed("a", 101.0)
    liveness.joined("a", 102.0)
    assert liveness.is_connected("a")
    for now in (103.5, 106.0, 109.9):
        assert liveness.lost(now) == []
    assert liveness.lost(110.0) == ["a"]


def test_a_heartbeat_is_due_a_period_after_the_last_word() -> None:
    liveness = watching("a", "b")
    assert liveness.due(101.9) == []
    liveness.sent("b", 101.9)
    assert liveness.due(102.0) == ["a"]
    liveness.closed("a", 102.0)
    assert liveness.due(102.0) == [], "nobody is there to hear it"


def test_a_judge_that_was_suspended_grants_everybody_its_time_anew() -> None:
    liveness = watching("silent", "closed")
    liveness.closed("closed", 100.5)
    assert liveness.lost(1000.0) == []
    assert liveness.lost(1001.4) == []
    assert liveness.lost(1001.5) == ["closed"]
    for now in (1004.0, 1007.9):
        liveness.lost(now)
    assert "silent" in liveness.lost(1008.0)


def test_what_concerns_a_stranger_is_passed_over() -> None:
    liveness = watching()
    liveness.heard("x", 1.0)
    liveness.sent("x", 1.0)
    liveness.closed("x", 1.0)
    liveness.left("x")
    assert liveness.silence("x", 1.0) == 0.0
    assert not liveness.is_connected("x")
    assert liveness.wake_at() == math.inf


def test_who_left_is_watched_no_longer() -> None:
    liveness = watching("a")
    liveness.left("a")
    assert liveness.lost(200.0) == liveness.due(200.0) == []


class Pulses(RuleBasedStateMachine):
    """A judge that looks when it says it will, and peers that do what they want."""

    peers = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.liveness = Liveness(TEMPO)
        self.now = 100.0
        self.life: dict[str, float] = {}  # {peer: when it was heard last}
        self.shut: dict[str, float] = {}  # {peer: when its link closed}
        self.told: dict[str, float] = {}  # {peer: when it heard from us}

    @rule(peer=peers)
    def join(self, peer: str) -> None:
        self.liveness.joined(peer, self.now)
        self.life[peer] = self.told[peer] = self.now
        self.shut.pop(peer, None)

    @rule(peer=peers)
    def hear(self, peer: str) -> None:
        self.liveness.heard(peer, self.now)
        if peer in self.life:
            self.life[peer] = self.now

    @rule(peer=peers)
    def close(self, peer: str) -> None:
        self.liveness.closed(peer, self.now)
        if peer in self.life:
            self.shut.setdefault(peer, self.now)

    @rule(seconds=st.floats(0.001, 20.0))
    def live(self, seconds: float) -> None:
        """Wake up as asked for; never late, so never suspended."""
        until = self.now + seconds
        while (at := max(self.liveness.wake_at(), self.now)) < until:
            self.now = at + 1e-6
            self._look()
        self.now = until
        self._look()

    def _look(self) -> None:
        for peer in self.liveness.lost(self.now):
            silent = self.now - self.life[peer] >= TEMPO.threshold
            away = self.now - self.shut.get(peer, math.inf) >= TEMPO.reconnect_grace
            assert silent or away, f"{peer} was lost too early"
            self.liveness.left(peer)
            del self.life[peer]
            self.shut.pop(peer, None)
        for peer in self.liveness.due(self.now):
            assert peer not in self.shut
            self.liveness.sent(peer, self.now)
            self.told[peer] = self.now
        for peer, heard_at in self.life.items():
            assert self.now < heard_at + TEMPO.threshold + 0.1, f"{peer} lives too long"
            if peer in self.shut:
                late = self.shut[peer] + TEMPO.reconnect_grace + 0.1
                assert self.now < late, f"{peer} is away too long"
            else:
                assert self.now < self.told[peer] + TEMPO.period + 0.1, "no heartbeat"

    @invariant()
    def knows_who_is_connected(self) -> None:
        for peer in self.life:
            assert self.liveness.is_connected(peer) == (peer not in self.shut)


TestPulses = Pulses.TestCase
