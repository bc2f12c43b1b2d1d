"""Killed between the steps of promotion, deletion and mending: the next start ends with one consistent result."""

import asyncio
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import DiscordSessionHandler, ServicesManager
from discord_recorder.audio.opus_reader import read_ogg_opus
from tests.faults import live_voices
from tests.faults.children import die_at, recorder, speak
from tests.faults.deadlines import true
from tests.faults.endings import assert_files_match, assert_holds_voices, assert_tidy, the_recording
from tests.faults.voices import ADA, BEN, said, samples
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import CHANNEL, MEETING, bytes_of, chunks_of, quick_settings, started, track_of

OPEN: dict[str, Any] = {"do": "open"}
RECORD: tuple[dict[str, Any], ...] = (OPEN, {"do": "start", "meeting": MEETING}, speak(1.3, (ADA, BEN), pace=0))
STORE = ("replace", "/recordings/")
MIX = ("replace", "/recordings/", "mix.mp3")
MANIFEST = ("replace", "/recordings/", "manifest.json")
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
        pytest.param(die_at(MANIFEST), id="before the manifest is stored"),
        pytest.param(die_at(MANIFEST, after=True), id="after the manifest is stored"),
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


OPUS = ("replace", "/recordings/", ".opus")


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(die_at(("fsync", "master.opus")), id="before a master is on the disk"),
        pytest.param(die_at(OPUS), id="before any master is stored"),
        pytest.param(die_at(OPUS, after=True), id="after one master is stored"),
        pytest.param(die_at(OPUS, number=2, after=True), id="after both masters are stored"),
        pytest.param(die_at(MIX, after=True), id="after all files are stored"),
        pytest.param(die_at(MIX, "commit", after=True), id="after the commit"),
        pytest.param(die_at(MIX, "commit", ("unlink", ".ogg"), number=2), id="while the sources go"),
    ],
)
async def test_promotion_of_a_live_call(data_dir: Path, death: dict[str, Any]) -> None:
    hear: dict[str, Any] = {"do": "hear", "seconds": 1.3, "users": [ADA, BEN]}
    pushed = await died(
        data_dir, OPEN, {"do": "start", "meeting": MEETING}, hear, death, {"do": "stop"}, {"do": "close"}
    )
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
        assert recording["status"] == "complete"
        for user, count in pushed.items():
            said = dict.fromkeys(live_voices.packets(user)[: count // live_voices.FRAME])
            stored = read_ogg_opus(bytes_of(str(track_of(recording, user)["master_path"]))).packets
            assert [packet.opus for packet in stored if packet.opus in said] == list(said)
        assert len(await services.sql_recording_service.list_recordings()) == 1
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        await assert_tidy(data_dir)
        assert_files_match(recording)


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
    """A recording of both speakers whose second second failed."""

    async def push(session: DiscordSessionHandler, first: float, last: float) -> None:
        start, count = samples(first), samples(last - first)
        for user in (ADA, BEN):
            await session.push_audio_data(said(user, start, count), user_id=user)

    async def settled(services: ServicesManager, wanted: list[str]) -> bool:
        return sorted(row["transcode_status"] for row in await chunks_of(services)) == wanted

    async with ServicesManager(quick_settings(data_dir, ffmpeg_path=str(unreliable.path))) as services:
        session = await started(services)
        await push(session, 0, 1)
        await true(lambda: settled(services, ["done", "done"]))
        unreliable.fail_always()
        await push(session, 1, 2)
        await true(lambda: settled(services, ["done", "done", "failed", "failed"]))
        unreliable.fail_always(False)
        await push(session, 2, 3.3)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert (await the_recording(services))["status"] == "incomplete"


@pytest.fixture(scope="module")
def recording_with_a_hole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory to copy; made once."""
    folder = tmp_path_factory.mktemp("hole")
    with ThreadPoolExecutor() as elsewhere:  # where no event loop runs
        made = record_with_a_hole(folder / "data", UnreliableFfmpeg(folder / "unreliable"))
        elsewhere.submit(asyncio.run, made).result()
    return folder / "data"


@pytest.mark.parametrize(
    "death",
    [
        pytest.param(die_at(f"{MEETING}/mending"), id="before anything is mended"),
        pytest.param(die_at(("fsync", f"{MEETING}/mending"), after=True), id="amid mending"),
        pytest.param(die_at(STORE), id="before any file is replaced"),
        pytest.param(die_at(STORE, after=True), id="after one file is replaced"),
        pytest.param(die_at(STORE, number=2, after=True), id="after two files are replaced"),
        pytest.param(die_at(MIX, after=True), id="after all files are replaced"),
        pytest.param(die_at(MANIFEST), id="before the manifest is replaced"),
        pytest.param(die_at(MANIFEST, after=True), id="after the manifest is replaced"),
        pytest.param(die_at(MIX, "commit"), id="before the commit"),
        pytest.param(die_at(MIX, "commit", after=True), id="after the commit"),
        pytest.param(die_at(MIX, "commit", "unlink", after=True), id="amid tidying"),
    ],
)
async def test_mending(data_dir: Path, recording_with_a_hole: Path, death: dict[str, Any]) -> None:
    shutil.copytree(recording_with_a_hole, data_dir)
    await died(data_dir, OPEN, death, {"do": "retry", "meeting": MEETING}, *END)
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
        assert recording["status"] == "complete"
        assert_holds_voices(recording, dict.fromkeys((ADA, BEN), samples(3.3)))
        assert {track["heard_ms"] for track in recording["tracks"] if track["kind"] == "speaker"} == {3300}
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
        await assert_tidy(data_dir)
