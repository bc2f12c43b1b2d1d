"""Pushes that are no audio, come too late, or end in the middle of a sample."""

from pathlib import Path
from typing import Any

import pytest

from discord_recorder import InvalidAudioError, InvalidIdError, ServicesManager, SessionEndedError
from tests.faults.endings import assert_holds_voices, assert_tidy, the_recording
from tests.faults.voices import ADA, BEN, said, samples
from tests.support.recorder import CHANNEL, MEETING, started


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param({"pcm_data": "text"}, InvalidAudioError, id="text"),
        pytest.param({"pcm_data": None}, InvalidAudioError, id="nothing"),
        pytest.param({"pcm_data": [0, 1]}, InvalidAudioError, id="a list"),
        pytest.param({"pcm_data": 4}, InvalidAudioError, id="a number"),
        pytest.param({"pcm_data": bytes(4), "user_id": "Ada"}, InvalidIdError, id="a name for an id"),
        pytest.param({"pcm_data": bytes(4), "user_id": -5}, InvalidIdError, id="a negative id"),
        pytest.param({"pcm_data": bytes(4), "user_id": True}, InvalidIdError, id="a truth for an id"),
        pytest.param({"pcm_data": bytes(4), "at_ms": -1}, InvalidAudioError, id="before the session"),
        pytest.param({"pcm_data": bytes(4), "at_ms": 100}, InvalidAudioError, id="where audio is"),
        pytest.param({"pcm_data": bytes(4), "at_ms": float("nan")}, InvalidAudioError, id="at no time"),
        pytest.param({"pcm_data": bytes(4), "at_ms": 1e15}, InvalidAudioError, id="in ages"),
        pytest.param({"pcm_data": bytes(4), "at_ms": "soon"}, InvalidAudioError, id="soon"),
    ],
)
async def test_a_refused_push_changes_nothing(
    services: ServicesManager, arguments: dict[str, Any], error: type[Exception]
) -> None:
    session = await started(services, user_id=ADA)
    await session.push_audio_data(said(ADA, 0, samples(0.7)))
    with pytest.raises(error):
        await session.push_audio_data(**arguments)
    await session.push_audio_data(said(ADA, samples(0.7), samples(0.7)))
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    assert_holds_voices(await the_recording(services), {ADA: samples(1.4)})


@pytest.mark.parametrize("piece_bytes", [1, 3, 997, 4099])
async def test_pieces_that_tear_samples_apart(services: ServicesManager, piece_bytes: int) -> None:
    session = await started(services)
    count = 4800 if piece_bytes < 10 else samples(1.3)
    speech = {user: said(user, 0, count) for user in (ADA, BEN)}
    for start in range(0, count * 4, piece_bytes):
        for user, pcm in speech.items():
            await session.push_audio_data(pcm[start : start + piece_bytes], user_id=user)
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    assert_holds_voices(await the_recording(services), {ADA: count, BEN: count})


@pytest.mark.parametrize("rest", [1, 2, 3])
async def test_a_stop_in_the_middle_of_a_sample(services: ServicesManager, data_dir: Path, rest: int) -> None:
    session = await started(services)
    await session.push_audio_data(said(ADA, 0, samples(1.2) + 1)[: samples(1.2) * 4 + rest], user_id=ADA)
    await session.push_audio_data(bytes(rest), user_id=BEN)  # a speaker of whom there is no whole sample
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    assert_holds_voices(await the_recording(services), {ADA: samples(1.2)})
    await assert_tidy(data_dir)


@pytest.mark.parametrize("rest", [1, 2, 3])
async def test_a_pause_in_the_middle_of_a_sample(services: ServicesManager, rest: int) -> None:
    """What comes after it begins with a sample of its own: channels and bytes are not swapped."""
    service, session = services.discord_recorder_service, await started(services)
    await session.push_audio_data(said(ADA, 0, 24_001)[: 96_000 + rest], user_id=ADA)
    await service.pause_session(CHANNEL)
    await session.push_audio_data(said(ADA, 24_000, 24_000)[rest:], user_id=ADA)
    await service.resume_session(CHANNEL)
    await session.push_audio_data(said(ADA, 24_000, 24_000), user_id=ADA)
    assert await service.stop_session(CHANNEL)
    assert_holds_voices(await the_recording(services), {ADA: 48_000})


async def test_pushes_after_the_stop(services: ServicesManager, data_dir: Path) -> None:
    session = await started(services)
    await session.push_audio_data(said(ADA, 0, samples(1.2)), user_id=ADA)
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    for user in (ADA, BEN):
        with pytest.raises(SessionEndedError, match=rf"meeting {MEETING} has been stopped.*Start a new session"):
            await session.push_audio_data(said(ADA, 0, 4800), user_id=user)
    assert_holds_voices(await the_recording(services), {ADA: samples(1.2)})
    await assert_tidy(data_dir)
