"""A disk that is not writable, nearly full, full, or does not take the recording."""

import os
import shutil
import sys
import tempfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import DiscordSessionHandler, ServicesManager, SessionEndedError, StorageError
from discord_recorder.recording.session import flush_loop
from tests.faults.children import Recorder, recorder, speak
from tests.faults.deadlines import known, soon
from tests.faults.endings import assert_holds_voices, assert_tidy, ended, lengths, the_recording
from tests.faults.voices import ADA, BEN, said, samples
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import CHANNEL, MEETING, OpenServices, quick_settings, started

OPEN: dict[str, Any] = {"do": "open"}
START: dict[str, Any] = {"do": "start", "meeting": MEETING}
END: dict[str, Any] = {"do": "until", "meeting": MEETING, "status": ["completed", "failed"]}
MIB = 1 << 20

_NOBODY = 65534

Usage = namedtuple("Usage", "total used free")


class Disk:
    """How full the disk says it is."""

    def __init__(self) -> None:
        self.free_mib = 10_000

    def usage(self, _: object) -> Usage:
        return Usage(20_000 * MIB, 0, self.free_mib * MIB)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    monkeypatch.setattr(flush_loop, "CHECK_SECONDS", 0.0)
    return disk


async def warning(session: DiscordSessionHandler) -> str | None:
    return next(iter((await session.status())["warnings"]), None)


