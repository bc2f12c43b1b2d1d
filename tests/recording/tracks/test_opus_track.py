"""One track's files, without a session: which chunk each frame comes into, and what is refused."""

import os
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.opus import SILENCE, is_missing
from discord_recorder.audio.opus_preroll import OPUS_PREROLL_SAMPLES
from discord_recorder.audio.opus_reader import PlacedPacket, read_ogg_opus
from discord_recorder.recording.finishing.left_files import left_chunk
from discord_recorder.recording.tracks.chunk_file import JOURNAL, ChunkPlace, ClosedChunk
from discord_recorder.recording.tracks.opus_file import OpusFile
from discord_recorder.recording.tracks.opus_track import (
    HEADROOM_SAMPLES,
    HOLD_BACK_SECONDS,
    MAX_MOVED_PACKETS,
    MOVABLE_SECONDS,
    OpusTrack,
)
from discord_recorder.voice.counters import Outcome

FRAME = 960
CHUNK = 48_000


def packet(number: int) -> bytes:
    """A frame of 20 ms that is unlike others."""
    return b"\xf8" + number.to_bytes(4, "big") * 10


class Tape:
    """A track, and all that its files hold."""

    def __init__(self, folder: Path, chunk_samples: int = CHUNK) -> None:
        self.track = OpusTrack(folder)
        self.closed: list[ClosedChunk] = []
        self.now = 0.0
        self._chunk_samples = chunk_samples

    def write(self, number: int, at_sample: int | None = None) -> Outcome | None:
        at_sample = number * FRAME if at_sample is None else at_sample
        return self.track.write(packet(number), at_sample, FRAME, chunk_samples=self._chunk_samples, now=self.now)

    def miss(self, number: int, frames: int = 1) -> None:
        self.track.miss(packet(number), number * FRAME, frames * FRAME, chunk_samples=self._chunk_samples, now=self.now)

    def flush(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.track.flush(self.now)
        self.closed += self.track.take_closed()

    def finish(self) -> list[list[PlacedPacket]]:
        """The packets of each chunk, pre-roll left out."""
        self.track.cut()
        self.closed += self.track.take_closed()
        found, end = [], 0
        for chunk in self.closed:
            chunk.settle()
            stream = read_ogg_opus(chunk.path.read_bytes())
            assert stream.dropped_bytes == 0
            assert stream.is_finished
            start = chunk.place.start_sample
            assert start >= end, "chunks do not overlap"
            end = start + chunk.sample_count
            own = sorted((p for p in stream.packets if p.at_sample >= start), key=lambda p: p.at_sample)
            assert own
            assert own[-1].end_sample == end
            found.append(own)
        return found

    @property
    def chunks(self) -> list[tuple[int, int]]:
        return [(chunk.place.start_sample, chunk.sample_count) for chunk in self.closed]


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path / "track")


def test_speech_without_a_pause_fills_every_chunk(tape: Tape) -> None:
    for number in range(160):
        assert tape.write(number) is None
        tape.flush(0.02)
    found = tape.finish()
    assert tape.chunks == [(0, CHUNK), (CHUNK, CHUNK), (2 * CHUNK, CHUNK), (3 * CHUNK, 10 * FRAME)]
    assert [p.opus for chunk in found for p in chunk] == [packet(n) for n in range(160)]


def test_each_file_begins_with_what_came_before(tape: Tape) -> None:
    for number in range(70):
        tape.write(number)
    tape.finish()
    second = read_ogg_opus(tape.closed[1].path.read_bytes())
    preroll = [p for p in second.packets if p.at_sample < CHUNK]
    assert [p.opus for p in preroll] == [packet(n) for n in range(15, 50)]
    assert tape.closed[1].place.preroll_samples == OPUS_PREROLL_SAMPLES
    assert tape.closed[1].path.name == f"{CHUNK:012d}-{OPUS_PREROLL_SAMPLES}.ogg"


