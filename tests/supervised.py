"""What machines of Hypothesis do with the processes of supervised actors."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from actors.logic.restarts import RestartScope

__all__ = ["KINDS", "SCOPES", "SupervisedProcesses"]

SCOPES: st.SearchStrategy[RestartScope] = st.sampled_from(
    ["one_for_one", "rest_for_one", "one_for_all"]
)
KINDS: Any = st.sampled_from(["permanent", "permanent", "transient", "temporary"])


class SupervisedProcesses(RuleBasedStateMachine):
    """Processes that construct, or fail to, and obey.

    `world` is made by a machine's `initialize`. It has `processes`, each with `is_up`,
    `is_asked` and `is_killed`, and lets one `construct`, `fail_to_construct` or `exit`.
    """

    world: Any

    def draw(self, data: st.DataObject, **wanted: bool) -> Any:
        """Choose a process; None: there is no such."""
        found = [
            process
            for process in self.world.processes.values()
            if all(getattr(process, name) is value for name, value in wanted.items())
        ]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data(), is_sound=st.sampled_from([True, True, True, False]))
    def construct(self, data: st.DataObject, *, is_sound: bool) -> None:
        process = self.draw(data, is_up=False, is_killed=False)
        if process is not None and is_sound:
            self.world.construct(process)
        elif process is not None:
            self.world.fail_to_construct(process)

    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        process = self.draw(data, is_asked=True) or self.draw(data, is_killed=True)
        if process is not None:
            self.world.exit(process)
