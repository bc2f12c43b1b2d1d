"""Frames of tone codes given to a live capture as they might arrive, and what is heard of them in the final files."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice

from discord_recorder import ServicesManager
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.voice.frames import OpusFrame
from tests.support.ear import Ear
from tests.support.recorder import sound_of, started, stopped
from tests.support.tone_code import FRAME, RATE, packets
from tests.support.verdict import Said, Verdict, judge

FRAME_SECONDS = FRAME / RATE


@cache
def spoken(user: int, first: int, count: int) -> list[bytes]:
    """A talk spurt's packets, the silence after it left out."""
    return list(islice(packets(user, first), count))


def said(first: int, count: int, at_seconds: float, spurt: int = 0) -> list[Said]:
    """The frames of a talk spurt that was sent at that session time."""
    return [Said(first + each, at_seconds * RATE + each * FRAME, spurt) for each in range(count)]


def delayed(frames: Sequence[OpusFrame], delays_seconds: Iterable[float]) -> list[OpusFrame]:
    """The frames so much later each."""
    return [frame._replace(arrived=frame.arrived + delay) for frame, delay in zip(frames, delays_seconds, strict=True)]


async def live_capture(services: ServicesManager) -> LiveCapture:
    """The capture of a new session."""
    return (await started(services)).go_live()


async def verdicts(services: ServicesManager, truth: dict[int, list[Said]]) -> dict[int, Verdict]:
    """Stop, and listen to what became of each user's frames."""
    recording = await stopped(services)
    ear = Ear(truth)
    return {user: judge(ear.listen(sound_of(recording, user)), user, frames) for user, frames in truth.items()}