def test_a_chunk_begins_a_little_before_a_frame_that_follows_a_gap(tape: Tape) -> None:
    tape.write(0, 5 * CHUNK)
    assert tape.write(1, 5 * CHUNK - FRAME) is None
    assert tape.write(2, 5 * CHUNK - HEADROOM_SAMPLES - FRAME) is Outcome.LATE
    tape.finish()
    assert tape.chunks == [(5 * CHUNK - HEADROOM_SAMPLES, HEADROOM_SAMPLES + FRAME)]


def test_a_short_gap_is_in_the_chunk_and_a_long_one_has_no_file(tape: Tape) -> None:
    tape.write(0)
    tape.write(1, 20 * FRAME)
    tape.write(2, 10 * CHUNK)
    tape.finish()
    assert tape.chunks == [(0, 21 * FRAME), (10 * CHUNK - HEADROOM_SAMPLES, HEADROOM_SAMPLES + FRAME)]


def test_what_was_overtaken_comes_into_the_chunk_it_belongs_to(tape: Tape) -> None:
    for number in [*range(48), 50, 51]:
        tape.write(number)
    tape.flush()
    assert tape.write(48) is None
    tape.flush(HOLD_BACK_SECONDS * 0.9)
    assert tape.write(49) is None
    tape.flush(HOLD_BACK_SECONDS * 0.9)
    found = tape.finish()
    assert tape.chunks == [(0, CHUNK), (CHUNK, 2 * FRAME)]
    assert [p.opus for chunk in found for p in chunk] == [packet(n) for n in range(52)]
    second = read_ogg_opus(tape.closed[1].path.read_bytes())
    assert packet(48) in [p.opus for p in second.packets], "it is pre-roll of the next one"


def test_a_full_chunk_is_not_held_back_for_ever(tape: Tape) -> None:
    for number in [*range(48), 50, 51]:
        tape.write(number)
    tape.flush(HOLD_BACK_SECONDS)
    assert tape.write(49) is Outcome.LATE
    tape.finish()
    assert tape.chunks == [(0, 48 * FRAME), (CHUNK, 2 * FRAME)]


def test_a_border_falls_between_packets_wherever_they_stand(tape: Tape) -> None:
    tape.write(0)
    numbers = [n for n in range(1, 70) if n not in (49, 50)]
    for number in numbers:
        tape.write(number, number * FRAME + 240)
    assert tape.write(49, 49 * FRAME + 240) is None
    assert tape.write(50, 50 * FRAME + 240) is None
    found = tape.finish()
    assert [len(chunk) for chunk in found] == [49, 21]
    assert tape.chunks[1][0] == 49 * FRAME + 240


def test_taken_time_is_not_taken_again(tape: Tape) -> None:
    for number in [*range(10), *range(15, 20)]:
        tape.write(number)
    for at in (0, 5 * FRAME, 9 * FRAME, 9 * FRAME + 480, 14 * FRAME + 120, 18 * FRAME):
        assert tape.write(99, at) is Outcome.OVERLAPPING
    assert tape.write(12) is None
    assert tape.write(12) is Outcome.OVERLAPPING
    assert tape.write(10) is None
    assert tape.write(14) is None
    assert [p.at_sample // FRAME for p in tape.finish()[0]] == [*range(11), 12, *range(14, 20)]


def test_the_clock_ends_a_chunk_in_which_nothing_comes_any_more(tape: Tape) -> None:
    tape.write(0)
    tape.track.cut_if_older(1.0, 1.0)
    assert not tape.track.take_closed()
    tape.track.cut_if_older(1.0, 1.0 + HOLD_BACK_SECONDS)
    tape.closed += tape.track.take_closed()
    assert tape.track.open_from is None
    tape.write(1, 40 * FRAME)
    tape.finish()
    assert tape.chunks == [(0, FRAME), (40 * FRAME - HEADROOM_SAMPLES, HEADROOM_SAMPLES + FRAME)]


def test_silence_frames_are_kept_as_pre_roll_however_long_ago(tape: Tape) -> None:
    for number in range(5):
        tape.track.write(SILENCE, number * FRAME, FRAME, chunk_samples=CHUNK, now=0.0)
    tape.write(9, 3600 * 48_000)
    tape.finish()
    assert [p.opus for p in read_ogg_opus(tape.closed[1].path.read_bytes()).packets][:5] == [SILENCE] * 5


def test_a_write_that_fails_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = Tape(tmp_path / "track")
    tape.write(0)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.pwrite", full)
        tape.flush()
        assert tape.track.take_error() is not None
        tape.write(1)
        tape.flush()
    tape.write(2)
    tape.flush()
    assert [p.opus for p in tape.finish()[0]] == [packet(n) for n in range(3)]


def test_a_write_that_comes_short_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda file, data, at: whole(file, bytes(data)[:7], at))
    tape = Tape(tmp_path / "track")
    for number in range(5):
        tape.write(number)
        tape.flush()
    assert [p.opus for p in tape.finish()[0]] == [packet(n) for n in range(5)]


