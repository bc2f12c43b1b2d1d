"""Simulated speakers over real sockets: both timestamp habits, silence, drift, mute, leaving and coming back."""

import asyncio
from itertools import pairwise

import pytest

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.voice.rtp import SILENCE
from discord_recorder.simulator.voice.speakers import Habit, Speaker
from discord_recorder.simulator.voice_port import VoiceAccess
from tests.simulator.voice.conftest import CHANNEL, GUILD, Studio, speaking
from tests.support.waiting import until

A, B, C = 1, 2, 3
SPEECH = [bytes((0xFC, number)) * 20 for number in range(12)]
PAUSE_SECONDS = 0.2


async def _two_spurts(studio: Studio, **options: object) -> tuple[Speaker, float, float]:
    """Gives the speaker, when the first spurt could begin at the earliest, and how long the pause was at the least."""
    await studio.start()
    speaker = await studio.join(A, first_timestamp=1000, first_sequence=65_530, **options)
    await studio.join(B)
    await speaker.ready()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await speaker.speak(SPEECH)
    ended = loop.time()
    await asyncio.sleep(PAUSE_SECONDS)
    pause = loop.time() - ended
    await speaker.speak(SPEECH)
    return speaker, begun, pause


async def test_a_spurt_ends_with_five_frames_of_silence(studio: Studio) -> None:
    speaker, _, _ = await _two_spurts(studio)
    assert [one.opus for one in speaker.sent] == [*SPEECH, *[SILENCE] * 5] * 2
    assert [one.encrypted for one in speaker.sent] == ([True] * 12 + [False] * 5) * 2
    assert [one.sequence for one in speaker.sent] == [number & 0xFFFF for number in range(65_530, 65_530 + 34)]


async def test_a_stopping_timestamp_goes_on_where_it_was(studio: Studio) -> None:
    speaker, _, _ = await _two_spurts(studio, habit=Habit.STOPPING)
    assert [one.timestamp for one in speaker.sent] == [1000 + 960 * number for number in range(34)]


@pytest.mark.parametrize("drift_ppm", [0.0, 1e6, -5e5])
async def test_a_running_timestamp_follows_the_speakers_clock(studio: Studio, drift_ppm: float) -> None:
    speaker, begun, pause = await _two_spurts(studio, drift_ppm=drift_ppm)
    first, second = speaker.sent[:17], speaker.sent[17:]
    for spurt in (first, second):
        assert {after.timestamp - one.timestamp for one, after in pairwise(spurt)} == {960}
    gap = second[0].timestamp - first[-1].timestamp
    assert gap % 960 == 0
    rate = 48_000 * (1 + drift_ppm * 1e-6)  # samples that pass on its clock in one of our seconds
    assert gap / rate >= pause
    assert gap / rate <= second[0].sent_at - begun - 16 * 960 / rate + 1e-6


async def test_timestamps_wrap(studio: Studio) -> None:
    await studio.start()
    speaker = await studio.join(A, habit=Habit.STOPPING, first_timestamp=2**32 - 960)
    await studio.join(B)
    await speaker.ready()
    await speaker.speak(SPEECH[:2])
    assert [one.timestamp for one in speaker.sent[:3]] == [2**32 - 960, 0, 960]


async def test_mute_in_mid_spurt(studio: Studio) -> None:
    await studio.start()
    speaker, listener = await studio.together(A, B)
    async with speaking(speaker, SPEECH * 4):
        await until(lambda: len(speaker.sent) >= 10)
        speaker.mute()
        await until(lambda: speaker.held_frames >= 3)
        speaker.unmute()
    said = [one.opus for one in speaker.sent if one.opus != SILENCE]
    assert len(said) + speaker.held_frames + 5 == len(SPEECH * 4)  # five of silence stand for five that were muted
    assert [one.opus for one in speaker.sent].count(SILENCE) == 10
    await until(lambda: len(listener.heard) == len(speaker.sent))
    assert [one.opus for one in listener.heard] == [one.opus for one in speaker.sent]


async def test_leaving_in_mid_spurt_and_coming_back(studio: Studio) -> None:
    await studio.start()
    speaker, listener = await studio.together(A, B)
    async with speaking(speaker, SPEECH * 50):
        await until(lambda: len(speaker.sent) >= 5)
        await speaker.leave()
    await until(lambda: studio.left == [(A, GUILD)])
    before = len(speaker.sent)
    with pytest.raises(SimulatorError):
        await speaker.speak(SPEECH)
    await speaker.join(studio.access(A))
    await studio.settled(A, B)
    await speaker.speak(SPEECH)
    first, second = speaker.sent[:before], speaker.sent[before:]
    assert {one.ssrc for one in first}.isdisjoint(one.ssrc for one in second)
    await until(lambda: len(listener.heard) == len(speaker.sent))
    assert [one[1:] for one in listener.heard] == [
        (one.ssrc, one.sequence, one.timestamp, one.opus) for one in speaker.sent
    ]
    assert {one.user_id for one in listener.heard} == {A}


@pytest.mark.parametrize("plain", [True, False])
async def test_before_the_welcome_frames_are_plain_or_not_sent(studio: Studio, plain: bool) -> None:
    await studio.start()
    speaker = await studio.join(A, plain_until_welcomed=plain)
    await speaker.speak(SPEECH)
    said = [one for one in speaker.sent if one.opus != SILENCE]
    assert [one.opus for one in said] == (SPEECH if plain else [])
    assert not any(one.encrypted for one in speaker.sent)
    assert speaker.held_frames == (0 if plain else len(SPEECH))


async def test_who_leaves_the_commits_to_others_comes_along(studio: Studio) -> None:
    server = await studio.start(dave_batch_seconds=0.3)
    patient = range(C, C + 6)
    await asyncio.gather(studio.join(A, hear=True), *(studio.join(user, commit_after_seconds=30) for user in patient))
    await studio.settled(A, *patient)
    await studio.join(B, commit_after_seconds=30)
    await studio.settled(A, B, *patient)
    dave = server.dave(CHANNEL)
    assert dave is not None
    assert dave.epoch == 2
    assert dave.refused == {}
    await studio.people[C].speak(SPEECH)
    await until(lambda: [one.opus for one in studio.people[A].heard] == [*SPEECH, *[SILENCE] * 5])


async def test_a_speaker_that_is_not_let_in_says_so(studio: Studio) -> None:
    server = await studio.start()
    access = studio.access(A)
    server.remove(A, GUILD)
    speaker = Speaker(tls=studio.certificates.client_context())
    with pytest.raises(SimulatorError, match="4004"):
        await speaker.join(access)
    with pytest.raises(SimulatorError):
        await speaker.join(VoiceAccess(endpoint="localhost:1", ticket=access.ticket))
    await speaker.leave()


async def test_a_spurt_ends_when_the_server_goes(studio: Studio) -> None:
    server = await studio.start()
    speaker, _ = await studio.together(A, B)
    async with speaking(speaker, SPEECH * 500):
        await until(lambda: speaker.sent)
        server.remove(A, GUILD, 4014)
    assert speaker.connection.close_code == 4014
    with pytest.raises(SimulatorError):
        await speaker.join(studio.access(A))  # it has to leave first
