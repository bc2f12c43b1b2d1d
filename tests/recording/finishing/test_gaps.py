"""Heard and gaps cover every track exactly, whatever chunks and marks there are."""

import dataclasses
from collections.abc import Sequence
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.recording.finishing.gaps import (
    Figures,
    Gap,
    GapReason,
    TrackLedger,
    ledgers,
    mended_ledger,
    stretches_of,
)
from discord_recorder.recording.session.session_figures import SessionFigures
from discord_recorder.storage.records import Chunk, Mark, MarkKind, Track, TranscodeStatus
from discord_recorder.storage.stretches import Stretch, Stretches
from tests.support.rows import ALICE_TRACK, BOB_TRACK, MEETING_ID, STARTED_AT, a_chunk_row

SPAN = 60
IDS = count(1)
TRACKS = (ALICE_TRACK, BOB_TRACK)
PRECEDENCE = ("paused", "opted_out", "disconnected", "undecryptable", "lost", "failed", "silence")


def chunk(
    start: int,
    end: int,
    heard: Sequence[Stretch] | None = (),
    lost: Sequence[Stretch] = (),
    *,
    concealed: int = 0,
    status: TranscodeStatus = TranscodeStatus.DONE,
    track: Track = ALICE_TRACK,
) -> Chunk:
    stretches = None
    if heard is not None:
        stretches = Stretches(heard=heard, lost=lost, concealed_samples=concealed).to_json()
    return dataclasses.replace(
        a_chunk_row(id=next(IDS)),
        track=track,
        start_sample=start,
        sample_count=end - start,
        transcode_status=status,
        stretches=stretches,
    )


def failed(start: int, end: int, track: Track = ALICE_TRACK) -> Chunk:
    return chunk(start, end, None, status=TranscodeStatus.FAILED, track=track)


def mark(kind: MarkKind, start: int, end: int, track: Track | None = None) -> Mark:
    return Mark(kind=kind, at_sample=start, sample_count=end - start, wall_at=STARTED_AT, track=track)


def ledger(duration: int, chunks: Sequence[Chunk], *marks: Mark) -> TrackLedger:
    return ledgers(duration, [ALICE_TRACK], chunks, marks)[ALICE_TRACK]


def gaps(duration: int, chunks: Sequence[Chunk], *marks: Mark) -> list[tuple[int, int, str]]:
    return [(gap.at_sample, gap.samples, gap.reason.value) for gap in ledger(duration, chunks, *marks).gaps]


@st.composite
def stretches(draw: st.DrawFn, start: int = 0, end: int = SPAN + 10) -> Stretch:
    first = draw(st.integers(start, end))
    return first, draw(st.integers(first, end))


@st.composite
def any_chunk(draw: st.DrawFn) -> Chunk:
    start, end = draw(stretches())
    inside = st.lists(stretches(start, end), max_size=4)
    track = draw(st.sampled_from(TRACKS))
    if draw(st.booleans()):
        return chunk(start, end, draw(inside), draw(inside), concealed=draw(st.integers(0, 5)), track=track)
    if draw(st.booleans()):
        return chunk(start, end, None, track=track)
    return failed(start, end, track)


@st.composite
def any_mark(draw: st.DrawFn) -> Mark:
    start, end = draw(stretches())
    return mark(draw(st.sampled_from(MarkKind)), start, end, draw(st.sampled_from((None, *TRACKS))))


def by_sample(track: Track, chunks: Sequence[Chunk], marks: Sequence[Mark], sample: int) -> str:
    """What is to be told of one moment."""
    own = [one for one in chunks if one.track == track]
    done = [one for one in own if one.transcode_status is TranscodeStatus.DONE]
    if any(start <= sample < end for one in done for start, end in stretches_of(one).heard):
        return "heard"
    reasons = {"silence"}
    reasons |= {
        one.kind.value for one in marks if one.track in (None, track) and one.at_sample <= sample < one.end_sample
    }
    if any(start <= sample < end for one in done for start, end in stretches_of(one).lost):
        reasons.add("lost")
    if any(one not in done and one.start_sample <= sample < one.end_sample for one in own):
        reasons.add("failed")
    return next(reason for reason in PRECEDENCE if reason in reasons)


def assert_exact(found: TrackLedger, duration: int) -> None:
    """The gaps are in order, apart, within the track, and what they leave is as long as the figures say."""
    end, last = 0, None
    for gap in found.gaps:
        assert gap.samples > 0
        assert gap.at_sample > end or (gap.at_sample == end and gap.reason is not last)
        end, last = gap.at_sample + gap.samples, gap.reason
    assert end <= duration
    assert found.figures.heard + sum(gap.samples for gap in found.gaps) == duration


@given(st.integers(0, SPAN), st.lists(any_chunk(), max_size=8), st.lists(any_mark(), max_size=6))
def test_every_moment_is_heard_or_in_a_gap(duration: int, chunks: list[Chunk], marks: list[Mark]) -> None:
    found = ledgers(duration, TRACKS, chunks, marks)
    assert set(found) == set(TRACKS)
    for track, one in found.items():
        assert_exact(one, duration)
        told = ["heard"] * duration
        for gap in one.gaps:
            told[gap.at_sample : gap.at_sample + gap.samples] = [gap.reason.value] * gap.samples
        assert told == [by_sample(track, chunks, marks, sample) for sample in range(duration)]
        assert one.figures.lost == told.count("lost")
        assert one.figures.undecryptable == told.count("undecryptable")
        assert one.figures.concealed <= one.figures.lost


