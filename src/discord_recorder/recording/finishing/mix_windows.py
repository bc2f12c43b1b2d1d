"""The windows that a mix is made in, one FFmpeg run each; they lie on one grid, so that one can be made again alone."""

from collections.abc import Iterator
from typing import Final

from discord_recorder.audio.mix import needed_frames

WINDOW_FRAMES: Final = 416
"""Frames of a window: 9.984 s, close to a chunk."""


def window_frames(window: int, total_frames: int | None = None) -> tuple[int, int]:
    """First frame of a window, and the one after its last, which is not beyond the end of the mix if that is known."""
    first, last = window * WINDOW_FRAMES, (window + 1) * WINDOW_FRAMES
    return first, last if total_frames is None else min(last, total_frames)


def windows_that_need(first_frame: int, last_frame: int, windows: int) -> Iterator[int]:
    """Which of the first `windows` windows depend on any of the tracks' frames `first_frame..last_frame`."""
    for window in range(max(0, first_frame // WINDOW_FRAMES - 1), windows):
        needed_first, needed_last = needed_frames(*window_frames(window))
        if needed_first >= last_frame:
            return
        if first_frame < needed_last:
            yield window
