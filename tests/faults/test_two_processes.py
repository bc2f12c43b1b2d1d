"""Two recorders on one data directory: they share it, and each meeting has one owner."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import MeetingActiveError, ServicesManager
from discord_recorder.recording.transcoding import workers
from tests.faults.children import Recorder, recorder, speak
from tests.faults.deadlines import known, soon
from tests.faults.endings import assert_holds_voices, assert_tidy, the_recording
from tests.faults.voices import ADA, BEN, CHRIS, said, samples
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import MEETING, quick_settings

OTHER_MEETING = "0123456789abcdef"
OPEN: dict[str, Any] = {"do": "open"}
WAIT: dict[str, Any] = {"do": "wait"}
BORDERS: dict[str, Any] = {"flush_interval_seconds": 0.5}


def start(meeting: str = MEETING, channel: int = 1) -> dict[str, Any]:
    return {"do": "start", "meeting": meeting, "channel": channel}


async def test_both_record_and_finish(data_dir: Path) -> None:
    first = (OPEN, start(), speak(2, (ADA, BEN)), {"do": "stop"}, {"do": "close"})
    second = (
        OPEN,
        start(OTHER_MEETING, 2),
        speak(2, (CHRIS,), channel=2),
        {"do": "stop", "channel": 2},
        {"do": "close"},
    )
    async with recorder(data_dir, *first, **BORDERS) as one, recorder(data_dir, *second, **BORDERS) as other:
        assert [await one.ended(), await other.ended()] == [0, 0], one.errors + other.errors
    async with ServicesManager(quick_settings(data_dir)) as services:
        for meeting, pushed in ((MEETING, one.pushed_in), (OTHER_MEETING, other.pushed_in)):
            recording = await the_recording(services, meeting)
            assert (recording["status"], recording["recovered"]) == ("complete", False)
            assert_holds_voices(recording, {user: count for (_, user), count in pushed.items()})
        await assert_tidy(data_dir)


async def test_many_begin_at_once_on_a_new_directory(data_dir: Path) -> None:
    scripts = [(OPEN, start(f"meeting{n:09}", n), speak(0.2, (ADA,), channel=n), {"do": "close"}) for n in range(1, 7)]

    async def one(script: tuple[dict[str, Any], ...]) -> Recorder:
        async with recorder(data_dir, *script) as child:
            assert await child.ended() == 0, child.errors
            return child

    children = await asyncio.gather(*map(one, scripts))
    async with ServicesManager(quick_settings(data_dir)) as services:
        for number, child in enumerate(children, start=1):
            recording = await the_recording(services, f"meeting{number:09}")
            assert_holds_voices(recording, {user: count for (_, user), count in child.pushed_in.items()})


async def test_the_workers_of_one_transcode_the_chunks_of_the_other(
    data_dir: Path, unreliable: UnreliableFfmpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner's own FFmpeg hangs; what it holds comes back when the owner's time limit has ended it."""
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.05)  # so that the owner is not the first to claim it again
    unreliable.hold()
    script = (OPEN, {"do": "fill_chunks"}, start(), WAIT, speak(3, (ADA, BEN), pace=0), {"do": "stop"}, {"do": "close"})
    stuck: dict[str, Any] = {
        "ffmpeg_path": str(unreliable.path),
        "transcode_workers": 1,
        "transcode_time_limit_seconds": 1.0,
        "transcode_attempts": 20,
    }
    async with recorder(data_dir, *script, **stuck, **BORDERS) as owner:
        await owner.waits()
        async with ServicesManager(quick_settings(data_dir, **BORDERS)) as services:
            owner.go_on()

            async def all_done() -> bool | None:
                rows = await services.sql_recording_service.get_temp_recordings_for_meeting(MEETING)
                return (len(rows) == 12 and {row["transcode_status"] for row in rows} == {"done"}) or None

            await known(all_done)
            unreliable.hold(False)  # the owner has to mix, too
            assert await owner.ended() == 0, owner.errors
            recording = await the_recording(services)
            assert (recording["status"], recording["recovered"]) == ("complete", False)
            assert_holds_voices(recording, owner.pushed)
            await assert_tidy(data_dir)


