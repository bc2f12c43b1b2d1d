"""Waiting for a state of the simulated Discord without asking again and again."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """Tells those who wait that something, anything, has changed."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def announce(self) -> None:
        """Let everyone who waits look again."""
        self._next.set()
        self._next = asyncio.Event()

    async def until(self, condition: Callable[[], T | None], *, timeout_seconds: float | None) -> T:
        """Return the condition's first true answer; raises `TimeoutError` when there is none in time.

        With None it waits as long as it takes.
        """
        async with asyncio.timeout(timeout_seconds):
            while True:
                change = self._next
                if answer := condition():
                    return answer
                await change.wait()
