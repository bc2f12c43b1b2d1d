import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from discord_recorder.cli.terminal import Terminal

LONG = "/a/very/long/path" * 20


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def drawn(terminal: Terminal, width: int = 40) -> Console:
    """Make it a narrow terminal, to be read from."""
    terminal.out = Console(file=StringIO(), force_terminal=True, width=width, markup=False, highlight=False)
    return terminal.out


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_pipe_gets_whole_aligned_lines(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["Name", "File"], [["Zo\u00eb", LONG], ["\u65e5\u672c", "b"]])
    assert capsys.readouterr().out.splitlines() == ["NAME  FILE", f"Zo\u00eb   {LONG}", "\u65e5\u672c  b"]


def test_a_terminal_folds_what_is_too_wide_and_cuts_nothing(terminal: Terminal) -> None:
    console = drawn(terminal)
    terminal.table(["File"], [[LONG]])
    assert LONG in text_of(console).replace("\n", "")


def test_markup_and_control_characters_are_shown_not_obeyed(terminal: Terminal) -> None:
    console = drawn(terminal, width=100)
    terminal.say("[red]\x1b[31m")
    terminal.table(["Name"], [["[bold]x\x07"]])
    terminal.details([("Title", "a\r\nb"), ("Left out", None)])
    text = text_of(console)
    assert "[red]\ufffd[31m" in text
    assert "[bold]x\ufffd" in text
    assert "a  b" in text
    assert "Left out" not in text


def test_json_of_times_and_paths(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.json({"at": datetime(2026, 3, 1, tzinfo=UTC), "path": Path("/a"), "name": "\u65e5\udcff"})
    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-03-01T00:00:00+00:00",
        "path": "/a",
        "name": "\u65e5\udcff",
    }
    with pytest.raises(TypeError):
        terminal.json(object())


def test_notes_warnings_and_errors_go_to_stderr(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.note("one")
    terminal.warn("two")
    terminal.error("three")
    assert capsys.readouterr() == ("", "one\nwarning: two\nerror: three\n")


def test_no_bars_without_a_terminal(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress() as bars:
        bars.add_task("Working", total=2, shown="half")
    assert capsys.readouterr() == ("", "")
