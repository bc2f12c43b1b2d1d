"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process where it stands."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from discord_recorder.cli.terminal import Terminal

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def exit_code_of(number: signal.Signals) -> int:
    """What a shell expects of a process that was ended by a signal."""
    return 128 + number


class InterruptedRunError(Exception):
    """The guarded work was ended by a signal; not an error of the recorder, so outside of its tree."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"interrupted by {number.name}")
        self.exit_code = exit_code_of(number)


class Interruption:
    """Watches for the signals while its block runs, in the main thread's event loop.

    Nothing is lost by the hard end either: what was in work is what a killed process leaves, and the next start
    finishes it.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.signal: signal.Signals | None = None
        self.in_work = "what was in work"
        """What is told to be left behind by a hard end."""
        self._terminal = terminal
        self._guarded: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._received, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, or raise `InterruptedRunError`: the first signal cancels it."""
        if self.signal is not None:
            work.close()
            raise InterruptedRunError(self.signal)
        guarded = asyncio.create_task(work)
        self._guarded = guarded
        try:
            return await guarded
        except asyncio.CancelledError:
            if self.signal is None:
                raise
            raise InterruptedRunError(self.signal) from None
        finally:
            self._guarded = None

    def _received(self, number: signal.Signals) -> None:
        if self.signal is not None:
            self._terminal.note(f"Left at once. The next start of discord-recorder finishes {self.in_work}.")
            self._terminal.release()
            os._exit(exit_code_of(number))
        self.signal = number
        self._terminal.note(f"Stopping, to leave {self.in_work} in good order. Once more ends at once.")
        if self._guarded is not None:
            self._guarded.cancel()
