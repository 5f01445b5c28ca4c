"""Paths that users give to commands."""

import os
from pathlib import Path
from typing import Any

import click

__all__ = ["GivenPath"]


class GivenPath(click.Path):
    """A path that is not empty: `actors run "$LAB"` shall not run what lies here."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if not os.fspath(value):
            self.fail("It is empty; the current folder is '.'", param, ctx)
        return super().convert(value, param, ctx)