@given(
    seed=st.integers(0, 2**32),
    chunk_samples=st.integers(4_800, 96_000),
    count=st.integers(1, 200),
    late=st.floats(0, 1),
)
def test_whatever_comes_nothing_overlaps_and_what_was_accepted_is_there(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk_samples: int, count: int, late: float
) -> None:
    chance = random.Random(seed)
    tape = Tape(tmp_path_factory.mktemp("any"), chunk_samples)
    accepted, head = [], 0
    for number in range(count):
        if chance.random() < late:
            at = max(0, head - chance.randint(1, 400) * 120)
        else:
            at = tape.track.end + chance.choice([0, 0, 0, 0, 1, 7, 30, 900]) * 120
        if tape.write(number, at) is None:
            accepted.append((at, packet(number)))
            head = max(head, at)
        if chance.random() < 0.3:
            tape.flush(chance.choice([0.02, 0.1, 0.3]))
    found = [p for chunk in tape.finish() for p in chunk]
    assert [(p.at_sample, p.opus) for p in found] == sorted(accepted)
    assert all(a.end_sample <= b.at_sample for a, b in pairwise(found))
    assert all(length <= chunk_samples for _, length in tape.chunks)


# --- what a killed process left


def left(folder: Path, frames: int, *, suffix: str = ".ogg", cut_bytes: int = 0) -> tuple[Path, ChunkPlace]:
    """A file of so many frames from second 10 on, each on a page of its own; the last bytes are missing."""
    place = ChunkPlace(start_sample=10 * 48_000, preroll_samples=5 * FRAME, suffix=suffix)
    file = OpusFile(folder, place, [(packet(n), 10 * 48_000 + (n - 5) * FRAME) for n in range(5)])
    file.flush()
    for number in range(frames):
        file.write(packet(5 + number), 10 * 48_000 + number * FRAME)
        file.flush()
    file.close(1).settle()
    data = file.path.read_bytes()[:-27]  # the mark of the end, which a killed process does not make
    file.path.write_bytes(data[: len(data) - cut_bytes])
    return file.path, place


@pytest.mark.parametrize(("cut_bytes", "frames"), [(0, 10), (1, 9), (60, 9), (100, 8)])
def test_a_left_file_is_as_long_as_its_pages_tell(tmp_path: Path, cut_bytes: int, frames: int) -> None:
    path, place = left(tmp_path, 10, cut_bytes=cut_bytes)
    chunk = left_chunk(path, place, recorded_until=0)
    assert chunk is not None
    assert (chunk.path, chunk.sample_count) == (path, frames * FRAME)


