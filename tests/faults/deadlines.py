"""Waiting for a state, with a bound that only something broken reaches."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 60.0

_POLL_SECONDS = 0.01


async def known(ask: Callable[[], Awaitable[T | None]]) -> T:
    """Ask again and again until there is an answer."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if (answer := await ask()) is not None:
                return answer
            await asyncio.sleep(_POLL_SECONDS)


async def soon(condition: Callable[[], object]) -> None:
    """Look again and again until the condition holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(_POLL_SECONDS)


async def true(ask: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until the answer is yes."""

    async def yes() -> bool | None:
        return await ask() or None

    await known(yes)
