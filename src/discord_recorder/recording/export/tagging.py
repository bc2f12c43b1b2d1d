"""What the files of a recording tell players: whose track of which meeting it is, and its notes as chapters."""

from itertools import pairwise
from typing import Final

from discord_recorder.audio.tags import MOST_CHAPTERS, Chapter, Tags
from discord_recorder.recording.export.material import Material, name_of
from discord_recorder.recording.finishing.manifest import NotePart
from discord_recorder.storage.records import RecordingTrack, TrackKind

_MOST_CHARACTERS: Final = 120
"""Of a chapter's title, which players show on one line; manifest and labels have all of a note."""


def tags_of(material: Material, track: RecordingTrack) -> Tags:
    """The tags of a track's files."""
    speaker = one_line(name_of(track))
    is_mix = track.kind is TrackKind.MIX
    tracks = material.recording.tracks
    return Tags(
        title=f"{one_line(material.name)} - {speaker}",
        artist=one_line(", ".join(material.speakers)) if is_mix else speaker,
        album=one_line(material.name),
        recorded_at=material.recording.started_at,
        number=tracks.index(track) + 1,
        count=len(tracks),
        chapters=_chapters(material),
    )


def note_text(note: NotePart) -> str:
    """A note on one line, with whose it is."""
    text = one_line(note["text"] or "")
    return f"{one_line(note['name'])}: {text}" if note["name"] else text


def one_line(text: str) -> str:
    """Text without line breaks and control characters: names and titles go into formats that have their own."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _chapters(material: Material) -> list[Chapter]:
    """Each note begins one, which lasts until the next. There are more in the manifest where there are too many."""
    notes = material.manifest["notes"][:MOST_CHAPTERS]
    end_ms = material.manifest["duration_ms"]
    starts = [*(min(note["at_ms"], end_ms) for note in notes), end_ms]
    return [
        Chapter(start_ms=start, end_ms=end, title=_shortened(note_text(note)))
        for note, (start, end) in zip(notes, pairwise(starts), strict=True)
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}\u2026"
