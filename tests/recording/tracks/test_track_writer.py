import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder import InvalidAudioError
from discord_recorder.audio.mp3 import PREROLL_SAMPLES
from discord_recorder.audio.pcm import SAMPLE_BYTES
from discord_recorder.recording.tracks.chunk_file import ClosedChunk
from discord_recorder.recording.tracks.track_writer import TrackWriter
from tests.support.clock import FakeClock

CHUNK = 30_000
"""Samples of a chunk here: longer than the pre-roll, shorter than what the tests push."""


def noise(size: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return bytes(os.urandom(64)) * (size // 64 + 1)


class Tape:
    """Everything pushed to a writer, against everything it wrote."""

    def __init__(self, folder: Path, chunk_samples: int = CHUNK) -> None:
        self.clock = FakeClock()
        self.writer = TrackWriter(folder, self.clock.monotonic)
        self.closed: list[ClosedChunk] = []
        self._chunk_samples = chunk_samples

    def push(self, pcm: bytes, at_sample: int | None = None) -> None:
        if at_sample is not None:
            self.writer.seek(at_sample, self._chunk_samples)
        self.writer.append(memoryview(pcm), self._chunk_samples)
        self.closed += self.writer.take_closed()

    def finish(self) -> bytes:
        """End the track and give it as its chunk files hold it, gaps as zeros; the files' pre-roll is checked."""
        self.writer.finish()
        self.closed += self.writer.take_closed()
        track = b""
        for chunk in self.closed:
            chunk.settle()  # waits for the disk
            content = chunk.path.read_bytes()
            preroll, pcm = content[: -chunk.sample_count * SAMPLE_BYTES], content[-chunk.sample_count * SAMPLE_BYTES :]
            assert len(preroll) == chunk.place.preroll_samples * SAMPLE_BYTES
            start = chunk.place.start_sample * SAMPLE_BYTES
            assert start >= len(track), "chunks do not overlap"
            track = track.ljust(start, b"\0")
            assert track.endswith(preroll)
            track += pcm
        return track

    @property
    def lengths(self) -> list[int]:
        return [chunk.sample_count for chunk in self.closed]


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path)


@given(
    sizes=st.lists(st.one_of(st.integers(0, 40), st.integers(0, 4000)), max_size=20),
    chunk_samples=st.integers(300, 3000),
)
def test_whatever_the_pushes_the_chunks_tile_the_track(
    tmp_path: Path, sizes: Sequence[int], chunk_samples: int
) -> None:
    tape = Tape(tmp_path, chunk_samples)
    pcm = os.urandom(sum(sizes))
    position = 0
    for size in sizes:
        tape.push(pcm[position : position + size])
        position += size
        assert tape.writer.buffered_bytes == position - sum(tape.lengths) * SAMPLE_BYTES
    samples = len(pcm) // SAMPLE_BYTES
    assert tape.finish() == pcm[: samples * SAMPLE_BYTES]
    assert tape.lengths == [chunk_samples] * (samples // chunk_samples) + [samples % chunk_samples] * (
        samples % chunk_samples > 0
    )
    assert tape.writer.discarded_bytes == len(pcm) % SAMPLE_BYTES


@given(
    pushes=st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 8000)), st.integers(0, 6000)), max_size=8),
    chunk_samples=st.integers(500, 3000),
)
def test_whatever_the_gaps_the_audio_is_at_its_place(
    tmp_path: Path, pushes: Sequence[tuple[int | None, int]], chunk_samples: int
) -> None:
    tape = Tape(tmp_path, chunk_samples)
    expected = b""
    for gap, size in pushes:
        pcm = os.urandom(size)
        if gap:
            expected = expected[: len(expected) // SAMPLE_BYTES * SAMPLE_BYTES] + bytes(gap * SAMPLE_BYTES)
        tape.push(pcm, None if gap is None else len(expected) // SAMPLE_BYTES)
        expected += pcm
    expected = expected[: len(expected) // SAMPLE_BYTES * SAMPLE_BYTES]
    assert tape.writer.position == len(expected) // SAMPLE_BYTES
    track = tape.finish()
    assert track == expected[: len(track)]
    assert not any(expected[len(track) :]), "only silence at the end may have no file"
    assert max([0, *tape.lengths]) <= chunk_samples


def test_a_chunk_holds_its_length_however_fast_it_comes(tape: Tape) -> None:
    tape.push(noise(10 * CHUNK * SAMPLE_BYTES)[: 2 * CHUNK * SAMPLE_BYTES + 8])
    assert tape.lengths == [CHUNK, CHUNK]
    assert tape.writer.open_from == 2 * CHUNK
    assert tape.writer.buffered_bytes == 8


def test_files_tell_by_their_names_where_they_belong(tape: Tape, tmp_path: Path) -> None:
    tape.push(bytes(CHUNK * SAMPLE_BYTES + 4))
    tape.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000000000-0.pcm",
        f"{CHUNK:012d}-{PREROLL_SAMPLES}.pcm",
    ]


def test_half_a_sample_waits_for_its_other_half(tape: Tape) -> None:
    for byte in range(1, 10):
        tape.push(bytes([byte]))
    assert tape.writer.position == 2
    assert tape.writer.buffered_bytes == 9
    assert tape.finish() == bytes(range(1, 9))
    assert tape.writer.discarded_bytes == 1


def test_half_a_sample_waits_also_when_the_next_push_names_its_place(tape: Tape) -> None:
    tape.push(bytes(range(1, 7)))
    tape.push(bytes(range(7, 13)), at_sample=1)
    assert tape.finish() == bytes(range(1, 13))


def test_half_a_sample_before_a_gap_is_given_up(tape: Tape) -> None:
    tape.push(bytes(range(1, 7)))
    tape.push(bytes(range(7, 11)), at_sample=3)
    assert tape.finish() == bytes(range(1, 5)) + bytes(8) + bytes(range(7, 11))
    assert tape.writer.discarded_bytes == 2


@pytest.mark.parametrize("gap", [1, 100, CHUNK - 2, CHUNK - 1])
def test_a_short_gap_is_silence_in_the_chunk(tape: Tape, gap: int) -> None:
    tape.push(b"\1\2\3\4" * 10)
    tape.push(b"\5\6\7\x08" * 10, at_sample=10 + gap)
    assert tape.finish() == b"\1\2\3\4" * 10 + bytes(gap * SAMPLE_BYTES) + b"\5\6\7\x08" * 10
    assert sum(tape.lengths) == 20 + gap


@pytest.mark.parametrize("gap", [CHUNK, CHUNK + 1, 48_000 * 3600])
def test_no_file_stands_for_a_long_gap(tape: Tape, gap: int) -> None:
    tape.push(b"\1\2\3\4" * 10)
    tape.push(b"\5\6\7\x08" * 10, at_sample=10 + gap)
    tape.writer.finish()
    tape.closed += tape.writer.take_closed()
    for chunk in tape.closed:
        chunk.settle()
    assert tape.lengths == [10, 10]
    assert [chunk.place.start_sample for chunk in tape.closed] == [0, 10 + gap]
    assert [chunk.place.preroll_samples for chunk in tape.closed] == [0, 0]


def test_a_hole_takes_no_room(tmp_path: Path) -> None:
    tape = Tape(tmp_path, 48_000 * 300)
    tape.push(b"\1\2\3\4", at_sample=48_000 * 299)
    tape.writer.cut()
    (chunk,) = tape.writer.take_closed()
    chunk.settle()
    assert chunk.path.stat().st_size == (48_000 * 299 + 1) * SAMPLE_BYTES
    assert chunk.path.stat().st_blocks * 512 < 1_000_000


def test_stored_audio_is_not_overwritten(tape: Tape) -> None:
    tape.push(bytes(4800 * SAMPLE_BYTES + 2))
    with pytest.raises(InvalidAudioError, match=r"at_ms=50 lies before the end of the track at 100 ms"):
        tape.push(b"\1\1\1\1", at_sample=2400)
    tape.push(b"\1\1")
    assert tape.finish() == bytes(4800 * SAMPLE_BYTES + 2) + b"\1\1", "the half sample still waited"


def test_a_place_after_a_week_is_a_mistake(tape: Tape) -> None:
    with pytest.raises(InvalidAudioError, match="more than a week"):
        tape.push(b"\1\1\1\1", at_sample=48_000 * 3600 * 24 * 7 + 1)
    assert tape.finish() == b""


def test_cut_by_the_clock_when_audio_is_slow(tape: Tape) -> None:
    tape.clock.elapsed = 5.0
    tape.push(bytes(400))
    tape.clock.elapsed = 14.9
    tape.writer.cut_if_older(10)
    assert tape.writer.take_closed() == []
    tape.clock.elapsed = 15.0
    tape.writer.cut_if_older(10)
    (chunk,) = tape.writer.take_closed()
    chunk.settle()
    assert chunk.sample_count == 100
    tape.clock.elapsed = 100.0
    tape.writer.cut_if_older(10)
    assert tape.writer.take_closed() == []


def test_a_shorter_chunk_length_holds_at_once(tmp_path: Path) -> None:
    tape = Tape(tmp_path, 1000)
    tape.push(bytes(900 * SAMPLE_BYTES))
    tape.writer.append(memoryview(bytes(100 * SAMPLE_BYTES)), 300)
    tape.closed += tape.writer.take_closed()
    assert tape.lengths == [900]
    tape.finish()
    assert tape.lengths == [900, 100]


def test_no_files_for_no_audio(tape: Tape, tmp_path: Path) -> None:
    tape.push(b"")
    tape.push(b"\1\2\3")
    assert tape.finish() == b""
    assert list(tmp_path.rglob("*.pcm")) == []
