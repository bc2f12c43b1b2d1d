"""A handler class of the caller's own in a live call: each speaker's voice goes through it onto the speaker's track."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from discord_recorder import DiscordSessionHandler
from discord_recorder.simulator.server import Simulator
from tests.audio.signals import played
from tests.e2e.call import ADA_HERTZ, BEN_HERTZ, Call, recorded_call
from tests.e2e.hearing import level, onset
from tests.support.recorder import track_of

SPOKEN_LEVEL = 0.3
"""What everybody speaks with."""

SECONDS = 2.0


class Halving(DiscordSessionHandler):
    """Records at half the level."""

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await super().push_audio_data((np.frombuffer(pcm_data, "<i2") // 2).astype("<i2").tobytes())


class Raising(DiscordSessionHandler):
    """Fails always."""

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        raise RuntimeError("no")


@pytest.fixture
async def empty(simulator: Simulator, data_dir: Path) -> AsyncIterator[Call]:
    """A call that nobody has joined."""
    async with recorded_call(simulator, data_dir) as call:
        yield call


@pytest.mark.parametrize(("handler", "factor"), [(Halving, 0.5), (Raising, 1.0)])
async def test_what_the_override_makes_of_it_is_recorded(
    empty: Call, handler: type[DiscordSessionHandler], factor: float
) -> None:
    call = empty
    await call.start(session_handler_class=handler)
    await asyncio.gather(call.ada.say(SECONDS), call.ben.say(SECONDS))
    for person in (call.ada, call.ben):
        await call.received(person, len(person.speaker.sent))
        assert call.counts(person.id).stored == len(person.speaker.sent)
    assert await call.gaps() == []

    recording = await call.stop()
    for person, other in ((call.ada, BEN_HERTZ), (call.ben, ADA_HERTZ)):
        sound = played(Path(track_of(recording, person.id)["path"]))
        spoken = sound[onset(sound) :][: round(SECONDS * 48_000)]
        windows = [spoken[at : at + 9600] for at in range(4800, len(spoken) - 14_400, 4800)]
        assert len(windows) >= 14
        assert {round(level(window, person.hertz) / SPOKEN_LEVEL, 1) for window in windows} == {factor}
        assert max(level(window, other) for window in windows) < 0.01
