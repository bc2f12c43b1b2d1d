import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from discord_recorder import Settings
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.recording.context import Context
from discord_recorder.recording.ownership import ProcessRegistry
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import LocalRecordingStore
from tests.support.clock import FakeClock
from tests.support.ffmpeg import FFMPEG

NewContext = Callable[[], Context]


@pytest.fixture(autouse=True)
def _whatever_the_speed(chunks_as_on_a_fast_machine: None) -> None:
    """See there."""


@pytest.fixture
async def new_context(settings: Settings, clock: FakeClock) -> AsyncIterator[NewContext]:
    """Makes what the parts of one more recorder on the test's data directory share; no part of it runs."""
    made: list[Context] = []

    def make() -> Context:
        context = Context(
            settings=settings,
            clock=clock,
            database=Database(settings.database_file),
            store=LocalRecordingStore(settings.recordings_dir),
            ffmpeg=Ffmpeg(FFMPEG),
            registry=ProcessRegistry(settings.run_dir),
            encoders=asyncio.Semaphore(1),
        )
        context.registry.enter()
        made.append(context)
        return context

    yield make
    for context in made:
        await context.database.close()
        context.registry.leave()


@pytest.fixture
async def context(new_context: NewContext) -> Context:
    """What the parts of a recorder share; no part of it runs."""
    context = new_context()
    await context.database.open()
    return context