class TestAnUnusableDirectory:
    async def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        services = ServicesManager(quick_settings(tmp_path / "file" / "data"))
        with pytest.raises(StorageError, match=rf"{tmp_path}/file/data cannot be .*\. Choose another"):
            await services.discord_recorder_service.start_session(CHANNEL)

    @pytest.mark.skipif(sys.platform == "win32", reason="access rights are POSIX's")
    async def test_read_only(self, tmp_path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:  # where another user gets in
            os.chmod(folder, 0o555)  # noqa: PTH101 - Path.chmod may not be used in a coroutine
            async with recorder(Path(folder), OPEN, uid=_NOBODY if os.geteuid() == 0 else None) as child:
                told = await child.did("open")
        assert told["error"] == "StorageError"
        assert told["message"].startswith(f"The data directory {folder} cannot be written (Permission denied). Choose")

    async def test_once_it_can_be_used_the_same_manager_starts(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        services = ServicesManager(quick_settings(tmp_path / "file" / "data"))
        with pytest.raises(StorageError):
            await services.start()
        (tmp_path / "file").unlink()
        async with services:
            assert await services.discord_recorder_service.start_session(CHANNEL)


class TestNearlyFull:
    async def test_no_session_starts_on_a_full_disk(self, open_services: OpenServices, disk: Disk) -> None:
        disk.free_mib = 99
        async with open_services(disk_stop_mib=100, disk_warn_mib=200) as services:
            with pytest.raises(StorageError, match=r"^The disk is full: 99 MiB .*\. Make room"):
                await started(services)
            assert await services.sql_recording_service.get_meeting(MEETING) is None
            disk.free_mib = 150
            await started(services)

    async def test_first_it_warns_then_the_session_ends_and_is_kept(
        self, open_services: OpenServices, disk: Disk, data_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with open_services(disk_stop_mib=100, disk_warn_mib=200) as services:
            session = await started(services)
            await session.push_audio_data(said(ADA, 0, samples(1.4)), user_id=ADA)
            assert (await session.status())["warnings"] == []
            disk.free_mib = 150
            assert "150 MiB" in (await known(lambda: warning(session)))
            assert [r.message for r in caplog.records if "nearly full" in r.message] == ["The disk is nearly full"]
            disk.free_mib = 50
            await soon(lambda: CHANNEL not in services.discord_recorder_service.sessions)
            with pytest.raises(SessionEndedError):
                await session.push_audio_data(bytes(4))
            assert_holds_voices(await the_recording(services), {ADA: samples(1.4)})
            meeting = await ended(services)
            assert "the disk is full: 50 MiB" in str(meeting["end_reason"])
            assert "the disk is full: 50 MiB" in caplog.text
            await assert_tidy(data_dir)

    async def test_the_warning_goes_when_there_is_room_again(self, open_services: OpenServices, disk: Disk) -> None:
        async with open_services(disk_stop_mib=100, disk_warn_mib=200) as services:
            session = await started(services)
            disk.free_mib = 150
            await known(lambda: warning(session))
            disk.free_mib = 1000

            async def no_warning() -> bool | None:
                return await warning(session) is None or None

            await known(no_warning)
            assert session.is_recording


async def assert_told_and_kept(child: Recorder, services: ServicesManager) -> None:
    told = await child.did("speak")
    assert told["error"] == "StorageError", told
    assert "The session ends and what was stored is kept. Make room" in told["message"]
    meeting = await ended(services)
    assert "the disk did not take the audio" in str(meeting["end_reason"])
    recording = await the_recording(services)
    assert recording["status"] == "complete"
    assert_holds_voices(recording, child.pushed)
    assert min(lengths(recording).values()) >= samples(1.5)


async def test_a_write_that_the_disk_does_not_take(data_dir: Path) -> None:
    """The files of this process may not grow beyond a size: EFBIG at the first write that would."""
    limit = {"do": "limit_file_size", "size": 600_000}
    script = (OPEN, START, limit, speak(30, (ADA, BEN), pace=0), END, {"do": "close"})
    async with recorder(data_dir, *script, flush_interval_seconds=10.0) as child:
        assert await child.ended() == 0, child.errors
    async with ServicesManager(quick_settings(data_dir)) as services:
        await assert_told_and_kept(child, services)
        await assert_tidy(data_dir)


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can mount a small disk of its own"
)
async def test_a_full_disk_with_the_database_on_it(
    data_dir: Path, tmp_path: Path, unreliable: UnreliableFfmpeg
) -> None:
    """ENOSPC for everything; the session is finished by itself as soon as there is room."""
    unreliable.hold()  # so that no transcode makes room meanwhile
    fill = {"do": "fill_disk", "but": 1_500_000}
    room = ({"do": "wait"}, {"do": "make_room"}, END, {"do": "close"}, {"do": "copy", "to": str(tmp_path / "copy")})
    script = (OPEN, START, fill, speak(30, (ADA, BEN), pace=0), *room)
    async with recorder(
        data_dir, *script, disk_bytes=16 * MIB, flush_interval_seconds=0.5, ffmpeg_path=str(unreliable.path)
    ) as child:
        await child.waits()
        unreliable.hold(False)
        child.go_on()
        assert await child.ended() == 0, child.errors
    async with ServicesManager(quick_settings(tmp_path / "copy")) as services:
        await assert_told_and_kept(child, services)
        await assert_tidy(tmp_path / "copy")


def put_file(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("in the way")


async def test_a_place_for_recordings_that_cannot_be_used(data_dir: Path, open_services: OpenServices) -> None:
    put_file(data_dir / "recordings")
    async with open_services() as services:
        session = await started(services)
        for user in (ADA, BEN):
            await session.push_audio_data(said(user, 0, samples(2.5)), user_id=user)
        assert await services.discord_recorder_service.stop_session(CHANNEL)

        async def error() -> str | None:
            meeting = await services.sql_recording_service.get_meeting(MEETING)
            assert meeting is not None
            assert meeting["status"] == "processing"
            return meeting["error"]

        assert str(data_dir / "recordings") in await known(error)
        await services.discord_recorder_service.cleanup_old_temp_recordings_once(ttl_hours=0)
        (data_dir / "recordings").unlink()
        assert_holds_voices(await the_recording(services), dict.fromkeys((ADA, BEN), samples(2.5)))
        assert (await ended(services))["error"] is None
        await assert_tidy(data_dir)
