"""A chunk that cannot be transcoded costs nothing but itself, and `retry` mends it as if nothing had happened."""

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from discord_recorder import MeetingActiveError, MeetingNotFoundError, ServicesManager
from discord_recorder.services.sql_recording import RecordingDict
from discord_recorder.storage.files import LocalRecordingStore
from tests.audio.signals import Samples, dbfs, snr_db, speech_like, to_pcm, tone
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
    quick_settings,
    recording_of,
    sound_of,
    started,
    stopped,
)
from tests.support.waiting import until

RATE = 48_000
SECOND = 4 * RATE
LENGTH_SECONDS = 10.4
"""More than a window of the mix."""
EDGE = 6000
"""Samples at a border of silence that belong to frames of the neighbours: those hold a little more than their chunk."""

BOBS = tone(5 * RATE, level=0.1) * np.clip(np.arange(5 * RATE) / RATE * 10, 0, 1)[:, None]
"""A tone that begins softly: at a hard onset an encoder's choices hang on the last bit."""


def with_bad_chunks(bad_seconds: Iterable[int]) -> bytes:
    """Speech whose chunks of those seconds cannot be encoded while FFmpeg fails on bad PCM."""
    pcm = bytearray(to_pcm(speech_like(round(LENGTH_SECONDS * RATE), level=0.2)))
    for second in bad_seconds:
        pcm[second * SECOND : second * SECOND + 8] = BAD_PCM
    return bytes(pcm)


async def recorded(services: ServicesManager, bad_seconds: Iterable[int]) -> RecordingDict:
    session = await started(services)
    await session.push_audio_data(with_bad_chunks(bad_seconds))
    await session.push_audio_data(to_pcm(BOBS), user_id=BOB, at_ms=3000)
    return await stopped(services)


async def mended(services: ServicesManager) -> RecordingDict:
    assert await services.discord_recorder_service.wait_until_ended(MEETING, 60)
    return await recording_of(services)


async def meeting_status(services: ServicesManager) -> str:
    meeting = await services.sql_recording_service.get_meeting(MEETING)
    assert meeting is not None
    return meeting["status"]


def deviation(sound: Samples, reference: Samples) -> float:
    assert len(sound) == len(reference)
    return dbfs(sound - reference)


@pytest.fixture
def failing(unreliable: UnreliableFfmpeg) -> UnreliableFfmpeg:
    unreliable.fail_on_bad_pcm()
    return unreliable


