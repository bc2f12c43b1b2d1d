import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discord_recorder.audio.encode import encode_chunks
from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.framefile import FrameFile
from discord_recorder.audio.mp3 import (
    DELAY_SAMPLES,
    FRAME_SAMPLES,
    SILENT_FRAME,
    determined_frames,
    frame_count,
    split_frames,
)
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE
from discord_recorder.audio.splice import SplicedTrack
from discord_recorder.errors import Mp3Error, StorageError
from tests.audio.signals import (
    chunks_of,
    dbfs,
    decoded,
    encoded_at_once,
    every,
    gated,
    offset_of,
    played,
    speech_like,
    to_pcm,
)
from tests.audio.test_framefile import distinct, no_room_beyond


@dataclass(frozen=True)
class Segment:
    first_frame: int
    start_sample: int
    frames: list[bytes]

    @property
    def place(self) -> tuple[int, int, int]:
        return self.first_frame, self.start_sample, self.first_frame + len(self.frames)


def by_the_rule(segments: list[Segment]) -> list[bytes]:
    """The rule in its plainest form; of two segments in the same place the later one counts."""
    frames: list[bytes] = []
    for segment in sorted(segments, key=lambda segment: segment.place):
        del frames[segment.first_frame :]
        frames += [SILENT_FRAME] * (segment.first_frame - len(frames)) + segment.frames
    return frames


