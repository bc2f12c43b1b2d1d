"""Waiting for a meeting's end, with its transcodes in sight."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rich.progress import Progress

from discord_recorder.services.manager import ServicesManager

T = TypeVar("T")

ChunkCount = Callable[[], Awaitable[tuple[int, int] | None]]
"""How many chunks have ended, of how many; None when that cannot be told any more."""

_POLL_SECONDS: Final = 0.25

_LOOK_SOON_SECONDS: Final = 0.02

_LOOK_SECONDS: Final = 1.0
"""How often to see whether a promotion has failed."""


async def watch(bars: Progress, count: ChunkCount, work: Awaitable[T]) -> T:
    """Show the transcodes until `work` ends; gives its result."""
    bar = bars.add_task("Transcoding", total=None, shown="")
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=_POLL_SECONDS))[0]:
            counted = await count()
            if counted is None or counted[0] == counted[1]:
                bars.update(bar, description="Promoting", total=None, shown="")
            else:
                bars.update(bar, completed=counted[0], total=counted[1], shown="{} of {} chunks".format(*counted))
        return await task
    finally:
        task.cancel()
        bars.remove_task(bar)


async def until(condition: Callable[[], object], max_seconds: float) -> bool:
    """Return when a condition holds; False when it does not in time."""
    deadline = time.monotonic() + max_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_LOOK_SOON_SECONDS)
    return True


async def until_ended(services: ServicesManager, meeting_id: str) -> None:
    """Return when a meeting is out of processing, or cannot leave it now: the error is in its row then.

    It is tried again all the while, and by the next start: nothing is lost.
    """
    known = await _error_of(services, meeting_id)
    while not await services.discord_recorder_service.wait_until_ended(meeting_id, _LOOK_SECONDS):
        if await _error_of(services, meeting_id) not in (None, known):
            return


async def _error_of(services: ServicesManager, meeting_id: str) -> str | None:
    meeting = await services.sql_recording_service.get_meeting(meeting_id)
    return meeting["error"] if meeting else None
