"""The growing master of one track, over chunk files as the live capture writes them."""

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from discord_recorder.audio.opus import SILENCE, missing_packet, packet_samples
from discord_recorder.audio.opus_reader import PlacedPacket, read_ogg_opus
from discord_recorder.errors import OggError
from discord_recorder.recording.context import Context
from discord_recorder.recording.finishing.assembly import MeetingAssembly
from discord_recorder.recording.finishing.masters import FILL_SAMPLES, MasterTrack, finish_masters
from discord_recorder.recording.tracks.opus_track import OpusTrack
from discord_recorder.storage import chunks, meetings
from discord_recorder.storage.records import Chunk, MeetingStatus, NewChunk, Track, TranscodeStatus
from tests.audio.signals import played
from tests.recording.live_frames import RATE, tone_packets
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID, STARTED_AT, a_meeting

FRAME = 960
DONE, FAILED = TranscodeStatus.DONE, TranscodeStatus.FAILED


class Speaker:
    """A track's chunk files in a folder, and their rows."""

    def __init__(self, folder: Path, track: Track = ALICE_TRACK) -> None:
        self.folder = folder
        self.rows: list[Chunk] = []
        self._track = track
        self._opus = OpusTrack(folder / track)

    def says(self, packets: Iterable[bytes], at_sample: int, *, then_end: bool = True) -> None:
        for packet in packets:
            samples = packet_samples(packet)
            assert self._opus.write(packet, at_sample, samples, chunk_samples=RATE, now=at_sample / RATE) is None
            at_sample += samples
            self._opus.flush(at_sample / RATE)
        if then_end:
            self._opus.cut()
        for closed in self._opus.take_closed():
            closed.settle()
            key = closed.path.relative_to(self.folder).as_posix()
            row = Chunk(
                id=len(self.rows) + 1, meeting_id=MEETING_ID, track=self._track, guild_id=None, source_key=key,
                mp3_key=key.replace(".ogg", ".mp3"), start_sample=closed.place.start_sample,
                sample_count=closed.sample_count, preroll_samples=closed.place.preroll_samples, transcode_status=DONE,
                attempts=1, owner=None, lease_expires_at=None, not_before=0, error=None, created_at=STARTED_AT,
                completed_at=STARTED_AT, sha256="0" * 64, cleaned=False,
            )  # fmt: skip
            self.rows.append(row)

    def master(self) -> MasterTrack:
        return MasterTrack(self.folder / self._track / "master.opus", lambda key: self.folder / key)

    def source(self, number: int) -> Path:
        return self.folder / self.rows[number].source_key

    def delete_sources(self) -> None:
        for row in self.rows:
            (self.folder / row.source_key).unlink()


@pytest.fixture
def alice(tmp_path: Path) -> Speaker:
    """Two talk spurts with 4 s between them, in five chunks."""
    speaker = Speaker(tmp_path / "temp")
    speaker.says(SPURTS[0], 24_000)
    speaker.says(SPURTS[1], 312_000)
    assert len(speaker.rows) == 5
    return speaker


SPURTS = (tone_packets(2.0), tone_packets(1.5, 440.0))
TOTAL = 480_007


def sounding(path: Path) -> list[PlacedPacket]:
    wanted = {packet for spurt in SPURTS for packet in spurt}
    return [packet for packet in read_ogg_opus(path.read_bytes()).packets if packet.opus in wanted]


def assert_is_alices(path: Path, total: int = TOTAL) -> None:
    assert [(packet.at_sample, packet.opus) for packet in sounding(path)] == [
        (at + number * FRAME, opus)
        for at, spurt in ((24_000, SPURTS[0]), (312_000, SPURTS[1]))
        for number, opus in enumerate(spurt)
    ]
    assert len(played(path)) == total


