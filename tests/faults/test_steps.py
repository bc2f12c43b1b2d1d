"""Killed between the steps of promotion, deletion and mending: the next start ends with one consistent result."""

import signal
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import ServicesManager
from tests.faults.children import die_at, recorder, speak
from tests.faults.deadlines import true
from tests.faults.endings import assert_holds_voices, assert_tidy, the_recording
from tests.faults.voices import ADA, BEN, said, samples
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import CHANNEL, MEETING, chunks_of, quick_settings, started

OPEN: dict[str, Any] = {"do": "open"}
RECORD: tuple[dict[str, Any], ...] = (OPEN, {"do": "start", "meeting": MEETING}, speak(1.3, (ADA, BEN), pace=0))
STORE = ("replace", "/recordings/")
MIX = ("replace", "/recordings/", "mix.mp3")
END: tuple[dict[str, Any], ...] = (
    {"do": "until", "meeting": MEETING, "status": ["completed", "failed"]},
    {"do": "close"},
)


async def died(data_dir: Path, *steps: dict[str, Any]) -> dict[int, int]:
    """Do these steps in a process, which has to die in them; gives what it had pushed."""
    async with recorder(data_dir, *steps, flush_interval_seconds=0.5) as child:
        assert await child.ended() == -signal.SIGKILL, child.errors
        return child.pushed


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(die_at(STORE), id="before any file is stored"),
        pytest.param(die_at(STORE, after=True), id="after one file is stored"),
        pytest.param(die_at(STORE, number=2, after=True), id="after two files are stored"),
        pytest.param(die_at(MIX, after=True), id="after all files are stored"),
        pytest.param(die_at(MIX, "commit"), id="before the commit"),
        pytest.param(die_at(MIX, "commit", after=True), id="after the commit"),
        pytest.param(die_at(MIX, "commit", "unlink", after=True), id="amid tidying"),
        pytest.param(die_at(MIX, "commit", "rmdir", number=2), id="at the end of tidying"),
    ],
)
async def test_promotion(data_dir: Path, death: dict[str, Any]) -> None:
    pushed = await died(data_dir, *RECORD, death, {"do": "stop"}, {"do": "close"})
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
        assert recording["status"] == "complete"
        assert_holds_voices(recording, pushed)
        assert len(await services.sql_recording_service.list_recordings()) == 1
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        await assert_tidy(data_dir)


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(die_at(("unlink", "/recordings/")), id="before a file goes"),
        pytest.param(die_at(("unlink", "/recordings/"), after=True), id="after one file went"),
        pytest.param(die_at(("unlink", "/recordings/"), number=3, after=True), id="after all files went"),
    ],
)
async def test_deletion(data_dir: Path, death: dict[str, Any]) -> None:
    await died(data_dir, *RECORD, {"do": "stop"}, death, {"do": "delete", "meeting": MEETING}, {"do": "close"})
    async with ServicesManager(quick_settings(data_dir)) as services:
        assert await services.sql_recording_service.get_meeting(MEETING) is None
        assert await services.sql_recording_service.list_recordings() == []
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        await assert_tidy(data_dir)
        assert not [path for path in (data_dir / "recordings").rglob("*") if path.is_file()]


async def record_with_a_hole(data_dir: Path, unreliable: UnreliableFfmpeg) -> None:
    """A recording whose second second failed, of both speakers."""
    hold = [said(user, 0, samples(3.3)) for user in (ADA, BEN)]
    async with ServicesManager(quick_settings(data_dir, ffmpeg_path=str(unreliable.path))) as services:
        session = await started(services)
        for user, pcm in zip((ADA, BEN), hold, strict=True):
            await session.push_audio_data(pcm[: samples(1) * 4], user_id=user)

        async def all_done() -> bool:
            return {row["transcode_status"] for row in await chunks_of(services)} == {"done"}

        await true(all_done)
        unreliable.fail_always()
        for user, pcm in zip((ADA, BEN), hold, strict=True):
            await session.push_audio_data(pcm[samples(1) * 4 : samples(2) * 4], user_id=user)

        async def both_failed() -> bool:
            return [row["transcode_status"] for row in await chunks_of(services)].count("failed") == 2

        await true(both_failed)
        unreliable.fail_always(False)
        for user, pcm in zip((ADA, BEN), hold, strict=True):
            await session.push_audio_data(pcm[samples(2) * 4 :], user_id=user)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert (await the_recording(services))["status"] == "incomplete"


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(die_at(f"{MEETING}/mending"), id="before anything is mended"),
        pytest.param(die_at(("fsync", f"{MEETING}/mending"), after=True), id="amid mending"),
        pytest.param(die_at(STORE), id="before any file is replaced"),
        pytest.param(die_at(STORE, after=True), id="after one file is replaced"),
        pytest.param(die_at(STORE, number=2, after=True), id="after two files are replaced"),
        pytest.param(die_at(MIX, after=True), id="after all files are replaced"),
        pytest.param(die_at(MIX, "commit"), id="before the commit"),
        pytest.param(die_at(MIX, "commit", after=True), id="after the commit"),
        pytest.param(die_at(MIX, "commit", "unlink", after=True), id="amid tidying"),
    ],
)
async def test_mending(data_dir: Path, unreliable: UnreliableFfmpeg, death: dict[str, Any]) -> None:
    await record_with_a_hole(data_dir, unreliable)
    await died(data_dir, OPEN, death, {"do": "retry", "meeting": MEETING}, *END)
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
        assert recording["status"] == "complete"
        assert_holds_voices(recording, dict.fromkeys((ADA, BEN), samples(3.3)))
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        await assert_tidy(data_dir)
