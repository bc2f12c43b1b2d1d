"""What somebody else does to the files in the temp folder, and what he puts there."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from discord_recorder import ServicesManager
from tests.faults.children import recorder, speak
from tests.faults.deadlines import soon
from tests.faults.endings import assert_holds_voices, assert_tidy, ended, the_recording
from tests.faults.voices import ADA, BEN, assert_sounds, joined, played, said, samples, silence, voice
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import CHANNEL, MEETING, OpenServices, chunks_of, quick_settings, started, track_of

ABANDONED: tuple[dict[str, Any], ...] = (
    {"do": "open"},
    {"do": "start", "meeting": MEETING},
    speak(1.3, (ADA, BEN), pace=0),
    {"do": "wait"},
)


async def abandon(data_dir: Path) -> dict[int, int]:
    """Leave a meeting as a killed recorder does; gives what was pushed."""
    async with recorder(data_dir, *ABANDONED, flush_interval_seconds=0.5) as child:
        await child.waits()
        await child.killed()
        return child.pushed


def source(data_dir: Path, start_seconds: float, user: int = ADA) -> Path:
    """The source of the chunk that begins at that time."""
    (path,) = (data_dir / "temp" / MEETING / str(user)).glob(f"{samples(start_seconds):012d}-*.pcm")
    return path


class TestSources:
    @pytest.mark.parametrize("damage", ["gone", "cut short"])
    async def test_a_source_that_vanishes_costs_no_more_than_itself(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg, data_dir: Path, damage: str
    ) -> None:
        unreliable.hold()
        async with open_services(ffmpeg_path=str(unreliable.path), transcode_workers=1) as services:
            session, count = await started(services), samples(7.4)
            await session.push_audio_data(said(ADA, 0, count), user_id=ADA)
            await soon(lambda: unreliable.calls)  # the worker has read the first four
            victim = source(data_dir, 5)
            if damage == "gone":
                victim.unlink()
            else:
                os.truncate(victim, 30_001)
            unreliable.hold(False)
            assert await services.discord_recorder_service.stop_session(CHANNEL)
            recording = await the_recording(services)
            assert recording["status"] == "incomplete"
            (failed,) = await chunks_of(services)
            assert (failed["start_ms"], failed["transcode_status"]) == (5000, "failed")
            assert {"gone": "is gone", "cut short": "30001 bytes instead"}[damage] in str(failed["error"])
            assert str(victim) in str(failed["error"])
            heard, margin = played(track_of(recording, ADA)["path"]), samples(0.1)
            whole = voice(ADA, 0, count)
            kept = joined(whole[: samples(5)], silence(samples(1)), whole[samples(6) :])
            assert len(heard) == count
            for start, end in ((0, 5), (5, 6), (6, 7.4)):
                part = slice(samples(start) + (margin if start else 0), samples(end) - margin)
                assert (heard[part] - kept[part]).std() < 0.05 * whole.std(), (start, end)
            assert (await ended(services))["status"] == "completed"

    async def test_the_whole_folder_vanishes(
        self, open_services: OpenServices, unreliable: UnreliableFfmpeg, data_dir: Path
    ) -> None:
        """Somebody deletes one speaker's files; the other speaker's are recorded to the end."""
        unreliable.hold()
        async with open_services(ffmpeg_path=str(unreliable.path), transcode_workers=1) as services:
            session = await started(services)
            for user in (ADA, BEN):
                await session.push_audio_data(said(user, 0, samples(5.5)), user_id=user)
            await soon(lambda: unreliable.calls)
            folder = data_dir / "temp" / MEETING / str(BEN)
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            unreliable.hold(False)
            for user in (ADA, BEN):
                await session.push_audio_data(said(user, samples(5.5), samples(1.2)), user_id=user)
            assert await services.discord_recorder_service.stop_session(CHANNEL)
            recording = await the_recording(services)
            assert recording["status"] == "incomplete"
            assert_sounds(track_of(recording, ADA)["path"], voice(ADA, 0, samples(6.7)))
            ben, whole = played(track_of(recording, BEN)["path"]), voice(BEN, 0, samples(6.7))
            assert len(ben) == len(whole)
            assert (ben[samples(6.1) :] - whole[samples(6.1) :]).std() < 0.05 * whole.std()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that is nobody's business; it has to be as it was."""
    folder = tmp_path / "outside"
    (folder / "7").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "7" / "000000000000-0.pcm").write_bytes(said(ADA, 0, 48_000))
    (folder / "000000000000-0.pcm").write_bytes(said(ADA, 0, 48_000))
    (folder / "letter.txt").write_text("Dear Charles")
    before = listing(folder)
    yield folder
    assert listing(folder) == before