@pytest.mark.parametrize("content", [b"", b"OggS", bytes(1000)])
def test_a_left_file_without_audio_goes(tmp_path: Path, content: bytes) -> None:
    path, place = left(tmp_path, 0)
    assert left_chunk(path, place, recorded_until=0) is None
    assert not path.exists()
    path.write_bytes(content)
    assert left_chunk(path, place, recorded_until=0) is None
    assert not path.exists()


def test_of_a_left_journal_only_what_is_not_recorded_becomes_a_chunk(tmp_path: Path) -> None:
    path, place = left(tmp_path, 10, suffix=JOURNAL)
    chunk = left_chunk(path, place, recorded_until=10 * 48_000 + 4 * FRAME)
    assert chunk is not None
    assert chunk.path.suffix == ".ogg"
    assert chunk.path.exists()
    assert not path.exists()
    assert (chunk.place.start_sample, chunk.sample_count) == (10 * 48_000 + 4 * FRAME, 6 * FRAME)


def test_a_left_journal_of_what_is_recorded_goes(tmp_path: Path) -> None:
    path, place = left(tmp_path, 10, suffix=JOURNAL)
    assert left_chunk(path, place, recorded_until=10 * 48_000 + 10 * FRAME) is None
    assert not path.exists()


def test_what_is_missing_has_a_packet_that_says_so(tape: Tape) -> None:
    tape.write(0)
    tape.miss(1, 2)
    tape.write(3)
    (own,) = tape.finish()
    assert [p.at_sample for p in own] == [0, FRAME, 2 * FRAME, 3 * FRAME]
    assert [is_missing(p.opus) for p in own] == [False, True, True, False]


def test_a_missing_frame_that_comes_late_is_beside_the_packet_for_it(tape: Tape) -> None:
    tape.write(0)
    tape.miss(1, 2)
    tape.write(3)
    assert tape.write(2) is None
    assert tape.write(2) is Outcome.OVERLAPPING
    (own,) = tape.finish()
    assert [p.opus for p in own if not is_missing(p.opus)] == [packet(n) for n in (0, 2, 3)]


def test_what_is_missing_goes_on_in_the_next_chunk(tape: Tape) -> None:
    for number in range(48):
        tape.write(number)
    tape.miss(48, 5)
    tape.write(53)
    first, second = tape.finish()
    assert tape.chunks == [(0, CHUNK), (CHUNK, 4 * FRAME)]
    assert [is_missing(p.opus) for p in first[-3:] + second] == [False, True, True, True, True, True, False]


def test_a_chunk_that_ends_with_what_is_missing(tape: Tape) -> None:
    tape.write(0)
    tape.miss(1, 3)
    tape.write(80)
    tape.finish()
    assert tape.chunks == [(0, 4 * FRAME), (80 * FRAME - HEADROOM_SAMPLES, HEADROOM_SAMPLES + FRAME)]


@pytest.mark.parametrize("flushed", [True, False])
def test_a_spurt_is_moved_in_the_file(tape: Tape, flushed: bool) -> None:
    for number in range(3):
        tape.write(number)
    tape.track.begin_spurt()
    for number in (10, 11, 13, 14, 12):
        tape.write(number)
        if flushed:
            tape.flush(0.01)
    assert tape.track.move_spurt(600) == 600
    assert tape.track.end == 15 * FRAME - 600
    tape.write(15, 15 * FRAME - 600)
    assert tape.track.move_spurt(120) == 120
    (own,) = tape.finish()
    assert [p.at_sample for p in own] == [n * FRAME - (720 if n > 2 else 0) for n in (0, 1, 2, *range(10, 16))]
    assert [p.opus for p in own] == [packet(n) for n in (0, 1, 2, *range(10, 16))]


def test_a_spurt_is_moved_no_further_than_there_is_room(tape: Tape) -> None:
    for number in range(3):
        tape.write(number)
    tape.track.begin_spurt()
    for number in (4, 5):
        tape.write(number)
    assert tape.track.move_spurt(5000) == FRAME
    (own,) = tape.finish()
    assert [p.at_sample for p in own] == [n * FRAME for n in range(5)]


