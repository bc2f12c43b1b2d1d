from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.mp3 import SILENT_FRAME, split_frames
from discord_recorder.audio.spans import KEEP_BLOCKS, Span, lay_out, spans_of
from tests.audio.test_mp3 import a_frame


def test_no_sound_no_span() -> None:
    assert spans_of([]) == []


def test_only_silence_longer_than_what_is_kept_of_it_divides() -> None:
    kept = 2 * KEEP_BLOCKS
    assert spans_of([10, 11 + kept]) == [Span(first=10 - KEEP_BLOCKS, last=12 + kept + KEEP_BLOCKS)]
    assert spans_of([10, 12 + kept]) == [
        Span(first=10 - KEEP_BLOCKS, last=11 + KEEP_BLOCKS),
        Span(first=12 + KEEP_BLOCKS, last=13 + kept + KEEP_BLOCKS),
    ]


def test_nothing_is_before_the_track() -> None:
    assert spans_of([1]) == [Span(first=0, last=2 + KEEP_BLOCKS)]


@given(st.sets(st.integers(KEEP_BLOCKS, 300)))
def test_spans_are_sound_between_kept_silence(sound: set[int]) -> None:
    spans = spans_of(sorted(sound))
    held = [block for span in spans for block in range(span.first, span.last)]
    assert len(held) == len(set(held))
    assert sound <= set(held)
    for span in spans:
        inside = sorted(sound & set(range(span.first, span.last)))
        assert span == Span(first=inside[0] - KEEP_BLOCKS, last=inside[-1] + 1 + KEEP_BLOCKS)
        assert all(b - a <= 2 * KEEP_BLOCKS + 1 for a, b in pairwise(inside))


def test_frames_are_laid_out_by_their_number() -> None:
    piece = [a_frame(64, n) for n in range(1, 7)]
    assert split_frames(lay_out(10, 20, [(8, piece[:4]), (18, piece[4:])])) == [
        *piece[2:4],
        *[SILENT_FRAME] * 6,
        *piece[4:],
    ]
    assert split_frames(lay_out(10, 12, [(8, piece)])) == piece[2:4]
    assert lay_out(5, 5, []) == b""


def test_coded_silence_becomes_the_one_silent_frame() -> None:
    coded = SILENT_FRAME[:-8] + b"LAME3.10"
    assert lay_out(0, 2, [(0, [coded])]) == SILENT_FRAME * 2
