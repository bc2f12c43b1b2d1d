"""What a track can be exported as."""

from dataclasses import dataclass
from enum import StrEnum


class ExportFormat(StrEnum):
    """A file format, and the suffix of its files."""

    MP3 = "mp3"
    """The recorded frames behind an ID3 tag; nothing is encoded again."""
    OPUS = "opus"
    """The Opus of a live call as it was received, with tags; encoded where there is none."""
    FLAC = "flac"
    """The best there is, losslessly."""
    WAV = "wav"
    """The same as plain PCM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOrder:
    """What to export.

    Args:
        formats: each gives a file a track.
        zip_of: the format of the tracks in a zip of all of them; None for no zip.
        force: replace files that are there.
    """

    formats: tuple[ExportFormat, ...] = ()
    zip_of: ExportFormat | None = None
    force: bool = False
