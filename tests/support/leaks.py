"""What a test left behind: tasks, and errors that nobody looked at."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TURNS = 10
"""How many turns of the event loop a cancelled task may take to end."""


async def leaked_tasks(before: set[asyncio.Task[Any]]) -> list[str]:
    """Tasks that run now and did not run before, the caller's own not counted."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    return [repr(task) for task in asyncio.all_tasks() - before - {asyncio.current_task()}]


@contextmanager
def unhandled_errors() -> Iterator[list[str]]:
    """Collect what the event loop would only log: exceptions that no one retrieved, tasks destroyed while pending."""
    loop, errors = asyncio.get_running_loop(), list[str]()

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    loop.set_exception_handler(note)
    try:
        yield errors
        gc.collect()  # an exception is known to be unretrieved when its task is collected
    finally:
        loop.set_exception_handler(None)
