"""The ledger of gaps: every moment of a track is heard, or is in a gap that has a reason.

Nothing here reads or writes anything; what is known of a meeting goes in, the ledger of each track comes out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from discord_recorder.audio.stretches import Stretch, between, joined, split, within
from discord_recorder.storage.records import Chunk, Mark, MarkKind, Track, TranscodeStatus
from discord_recorder.storage.stretches import Stretches


class GapReason(StrEnum):
    """Why nothing is heard, in order of precedence: of several reasons for one moment the first is told.

    What is heard is in no gap, whatever else is known of that moment.
    """

    PAUSED = "paused"
    """The session was paused, and session time ran on."""
    OPTED_OUT = "opted_out"
    """The speaker did not want to be recorded."""
    DISCONNECTED = "disconnected"
    """There was no connection to the voice server."""
    UNDECRYPTABLE = "undecryptable"
    """Audio came that no key opened."""
    LOST = "lost"
    """Audio was sent that never came. Short losses are concealed."""
    FAILED = "failed"
    """Its chunk could not be transcoded; `retry` may mend it."""
    SILENCE = "silence"
    """Nothing was sent or pushed, or digital silence was."""


INTENDED: Final = frozenset({GapReason.PAUSED, GapReason.OPTED_OUT, GapReason.SILENCE})
"""Reasons of gaps in which there was nothing to record; in all others something is missing, or may be."""

_REASON_OF_MARK: Final = {
    MarkKind.PAUSED: GapReason.PAUSED,
    MarkKind.OPTED_OUT: GapReason.OPTED_OUT,
    MarkKind.DISCONNECTED: GapReason.DISCONNECTED,
    MarkKind.UNDECRYPTABLE: GapReason.UNDECRYPTABLE,
    MarkKind.LOST: GapReason.LOST,
}


class Gap(NamedTuple):
    """A stretch of a track in which nothing is heard (a tuple, for there are thousands of them)."""

    at_sample: int
    samples: int
    reason: GapReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A track in numbers, all in samples.

    `concealed` is a part of `lost`. `longest_gap` is the longest stretch of which something is, or may be, missing: it
    counts neither silence nor what was not to be recorded.
    """

    heard: int = 0
    lost: int = 0
    concealed: int = 0
    undecryptable: int = 0
    longest_gap: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackLedger:
    """What became of every moment of a track: its `gaps` in order; all between them is heard."""

    gaps: Sequence[Gap]
    figures: Figures


@dataclass(slots=True)
class _Known:
    """What is known of a track before it is put in order."""

    heard: list[Stretch] = field(default_factory=list)
    missing: dict[GapReason, list[Stretch]] = field(default_factory=dict)
    concealed: int = 0

    def add_chunk(self, chunk: Chunk) -> None:
        if chunk.transcode_status is TranscodeStatus.DONE:
            found = stretches_of(chunk)
            self.heard += found.heard
            self.add(GapReason.LOST, found.lost)
            self.concealed += found.concealed_samples
        else:
            self.add(GapReason.FAILED, [(chunk.start_sample, chunk.end_sample)])

    def add(self, reason: GapReason, stretches: Iterable[Stretch]) -> None:
        self.missing.setdefault(reason, []).extend(stretches)

    def ledger(self, duration_samples: int) -> TrackLedger:
        gaps = find_gaps(duration_samples, self.heard, self.missing)
        return TrackLedger(gaps=gaps, figures=_figures(duration_samples, gaps, self.concealed))


def stretches_of(chunk: Chunk) -> Stretches:
    """What is known of a DONE chunk; one that an earlier version transcoded counts as heard throughout."""
    if chunk.stretches is None:
        return Stretches(heard=[(chunk.start_sample, chunk.end_sample)])
    return Stretches.from_json(chunk.stretches)


def ledgers(
    duration_samples: int, tracks: Iterable[Track], chunks: Iterable[Chunk], marks: Sequence[Mark]
) -> dict[Track, TrackLedger]:
    """The ledger of each of the tracks: heard and gaps cover `0..duration_samples` without hole or overlap.

    Args:
        duration_samples: how long the session is.
        tracks: the speakers' tracks.
        chunks: all chunks of the meeting; those that are not DONE are silent, for they FAILED.
        marks: what happened to the meeting.
    """
    known = {track: _Known() for track in tracks}
    for chunk in chunks:
        known[chunk.track].add_chunk(chunk)
    for mark in marks:
        reason = _REASON_OF_MARK.get(mark.kind)
        if reason is None:
            continue
        for track, one in known.items():
            if mark.track in (None, track):
                one.add(reason, [(mark.at_sample, mark.end_sample)])
    return {track: one.ledger(duration_samples) for track, one in known.items()}


def mended_ledger(
    duration_samples: int, old: Sequence[Gap], mended: Iterable[Chunk], *, concealed_before: int
) -> TrackLedger:
    """The ledger of a track into which chunks were put that had FAILED.

    Args:
        duration_samples: how long the track is.
        old: the gaps it had, with or without those chunks.
        mended: the chunks, DONE now.
        concealed_before: of what was in it without them, how many samples were concealed.
    """
    chunks = list(mended)
    known = _Known(concealed=concealed_before)
    known.heard += between([(gap.at_sample, gap.at_sample + gap.samples) for gap in old], duration_samples)
    for gap in old:
        known.add(gap.reason, [(gap.at_sample, gap.at_sample + gap.samples)])
    no_longer = joined((chunk.start_sample, chunk.end_sample) for chunk in chunks)
    known.missing.pop(GapReason.SILENCE, None)
    _, still_failed = split(known.missing.pop(GapReason.FAILED, []), no_longer)
    known.add(GapReason.FAILED, still_failed)
    for chunk in chunks:
        known.add_chunk(chunk)
    return known.ledger(duration_samples)


def find_gaps(
    duration_samples: int, heard: Iterable[Stretch], missing: Mapping[GapReason, Iterable[Stretch]]
) -> list[Gap]:
    """The gaps of a track in order, each with its reason; the stretches may be in any order, overlap and reach out."""
    rest = between(_up_to(duration_samples, heard), duration_samples)
    gaps: list[Gap] = []
    for reason in GapReason:
        stretches = _up_to(duration_samples, missing.get(reason, ()))
        if not stretches:
            continue
        covered, rest = split(rest, stretches)
        gaps += [Gap(start, end - start, reason) for start, end in covered]
    gaps += [Gap(start, end - start, GapReason.SILENCE) for start, end in rest]
    return sorted(gaps)  # no two of one reason touch, for no two pieces of the rest ever do


def _up_to(end: int, stretches: Iterable[Stretch]) -> list[Stretch]:
    known = joined(stretches)
    inside = not known or (known[0][0] >= 0 and known[-1][1] <= end)
    return known if inside else list(within(known, 0, end))


def _figures(duration_samples: int, gaps: Sequence[Gap], concealed: int) -> Figures:
    sums = dict.fromkeys(GapReason, 0)
    for _, samples, reason in gaps:
        sums[reason] += samples
    missing = joined((at, at + samples) for at, samples, reason in gaps if reason not in INTENDED)
    return Figures(
        heard=duration_samples - sum(sums.values()),
        lost=sums[GapReason.LOST],
        concealed=min(concealed, sums[GapReason.LOST]),
        undecryptable=sums[GapReason.UNDECRYPTABLE],
        longest_gap=max((end - start for start, end in missing), default=0),
    )
