"""Promise: an order says what it will do, and is given only if it is meant.

Here against a source that answers as it is told; `test_real` steers an endpoint.
"""

import dataclasses

import msgspec
import pytest
from textual.containers import Vertical
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets._toast import Toast

from actors.endpoint.task_pictures import StepPicture, TaskStory
from tests.tui.drawing import Desk, picture, play, settle
from tests.tui.views import NOW, failing, normal, task
from tui.app import Dashboard
from tui.help import Help
from tui.steering import Confirm, HowMany, consequences


def screen(app: Dashboard) -> str:
    """Return what stands on the screen; of a dialog, its words alone."""
    lines = picture(app)
    if isinstance(app.screen, ModalScreen):
        box = app.screen.query_one(Vertical).content_region
        lines = [line[box.x : box.right] for line in lines[box.y : box.bottom]]
        return " ".join(" ".join(lines).split())
    return "\n".join(lines)


def steer(desk: Desk, *keys: str) -> list[str]:
    """Press keys one after the other; return the picture after each."""
    pictures = []

    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        for key in keys:
            await pilot.press(key)
            await settle(pilot)
            pictures.append(screen(app))

    play(normal(), script, size=(80, 40), source=desk)
    return pictures


def outcome(desk: Desk, *keys: str) -> str:
    """Press keys; return the notice that appears then."""
    notices: list[str] = []

    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await pilot.press(*keys)
        while not app.screen.query(Toast):
            await pilot.pause()
        notices.extend(str(toast.render()) for toast in app.screen.query(Toast))

    play(normal(), script, source=desk)
    return " ".join(notices)


@pytest.mark.parametrize(
    ("key", "verb", "says"),
    [
        ("h", "hold", "no more tasks until they are resumed"),
        ("r", "resume", "take tasks again"),
        ("d", "drain", "4 tasks at most"),
    ],
)
def test_a_block_is_steered_after_a_question(key: str, verb: str, says: str) -> None:
    desk = Desk(**{verb: (True, f"{verb}: block-1 it is", b"")})
    assert says in steer(desk, "3", key)[-1]
    assert not desk.orders
    assert f"{verb}: block-1 it is" in outcome(desk, "3", key, "y")
    assert desk.orders == [(verb, ["block-1"], 0)]


@pytest.mark.parametrize("no", ["n", "escape", "enter"])
def test_no_is_what_happens_unless_yes_is_said(no: str) -> None:
    desk = Desk()
    steer(desk, "3", "d", no)
    assert not desk.orders


def test_what_is_marked_is_steered_together() -> None:
    desk = Desk()
    steer(desk, "3", "space", "space", "h", "y")
    assert desk.orders == [("hold", ["block-1", "block-1.0"], 0)]


def test_the_marked_tasks_are_cancelled() -> None:
    desk = Desk()
    steer(desk, "2", "space", "down", "space", "c", "y")
    names = ["node-3f29ab04c1d2-1", "node-3f29ab04c1d2-3"]
    assert desk.orders == [("cancel", names, 0)]


def test_scale_asks_for_a_number_and_says_what_follows() -> None:
    desk = Desk()
    *_, question, _ = steer(desk, "s", "backspace", "5", "enter", "y")
    assert "3 blocks will be started now" in question
    assert desk.orders == [("scale", [], 5)]


def test_scale_takes_no_nonsense() -> None:
    desk = Desk()
    *_, asked = steer(desk, "s", "backspace", "enter")
    assert "A whole number from 0 to 1,000,000" in asked
    assert not desk.orders


def test_a_service_is_restarted_and_a_worker_is_not() -> None:
    desk = Desk()
    *_, question, _ = steer(desk, "5", "down", "R", "y")
    assert "It is killed and started again" in question
    assert desk.orders == [("restart", ["interchange"], 0)]
    steer(desk, "5", "end", "up", "R", "y")
    assert len(desk.orders) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("block-1.0", ["begins anew in its block", "4 tasks at most", "1 actor there"]),
        ("block-2.0", ["1 of them, with max_restarts 0, die"]),
        ("00000001", ["Restart Tally visits?", "its state is lost", "2 at most"]),
        ("00000002", ["The endpoint will refuse"]),
        ("strategy", ["Nothing is lost"]),
    ],
)
def test_a_restart_is_explained_by_what_it_ends(name: str, says: list[str]) -> None:
    question = consequences("restart", [name], 0, normal())
    for words in says:
        assert words in f"{question.title} {question.text}"


def test_managers_and_clients_actors_are_restarted_where_they_stand() -> None:
    desk = Desk()
    steer(desk, "3", "down", "R", "y")
    steer(desk, "5", *["down"] * 9, "R", "y")
    assert desk.orders == [("restart", ["block-1.0"], 0), ("restart", ["00000001"], 0)]
    steer(desk, "3", "R", "y")
    assert len(desk.orders) == 2, "a block cannot be restarted"


def test_stop_says_what_is_given_up() -> None:
    desk = Desk()
    question, _ = steer(desk, "S", "y")
    assert "28 tasks unfinished, 8 of them with managers" in question
    assert desk.orders == [("stop", [], 0)]


def test_an_endpoint_is_quiesced_and_resumed_by_one_key() -> None:
    desk = Desk()
    question, _ = steer(desk, "z", "y")
    assert "No task is taken or started until it is resumed" in question
    assert desk.orders == [("quiesce", [], 0)]

    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await pilot.press("z")
        await settle(pilot)
        assert "Tasks are taken and started again" in screen(app)
        await pilot.press("y")

    view = normal()
    assert view.status is not None
    status = msgspec.structs.replace(view.status, is_quiesced=True)
    play(dataclasses.replace(view, status=status), script, source=desk)
    assert desk.orders[1:] == [("resume", [], 0)]


