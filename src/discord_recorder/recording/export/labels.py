"""`labels.txt`: what happened to a meeting as an Audacity label track, which Reaper and others read too.

A label is a line of start and end, in seconds of session time, and text, with tabs between (Audacity manual, "Importing
and Exporting Labels"). A label of a moment ends where it starts.
"""

from collections.abc import Iterator
from typing import NamedTuple

from discord_recorder.recording.export.tagging import note_text, one_line
from discord_recorder.recording.finishing.manifest import Manifest
from discord_recorder.storage.records import MarkKind


class _Label(NamedTuple):
    start_ms: int
    end_ms: int
    text: str


def labels_of(manifest: Manifest) -> str:
    """Notes, pauses, and gaps of the whole session, in order of session time."""
    labels = sorted([*_notes(manifest), *_pauses(manifest), *_gaps(manifest)])
    return "".join(f"{start / 1000:.6f}\t{end / 1000:.6f}\t{text}\n" for start, end, text in labels)


def _notes(manifest: Manifest) -> Iterator[_Label]:
    for note in manifest["notes"]:
        yield _Label(note["at_ms"], note["at_ms"], note_text(note))


def _pauses(manifest: Manifest) -> Iterator[_Label]:
    """Of no length where the pause stopped session time; `clock` tells where that went on after each."""
    for pause, resumed in zip(manifest["pauses"], manifest["clock"][1:], strict=True):
        yield _Label(pause["at_ms"], resumed["at_ms"], f"paused for {_minutes(pause['wall_ms'])}")


def _gaps(manifest: Manifest) -> Iterator[_Label]:
    for event in manifest["events"]:
        if event["kind"] == MarkKind.DISCONNECTED:
            reason = f": {one_line(event['reason'])}" if event["reason"] else ""
            end = event["at_ms"] if event["ends_ms"] is None else event["ends_ms"]
            yield _Label(event["at_ms"], end, f"disconnected{reason}")


def _minutes(ms: int) -> str:
    minutes, seconds = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