class TestGrowing:
    def test_once_it_has_grown_no_source_is_read_again(self, alice: Speaker) -> None:
        master = alice.master()
        for row in alice.rows:
            master.add(row)
        alice.delete_sources()
        made = master.finish(alice.rows, TOTAL)
        assert made is not None
        assert_is_alices(made.path)
        data = made.path.read_bytes()
        assert (made.samples, made.size_bytes) == (TOTAL, len(data))
        assert made.sha256 == hashlib.sha256(data).hexdigest()

    def test_is_the_same_as_made_at_the_end(self, alice: Speaker) -> None:
        growing = alice.master()
        for row in alice.rows:
            growing.add(row)
        grown = growing.finish(alice.rows, TOTAL)
        assert grown is not None
        data = grown.path.read_bytes()
        anew = alice.master().finish(alice.rows, TOTAL)
        assert anew is not None
        assert anew.path.read_bytes() == data
        assert anew.sha256 == grown.sha256

    def test_silence_is_written_ahead_of_the_end(self, alice: Speaker) -> None:
        until = 5 * FILL_SAMPLES
        master = alice.master()
        for row in alice.rows:
            master.add(row)
        path = alice.folder / ALICE_TRACK / "master.opus"
        before = path.stat().st_size
        master.fill(alice.rows[-1].end_sample + FILL_SAMPLES - 1)
        assert path.stat().st_size == before
        master.fill(until)
        filled = path.stat().st_size
        assert filled > before + 30_000
        made = master.finish(alice.rows, until + 5 * RATE)
        assert made is not None
        assert made.size_bytes < filled + 4_000
        assert_is_alices(made.path, until + 5 * RATE)

    def test_audio_after_silence_that_was_written_ahead(self, alice: Speaker) -> None:
        master = alice.master()
        for row in alice.rows:
            master.add(row)
        until = alice.rows[-1].end_sample + FILL_SAMPLES
        master.fill(until)
        alice.says(SPURTS[0], until + 9_600)
        for row in alice.rows[5:]:
            master.add(row)
        alice.delete_sources()
        made = master.finish(alice.rows, until + 10 * RATE)
        assert made is not None
        assert [packet.at_sample for packet in sounding(made.path)[-100:]] == [
            until + 9_600 + number * FRAME for number in range(100)
        ]

    def test_audio_in_silence_that_was_written_ahead(self, alice: Speaker) -> None:
        """It should not come; when it does, the master is made anew at the end."""
        master = alice.master()
        for row in alice.rows[:3]:
            master.add(row)
        master.fill(FILL_SAMPLES * 2)
        for row in alice.rows[3:]:
            master.add(row)
        made = master.finish(alice.rows, TOTAL)
        assert made is not None
        assert_is_alices(made.path)

    @pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], [0, 1, 2, 3], [4, 3, 2, 1, 0], []], ids=str)
    def test_whatever_was_added_the_end_is_right(self, alice: Speaker, order: list[int]) -> None:
        master = alice.master()
        for number in order:
            master.add(alice.rows[number])
        made = master.finish(alice.rows, TOTAL)
        assert made is not None
        assert_is_alices(made.path)

    def test_a_track_shorter_than_what_was_said(self, alice: Speaker) -> None:
        """The end is cut, to the sample."""
        master = alice.master()
        for row in alice.rows:
            master.add(row)
        made = master.finish(alice.rows, 330_001)
        assert made is not None
        assert len(played(made.path)) == 330_001

    def test_finishing_may_be_repeated(self, alice: Speaker) -> None:
        master = alice.master()
        for row in alice.rows:
            master.add(row)
        first, second = master.finish(alice.rows, TOTAL), master.finish(alice.rows, TOTAL)
        assert first == second
        assert second is not None
        assert_is_alices(second.path)


class TestChunks:
    def test_a_failed_one_is_in_it(self, alice: Speaker) -> None:
        rows = [dataclasses.replace(row, transcode_status=FAILED, sha256=None) for row in alice.rows]
        made = alice.master().finish(rows, TOTAL)
        assert made is not None
        assert_is_alices(made.path)

    @pytest.mark.parametrize("data", [None, b"no Ogg"])
    def test_a_failed_one_without_audio_is_silence(self, alice: Speaker, data: bytes | None) -> None:
        source = alice.source(1)
        source.unlink()
        if data is not None:
            source.write_bytes(data)
        rows = list(alice.rows)
        rows[1] = dataclasses.replace(rows[1], transcode_status=FAILED)
        master = alice.master()
        for row in rows:
            master.add(row)
        made = master.finish(rows, TOTAL)
        assert made is not None
        assert len(played(made.path)) == TOTAL
        lost = range(rows[1].start_sample, rows[1].end_sample)
        missing = [at for at in range(24_000, 24_000 + 100 * FRAME, FRAME) if at in lost]
        assert missing
        assert {packet.at_sample for packet in sounding(made.path)}.isdisjoint(missing)
        assert len(sounding(made.path)) == 175 - len(missing)

    def test_one_that_is_done_and_gone_means_no_master(self, alice: Speaker, caplog: pytest.LogCaptureFixture) -> None:
        alice.source(2).unlink()
        assert alice.master().finish(alice.rows, TOTAL) is None
        assert "No Opus master is made of a track" in caplog.text
        assert not (alice.folder / ALICE_TRACK / "master.opus").exists()

    def test_pushed_audio_means_no_master(self, alice: Speaker) -> None:
        pushed = dataclasses.replace(alice.rows[2], source_key="1/1/000000000000-0.pcm")
        rows = [*alice.rows[:2], pushed, *alice.rows[3:]]
        master = alice.master()
        for row in rows:
            master.add(row)
        assert not (alice.folder / ALICE_TRACK / "master.opus").exists()
        assert master.finish(rows, TOTAL) is None

    def test_markers_stand_where_nothing_came(self, tmp_path: Path) -> None:
        speaker = Speaker(tmp_path)
        said = tone_packets(1.0)
        heard = [*said[:20], *[missing_packet(said[0], FRAME)] * 3, *said[23:]]
        speaker.says(heard, 48_000)
        made = speaker.master().finish(speaker.rows, 3 * RATE)
        assert made is not None
        packets = {packet.at_sample: packet.opus for packet in read_ogg_opus(made.path.read_bytes()).packets}
        assert [packets[48_000 + number * FRAME] for number in range(50)] == heard
        assert len(played(made.path)) == 3 * RATE

    def test_silence_frames_are_kept(self, tmp_path: Path) -> None:
        speaker = Speaker(tmp_path)
        speaker.says([*tone_packets(0.2), *[SILENCE] * 5], 0)
        made = speaker.master().finish(speaker.rows, RATE)
        assert made is not None
        assert [packet.opus for packet in read_ogg_opus(made.path.read_bytes()).packets][10:15] == [SILENCE] * 5


