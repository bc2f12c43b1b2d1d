"""Stretches of session time, `[start, end)` in samples, and what a chunk's transcode found out about its own."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

Stretch = tuple[int, int]
"""From the first sample to the one behind the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """Where a chunk has sound and where it lost some; all else in it is silence.

    Args:
        heard: what was said, or pushed.
        lost: what was sent and never came.
        concealed_samples: of the lost ones, those for which the decoder made something up.
        loudness: how often each loudness occurs (see `audio/loudness.py`); None when it was not measured.
        peak_dbfs: measured with it.
    """

    heard: Sequence[Stretch]
    lost: Sequence[Stretch] = ()
    concealed_samples: int = 0
    loudness: Sequence[tuple[int, int]] | None = None
    peak_dbfs: int = 0

    def to_json(self) -> str:
        """As `temp_recordings.stretches` has it."""
        found = {"heard": self.heard, "lost": self.lost, "concealed": self.concealed_samples}
        if self.loudness is not None:
            found |= {"loudness": self.loudness, "peak": self.peak_dbfs}
        return json.dumps(found, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From what `to_json` gave."""
        stored = json.loads(text)
        heard: list[Stretch] = list(map(tuple, stored["heard"]))
        lost: list[Stretch] = list(map(tuple, stored["lost"]))
        found = cls(heard=heard, lost=lost, concealed_samples=stored["concealed"])
        if "loudness" not in stored:
            return found
        return dataclasses.replace(found, loudness=list(map(tuple, stored["loudness"])), peak_dbfs=stored["peak"])
