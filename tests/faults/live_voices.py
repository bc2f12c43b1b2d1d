"""The voices of `voices.py` as they come from a voice channel: real Opus, in frames of 20 ms."""

import asyncio
from functools import cache
from itertools import islice
from typing import Final

import numpy as np

from discord_recorder import DiscordSessionHandler
from discord_recorder.recording.live import override_track
from discord_recorder.voice.frames import OpusFrame
from tests.audio.opus_signals import encoded, reference
from tests.audio.signals import Samples
from tests.faults import voices
from tests.support import tone_code

FRAME: Final = 960
"""Samples of a frame."""

LENGTH: Final = 4 * voices.RATE
"""Samples after which a voice begins again."""


class Halving(DiscordSessionHandler):
    """Records at half the level, and takes a moment for it."""

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await asyncio.sleep(0.001)
        await super().push_audio_data((np.frombuffer(pcm_data, "<i2") // 2).astype("<i2").tobytes())


class Hanging(DiscordSessionHandler):
    """Records the first half second, then hangs at every frame."""

    frames = 0

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        self.frames += 1
        if self.frames > 25:
            await asyncio.Event().wait()
        await super().push_audio_data(pcm_data)


def be_patient() -> None:
    """On a slow machine too, no override of this process takes too long for a frame or is too far behind."""
    for limit in ("CALL_SECONDS", "LAG_SECONDS"):
        setattr(override_track, limit, 100.0)


HANDLERS: Final[dict[str, type[DiscordSessionHandler]]] = {"halving": Halving, "hanging": Hanging}


@cache
def packets(user: int) -> list[bytes]:
    """A voice's packets."""
    return encoded(voices.said(user, 0, LENGTH))


def frame(user: int, number: int, arrived: float) -> OpusFrame:
    """The frame of that number, from 0."""
    voice = packets(user)
    return OpusFrame(user, user, number % 2**16, number * FRAME % 2**32, voice[number % len(voice)], arrived)


def coded(user: int, seconds: float) -> list[OpusFrame]:
    """The first frames of anybody's tone code."""
    opus = islice(tone_code.packets(user), round(seconds * voices.RATE / FRAME))
    return [OpusFrame(user, user, number, number * FRAME, packet, 0.0) for number, packet in enumerate(opus)]


def heard(user: int, frames: int) -> Samples:
    """What a voice's first frames sound like, in 16 bit units."""
    voice = packets(user)
    sound: Samples = reference([voice[number % len(voice)] for number in range(frames)]).astype(np.float64)
    return sound
