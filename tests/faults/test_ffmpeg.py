"""FFmpeg hangs, floods, fails, lies or is not there: no audio is lost by it, and the reason is told."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from discord_recorder import FfmpegNotFoundError, ServicesManager
from discord_recorder.services.sql_recording import RecordingDict
from tests.faults.deadlines import soon
from tests.faults.endings import assert_files_match, assert_holds_voices, assert_tidy, ended, the_recording
from tests.faults.voices import ADA, BEN, assert_sounds, differences, joined, played, said, samples, silence, voice
from tests.support.ffmpeg import BAD_PCM, FFMPEG, UnreliableFfmpeg
from tests.support.recorder import CHANNEL, MEETING, chunks_of, exists, quick_settings, started, track_of

HALF = samples(0.5)
QUICK: dict[str, Any] = {"flush_interval_seconds": 0.5, "transcode_time_limit_seconds": 30.0}

MakeFfmpeg = Callable[[str], Path]


@pytest.fixture
def make_ffmpeg(tmp_path: Path) -> MakeFfmpeg:
    """Writes a shell script that stands in for FFmpeg; in it, `$FFMPEG` is the real one and `$HERE` a folder."""

    def make(script: str) -> Path:
        path = tmp_path / "ffmpeg"
        here = f"FFMPEG={shlex.quote(FFMPEG)}\nHERE={shlex.quote(str(tmp_path))}\n"
        path.write_text(f"#!/bin/sh\n{here}{script}\n")
        path.chmod(0o755)
        return path

    return make


async def recorded(services: ServicesManager, seconds: float = 1.3) -> None:
    """Record two speakers and stop."""
    session = await started(services)
    for user in (ADA, BEN):
        await session.push_audio_data(said(user, 0, samples(seconds)), user_id=user)
    assert await services.discord_recorder_service.stop_session(CHANNEL)


async def retried(data_dir: Path) -> RecordingDict:
    """What a working FFmpeg makes of it afterwards."""
    async with ServicesManager(quick_settings(data_dir)) as services:
        assert await services.discord_recorder_service.retry_meeting(MEETING) > 0
        recording = await the_recording(services)
        await assert_tidy(data_dir)
        return recording


async def assert_given_up(services: ServicesManager, reason: str, attempts: int = 3) -> None:
    """Every chunk FAILED after three tries with that reason; the meeting says so, and has a recording all the same."""
    meeting = await ended(services)
    assert meeting["status"] == "failed"
    assert re.search(reason, str(meeting["error"])), meeting["error"]
    for row in await chunks_of(services):
        assert (row["transcode_status"], row["attempts"]) == ("failed", attempts)
        assert re.search(reason, str(row["error"])), row["error"]
        assert exists(row["source_path"])
    (recording,) = await services.sql_recording_service.get_recordings_for_meeting(MEETING)
    assert recording["status"] == "incomplete"
    assert_files_match(recording)


class TestGivenUpAndRetriedLater:
    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            pytest.param("echo this build is broken >&2; exit 1", "code 1: this build is broken", id="exits 1"),
            pytest.param("kill -SEGV $$", "FFmpeg ended with code -11", id="dies by a signal"),
            pytest.param("cat > /dev/null; echo no MP3 at all", "no MPEG-1 Layer III frame", id="writes garbage"),
            pytest.param("cat > /dev/null", "gave only 0 of", id="writes nothing"),
            pytest.param('"$FFMPEG" "$@" | head -c 960', "gave only|ends .* after the data", id="writes a part of it"),
            pytest.param("exec /no/such/program", "code 127", id="is a broken script"),
        ],
    )
    async def test_an_ffmpeg_that(self, make_ffmpeg: MakeFfmpeg, data_dir: Path, script: str, reason: str) -> None:
        settings = quick_settings(data_dir, ffmpeg_path=str(make_ffmpeg(script)), **QUICK)
        async with ServicesManager(settings) as services:
            await recorded(services)
            await assert_given_up(services, reason)
        assert_holds_voices(await retried(data_dir), dict.fromkeys((ADA, BEN), samples(1.3)))

    async def test_one_that_hangs_is_killed_with_its_children(self, make_ffmpeg: MakeFfmpeg, data_dir: Path) -> None:
        program = make_ffmpeg('sleep 3600 & echo $$ $! >> "$HERE/pids"; wait')
        limits: dict[str, Any] = {"transcode_time_limit_seconds": 1.0, "transcode_attempts": 2}
        settings = quick_settings(data_dir, ffmpeg_path=str(program), flush_interval_seconds=0.5, **limits)
        async with ServicesManager(settings) as services:
            await recorded(services, 0.7)
            await assert_given_up(services, r"did not end within 1 s and was killed", attempts=2)
            pids = [int(pid) for pid in (program.parent / "pids").read_text().split()]
            assert len(pids) >= 2  # more but for a run that did not come that far in its second
            await soon(lambda: not any(map(_lives, pids)))
        assert_holds_voices(await retried(data_dir), dict.fromkeys((ADA, BEN), samples(0.7)))

    async def test_one_that_is_removed_amid_the_recording(self, make_ffmpeg: MakeFfmpeg, data_dir: Path) -> None:
        program = make_ffmpeg('exec "$FFMPEG" "$@"')
        async with ServicesManager(quick_settings(data_dir, ffmpeg_path=str(program), **QUICK)) as services:
            await services.start()
            program.unlink()
            await recorded(services)
            await assert_given_up(services, "cannot be run")
        assert_holds_voices(await retried(data_dir), dict.fromkeys((ADA, BEN), samples(1.3)))


class TestNothingToNotice:
    @pytest.mark.parametrize(
        "script",
        [
            pytest.param('head -c 20000000 /dev/zero | tr "\\\\0" x >&2; exec "$FFMPEG" "$@"', id="floods stderr"),
            pytest.param('mkdir "$HERE/once" 2> /dev/null && exit 1; exec "$FFMPEG" "$@"', id="fails once"),
            pytest.param('mkdir "$HERE/once" 2> /dev/null && kill -9 $$; exec "$FFMPEG" "$@"', id="is killed once"),
            pytest.param('mkdir "$HERE/once" 2> /dev/null && exec echo what; exec "$FFMPEG" "$@"', id="lies once"),
        ],
    )
    async def test_an_ffmpeg_that(self, make_ffmpeg: MakeFfmpeg, data_dir: Path, script: str) -> None:
        async with ServicesManager(quick_settings(data_dir, ffmpeg_path=str(make_ffmpeg(script)), **QUICK)) as services:
            await recorded(services)
            recording = await the_recording(services)
            assert recording["status"] == "complete"
            assert_holds_voices(recording, dict.fromkeys((ADA, BEN), samples(1.3)))
            await assert_tidy(data_dir)

    async def test_one_that_hangs_once(self, make_ffmpeg: MakeFfmpeg, data_dir: Path) -> None:
        program = make_ffmpeg('mkdir "$HERE/once" 2> /dev/null && sleep 3600; exec "$FFMPEG" "$@"')
        settings = quick_settings(data_dir, ffmpeg_path=str(program), **{**QUICK, "transcode_time_limit_seconds": 3.0})
        async with ServicesManager(settings) as services:
            await recorded(services)
            recording = await the_recording(services)
            assert recording["status"] == "complete"
            assert_holds_voices(recording, dict.fromkeys((ADA, BEN), samples(1.3)))


async def test_there_is_none(data_dir: Path) -> None:
    services = ServicesManager(quick_settings(data_dir, ffmpeg_path="/no/such/ffmpeg"))
    with pytest.raises(FfmpegNotFoundError, match=r"/no/such/ffmpeg.*DISCORD_RECORDER_FFMPEG_PATH"):
        await services.discord_recorder_service.start_session(CHANNEL)


class TestTheMix:
    """Only the mix fails: its arguments, and no other's, hold a filter graph."""

    @pytest.mark.parametrize("fault", ["exit 1", "exec echo no MP3", "exit 0", "kill -9 $$"])
    async def test_it_is_left_out_and_made_later(self, make_ffmpeg: MakeFfmpeg, data_dir: Path, fault: str) -> None:
        script = f'case "$*" in *filter_complex*) {fault};; esac; exec "$FFMPEG" "$@"'
        async with ServicesManager(quick_settings(data_dir, ffmpeg_path=str(make_ffmpeg(script)), **QUICK)) as services:
            await recorded(services)
            recording = await the_recording(services)
            assert recording["status"] == "incomplete"
            assert [track["kind"] for track in recording["tracks"]] == ["speaker", "speaker"]
            for user in (ADA, BEN):
                assert_sounds(track_of(recording, user)["path"], voice(user, 0, samples(1.3)))
        async with ServicesManager(quick_settings(data_dir)) as services:
            await services.discord_recorder_service.retry_meeting(MEETING)
            recording = await the_recording(services)
            assert recording["status"] == "complete"
            assert_holds_voices(recording, dict.fromkeys((ADA, BEN), samples(1.3)))


