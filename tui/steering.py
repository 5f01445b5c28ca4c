"""Orders: what each will do, asked before it is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from tui.text import amount, shorten
from tui.view import View

__all__ = ["Confirm", "Confirmation", "HowMany", "OrderVerb", "consequences"]

OrderVerb = Literal[
    "hold", "resume", "quiesce", "drain", "scale", "cancel", "restart", "stop"
]

# Names that a question lists; the others are counted. Chosen.
_NAMED = 5
# Chosen: what max_blocks in endpoint.toml may be at most.
_MOST_BLOCKS = 1_000_000


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A question before an order.

    Args:
        title: what is asked.
        text: what will happen.
        button: what agreeing is called.
        is_grave: whether it cannot be undone.
    """

    title: str
    text: str
    button: str
    is_grave: bool = False


def consequences(
    verb: OrderVerb, names: Sequence[str], number: int, view: View
) -> Confirmation:
    """Say what an order will do to the endpoint as it is shown."""
    listed = ", ".join(shorten(name, 40) for name in names[:_NAMED])
    if len(names) > _NAMED:
        listed += f" and {len(names) - _NAMED} more"
    match verb:
        case "hold":
            text = (
                "They get no more tasks until they are resumed. What they have goes on."
            )
            return Confirmation(f"Hold {listed}?", text, "Hold")
        case "quiesce":
            text = (
                "No task is taken or started until it is resumed; what clients submit "
                "waits with them. What runs goes on, and results are delivered."
            )
            return Confirmation(f"Quiesce {view.name}?", text, "Quiesce")
        case "resume" if not names:
            text = "Tasks are taken and started again, those that wait at once."
            return Confirmation(f"Resume {view.name}?", text, "Resume")
        case "resume":
            text = "They take tasks again. A block that drains goes on draining."
            return Confirmation(f"Resume {listed}?", text, "Resume")
        case "drain":
            busy = _leases(names, view)
            text = (
                f"They finish what they run ({amount(busy, 'task')} at most; those "
                "not begun go elsewhere) and end. The strategy may start other blocks."
            )
            return Confirmation(f"Drain {listed}?", text, "Drain", is_grave=True)
        case "scale":
            return _scale(number, view)
        case "cancel":
            text = (
                "Waiting ones end at once; a running one ends with its worker process, "
                "which is replaced. Whoever waits for the result gets a CancelledError."
            )
            title = f"Cancel {amount(len(names), 'task')}?"
            return Confirmation(
                title, f"{listed}\n{text}", "Cancel tasks", is_grave=True
            )
        case "restart":
            return _restart("".join(names[:1]), view)
        case "stop":
            return _stop(view)


def _leases(names: Sequence[str], view: View) -> int:
    if view.status is None:
        return 0
    wanted = set(names)
    return sum(
        m.leases
        for m in view.status.managers
        if m.manager_id in wanted or m.block_id in wanted
    )


def _active(view: View) -> int:
    states = ("pending", "running", "unknown", "held")
    blocks = view.status.blocks if view.status else []
    return sum(b.state in states and not b.is_draining for b in blocks)


def _scale(number: int, view: View) -> Confirmation:
    active = _active(view)
    if number > active:
        text = f"{amount(number - active, 'block')} will be started now."
    elif number < active:
        text = (
            f"{amount(active - number, 'block')} will drain and end: pending ones "
            "first, then idle ones, busy ones once they have finished what they run."
        )
    else:
        text = "There are as many already: nothing happens."
    text += " The strategy goes on with its rules from there."
    return Confirmation(f"Scale to {amount(number, 'block')}?", text, "Scale")