def listing(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def clutter(temp: Path, outside: Path) -> None:
    """Everything in the temp folder that should not be there."""
    meeting = temp / MEETING
    (temp / "README").write_text("not a folder")
    (temp / "lost+found").mkdir()
    (temp / "lost+found" / "000000000000-0.pcm").write_bytes(bytes(400))
    (temp / "0123456789abcdef").symlink_to(outside)
    (temp / "dangling00000000").symlink_to(temp / "nowhere")
    (meeting / "notes.pcm").write_bytes(bytes(400))
    (meeting / "8").symlink_to(outside / "7")
    (meeting / "9").mkdir()
    (meeting / "9" / "000000000000-0.pcm").symlink_to(outside / "000000000000-0.pcm")
    (meeting / "9" / "000000480000-0.pcm").symlink_to(temp / "nowhere")
    (meeting / "9" / "000000960000-0.pcm").mkdir()
    (meeting / "9" / "000001440000-0.pcm").write_bytes(b"")
    (meeting / "9" / "000001920000-0.pcm").write_bytes(b"abc")
    (meeting / "..evil..").mkdir()
    (meeting / "..evil.." / "000000000000-0.pcm").write_bytes(bytes(400))
    (meeting / str(ADA) / "deeper").mkdir()
    (meeting / str(ADA) / "deeper" / "000009600000-0.pcm").write_bytes(bytes(400))
    (meeting / str(ADA) / "-1-0.pcm").write_bytes(bytes(400))
    (meeting / str(ADA) / "000000000000-0.pcm.bak").write_bytes(bytes(400))
    (meeting / str(ADA) / "\udcff\n.pcm").write_bytes(bytes(400))
    (meeting / "mix").mkdir(exist_ok=True)
    (meeting / "mix" / "000000000000-0.pcm").write_bytes(bytes(400))


async def test_strange_files_do_not_disturb_recovery_or_cleanup(data_dir: Path, outside: Path) -> None:
    pushed = await abandon(data_dir)
    clutter(data_dir / "temp", outside)
    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
        assert (recording["status"], recording["recovered"]) == ("complete", True)
        assert_holds_voices(recording, pushed)
        await services.discord_recorder_service.cleanup_old_temp_recordings_once(ttl_hours=0)
    left = {path.name for path in (data_dir / "temp").iterdir()}
    assert MEETING not in left
    assert left >= {"README", "lost+found"}


async def test_a_meeting_that_cannot_be_sealed_does_not_hold_up_the_others(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, quick_take_over: None
) -> None:
    other = "0123456789abcdef"
    script = (ABANDONED[0], {"do": "start", "meeting": other, "channel": 2}, speak(0.7, (BEN,), channel=2, pace=0))
    async with (
        recorder(data_dir, *ABANDONED, flush_interval_seconds=100.0) as child,
        recorder(data_dir, *script, {"do": "wait"}) as other_child,
    ):
        await child.waits()
        await other_child.waits()  # before the first one dies, whose meeting it would take over
        await other_child.killed()
        await child.killed()
    pushed = child.pushed
    real, broken = os.fsync, [source(data_dir, 0)]

    def fsync(descriptor: int) -> None:
        numbers = [path.stat().st_ino for path in broken if path.exists()]  # of a deleted file another may have it
        if os.fstat(descriptor).st_ino in numbers:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    async with ServicesManager(quick_settings(data_dir)) as services:
        assert_holds_voices(await the_recording(services, other), {BEN: samples(0.7)})
        assert await services.discord_recorder_service.start_session(1)  # its channel is free
        broken.clear()
        recording = await the_recording(services)
        assert recording["recovered"]
        assert_holds_voices(recording, pushed)
        assert await services.discord_recorder_service.stop_session(1)
        await assert_tidy(data_dir)