def test_a_refusal_is_shown_with_its_reason() -> None:
    desk = Desk(hold=(False, "no block or manager is called block-1", b""))
    assert "no block or manager is called" in outcome(desk, "3", "h", "y")


def test_markup_in_an_answer_is_text() -> None:
    desk = Desk(hold=(True, "held: [red]x[/red] [/]", b""))
    assert "[red]x[/red] [/]" in outcome(desk, "3", "h", "y")


def test_scaling_in_drains_and_scaling_to_the_same_does_nothing() -> None:
    assert "1 block will drain" in consequences("scale", [], 1, normal()).text
    assert "nothing happens" in consequences("scale", [], 2, normal()).text
    assert consequences("scale", [], 2, failing()).text.startswith("1 block will be")


def test_long_lists_are_counted() -> None:
    names = [f"t{n}" for n in range(9)]
    text = consequences("cancel", names, 0, normal()).text
    assert "t4 and 4 more" in text


# Other keys


def test_the_story_of_a_task_has_every_step_and_its_traceback() -> None:
    steps = [
        StepPicture("waiting-for-nodes", 1, NOW - 9, ""),
        StepPicture("running", 1, NOW - 8, "block-1.0-w1"),
        StepPicture("failed", 1, NOW - 7.5, "ValueError: no"),
    ]
    detail = 'Traceback:\n  File "x[0].py"'
    story = TaskStory(task(1, "failed"), steps, "exception", detail)
    desk = Desk(story=(True, "", msgspec.json.encode(story)))
    _, opened, closed = steer(desk, "2", "enter", "escape")
    assert desk.orders == [("story", ["node-3f29ab04c1d2-1"], 0)]
    assert "+500 ms  failed" in opened
    assert "ValueError: no" in opened
    assert 'File "x[0].py"' in opened
    assert "Traceback" not in closed


def test_the_story_of_a_waiting_task_says_what_it_asks_for() -> None:
    waiting = task(1, "waiting-for-nodes", message="asks for the tag 'ssd'")
    story = TaskStory(waiting, [StepPicture("waiting-for-nodes", 1, NOW - 9, "")])
    desk = Desk(story=(True, "", msgspec.json.encode(story)))
    *_, opened = steer(desk, "2", "enter")
    assert "asks for the tag 'ssd'" in opened


def test_a_story_that_nobody_knows_is_said_so() -> None:
    desk = Desk(story=(False, "nothing is known (any more) of a task", b""))
    _, opened = steer(desk, "2", "enter")
    assert "nothing is known (any more)" in opened


def test_a_search_is_sent_to_the_endpoint_and_given_up_again() -> None:
    desk = Desk()
    steer(desk, "2", "slash", "a", "b", "escape", "f", "1")
    assert [(text, states) for text, states, _ in desk.looks] == [
        ("", ()),
        ("", ()),
        ("a", ()),
        ("ab", ()),
        ("", ()),
        ("", ("running",)),
        ("", ()),
    ]
    assert desk.looks[-1][2] < desk.looks[-2][2], "less is asked for when not shown"


def test_keys_mouse_and_palette_lead_everywhere() -> None:
    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await pilot.press("tab", "tab")
        assert app.pane.id == "blocks"
        await pilot.press("shift+tab")
        assert app.pane.id == "tasks"
        await pilot.click("#tabs", offset=(53, 0))
        await settle(pilot)
        assert app.pane.id == "logs"
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        commands = {
            c.title: c.callback for c in app.get_system_commands(app.screen_stack[0])
        }
        commands["Show Events"]()
        await settle(pilot)
        assert app.pane.id == "events"
        commands["Scale"]()
        await settle(pilot)
        assert isinstance(app.screen, HowMany)
        await pilot.press("escape")
        commands["Stop"]()
        await settle(pilot)
        assert isinstance(app.screen, Confirm)

    play(normal(), script, source=Desk())


def test_a_view_that_comes_while_a_question_stands_is_drawn_behind_it() -> None:
    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await pilot.press("3", "d")
        app.post(failing())
        await settle(pilot)
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        await settle(pilot)
        assert "failed, exit 137" in screen(app)

    play(normal(), script, source=Desk())


def test_a_click_moves_the_cursor_and_two_open() -> None:
    desk = Desk()

    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await pilot.press("2")
        await settle(pilot)
        await pilot.click("#task-table", offset=(3, 3), times=2)
        await settle(pilot)

    play(normal(), script, source=desk)
    assert desk.orders == [("story", ["node-3f29ab04c1d2-3"], 0)]


def test_a_line_that_is_cut_off_can_be_read_whole() -> None:
    desk = Desk()
    cut, whole, closed = steer(desk, "6", "enter", "escape")
    assert "03:03:29 INFO line 29" in cut
    assert "2026-01-02 03:03:29,000 INFO actors.endpoint.shell: line 29" in whole
    assert "actors.endpoint.shell" not in closed
    *_, event = steer(desk, "7", "up", "enter")
    assert "30 tasks want more than 4" in event.rpartition("╭")[2]


def test_logs_are_filtered_by_who_wrote_and_what() -> None:
    _, _, *typed = steer(Desk(), "6", "slash", *"provider", "enter")
    assert "provider" in typed[-1]
    assert "interchange" not in typed[-1]


def test_no_colour_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def script(pilot: Pilot[None], app: Dashboard) -> None:
        await pilot.press("3")
        await settle(pilot)
        colours = set()
        for strip in app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                if style and style.color and style.color.triplet:
                    colours.add(style.color.triplet)
        assert all(len(set(colour)) == 1 for colour in colours), "only greys"
        assert "running, on hold" in screen(app)

    play(failing(), script)