class TestOneRecording:
    @pytest.mark.parametrize("bad_seconds", [[0], [5, 6, 7], [0, 3, 9, 10], list(range(11))], ids=str)
    async def test_from_silence_to_what_it_would_have_been(
        self,
        open_services: OpenServices,
        failing: UnreliableFfmpeg,
        tmp_path_factory: pytest.TempPathFactory,
        bad_seconds: list[int],
    ) -> None:
        async with ServicesManager(quick_settings(tmp_path_factory.mktemp("unfailed"))) as services:
            unfailed = await recorded(services, bad_seconds)
        whole, whole_mix = sound_of(unfailed), sound_of(unfailed, None)

        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            recording = await recorded(services, bad_seconds)
            assert recording["status"] == "incomplete"
            assert await meeting_status(services) == "completed"

            chunks = await chunks_of(services)
            assert [chunk["start_ms"] // 1000 for chunk in chunks] == bad_seconds
            assert {chunk["transcode_status"] for chunk in chunks} == {"failed"}
            assert await recorder.cleanup_old_temp_recordings_once(0) == 0
            assert all(exists(chunk["source_path"]) for chunk in await chunks_of(services))

            sound = sound_of(recording)
            assert len(sound) == len(whole)
            for second in range(11):
                first, last = second * RATE + EDGE, min((second + 1) * RATE - EDGE, len(sound))
                if second in bad_seconds:
                    assert dbfs(sound[first:last]) < -90, f"second {second}"
                else:
                    assert deviation(sound[first:last], whole[first:last]) < -60, f"second {second}"

            failing.fail_on_bad_pcm(False)
            assert await recorder.retry_meeting(MEETING) == len(bad_seconds)
            recording = await mended(services)
            assert recording["status"] == "complete"
            assert await meeting_status(services) == "completed"
            assert await chunks_of(services) == []
            await until(lambda: not any(services.settings.temp_dir.iterdir()))
        assert deviation(sound_of(recording), whole) < -60
        assert deviation(sound_of(recording, None), whole_mix) < -60
        assert [track["name"] for track in recording["tracks"]] == [None] * 3

    async def test_piece_by_piece(self, open_services: OpenServices, failing: UnreliableFfmpeg) -> None:
        """Of two failed chunks one is mended first; the other one's silence, row and source stay."""
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            failing.fail_always()
            await session.push_audio_data(to_pcm(tone(RATE)))
            await recorder.wait_for_pending_transcodes(MEETING)
            failing.fail_always(False)
            await session.push_audio_data(BAD_PCM + to_pcm(tone(2 * RATE))[8:])
            assert (await stopped(services))["status"] == "incomplete"
            assert await recorder.retry_meeting(MEETING) == 2
            half = await mended(services)
            assert half["status"] == "incomplete"
            assert [chunk["start_ms"] for chunk in await chunks_of(services)] == [1000]
            sound = sound_of(half)
            assert dbfs(sound[EDGE : RATE - EDGE]) > -20
            assert dbfs(sound[RATE + EDGE : 2 * RATE - EDGE]) < -90
            failing.fail_on_bad_pcm(False)
            assert await recorder.retry_meeting(MEETING) == 1
            sound = sound_of(await mended(services))
            assert dbfs(sound[RATE + EDGE : 2 * RATE - EDGE]) > -20

    async def test_a_retry_that_fails_changes_nothing(
        self, open_services: OpenServices, failing: UnreliableFfmpeg
    ) -> None:
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            recording = await recorded(services, [4])
            files = {track["path"]: bytes_of(track["path"]) for track in recording["tracks"]}
            assert await recorder.retry_meeting(MEETING) == 1
            assert await mended(services) == recording
            assert await meeting_status(services) == "completed"
            assert {path: bytes_of(path) for path in files} == files
            (chunk,) = await chunks_of(services)
            assert chunk["transcode_status"] == "failed"
            assert exists(chunk["source_path"])

    async def test_a_mix_that_cannot_be_mended_is_made_by_the_next_retry(
        self, open_services: OpenServices, failing: UnreliableFfmpeg
    ) -> None:
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            await recorded(services, [4])
            failing.fail_on_bad_pcm(False)
            failing.fail_on_mixing()
            assert await recorder.retry_meeting(MEETING) == 1
            recording = await mended(services)
            assert recording["status"] == "incomplete", "its mix lacks what was mended"
            assert dbfs(sound_of(recording)[4 * RATE + EDGE : 5 * RATE - EDGE]) > -40
            failing.fail_on_mixing(False)
            assert await recorder.retry_meeting(MEETING) == 0
            recording = await mended(services)
            assert recording["status"] == "complete"
            total = sound_of(recording, ALICE)
            total += sound_of(recording, BOB)
            assert snr_db(total, sound_of(recording, None)) > 15

    async def test_nothing_to_retry(self, services: ServicesManager) -> None:
        recorder = services.discord_recorder_service
        recording = await recorded(services, [])
        assert await recorder.retry_meeting(MEETING) == 0
        assert await mended(services) == recording
        assert await meeting_status(services) == "completed"
        with pytest.raises(MeetingNotFoundError):
            await recorder.retry_meeting("0" * 16)


class TestNothingWorks:
    async def test_the_meeting_fails_and_can_be_mended(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg
    ) -> None:
        unreliable.fail_always()
        async with open_services(ffmpeg_path=str(unreliable.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            recording = await recorded(services, [])
            assert recording["status"] == "incomplete"
            meeting = await services.sql_recording_service.get_meeting(MEETING)
            assert meeting is not None
            assert (meeting["status"], meeting["end_reason"]) == ("failed", "stopped")
            assert "this chunk cannot be encoded" in str(meeting["error"])
            assert len(sound_of(recording)) == round(LENGTH_SECONDS * RATE)
            assert dbfs(sound_of(recording)) < -90

            assert await recorder.retry_meeting(MEETING) == 16
            await mended(services)
            assert await meeting_status(services) == "failed"

            unreliable.fail_always(False)
            assert await recorder.retry_meeting(MEETING) == 16
            recording = await mended(services)
            assert recording["status"] == "complete"
            meeting = await services.sql_recording_service.get_meeting(MEETING)
            assert meeting is not None
            assert (meeting["status"], meeting["error"]) == ("completed", None)
            assert dbfs(sound_of(recording)) > -20
            assert dbfs(sound_of(recording, None)) > -20


class TestWhileItGoesOn:
    async def test_retried_in_a_live_session(self, open_services: OpenServices, failing: UnreliableFfmpeg) -> None:
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            pcm = with_bad_chunks([2])
            await session.push_audio_data(pcm[: 5 * SECOND])
            await recorder.wait_for_pending_transcodes(MEETING)
            await session.assembly.advance()
            assert (await session.status())["chunk_statuses"]["failed"] == 1
            failing.fail_on_bad_pcm(False)
            assert await recorder.retry_meeting(MEETING) == 1
            assert session.is_recording
            assert await meeting_status(services) == "recording"
            await recorder.wait_for_pending_transcodes(MEETING)
            await session.push_audio_data(pcm[5 * SECOND :])
            recording = await stopped(services)
            assert recording["status"] == "complete"
            sound = sound_of(recording)
        assert len(sound) == round(LENGTH_SECONDS * RATE)
        assert dbfs(sound[2 * RATE : 3 * RATE]) > -40

    async def test_while_it_is_being_promoted(
        self, open_services: OpenServices, failing: UnreliableFfmpeg, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put, reached, go_on = LocalRecordingStore.put, threading.Event(), threading.Event()

        def slow_put(store: LocalRecordingStore, source: Path, key: str) -> None:
            reached.set()
            go_on.wait()
            put(store, source, key)

        monkeypatch.setattr(LocalRecordingStore, "put", slow_put)
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(with_bad_chunks([2]))
            stopping = asyncio.create_task(recorder.stop_session(CHANNEL))
            await until(reached.is_set)
            failing.fail_on_bad_pcm(False)
            runs = len(failing.calls)
            retrying = asyncio.create_task(recorder.retry_meeting(MEETING))
            for _ in range(100):  # it may wait for the promotion, or it may go on meanwhile
                if retrying.done() and len(failing.calls) > runs:
                    await recorder.wait_for_pending_transcodes(MEETING)
                    break
                await asyncio.sleep(0.01)
            go_on.set()
            assert await stopping is True
            assert await retrying == 1
            recording = await mended(services)
            assert recording["status"] == "complete"
            assert await chunks_of(services) == []
            assert dbfs(sound_of(recording)[2 * RATE : 3 * RATE]) > -40

    async def test_right_after_it_was_promoted(self, open_services: OpenServices, failing: UnreliableFfmpeg) -> None:
        async with open_services(ffmpeg_path=str(failing.path), transcode_attempts=1) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.push_audio_data(with_bad_chunks([2]))
            stopping = asyncio.create_task(recorder.stop_session(CHANNEL))
            await until(lambda: services.sql_recording_service.get_recordings_for_meeting(MEETING))
            failing.fail_on_bad_pcm(False)
            assert await recorder.retry_meeting(MEETING) == 1
            assert await stopping
            assert (await mended(services))["status"] == "complete"

    async def test_of_another_recorder(self, open_services: OpenServices) -> None:
        async with open_services() as one, open_services() as two:
            await started(one)
            with pytest.raises(MeetingActiveError, match="belongs to another running recorder"):
                await two.discord_recorder_service.retry_meeting(MEETING)
            with pytest.raises(MeetingActiveError, match="still recording"):
                await two.discord_recorder_service.delete_meeting(MEETING)
