"""A cleanup that must not take what somebody still needs, and meets files that it cannot take."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from discord_recorder import ServicesManager, StorageError
from discord_recorder.services.sql_recording import RecordingDict
from tests.faults.children import recorder, speak
from tests.faults.deadlines import soon
from tests.faults.endings import assert_holds_voices, assert_tidy, the_recording
from tests.faults.voices import ADA, BEN, CHRIS, said, samples
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import CHANNEL, MEETING, OpenServices, chunks_of, exists, quick_settings, started

OTHER = "0123456789abcdef"


async def record(services: ServicesManager, meeting_id: str = MEETING) -> RecordingDict:
    session = await started(services, meeting_id=meeting_id)
    await session.push_audio_data(said(ADA, 0, samples(1.2)), user_id=ADA)
    assert await services.discord_recorder_service.stop_session(CHANNEL)
    return await the_recording(services, meeting_id)


async def clean_up(services: ServicesManager) -> int:
    return await services.discord_recorder_service.cleanup_old_temp_recordings_once(ttl_hours=0)


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[Callable[[Path, bool], None]]:
    """Makes files that not even root can delete, or lets them be deleted again."""
    marked: set[Path] = set()

    def mark(path: Path, yes: bool) -> None:
        chattr = shutil.which("chattr")
        command = [chattr, "+i" if yes else "-i", str(path)] if chattr else ["false"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file can be made immutable here")
        (marked.add if yes else marked.discard)(path)

    yield mark
    for path in list(marked):
        mark(path, False)


async def test_a_file_that_cannot_be_deleted(
    services: ServicesManager, immutable: Callable[[Path, bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    service, recording = services.discord_recorder_service, await record(services)
    stuck = Path(recording["path"])
    immutable(stuck, True)
    with pytest.raises(StorageError, match=str(stuck)):
        await service.delete_meeting(MEETING)
    assert await services.sql_recording_service.get_meeting(MEETING) is None
    for count in (1, 2):
        await clean_up(services)
        assert await service.count_undeletable_files() == count
        told = [r.getMessage() for r in caplog.records if "could not delete" in r.getMessage()]
        assert [str(stuck) in line for line in told] == [True] * count
    immutable(stuck, False)
    await clean_up(services)
    assert not exists(recording["path"])
    assert await service.count_undeletable_files() == 2


async def test_everything_that_is_needed_is_spared(
    open_services: OpenServices, unreliable: UnreliableFfmpeg, data_dir: Path
) -> None:
    """A live session, one that waits for its transcodes, and another process's, all at once."""
    script = ({"do": "start", "meeting": OTHER, "channel": 2}, speak(2.3, (BEN,), channel=2, pace=0))
    end = ({"do": "stop", "channel": 2}, {"do": "close"})
    unreliable.hold()
    async with (
        recorder(data_dir, *script, {"do": "wait"}, *end) as child,
        open_services(ffmpeg_path=str(unreliable.path), transcode_wait_seconds=0) as services,
    ):
        await child.waits()
        stopping = await started(services)
        await stopping.push_audio_data(said(ADA, 0, samples(2.3)), user_id=ADA)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        live = await started(services, meeting_id="live000000000000")
        await live.push_audio_data(said(CHRIS, 0, samples(2.3)), user_id=CHRIS)
        await soon(lambda: unreliable.calls)
        for _ in range(3):
            assert await clean_up(services) == 0
        child.go_on()
        unreliable.hold(False)
        assert await child.ended() == 0, child.errors
        await clean_up(services)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert_holds_voices(await the_recording(services), {ADA: samples(2.3)})
        assert_holds_voices(await the_recording(services, OTHER), {BEN: samples(2.3)})
        assert_holds_voices(await the_recording(services, "live000000000000"), {CHRIS: samples(2.3)})
        assert await clean_up(services) == 0
        await assert_tidy(data_dir)


async def test_what_others_put_among_the_recordings(services: ServicesManager) -> None:
    recording = await record(services)
    folder = Path(recording["path"]).parent
    foreign = [folder / "notes.txt", folder.parent / "index.html", folder.parent / "2026-03-01" / "5.mp3"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    await clean_up(services)
    assert [path for path in foreign if not path.exists()] == []


async def test_recorders_that_share_nothing_but_the_place_of_recordings(tmp_path: Path) -> None:
    shared = f"file://{tmp_path}/recordings"
    async with (
        ServicesManager(quick_settings(tmp_path / "one", storage_url=shared)) as one,
        ServicesManager(quick_settings(tmp_path / "other", storage_url=shared)) as other,
    ):
        recordings = [await record(one, MEETING), await record(other, OTHER)]
        await clean_up(one)
        await clean_up(other)
        for recording in recordings:
            assert_holds_voices(recording, {ADA: samples(1.2)})


def move_database(old: Path, new: Path) -> None:
    for file in old.glob("recorder.sqlite3*"):
        shutil.move(file, new / file.name)


async def test_a_database_that_was_moved_away_takes_no_audio_with_it(data_dir: Path, tmp_path: Path) -> None:
    """As the message about a damaged database advises; put back, everything is there."""
    async with ServicesManager(quick_settings(data_dir)) as services:
        await record(services)
    script = ({"do": "start", "meeting": OTHER}, speak(1.3, (BEN,), pace=0), {"do": "wait"})
    async with recorder(data_dir, *script) as child:
        await child.waits()
        await child.killed()
    move_database(data_dir, tmp_path)
    async with ServicesManager(quick_settings(data_dir)) as services:
        await services.discord_recorder_service.cleanup_old_temp_recordings_once()
    move_database(tmp_path, data_dir)
    async with ServicesManager(quick_settings(data_dir)) as services:
        assert_holds_voices(await the_recording(services), {ADA: samples(1.2)})
        assert_holds_voices(await the_recording(services, OTHER), {BEN: samples(1.3)})


async def test_a_chunk_that_failed_is_kept_for_good(
    open_services: OpenServices, unreliable: UnreliableFfmpeg, data_dir: Path
) -> None:
    unreliable.fail_always()
    async with open_services(ffmpeg_path=str(unreliable.path)) as services:
        session = await started(services)
        await session.push_audio_data(said(ADA, 0, samples(2.3)), user_id=ADA)
        assert await services.discord_recorder_service.stop_session(CHANNEL)
        assert await clean_up(services) == 0
        assert len(await chunks_of(services)) == 3
        unreliable.fail_always(False)
        assert await services.discord_recorder_service.retry_meeting(MEETING) == 3
        assert_holds_voices(await the_recording(services), {ADA: samples(2.3)})
        await assert_tidy(data_dir)