@given(st.integers(0, SPAN), st.lists(any_chunk(), max_size=8), st.lists(any_mark(), max_size=6), st.data())
def test_mended_as_if_it_had_never_failed(
    duration: int, chunks: list[Chunk], marks: list[Mark], data: st.DataObject
) -> None:
    """Chunks that do not overlap, some of which fail at first; mended twice, as after a crash."""
    apart, end = [], 0
    for one in sorted(chunks, key=lambda each: each.start_sample):
        if one.start_sample >= end:
            apart.append(dataclasses.replace(one, track=ALICE_TRACK))
            end = one.end_sample
    late = [one for one in apart if one.transcode_status is TranscodeStatus.DONE and data.draw(st.booleans())]
    at_first = [failed(one.start_sample, one.end_sample) if one in late else one for one in apart]
    before = ledger(duration, at_first, *marks)
    once = mended_ledger(duration, before.gaps, late, concealed_before=before.figures.concealed)
    again = mended_ledger(duration, once.gaps, late, concealed_before=before.figures.concealed)
    expected = ledger(duration, apart, *marks)
    assert once.gaps == again.gaps == expected.gaps
    assert once.figures == again.figures
    assert dataclasses.replace(once.figures, concealed=0) == dataclasses.replace(expected.figures, concealed=0)


def test_reasons_of_a_track() -> None:
    chunks = [
        chunk(0, 100, [(10, 40), (50, 100)], [(40, 50)], concealed=4),
        chunk(100, 200, [(100, 130)], [(130, 140), (150, 160)], concealed=5),
        failed(200, 300),
        chunk(400, 500, None),
        chunk(0, 500, [(0, 500)], track=BOB_TRACK),
    ]
    marks = [mark(MarkKind.DISCONNECTED, 135, 155), mark(MarkKind.PAUSED, 120, 120), mark(MarkKind.NOTE, 5, 5)]
    marks += [mark(MarkKind.UNDECRYPTABLE, 310, 320, ALICE_TRACK), mark(MarkKind.OPTED_OUT, 310, 400, BOB_TRACK)]
    found = ledgers(600, TRACKS, chunks, marks)
    assert found[ALICE_TRACK].gaps == [
        Gap(0, 10, GapReason.SILENCE),
        Gap(40, 10, GapReason.LOST),
        Gap(130, 5, GapReason.LOST),
        Gap(135, 20, GapReason.DISCONNECTED),
        Gap(155, 5, GapReason.LOST),
        Gap(160, 40, GapReason.SILENCE),
        Gap(200, 100, GapReason.FAILED),
        Gap(300, 10, GapReason.SILENCE),
        Gap(310, 10, GapReason.UNDECRYPTABLE),
        Gap(320, 80, GapReason.SILENCE),
        Gap(500, 100, GapReason.SILENCE),
    ]
    assert found[ALICE_TRACK].figures == Figures(heard=210, lost=20, concealed=9, undecryptable=10, longest_gap=100)
    assert found[BOB_TRACK].gaps == [Gap(500, 100, GapReason.SILENCE)]


def test_nobody_spoke() -> None:
    assert ledgers(600, [], [], [mark(MarkKind.DISCONNECTED, 1, 2)]) == {}
    assert gaps(600, []) == [(0, 600, "silence")]
    assert gaps(0, []) == []


def test_silence_and_what_was_not_to_be_recorded_are_no_longest_gap() -> None:
    chunks = [chunk(0, 100, [(0, 10), (90, 100)], [(20, 25)])]
    marks = [mark(MarkKind.PAUSED, 30, 60), mark(MarkKind.OPTED_OUT, 60, 80)]
    assert ledger(1000, chunks, *marks).figures.longest_gap == 5
    assert (
        ledger(1000, chunks, mark(MarkKind.LOST, 25, 28), mark(MarkKind.DISCONNECTED, 28, 40)).figures.longest_gap == 20
    )


def test_a_loss_over_a_border_of_chunks_is_one_gap() -> None:
    chunks = [chunk(0, 100, [(0, 95)], [(95, 100)]), chunk(100, 200, [(108, 200)], [(100, 108)])]
    assert gaps(200, chunks) == [(95, 13, "lost")]
    assert SessionFigures(MEETING_ID).add(chunks) == {ALICE_TRACK: ledger(200, chunks).figures}


def test_figures_of_a_session_count_each_chunk_once() -> None:
    """Whatever is read again, in whatever order it becomes DONE."""
    figures = SessionFigures(MEETING_ID)
    rows = [chunk(start, start + 10, [(start, start + 10)]) for start in range(0, 60, 10)]
    waiting = [dataclasses.replace(row, transcode_status=TranscodeStatus.QUEUED) for row in rows]
    broken = failed(60, 70)
    assert figures.add([]) == {}
    assert figures.add([*waiting, broken]) == {}
    for expected, settled in [(20, {1, 2}), (20, {1, 2}), (40, {0, 1, 2, 5}), (60, {0, 1, 2, 3, 4, 5})]:
        seen = [rows[number] if number in settled else waiting[number] for number in range(6)]
        assert figures.add([*seen, broken]) == {ALICE_TRACK: Figures(heard=expected)}
    retried = dataclasses.replace(chunk(60, 70, [(60, 65)]), id=broken.id)
    assert figures.add([dataclasses.replace(retried, transcode_status=TranscodeStatus.QUEUED)])[ALICE_TRACK].heard == 60
    assert figures.add([retried])[ALICE_TRACK].heard == 65
    assert figures.add([*rows, retried])[ALICE_TRACK].heard == 65