class Folder:
    """Segments as files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = count()

    def put(self, frames: list[bytes]) -> Path:
        path = self.path / f"{next(self._numbers)}.frames"
        path.write_bytes(b"".join(frames))
        return path

    def add(self, track: SplicedTrack, segment: Segment) -> None:
        track.add(segment.first_frame, self.put(segment.frames), start_sample=segment.start_sample)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


TOTAL = 12 * SAMPLE_RATE + 345
BORDERS = (0, 240, 100_000, 143_200, 240_000, 240_240, 400_000, TOTAL)
SPEECH = speech_like(TOTAL)

segments = st.builds(
    lambda first, start, count, fill: Segment(first, start, distinct(count, fill)),
    st.integers(0, 120),
    st.integers(0, 3),
    st.integers(0, 60),
    st.integers(0, 255),
)


class TestRule:
    @settings(deadline=None, max_examples=80)
    @given(st.lists(segments, max_size=8), st.data())
    def test_in_any_order_of_arrival(self, arriving: list[Segment], data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Folder(Path(name))
            track = SplicedTrack(Path(name) / "track.mp3")
            for number, segment in enumerate(arriving, start=1):
                folder.add(track, segment)
                if data.draw(st.booleans()):
                    track.reach(data.draw(st.integers(0, 150)))
                if data.draw(st.booleans()):
                    expected = by_the_rule(arriving[:number]) + [SILENT_FRAME] * 100
                    assert track.frames(0, len(expected)) == expected
            expected = by_the_rule(arriving)
            samples = data.draw(st.integers(0, 250 * FRAME_SAMPLES))
            finished = track.finish(samples)
            length = max(4, frame_count(samples))
            file = FrameFile.open(finished.path)
            assert file.frames(0, length + 1) == [*(expected + [SILENT_FRAME] * 300)[:length], SILENT_FRAME]
            assert finished.sha256 == hashlib.sha256(finished.path.read_bytes()).hexdigest()

    def test_successor_overrides_the_tail(self, folder: Folder) -> None:
        track = SplicedTrack(folder.path / "track.mp3")
        first, second = distinct(20, 1), distinct(20, 100)
        folder.add(track, Segment(0, 0, first))
        assert track.frames(0, 20) == first
        folder.add(track, Segment(16, 16, second))
        assert track.frames(0, 40) == first[:16] + second + [SILENT_FRAME] * 4

    def test_a_gap_is_silence_and_keeps_the_tail(self, folder: Folder) -> None:
        track = SplicedTrack(folder.path / "track.mp3")
        folder.add(track, Segment(2, 0, distinct(5)))
        folder.add(track, Segment(20, 0, distinct(5, 50)))
        assert track.frames(0, 25) == [
            *[SILENT_FRAME] * 2,
            *distinct(5),
            *[SILENT_FRAME] * 13,
            *distinct(5, 50),
        ]

    def test_nothing_at_all(self, folder: Folder) -> None:
        track = SplicedTrack(folder.path / "track.mp3")
        assert track.frames(0, 2) == [SILENT_FRAME] * 2
        assert len(played(track.finish(10_000).path)) == 10_000

    def test_late_segment_of_no_frame_of_its_own(self, folder: Folder) -> None:
        """Two tiny chunks begin and end in the same frames; only the place of their audio tells which one follows."""
        earlier, later = Segment(5, 6_000, distinct(3, 1)), Segment(5, 6_100, distinct(3, 50))
        track = SplicedTrack(folder.path / "track.mp3")
        folder.add(track, later)
        folder.add(track, earlier)
        assert track.frames(5, 8) == later.frames

    def test_a_segment_added_again_replaces_itself(self, folder: Folder) -> None:
        track = SplicedTrack(folder.path / "track.mp3")
        old = folder.put(distinct(5, 1))
        track.add(0, old)
        folder.add(track, Segment(5, 0, distinct(5, 50)))
        folder.add(track, Segment(0, 0, distinct(5, 100)))
        old.unlink()
        assert track.frames(0, 10) == distinct(5, 100) + distinct(5, 50)


class TestFaults:
    def test_rubbish_changes_nothing(self, folder: Folder) -> None:
        track = SplicedTrack(folder.path / "track.mp3")
        folder.add(track, Segment(0, 0, distinct(5)))
        with pytest.raises(Mp3Error):
            track.add(5, folder.put([b"rubbish"]))
        with pytest.raises(StorageError, match="missing"):
            track.add(5, folder.path / "missing")
        assert track.frames(0, 6) == [*distinct(5), SILENT_FRAME]

    def test_a_full_disk_changes_nothing(self, folder: Folder) -> None:
        """Neither the segment that did not fit nor what it would have overridden."""
        track = SplicedTrack(folder.path / "track.mp3")
        folder.add(track, Segment(0, 0, distinct(20)))
        segment = Segment(16, 0, distinct(100, 50))
        path = folder.put(segment.frames)
        with no_room_beyond((folder.path / "track.mp3").stat().st_size + 2_000):
            with pytest.raises(StorageError):
                track.add(16, path)
            assert track.frames(0, 21) == [*distinct(20), SILENT_FRAME]
            with pytest.raises(StorageError):
                track.add(1000, path)  # fails in the silence before it
        assert track.frames(0, 21) == [*distinct(20), SILENT_FRAME]
        track.add(16, path)
        assert track.frames(0, 116) == distinct(20)[:16] + segment.frames

    def test_a_lost_file_of_a_late_segment_is_named_when_it_is_needed(self, folder: Folder) -> None:
        track = SplicedTrack(folder.path / "track.mp3")
        folder.add(track, Segment(5, 0, distinct(5)))
        late = folder.put(distinct(5, 50))
        track.add(0, late)
        late.rename(folder.path / "elsewhere")
        with pytest.raises(StorageError, match=late.name):
            track.finish(10_000)
        (folder.path / "elsewhere").rename(late)
        assert track.frames(0, 10) == distinct(5, 50) + distinct(5)

    def test_threads(self, folder: Folder) -> None:
        """Segments added and frames read from many threads at once: every reader sees whole segments."""
        track = SplicedTrack(folder.path / "track.mp3")
        every_segment = [Segment(10 * n, 0, distinct(10, n)) for n in range(60)]

        def add_and_look(segment: Segment) -> None:
            folder.add(track, segment)
            assert track.frames(segment.first_frame, segment.first_frame + 10) == segment.frames

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add_and_look, every_segment))
        assert track.frames(0, 600) == by_the_rule(every_segment)


class TestSound:
    """Chunks of a speech through encoder, assembly and player."""

    async def assembled(
        self, ffmpeg: Ffmpeg, folder: Folder, failed: int | None = None
    ) -> tuple[SplicedTrack, Segment | None]:
        """The track without the failed chunk, and the chunk."""
        track, left_out = SplicedTrack(folder.path / "track.mp3"), None
        chunks = chunks_of(to_pcm(SPEECH), BORDERS)
        for number, encoded in enumerate(await encode_chunks(ffmpeg, chunks)):
            segment = Segment(encoded.first_frame, chunks[number].start_sample, split_frames(encoded.frames))
            if number == failed:
                left_out = segment
            else:
                folder.add(track, segment)
        return track, left_out

    async def test_all_of_it(self, ffmpeg: Ffmpeg, folder: Folder) -> None:
        track, _ = await self.assembled(ffmpeg, folder)
        heard = played(track.finish(TOTAL).path)
        whole = decoded(encoded_at_once(to_pcm(SPEECH)))[:TOTAL]
        assert len(heard) == TOTAL
        assert offset_of(SPEECH, heard) == 0
        assert dbfs(heard - whole) < -60

    @pytest.mark.parametrize("failed", [0, 1, 3, 4, 6])
    async def test_a_failed_chunk_is_silent_until_its_late_retry(
        self, ffmpeg: Ffmpeg, folder: Folder, tmp_path_factory: pytest.TempPathFactory, failed: int
    ) -> None:
        first, last = BORDERS[failed : failed + 2]
        track, left_out = await self.assembled(ffmpeg, folder, failed)
        whole, _ = await self.assembled(ffmpeg, Folder(tmp_path_factory.mktemp("whole")))
        assert left_out is not None
        begins, over, end = determined_frames(first), determined_frames(last), frame_count(TOTAL)
        all_frames = whole.frames(0, end)
        assert track.frames(0, begins) == all_frames[:begins]
        assert not any(frame != SILENT_FRAME for frame in track.frames(frame_count(first), over))
        assert last == TOTAL or track.frames(over, end) == all_frames[over:]
        folder.add(track, left_out)
        assert track.finish(TOTAL).sha256 == whole.finish(TOTAL).sha256

    async def test_chunks_with_silence_between_them_keep_their_place(self, ffmpeg: Ffmpeg, folder: Folder) -> None:
        """No chunk stands for the time between; a pre-roll is there as far as there was sound."""
        total = 30 * SAMPLE_RATE
        sounding = [(50_000, 100_000), (700_001, 800_001), (1_300_000, 1_400_000)]
        signal = gated(speech_like(total), sounding)
        pcm = to_pcm(signal)
        track = SplicedTrack(folder.path / "track.mp3")
        for first, last in sounding:
            for chunk in chunks_of(pcm[first * SAMPLE_BYTES : last * SAMPLE_BYTES], every(40_000, last - first)):
                moved = type(chunk)(
                    pcm=chunk.pcm, start_sample=first + chunk.start_sample, preroll_samples=chunk.preroll_samples
                )
                [encoded] = await encode_chunks(ffmpeg, [moved])
                track.add(encoded.first_frame, folder.put([encoded.frames]))
        heard = played(track.finish(total).path)
        whole = decoded(encoded_at_once(pcm))[:total]
        assert len(heard) == total
        assert dbfs(heard - whole) < -40
        assert not heard[100_000 + DELAY_SAMPLES + FRAME_SAMPLES : 698_000].any()