class TestFailure:
    def test_while_it_grows_is_told_and_made_up_for(self, alice: Speaker, caplog: pytest.LogCaptureFixture) -> None:
        path = alice.folder / ALICE_TRACK / "master.opus"
        path.mkdir()
        master = alice.master()
        for row in alice.rows[:3]:
            master.add(row)
        assert caplog.text.count("An Opus master cannot be written") == 1
        path.rmdir()
        for row in alice.rows[3:]:
            master.add(row)
        assert not path.exists()
        made = master.finish(alice.rows, TOTAL)
        assert made is not None
        assert_is_alices(made.path)

    async def test_at_the_end_is_of_one_track_only(self, alice: Speaker) -> None:
        ben = Speaker(alice.folder, BOB_TRACK)
        ben.says(SPURTS[0], 24_000)
        in_the_way = alice.folder / ALICE_TRACK / "master.opus"
        in_the_way.mkdir()
        growing = {ALICE_TRACK: alice.master(), BOB_TRACK: ben.master()}
        masters = await finish_masters(growing, [*alice.rows, *ben.rows], TOTAL)
        assert isinstance(masters.errors[ALICE_TRACK], OSError)
        assert set(masters.errors) == {ALICE_TRACK}
        assert set(masters.made) == {BOB_TRACK}
        in_the_way.rmdir()
        masters = await finish_masters(growing, [*alice.rows, *ben.rows], TOTAL)
        assert_is_alices(masters.made[ALICE_TRACK].path)

    async def test_a_source_that_is_damaged_all_over(self, alice: Speaker) -> None:
        alice.source(0).write_bytes(b"no Ogg")
        masters = await finish_masters({ALICE_TRACK: alice.master()}, alice.rows, TOTAL)
        assert isinstance(masters.errors[ALICE_TRACK], OggError)
        assert not masters.made

    @pytest.mark.parametrize("added", [3, 5])
    def test_a_growing_file_that_was_removed(self, alice: Speaker, added: int) -> None:
        master = alice.master()
        for row in alice.rows[:3]:
            master.add(row)
        (alice.folder / ALICE_TRACK / "master.opus").unlink()
        for row in alice.rows[3:added]:
            master.add(row)
        made = master.finish(alice.rows, TOTAL)
        assert made is not None
        assert_is_alices(made.path)

    def test_a_full_disk_gets_its_room_back(self, alice: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
        path = alice.folder / ALICE_TRACK / "master.opus"
        master = alice.master()
        master.add(alice.rows[0])
        assert path.stat().st_size

        def full(*_: object) -> bytes:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr("discord_recorder.recording.finishing.masters.OpusMaster.append", full)
            master.add(alice.rows[1])
        assert not path.exists()
        made = master.finish(alice.rows, TOTAL)
        assert made is not None
        assert_is_alices(made.path)


async def test_is_as_long_as_the_session(context: Context) -> None:
    """Also where nobody has spoken so long."""
    speaker = Speaker(context.settings.temp_dir / MEETING_ID)
    speaker.says(SPURTS[0], 24_000)
    speaker.says(SPURTS[1], 312_000)

    def add(tx: Connection) -> None:
        meetings.add(tx, a_meeting(duration_samples=700_011, status=MeetingStatus.PROCESSING))
        for row in speaker.rows:
            values = {name: getattr(row, name) for name in NewChunk.__dataclass_fields__}
            key = f"{MEETING_ID}/{row.source_key}"
            chunks.add(tx, [NewChunk(**{**values, "source_key": key})], STARTED_AT)
        for row in chunks.claim(tx, owner="me", now=1.0, lease_until=9.0, limit=99):
            assert chunks.settle(tx, row, transcode_status=FAILED)

    await context.database.write(add)
    assembled = await MeetingAssembly(context, MEETING_ID).finish()
    assert_is_alices(assembled.masters.made[ALICE_TRACK].path, 700_011)
