import hashlib

from discord_recorder import ServicesManager
from discord_recorder.recording.transcoding import workers
from tests.audio.signals import to_pcm, tone
from tests.support.ffmpeg import BAD_PCM, UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    MEETING,
    OpenServices,
    bytes_of,
    chunks_of,
    exists,
    recording_of,
    sound_of,
    started,
    stopped,
)
from tests.support.waiting import until

RATE = 48_000


async def settled(services: ServicesManager) -> None:
    assert await services.discord_recorder_service.wait_for_pending_transcodes(MEETING)


async def test_done_means_hashed_cleaned_and_the_source_deleted(services: ServicesManager) -> None:
    session = await started(services)
    for number in range(3):
        await session.push_audio_data(to_pcm(tone(RATE)), user_id=1 + number)
    await settled(services)
    for chunk in await chunks_of(services):
        assert (chunk["transcode_status"], chunk["cleaned"], chunk["attempts"]) == ("done", True, 1)
        assert chunk["sha256"] == hashlib.sha256(bytes_of(chunk["mp3_path"])).hexdigest()
        assert not exists(chunk["source_path"])


async def test_a_fault_that_passes_costs_nothing(open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
    unreliable.fail_always()
    async with open_services(ffmpeg_path=str(unreliable.path), transcode_attempts=20) as services:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(2 * RATE)))
        await until(lambda: len(unreliable.calls) >= 2)
        unreliable.fail_always(False)
        recording = await stopped(services)
    assert recording["status"] == "complete"
    assert len(sound_of(recording)) == 2 * RATE


async def test_a_bad_chunk_costs_its_neighbours_no_try(
    open_services: OpenServices, unreliable: UnreliableFfmpeg
) -> None:
    unreliable.hold()
    unreliable.fail_on_bad_pcm()
    async with open_services(ffmpeg_path=str(unreliable.path), transcode_workers=1) as services:
        session = await started(services)
        for number in range(1, workers.BATCH + 2):
            pcm = to_pcm(tone(RATE))
            await session.push_audio_data(BAD_PCM + pcm[8:] if number == 3 else pcm, user_id=number)
        unreliable.hold(False)
        await settled(services)
        found = {chunk["user_id"]: chunk for chunk in await chunks_of(services)}
        assert {user: (chunk["transcode_status"], chunk["attempts"]) for user, chunk in found.items()} == {
            "1": ("done", 1),
            "2": ("done", 1),
            "3": ("failed", 3),
            "4": ("done", 1),
            "5": ("done", 1),
        }
        assert "this chunk cannot be encoded" in str(found["3"]["error"])


async def test_a_run_that_hangs_is_killed(open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
    unreliable.hold()
    async with open_services(
        ffmpeg_path=str(unreliable.path), transcode_time_limit_seconds=0.2, transcode_attempts=2
    ) as services:
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(RATE)))
        await settled(services)
        (chunk,) = await chunks_of(services)
        assert (chunk["transcode_status"], chunk["attempts"]) == ("failed", 2)
        assert "did not end within 0.2 s and was killed" in str(chunk["error"])
        await until(lambda: not unreliable.living)
        unreliable.hold(False)
        recorder = services.discord_recorder_service
        await recorder.retry_meeting(MEETING)
        assert len(sound_of(await stopped(services))) == RATE


async def test_a_source_that_is_gone_fails_at_once(open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
    unreliable.fail_always()
    async with open_services(ffmpeg_path=str(unreliable.path), transcode_attempts=1) as services:
        recorder = services.discord_recorder_service
        session = await started(services)
        await session.push_audio_data(to_pcm(tone(3 * RATE)))
        await settled(services)
        unreliable.fail_always(False)
        first, second, _ = await chunks_of(services)
        (services.settings.temp_dir / first["source_path"]).unlink()
        (services.settings.temp_dir / second["source_path"]).write_bytes(b"short")
        assert await recorder.retry_meeting(MEETING) == 3
        await settled(services)
        found = await chunks_of(services)
        assert [chunk["transcode_status"] for chunk in found] == ["failed", "failed", "done"]
        assert f"its source {first['source_path']} is gone" in str(found[0]["error"])
        assert "has 5 bytes instead of 288000" in str(found[1]["error"])
        recording = await stopped(services)
    assert recording["status"] == "incomplete"
    assert len(sound_of(recording)) == 3 * RATE


async def test_many_speakers_share_the_runs(open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
    unreliable.hold()
    async with open_services(ffmpeg_path=str(unreliable.path), transcode_workers=2) as services:
        session = await started(services)
        for user in range(1, 21):
            await session.push_audio_data(to_pcm(tone(RATE)), user_id=user)
        unreliable.hold(False)
        await settled(services)
        assert len(unreliable.calls) <= 2 + 20 // workers.BATCH + 1
        await services.discord_recorder_service.stop_session(CHANNEL)
        assert len((await recording_of(services))["tracks"]) == 21


async def test_silence_needs_no_ffmpeg(open_services: OpenServices, unreliable: UnreliableFfmpeg) -> None:
    unreliable.fail_always()
    async with open_services(ffmpeg_path=str(unreliable.path)) as services:
        session = await started(services)
        await session.push_audio_data(bytes(4 * RATE * 5))
        await session.push_audio_data(bytes(4 * RATE * 3), user_id=BOB)
        recording = await stopped(services)
    assert unreliable.calls == []
    assert recording["status"] == "complete"
    assert {len(sound_of(recording, user)) for user in (ALICE, BOB, None)} == {5 * RATE}
