"""Stretches of sound on the frame grid, so that digital silence is neither encoded nor mixed.

A *block* is the 1152 samples of source that begin at the grid position of the frame with the same number. Sound in one
block is heard in its frame and the next (the coder's delay), so an encoder may skip silence when it is given enough of
it on either side of the sound.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from discord_recorder.audio.mp3 import SILENT_FRAME, is_silent
from discord_recorder.errors import Mp3Error

KEEP_BLOCKS: Final = 4
"""Silent blocks that an encoder gets before and after sound: sound reaches 2 frames on, its look-ahead 3 blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The blocks `first..last` (`last` not included): sound, with `KEEP_BLOCKS` of silence at either side.

    At the beginning of a track there may be less before it.
    """

    first: int
    last: int


def spans_of(sound: Iterable[int]) -> list[Span]:
    """Join the (ascending) numbers of the blocks with sound to spans that neither touch nor overlap."""
    spans: list[Span] = []
    for block in sound:
        first, last = max(0, block - KEEP_BLOCKS), block + 1 + KEEP_BLOCKS
        if spans and first <= spans[-1].last:
            first = spans.pop().first
        spans.append(Span(first=first, last=last))
    return spans


def frames_of(span: Span, encoded: Iterator[bytes]) -> list[bytes]:
    """The next frames of `encoded`, as many as the span has.

    Raises:
        Mp3Error: there are fewer. An encoder that stopped early and said nothing must not pass for silence.
    """
    frames = list(islice(encoded, span.last - span.first))
    if len(frames) < span.last - span.first:
        raise Mp3Error(f"FFmpeg gave only {len(frames)} of {span.last - span.first} frames, and no error")
    return frames


def lay_out(first: int, last: int, pieces: Iterable[tuple[int, Sequence[bytes]]]) -> bytes:
    """The frames `first..last` (`last` not included), back to back: each piece at its number, silence elsewhere.

    What a piece has outside of them is left out, and frames that code nothing become `SILENT_FRAME`, so that they are
    small, alike and easy to know again.
    """
    frames = [SILENT_FRAME] * (last - first)
    for number, piece in pieces:
        for frame_number, frame in enumerate(piece, start=number):
            if first <= frame_number < last and not is_silent(frame):
                frames[frame_number - first] = frame
    return b"".join(frames)
