"""What a file tells of itself to players: title, artist, date, chapters; and that as Vorbis comments.

Sources: the Vorbis comment field recommendations (TITLE, ARTIST, ...), Xiph's chapter extension (CHAPTER001=,
CHAPTER001NAME=), which RFC 7845 files and FLAC share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MOST_CHAPTERS: Final = 999
"""Vorbis comments number chapters with three digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A stretch of a file with a name of its own, in milliseconds from the file's beginning."""

    start_ms: int
    end_ms: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What players show.

    Args:
        title: of the file.
        artist: who is heard.
        album: what the files of one recording share.
        recorded_at: when it begins.
        number: of the file among those of the recording, from 1.
        count: how many there are.
        chapters: in order; at most `MOST_CHAPTERS`.
    """

    title: str
    artist: str
    album: str
    recorded_at: datetime
    number: int
    count: int
    chapters: Sequence[Chapter] = ()

    def comments(self) -> list[str]:
        """The same as Vorbis comments, `NAME=value`; these have no end of a chapter."""
        fields = [
            f"TITLE={self.title}",
            f"ARTIST={self.artist}",
            f"ALBUM={self.album}",
            f"DATE={self.recorded_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            f"TRACKNUMBER={self.number}",
            f"TRACKTOTAL={self.count}",
        ]
        for number, chapter in enumerate(self.chapters, start=1):
            fields += [f"CHAPTER{number:03}={_clock(chapter.start_ms)}", f"CHAPTER{number:03}NAME={chapter.title}"]
        return fields


def _clock(ms: int) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{ms:03}"
