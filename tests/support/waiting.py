"""Waiting for a state that the recorder reaches by itself; the test's own time limit is the only one."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any


async def until(condition: Callable[[], Any | Awaitable[Any]]) -> Any:
    """Ask again and again until the answer is true, and give it."""
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        await asyncio.sleep(0.01)
