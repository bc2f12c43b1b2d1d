"""What a player shows of a file, by FFmpeg, which shares no code with what wrote it."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av


@dataclass(frozen=True)
class Shown:
    """Tags, their names in lower case, and chapters as (start, end, title), in milliseconds."""

    tags: dict[str, str]
    chapters: list[tuple[int, int, str]]


def shown(path: Path) -> Shown:
    """What FFmpeg reads of a file's tags."""
    with av.open(str(path)) as container:
        told = {**container.metadata, **container.streams.audio[0].metadata}
        chapters = [
            (ms(one["start"], one["time_base"]), ms(one["end"], one["time_base"]), one["metadata"]["title"])
            for one in container.chapters()
        ]
    tags = {name.lower(): value for name, value in told.items()}
    return Shown(tags={name: value for name, value in tags.items() if name != "encoder"}, chapters=chapters)


def ms(ticks: int, time_base: Fraction | None) -> int:
    """A time in milliseconds."""
    assert time_base is not None
    return round(ticks * time_base * 1000)
