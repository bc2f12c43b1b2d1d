from collections.abc import AsyncIterator

import pytest

from discord_recorder.simulator.console.console import Console
from tests.support.simulator import Scene


@pytest.fixture
def told() -> list[str]:
    """What the console says unasked."""
    return []


@pytest.fixture
async def console(scene: Scene, told: list[str]) -> AsyncIterator[Console]:
    """Of the scene's guild."""
    async with Console(scene.simulator, scene.guild, told.append) as console:
        yield console
