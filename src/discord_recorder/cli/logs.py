"""The program's log on stderr: warnings, or with `--verbose` what is going on."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from discord_recorder.cli.formats import printable

_OWN: Final = "discord_recorder"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else came in with `extra`."""

_PLAIN: Final = "%(levelname)s %(name)s: %(message)s"


class ExtrasFormatter(logging.Formatter):
    """Adds the values that came with a record; tracebacks are for the verbose."""

    def __init__(self, fmt: str, *, verbose: bool) -> None:
        super().__init__(fmt)
        self._verbose = verbose

    def format(self, record: logging.LogRecord) -> str:
        """The whole text; a traceback that another handler left in the record is not taken over."""
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is the library's
        """The line, and ` (name=value, ...)` after it."""
        extras = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        shown = ", ".join(f"{name}={value}" for name, value in extras.items())
        line = super().formatMessage(record)
        return printable(f"{line} ({shown})" if shown else line)

    def formatException(  # noqa: N802 - the name is the library's
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The whole traceback if wanted, else its last line."""
        if self._verbose or ei[1] is None:
            return super().formatException(ei)
        return printable("".join(traceback.format_exception_only(ei[1])).strip())


@contextmanager
def logs_shown(console: Console, *, verbose: bool) -> Iterator[None]:
    """Show the log on `console` as long as the block runs."""
    handler: logging.Handler = logging.StreamHandler(console.file)
    form = _PLAIN
    if console.is_terminal:
        form = "%(message)s"
        handler = RichHandler(console=console, show_path=False, show_time=verbose, highlighter=NullHighlighter())
    handler.setFormatter(ExtrasFormatter(form, verbose=verbose))
    root, own = logging.getLogger(), logging.getLogger(_OWN)
    level_before = own.level
    root.addHandler(handler)
    own.setLevel(logging.DEBUG if verbose else logging.WARNING)
    try:
        yield
    finally:
        own.setLevel(level_before)
        root.removeHandler(handler)
