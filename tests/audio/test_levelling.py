import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.frame_gain import STEP_DB
from discord_recorder.audio.levelling import MOST_STEPS, TARGET_LUFS, GainLine, Levelling, MeasuredChunk
from discord_recorder.audio.loudness import Loudness
from discord_recorder.audio.mp3 import FRAME_SAMPLES, determined_frames
from discord_recorder.audio.pcm import SAMPLE_RATE

LENGTH = 10 * SAMPLE_RATE


def chunk(number: int, lufs: float | None, *sounding: tuple[float, float], peak_dbfs: int = -20) -> MeasuredChunk:
    """The chunk of that number that sounds in those seconds of it, all of it by default, as loud as that."""
    start = number * LENGTH
    stretches = [(start + int(first * SAMPLE_RATE), start + int(last * SAMPLE_RATE)) for first, last in sounding]
    blocks = [] if lufs is None else [(round(2 * lufs), 100)]
    return MeasuredChunk(
        start_sample=start,
        end_sample=start + LENGTH,
        sounding=stretches or [(start, start + LENGTH)],
        loudness=Loudness(blocks=blocks, peak_dbfs=peak_dbfs),
    )


def line_of(chunks: Iterable[MeasuredChunk]) -> GainLine:
    levelling = Levelling()
    for one in chunks:
        levelling.add(one)
    return levelling.line


def frame_at(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE) // FRAME_SAMPLES


