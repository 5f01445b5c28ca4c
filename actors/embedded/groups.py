"""Groups as a program without an endpoint has them: supervisors that refs stand for.

What they decide stands in `actors.groups`; the directory does it.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from actors import groups
from actors.embedded.actor_calls import Actor, Anchor
from actors.logic.actor_life import Died
from actors.logic.restarts import RestartKind
from actors.messages import GroupOptions
from actors.refs import ObjectRef, Promise

__all__ = ["Group", "GroupAnchor"]


class GroupAnchor(ObjectRef[Died]):
    """What a user's supervisor holds: when it goes, the children stop.

    Its value is how the supervisor ended.
    """

    __slots__ = ("group",)

    def __init__(self, group: "Group") -> None:
        super().__init__()
        self.group = group
        group.anchor = weakref.ref(self)

    def __del__(self) -> None:
        self.group.unwanted(self.group)


class Group(groups.Group[Actor]):
    """See `groups.Group`.

    Args:
        group_id: its id.
        options: how it keeps its children.
        children: see there; actors by their anchors, as a supervisor wants its own.
        unwanted: called, in any thread, when the last handle on it goes.
    """

    def __init__(
        self,
        group_id: str,
        options: GroupOptions,
        children: "Mapping[str, tuple[RestartKind, Anchor | Group]]",
        unwanted: "Callable[[Group], object]",
    ) -> None:
        kept: dict[str, tuple[RestartKind, Actor | groups.Group[Actor]]] = {
            name: (kind, child if isinstance(child, Group) else child.actor)
            for name, (kind, child) in children.items()
        }
        super().__init__(group_id, options, kept)
        self.anchors = [
            child for _, child in children.values() if isinstance(child, Anchor)
        ]
        self.unwanted = unwanted
        self.anchor: Any = None  # a weak reference
        self.started: Promise = ObjectRef()  # known once all were up together

    def bury(self) -> None:
        """Let go of the children: no circle shall keep what they had."""
        for group in list(self.tree()):
            assert isinstance(group, Group)
            group.anchors.clear()
        self.children = {}