def _restart(name: str, view: View) -> Confirmation:
    """Say what becomes of a service, a manager or a client's actor."""
    status = view.status
    managers = [m for m in status.managers if m.manager_id == name] if status else []
    actors = [a for a in status.actors if a.actor_id == name] if status else []
    title = shorten(name, 40)
    if managers and status is not None:
        hosted = [a for a in status.actors if a.manager_id == name]
        text = (
            "It begins anew in its block, with other workers. What they run "
            f"({amount(managers[0].leases, 'task')} at most) begins again, there or "
            "elsewhere, or fails if its retries are used up; what has not begun waits. "
        )
        if hosted:
            dead = sum(actor.max_restarts == 0 for actor in hosted)
            text += f"{amount(len(hosted), 'actor')} there begin again"
            text += f"; {dead} of them, with max_restarts 0, die." if dead else "."
    elif actors:
        (actor,) = actors
        title = shorten(f"{actor.class_name} {actor.name or name}", 40)
        text = (
            "Its process is killed, and it is started again with the arguments that it "
            "was made with: its state is lost. Calls that have begun "
            f"({actor.leased_calls} at most) fail, unless they may be retried; the "
            "others wait and keep their order. It does not count as a crash."
        )
        if actor.max_restarts == 0:
            text = (
                "It has max_restarts 0: whoever made it wants no other incarnation of "
                "it. The endpoint will refuse."
            )
    else:
        text = (
            "It is killed and started again, as after a crash. Nothing is lost; "
            "tasks that run go on. With the interchange gone for a moment the "
            "connection is lost, too, and comes back."
        )
    return Confirmation(f"Restart {title}?", text, "Restart", is_grave=True)


def _stop(view: View) -> Confirmation:
    waiting = handed = 0
    if view.status is not None:
        tasks = view.status.tasks
        waiting = tasks.get("waiting-for-nodes", 0)
        # Short ones are not known to run while they do.
        handed = tasks.get("waiting-for-launch", 0) + tasks.get("running", 0)
    text = (
        "All blocks end, and the endpoint with them. "
        f"{amount(waiting + handed, 'task')} unfinished, {handed} of them with "
        "managers, will wait for its next start; what runs begins anew then. To let "
        "tasks finish, quiesce it first (z)."
    )
    return Confirmation(f"Stop {view.name}?", text, "Stop it", is_grave=True)


class _Dialog(ModalScreen[bool]):
    """What the dialogs look like."""

    DEFAULT_CSS = """
    _Dialog { align: center middle; background: $background 60%; }
    _Dialog > Vertical {
        width: 64; max-width: 95%; height: auto; max-height: 90%;
        border: round $primary; border-title-color: $text-primary;
        padding: 1 2; background: $surface;
    }
    _Dialog Static { width: 1fr; height: auto; }
    _Dialog Horizontal { height: auto; align-horizontal: right; margin-top: 1; }
    _Dialog Button { margin-left: 2; min-width: 12; }
    """


class Confirm(_Dialog):
    """Ask; the answer is whether to go on. No is what Enter and Esc say."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", "No"),
        Binding("y", "answer(True)", "Yes"),
        Binding("left,right", "app.focus_next", "Other", show=False),
    ]

    def __init__(self, question: Confirmation) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        question = self._question
        with Vertical() as box:
            box.border_title = Content(question.title)
            yield Static(Content(question.text))
            with Horizontal():
                yield Button("No (n)", id="no")
                variant: Literal["error", "primary"]
                variant = "error" if question.is_grave else "primary"
                yield Button(f"{question.button} (y)", variant=variant, id="yes")

    def on_mount(self) -> None:
        self.query_one("#no", Button).focus()

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class HowMany(ModalScreen[int | None]):
    """Ask for a number of blocks; None: none was given."""

    DEFAULT_CSS = """
    HowMany { align: center middle; background: $background 60%; }
    HowMany > Vertical {
        width: 50; max-width: 95%; height: auto;
        border: round $primary; border-title-color: $text-primary;
        padding: 1 2; background: $surface;
    }
    HowMany Static { width: 1fr; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave"),
    ]

    def __init__(self, active: int) -> None:
        super().__init__()
        self._active = active

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Scale"
            yield Static(f"How many blocks? There are {self._active}.")
            yield Input(str(self._active), type="integer", id="blocks")
            yield Static("", id="trouble")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @classmethod
    def of(cls, view: View) -> "HowMany":
        """Ask about the endpoint that a view shows."""
        return cls(_active(view))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.isdecimal() and int(event.value) <= _MOST_BLOCKS:
            self.dismiss(int(event.value))
        else:
            text = f"A whole number from 0 to {_MOST_BLOCKS:,}, please"
            self.query_one("#trouble", Static).update(text)

    def action_leave(self) -> None:
        self.dismiss(None)
