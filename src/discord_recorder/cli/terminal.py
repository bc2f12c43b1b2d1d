"""Results go to stdout, everything else to stderr; a terminal gets colours and bars, a pipe whole plain lines."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from discord_recorder.cli.formats import printable

_STYLES: Final = {
    "complete": "green",
    "failed": "red",
    "fail": "red",
    "incomplete": "yellow",
    "ok": "green",
    "warn": "yellow",
}
"""Words that have a colour of their own in a table."""


class Terminal:
    """The two streams of one run of the program."""

    def __init__(self) -> None:
        self.out = Console(highlight=False, markup=False, emoji=False)
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def say(self, text: str = "") -> None:
        """A line of the result."""
        self.out.print(Text(printable(text)), soft_wrap=True)

    def note(self, text: str) -> None:
        """A line beside the result."""
        self.err.print(Text(printable(text)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Something to look at."""
        self._marked("warning", "yellow", text)

    def error(self, text: str) -> None:
        """Something went wrong."""
        self._marked("error", "red", text)

    def details(self, pairs: Sequence[tuple[str, str | None]]) -> None:
        """Named values, one a line; those that are None are left out."""
        shown = [(name, value) for name, value in pairs if value is not None]
        width = max((cell_len(name) for name, _ in shown), default=0)
        for name, value in shown:
            line = Text(f"{name:<{width}}  ", style="bold")
            line.append(printable(value), style=_STYLES.get(value, "not bold"))
            self.out.print(line, soft_wrap=True)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table that never cuts a cell short."""
        cells = [[printable(cell) for cell in row] for row in rows]
        if not self.out.is_terminal:
            self._plain_table([[header.upper() for header in headers], *cells])
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        self.out.print(table)

    def json(self, value: Any) -> None:
        """A value for scripts."""
        self.out.file.write(json.dumps(value, indent=2, default=_plain) + "\n")
        self.out.file.flush()

    def progress(self) -> Progress:
        """Bars on stderr, unseen when that is no terminal; tasks have the field `shown`, the text after the bar."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
            console=self.err,
            transient=True,
            disable=not self.err.is_terminal,
        )

    def release(self) -> None:
        """Leave the terminal as it was found, before the process ends at once."""
        for console in (self.out, self.err):
            console.show_cursor(True)
            console.file.flush()

    def _plain_table(self, lines: list[list[str]]) -> None:
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
            self.out.print(Text("  ".join(padded).rstrip()), soft_wrap=True)

    def _marked(self, mark: str, style: str, text: str) -> None:
        self.err.print(Text.assemble((f"{mark}: ", f"bold {style}"), printable(text)), soft_wrap=True)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