class TestGain:
    @pytest.mark.parametrize("lufs", [-28.0, -23.0, -20.0, -14.0])
    def test_brings_a_speaker_to_the_target(self, lufs: float) -> None:
        gain = line_of([chunk(0, lufs)]).at(frame_at(5)) * STEP_DB
        assert abs(lufs + gain - TARGET_LUFS) <= STEP_DB / 2

    @pytest.mark.parametrize(("lufs", "steps"), [(-60, MOST_STEPS), (0, -MOST_STEPS)])
    def test_has_limits(self, lufs: float, steps: int) -> None:
        assert line_of([chunk(0, lufs)]).at(frame_at(5)) == steps

    def test_is_there_from_the_first_word_on(self) -> None:
        line = line_of([chunk(0, -26, (3, 10))])
        assert line.at(frame_at(3)) == 4
        assert line.at(frame_at(3) - 1) == 0

    def test_changes_at_once_in_a_pause(self) -> None:
        """A pause of 0.1 s; sound reaches a frame further than its samples."""
        line = line_of([chunk(0, None), chunk(1, -32, (0, 4), (4.1, 10))])
        assert line.changes[-1][0] <= frame_at(14.1)
        pause = range(frame_at(14) + 2, frame_at(14.1) + 1)
        assert line.changes[-1][0] in pause
        assert line.at(pause[-1]) - line.at(pause[0] - 1) > 1

    def test_changes_slowly_while_somebody_speaks(self) -> None:
        line = line_of([chunk(0, -20), chunk(1, -32), chunk(2, -32)])
        changes = line.changes
        assert len(changes) > 2
        assert [abs(line.at(frame) - line.at(frame - 1)) for frame, _ in changes] == [1] * len(changes)
        assert all(second - first >= SAMPLE_RATE // FRAME_SAMPLES for (first, _), (second, _) in pairwise(changes))

    def test_does_not_hop_between_two_steps(self) -> None:
        """Loudness that is half a LU up and down from chunk to chunk, about the middle between two steps."""
        middle = TARGET_LUFS - 2.5 * STEP_DB
        chunks = [chunk(number, middle + random.Random(number).uniform(-0.5, 0.5)) for number in range(60)]
        assert len(line_of(chunks).changes) == 1

    def test_forgets_what_was_minutes_ago(self) -> None:
        """Somebody takes another microphone."""
        loud = [chunk(number, -14, (0, 9)) for number in range(30)]
        soft = [chunk(number, -29, (0, 9)) for number in range(30, 60)]
        assert line_of(loud + soft).at(frame_at(595)) == line_of(soft).at(frame_at(595))

    def test_a_chunk_that_was_not_measured_keeps_it(self) -> None:
        unmeasured = MeasuredChunk(
            start_sample=LENGTH, end_sample=2 * LENGTH, sounding=[(LENGTH, 2 * LENGTH)], loudness=None
        )
        assert line_of([chunk(0, -26), unmeasured, chunk(2, None)]).changes == line_of([chunk(0, -26)]).changes

    def test_nothing_is_known(self) -> None:
        assert GainLine().at(1000) == 0
        assert not GainLine().may_clip(0, 1000)


LOUDNESS = st.lists(st.one_of(st.none(), st.floats(-60, 0)), min_size=1, max_size=40)


def chunks_like(loudness: list[float | None], seed: int) -> list[MeasuredChunk]:
    """Chunks of such loudness that sound here and there, some throughout, some left out."""
    chance = random.Random(seed)
    chunks = []
    for number, lufs in enumerate(loudness):
        borders = sorted(chance.uniform(0, 10) for _ in range(chance.choice((0, 0, 2, 6))))
        chunks.append(chunk(number, lufs, *zip(borders[::2], borders[1::2], strict=True)))
    return [one for one in chunks if chance.random() < 0.9]


class TestOrder:
    @given(LOUDNESS, st.integers(0, 1000))
    def test_makes_no_difference(self, loudness: list[float | None], seed: int) -> None:
        chunks = chunks_like(loudness, seed)
        shuffled = random.Random(seed).sample(chunks, len(chunks))
        assert line_of(shuffled).changes == line_of(chunks).changes
        assert line_of([*shuffled, *chunks[:3]]).changes == line_of(chunks).changes

    @given(LOUDNESS, st.integers(0, 1000))
    def test_no_chunk_changes_what_was_mixed_before_it(self, loudness: list[float | None], seed: int) -> None:
        levelling = Levelling()
        for one in chunks_like(loudness, seed):
            before = levelling.line.changes
            assert levelling.add(one) is None
            after = levelling.line.changes
            assert after[: len(before)] == before
            assert all(frame >= determined_frames(one.start_sample) for frame, _ in after[len(before) :])
            assert after == sorted(after)

    @given(LOUDNESS, st.integers(0, 1000))
    def test_a_late_chunk_tells_what_it_changed(self, loudness: list[float | None], seed: int) -> None:
        chunks = chunks_like(loudness, seed)
        if not chunks:
            return
        late = random.Random(seed).randrange(len(chunks))
        levelling = Levelling()
        for one in chunks[:late] + chunks[late + 1 :]:
            levelling.add(one)
        before = levelling.line
        changed = levelling.add(chunks[late]) or (0, 0)
        differing = [f for f in range(frame_at(401)) if before.at(f) != levelling.line.at(f)]
        assert all(changed[0] <= frame < changed[1] for frame in differing)
        if late == len(chunks) - 1:
            assert changed == (0, 0)


class TestClipping:
    def test_what_is_made_too_loud_is_told(self) -> None:
        line = line_of([chunk(0, -26, peak_dbfs=-12), chunk(1, -26, peak_dbfs=-6), chunk(2, -26, peak_dbfs=-12)])
        assert line.at(frame_at(5)) == 4
        assert not line.may_clip(0, frame_at(9))
        assert line.may_clip(frame_at(9), frame_at(11))
        assert line.may_clip(frame_at(12), frame_at(13))
        assert not line.may_clip(frame_at(21), frame_at(30))

    def test_what_is_not_made_louder_stays_as_it_is(self) -> None:
        assert not line_of([chunk(0, -10, peak_dbfs=0)]).may_clip(0, frame_at(10))

    def test_without_peaks_all_that_is_made_louder_may(self) -> None:
        line = GainLine.from_json(GainLine([(10, 3), (100, -2)]).to_json())
        assert line.changes == [(10, 3), (100, -2)]
        assert [line.may_clip(*frames) for frames in ((0, 10), (0, 11), (50, 60), (100, 200))] == [
            False,
            True,
            True,
            False,
        ]