def test_the_first_spurt_of_a_chunk_is_moved_within_its_headroom(tape: Tape) -> None:
    tape.track.begin_spurt()
    for number in range(100, 105):
        tape.write(number)
    assert tape.track.move_spurt(HEADROOM_SAMPLES + 960) == HEADROOM_SAMPLES
    (own,) = tape.finish()
    assert own[0].at_sample == 100 * FRAME - HEADROOM_SAMPLES


def test_a_spurt_that_goes_on_in_the_next_chunk_is_not_moved(tape: Tape) -> None:
    tape.write(0)
    tape.track.begin_spurt()
    for number in range(40, 55):
        tape.write(number)
    assert tape.track.move_spurt(600) == 0
    found = tape.finish()
    assert [p.at_sample for chunk in found for p in chunk] == [0, *(n * FRAME for n in range(40, 55))]


def test_a_spurt_that_would_not_settle_in_its_chunk_begins_the_next_one(tape: Tape) -> None:
    for number in range(43):
        tape.write(number)
    tape.track.begin_spurt()
    for number in range(46, 60):
        tape.write(number)
    assert tape.track.move_spurt(960) == 960
    first, second = tape.finish()
    assert [p.at_sample for p in first] == [n * FRAME for n in range(43)]
    assert [p.at_sample for p in second] == [n * FRAME - 960 for n in range(46, 60)]


def test_after_a_while_a_spurt_is_not_moved_any_more(tape: Tape) -> None:
    tape.track.begin_spurt()
    for number in range(10, 20):
        tape.write(number)
    tape.now += MOVABLE_SECONDS
    tape.write(20)
    assert tape.track.move_spurt(120) == 120
    tape.now += 0.02
    tape.write(21, tape.track.end)
    assert tape.track.move_spurt(120) == 0


def test_what_is_kept_of_a_spurt_is_bounded(tape: Tape) -> None:
    tape.track.begin_spurt()
    for number in range(10, 11 + MAX_MOVED_PACKETS):
        tape.track.write(packet(number), number * FRAME, FRAME, chunk_samples=100 * CHUNK, now=0)
    assert tape.track.move_spurt(120) == 0


def test_the_next_chunk_begins_with_the_spurt_as_it_was_moved(tape: Tape) -> None:
    tape.track.begin_spurt()
    for number in range(10, 13):
        tape.write(number)
    moved = tape.track.move_spurt(480)
    for number in range(13, 90):
        tape.write(number, number * FRAME - moved)
    tape.finish()
    second = read_ogg_opus(tape.closed[1].path.read_bytes())
    places = [p.at_sample for p in second.packets]
    assert places == list(range(places[0], places[-1] + 1, FRAME))


@given(data=st.data())
def test_whatever_moves_no_packet_is_lost(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    tape = Tape(tmp_path_factory.mktemp("track"), chunk_samples=10 * FRAME)
    number, at, sent = 0, 0, []
    for _ in range(data.draw(st.integers(1, 6))):
        at += data.draw(st.integers(0, 30)) * 120
        tape.track.begin_spurt()
        for _ in range(data.draw(st.integers(1, 25))):
            if data.draw(st.integers(0, 9)) == 0:
                tape.track.miss(packet(0), at, FRAME, chunk_samples=10 * FRAME, now=tape.now)
                at += FRAME
            assert tape.write(number, at) is None
            sent.append(packet(number))
            number, at = number + 1, at + FRAME
            if data.draw(st.booleans()):
                tape.flush(0.01)
        at -= tape.track.move_spurt(data.draw(st.integers(0, 40)) * 120)
        assert at == tape.track.end
    found = [p for chunk in tape.finish() for p in chunk]
    assert [p.opus for p in found if not is_missing(p.opus)] == sent
    assert all(one.end_sample <= two.at_sample for one, two in pairwise(found))
