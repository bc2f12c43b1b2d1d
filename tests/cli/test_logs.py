import logging
from io import StringIO

from rich.console import Console

from discord_recorder.cli.logs import logs_shown

log = logging.getLogger("discord_recorder.somewhere")


def shown(*, verbose: bool, terminal: bool = False) -> str:
    """What the log of a bad day looks like."""
    console = Console(file=StringIO(), force_terminal=terminal, width=200, no_color=True)
    with logs_shown(console, verbose=verbose):
        log.info("It goes on", extra={"step": 3})
        log.warning("A transcode failed", extra={"chunk": 7, "reason": "two\nlines \x1b[31m"})
        try:
            raise ValueError("so it is")
        except ValueError:
            log.exception("It was interrupted")
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_warnings_show_their_values_on_one_line() -> None:
    assert shown(verbose=False).splitlines() == [
        "WARNING discord_recorder.somewhere: A transcode failed (chunk=7, reason=two lines \ufffd[31m)",
        "ERROR discord_recorder.somewhere: It was interrupted",
        "ValueError: so it is",
    ]


def test_verbose_shows_all() -> None:
    text = shown(verbose=True)
    assert "INFO discord_recorder.somewhere: It goes on (step=3)" in text
    assert "Traceback" in text


def test_a_terminal_gets_the_same() -> None:
    text = shown(verbose=False, terminal=True)
    assert "A transcode failed (chunk=7, reason=two lines \ufffd[31m)" in text
    assert "Traceback" not in text


def test_nothing_stays_behind() -> None:
    root, own = logging.getLogger(), logging.getLogger("discord_recorder")
    before = (list(root.handlers), own.level)
    shown(verbose=True)
    assert (list(root.handlers), own.level) == before
