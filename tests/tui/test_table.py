"""Promise: the cursor stays with its row; only what is visible is made into text."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tests.tui.drawing import settle
from tui.table import Column, Table


@dataclass(frozen=True)
class Row:
    name: str


class Host(App[None]):
    def __init__(self, *, follows: bool) -> None:
        super().__init__()
        self.asked: list[str] = []

        def cell(row: Row) -> str:
            self.asked.append(row.name)
            return row.name

        self.table: Table[Row] = Table(
            [
                Column("NAME", cell, 10, grows=True),
                Column("SECOND", lambda _: "2", 10, rank=1),
                Column("THIRD", lambda _: "3", 40, rank=2),
            ],
            lambda row: row.name,
            empty="nobody",
            follows=follows,
        )

    def compose(self) -> ComposeResult:
        yield self.table


def play(
    script: Callable[[Pilot[None], Host], Awaitable[None]], *, follows: bool = False
) -> None:
    async def whole() -> None:
        host = Host(follows=follows)
        async with host.run_test(size=(40, 10)) as pilot:
            await settle(pilot)
            await script(pilot, host)

    asyncio.run(whole())


def rows(*numbers: int) -> list[Row]:
    return [Row(f"row-{n}") for n in numbers]


def test_the_cursor_stays_with_its_row_whatever_comes_before_it() -> None:
    async def script(pilot: Pilot[None], host: Host) -> None:
        host.table.fill(rows(*range(10)))
        await pilot.press("down", "down", "down")
        assert host.table.current == Row("row-3")
        host.table.fill(rows(*range(100, 400), *range(10)))
        assert host.table.current == Row("row-3")
        host.table.fill(rows(7, 8))
        assert host.table.current in rows(7, 8)
        host.table.fill([])
        assert host.table.current is None
        await pilot.press("down", "enter", "end", "space")

    play(script)


def test_only_visible_rows_are_drawn() -> None:
    async def script(pilot: Pilot[None], host: Host) -> None:
        host.table.fill(rows(*range(100_000)))
        await settle(pilot)
        assert len(set(host.asked)) <= 10
        host.asked.clear()
        await pilot.press("end")
        await settle(pilot)
        assert host.asked[-1] == "row-99999"
        assert len(set(host.asked)) <= 20

    play(script)


def test_who_follows_stays_at_the_end_until_the_user_goes_elsewhere() -> None:
    async def script(pilot: Pilot[None], host: Host) -> None:
        host.table.fill(rows(*range(50)))
        assert host.table.current == Row("row-49")
        host.table.fill(rows(*range(60)))
        assert host.table.current == Row("row-59")
        await pilot.press("up")
        host.table.fill(rows(*range(70)))
        assert host.table.current == Row("row-58")
        await pilot.press("G")
        host.table.fill(rows(*range(80)))
        assert host.table.current == Row("row-79")

    play(script, follows=True)


def test_columns_without_room_are_left_out_the_least_important_first() -> None:
    async def script(pilot: Pilot[None], host: Host) -> None:
        host.table.fill(rows(1))
        heading = host.table.render_line(0).text
        assert "SECOND" in heading
        assert "THIRD" not in heading
        assert len(heading) == 40

    play(script)


def test_nothing_is_said_to_be_nothing() -> None:
    async def script(pilot: Pilot[None], host: Host) -> None:
        assert "nobody" in host.table.render_line(1).text
        host.table.fill([], "gone")
        assert "gone" in host.table.render_line(1).text

    play(script)
