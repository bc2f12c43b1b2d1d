"""One run of the program, and the one place where its errors end."""

import asyncio
import errno
import signal
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer

from discord_recorder.cli.interruption import InterruptedRunError, Interruption, exit_code_of
from discord_recorder.cli.logs import logs_shown
from discord_recorder.cli.options import Options
from discord_recorder.cli.terminal import Terminal
from discord_recorder.config import Settings
from discord_recorder.errors import DiscordRecorderError

T = TypeVar("T")

FAILED = 1


class Invocation:
    """What a command has to work with: the global options, the terminal, and an event loop when it wants one."""

    def __init__(self, options: Options, terminal: Terminal) -> None:
        self.options = options
        self.terminal = terminal

    def settings(self) -> Settings:
        """The settings of this run; raises `SettingsError`."""
        given = self.options.data_dir
        return Settings() if given is None else Settings(data_dir=given)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work that a signal cancels."""
        return self.run_watched(lambda interruption: interruption.guard(work))

    def run_watched(self, work: Callable[[Interruption], Coroutine[Any, Any, T]]) -> T:
        """Run asynchronous work that says itself which of its parts a signal cancels."""

        async def watched() -> T:
            with Interruption(self.terminal) as interruption:
                return await work(interruption)

        return asyncio.run(watched())


def perform(ctx: typer.Context, act: Callable[[Invocation], int]) -> NoReturn:
    """Run a command, tell its error in one line if it has one, and end the process with its exit code."""
    terminal, options = Terminal(), ctx.ensure_object(Options)
    with logs_shown(terminal.err, verbose=options.verbose):
        raise typer.Exit(_attempt(Invocation(options, terminal), act))


def _attempt(invocation: Invocation, act: Callable[[Invocation], int]) -> int:
    try:
        return act(invocation)
    except DiscordRecorderError as error:
        invocation.terminal.error(str(error))
        return FAILED
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of stdout has had enough
            raise
        invocation.terminal.error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return FAILED
    except InterruptedRunError as interruption:
        invocation.terminal.error(str(interruption))
        return interruption.exit_code
    except KeyboardInterrupt:
        invocation.terminal.error("interrupted")
        return exit_code_of(signal.SIGINT)
