"""A call in the simulated Discord that is recorded with everything real."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from discord_recorder.simulator.server import Simulator
from tests.e2e.call import Call, recorded_call


@pytest.fixture
async def call(simulator: Simulator, data_dir: Path) -> AsyncIterator[Call]:
    """Ada and Ben in a channel with the recording bot, everybody in the encrypted group."""
    async with recorded_call(simulator, data_dir) as call:
        await call.start()
        yield call