async def test_one_channel_is_recorded_once(data_dir: Path) -> None:
    first, second = (OPEN, WAIT, start(), WAIT), (OPEN, WAIT, start(OTHER_MEETING), WAIT)
    async with recorder(data_dir, *first) as one, recorder(data_dir, *second) as other:
        await one.waits()
        await other.waits()
        one.go_on()
        other.go_on()
        assert {(await one.did("start"))["result"], (await other.did("start"))["result"]} == {True, False}


async def test_a_live_one_is_never_taken_over(data_dir: Path, quick_take_over: None) -> None:
    script = (OPEN, start(), speak(2.5, (ADA, BEN)), WAIT, {"do": "stop"}, {"do": "close"})
    async with recorder(data_dir, *script, **BORDERS) as owner:
        await owner.has_pushed(samples(0.2))
        async with ServicesManager(quick_settings(data_dir)) as services:
            for _ in range(10):
                await services.discord_recorder_service.cleanup_old_temp_recordings_once(ttl_hours=0)
                meeting = await services.sql_recording_service.get_meeting(MEETING)
                assert meeting is not None
                assert meeting["status"] == "recording"
                assert not await services.discord_recorder_service.start_session(1)
                with pytest.raises(MeetingActiveError, match="another running recorder"):
                    await services.discord_recorder_service.retry_meeting(MEETING)
                with pytest.raises(MeetingActiveError):
                    await services.discord_recorder_service.delete_meeting(MEETING)
            await owner.waits()
            owner.go_on()
            assert await owner.ended() == 0
            recording = await the_recording(services)
            assert (recording["status"], recording["recovered"]) == ("complete", False)
            assert_holds_voices(recording, owner.pushed)


async def test_the_live_one_finishes_what_a_killed_one_left(data_dir: Path, quick_take_over: None) -> None:
    async with ServicesManager(quick_settings(data_dir, **BORDERS)) as services:
        service = services.discord_recorder_service
        assert await service.start_session(2, OTHER_MEETING)
        async with recorder(data_dir, OPEN, start(), speak(30, (ADA, BEN)), **BORDERS) as owner:
            await owner.has_pushed(samples(1.2))
            await owner.killed()
        recording = await the_recording(services)
        assert (recording["status"], recording["recovered"]) == ("complete", True)
        assert_holds_voices(recording, owner.pushed)
        await service.sessions[2].push_audio_data(said(CHRIS, 0, 48_000), user_id=CHRIS)
        assert await service.stop_session(2)
        own = await the_recording(services, OTHER_MEETING)
        assert not own["recovered"]
        assert_holds_voices(own, {CHRIS: 48_000})
        await assert_tidy(data_dir)


async def test_the_channel_of_a_killed_one_is_free(data_dir: Path) -> None:
    async with recorder(data_dir, OPEN, start(), speak(1, (ADA,), pace=0), WAIT) as owner:
        await owner.waits()
        async with ServicesManager(quick_settings(data_dir)) as services:
            assert not await services.discord_recorder_service.start_session(1, OTHER_MEETING)
            await owner.killed()
            assert await services.discord_recorder_service.start_session(1, OTHER_MEETING)


async def test_the_job_of_a_killed_one_is_done_when_its_lease_ends(data_dir: Path, tmp_path: Path) -> None:
    """There are more chunks than one worker takes at a time: the owner has some in hand, and its helper others."""
    own, others = UnreliableFfmpeg(tmp_path / "own"), UnreliableFfmpeg(tmp_path / "helper")
    own.hold()
    others.hold()
    short: dict[str, Any] = {"lease_seconds": 5.0, "transcode_time_limit_seconds": 4.0, "transcode_workers": 1}
    async with recorder(data_dir, OPEN, WAIT, ffmpeg_path=str(others.path), **short) as helper:
        await helper.waits()
        settings = quick_settings(data_dir, ffmpeg_path=str(own.path), **short, **BORDERS)
        async with ServicesManager(settings) as services:
            service = services.discord_recorder_service
            assert await service.start_session(1, MEETING)
            await service.sessions[1].push_audio_data(said(ADA, 0, 4 * 48_000), user_id=ADA)
            await soon(lambda: own.calls and others.calls)
            await helper.killed()
            own.hold(False)
            assert await service.stop_session(1)
            recording = await the_recording(services)
            assert recording["status"] == "complete"
            assert_holds_voices(recording, {ADA: 4 * 48_000})
    others.hold(False)
    await soon(lambda: not others.living)
