"""What is typed on stdin, or comes through a pipe or from a file, line by line, without blocking the event loop."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import CancelledError
from typing import Final

_BLOCK_BYTES: Final = 65_536
_AHEAD: Final = 100
"""Lines that are read before they are used; then whoever writes them waits."""


async def typed_lines() -> AsyncGenerator[str]:
    """Every line until the end of stdin; none when there is no stdin.

    A thread reads, for the event loop can watch no files, and a terminal that is set not to block does so for stdout
    too. It is a daemon that holds no lock, so that it can be left behind. From the background a terminal is not read,
    instead of being stopped by it.
    """
    try:
        stdin = sys.stdin.fileno()
    except (AttributeError, OSError):  # closed, or none of the system's
        return
    lines = asyncio.Queue[str | None](_AHEAD)
    before = signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    try:
        threading.Thread(target=_read, args=(stdin, lines, asyncio.get_running_loop()), daemon=True).start()
        while (line := await lines.get()) is not None:
            yield line
    finally:
        signal.signal(signal.SIGTTIN, before)


def _read(stdin: int, lines: asyncio.Queue[str | None], loop: asyncio.AbstractEventLoop) -> None:
    try:
        begun = b""
        while block := _block(stdin):
            *whole, begun = (begun + block).split(b"\n")
            for line in whole:
                _put(lines, line.decode(errors="replace"), loop)
        if begun:
            _put(lines, begun.decode(errors="replace"), loop)
        _put(lines, None, loop)
    except (RuntimeError, CancelledError):  # the event loop has ended meanwhile
        return


def _block(stdin: int) -> bytes:
    try:
        return os.read(stdin, _BLOCK_BYTES)
    except OSError:  # the terminal has gone, or is another job's
        return b""


def _put(lines: asyncio.Queue[str | None], line: str | None, loop: asyncio.AbstractEventLoop) -> None:
    putting = lines.put(line)
    try:
        asyncio.run_coroutine_threadsafe(putting, loop).result()
    except RuntimeError:
        putting.close()
        raise
