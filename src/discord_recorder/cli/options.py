"""The options that stand before every command, and what some of a command's own take."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed before the command's name; `data_dir` as typed, for the settings to judge."""

    data_dir: str | None = None
    verbose: bool = False


class WantedFormat(StrEnum):
    """What `export --format` takes: the formats of a track, and a zip of all tracks."""

    MP3 = "mp3"
    OPUS = "opus"
    FLAC = "flac"
    WAV = "wav"
    ZIP = "zip"