def poisoned(user: int, count: int, at_seconds: float) -> bytes:
    """A voice with what the unreliable FFmpeg cannot bear at that time."""
    pcm, place = said(user, 0, count), samples(at_seconds) * 4
    return pcm[:place] + BAD_PCM + pcm[place + len(BAD_PCM) :]


def assert_sounds_but_for_second(recording: RecordingDict, count: int, hole: int) -> None:
    """Silence holds the place of that second, and at most 0.1 s at its borders is neither the one nor the other."""
    heard = played(track_of(recording, ADA)["path"])
    assert len(heard) == count
    whole, margin = voice(ADA, 0, count), samples(0.1)
    first, last = samples(hole), samples(hole + 1)
    kept = joined(whole[:first], silence(last - first), whole[last:])
    for start, end in ((0, first - margin), (first + margin, last - margin), (last + margin, count)):
        assert (heard[start:end] - kept[start:end]).std() < 0.05 * whole.std(), (start, end)


async def test_a_chunk_that_cannot_be_encoded_costs_nothing_but_itself(
    unreliable: UnreliableFfmpeg, data_dir: Path
) -> None:
    unreliable.fail_on_bad_pcm()
    count = samples(4.3)
    settings = quick_settings(data_dir, ffmpeg_path=str(unreliable.path), transcode_workers=1)
    async with ServicesManager(settings) as services:
        session = await started(services)
        await session.push_audio_data(poisoned(ADA, count, 2.2), user_id=ADA)
        await session.push_audio_data(said(BEN, 0, count), user_id=BEN)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        recording = await the_recording(services)
        assert recording["status"] == "incomplete"
        (failed,) = await chunks_of(services)
        assert (failed["start_ms"], failed["user_id"], failed["attempts"]) == (2000, str(ADA), 3)
        assert "this chunk cannot be encoded" in str(failed["error"])
        assert_sounds_but_for_second(recording, count, 2)
        assert_sounds(track_of(recording, BEN)["path"], voice(BEN, 0, count))
        assert await services.discord_recorder_service.cleanup_old_temp_recordings_once(ttl_hours=0) == 0
        assert len(await chunks_of(services)) == 1
        unreliable.fail_on_bad_pcm(False)
        assert await services.discord_recorder_service.retry_meeting(MEETING) == 1
        assert (await ended(services))["status"] == "completed"
        mended = await the_recording(services)
        assert mended["status"] == "complete"
        assert_sounds(track_of(mended, BEN)["path"], voice(BEN, 0, count))
        for user, whole in ((ADA, voice(ADA, 0, count)), (None, voice(ADA, 0, count) + voice(BEN, 0, count))):
            heard = played(track_of(mended, user)["path"])
            assert len(heard) == count
            for part in (slice(0, samples(2.19)), slice(samples(2.22), count)):  # between them is the bad PCM's click
                assert not differences(heard[part], whole[part])
        await assert_tidy(data_dir)


async def test_many_runs_of_a_stubborn_ffmpeg_leave_nothing(make_ffmpeg: MakeFfmpeg, data_dir: Path) -> None:
    """It ignores every signal that can be ignored, and closing does not wait for it."""
    program = make_ffmpeg('trap "" TERM INT HUP PIPE; echo $$ >> "$HERE/pids"; while :; do sleep 1; done')
    settings = quick_settings(data_dir, ffmpeg_path=str(program), **QUICK, shutdown_grace_seconds=0.2)
    async with ServicesManager(settings) as services:
        session = await started(services)
        await session.push_audio_data(said(ADA, 0, samples(3)), user_id=ADA)
        await soon((program.parent / "pids").exists)
    pids = [int(pid) for pid in (program.parent / "pids").read_text().split()]
    await soon(lambda: not any(map(_lives, pids)))
    async with ServicesManager(quick_settings(data_dir)) as services:
        assert_holds_voices(await the_recording(services), {ADA: samples(3)})


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
