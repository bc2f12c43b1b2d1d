"""The manifest of a recording: one JSON file that tells what is in the others, and why anything is not.

Times that end in `_ms` are session time in milliseconds, for people and labels; `at_sample` and `samples` are exact.
"""

import json
import platform
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib import metadata
from pathlib import PurePosixPath
from typing import Any, Final, TypedDict

from discord_recorder.audio.pcm import samples_to_ms
from discord_recorder.errors import StorageError
from discord_recorder.recording.finishing.gaps import Gap, GapReason, TrackLedger
from discord_recorder.storage.files import RecordingStore
from discord_recorder.storage.records import (
    Mark,
    MarkKind,
    Meeting,
    RecordingStatus,
    RecordingTrack,
    Track,
    user_of,
)
from discord_recorder.version import __version__

FORMAT: Final = 1
"""Number of this layout; a reader of it may meet more keys than it knows."""

_LIBRARIES: Final = ("av", "davey", "discord.py", "imageio-ffmpeg", "SQLAlchemy")
_EVENTS: Final = (MarkKind.CONNECTED, MarkKind.DISCONNECTED, MarkKind.ENDED)


class MeetingPart(TypedDict):
    """The meeting; `status` is the recording's."""

    meeting_id: str
    title: str | None
    guild_id: str | None
    channel_id: str
    user_id: str | None
    started_at: str
    ended_at: str
    end_reason: str | None
    status: str
    recovered: bool


class ClockPart(TypedDict):
    """A moment on both clocks; from one to the next they run alike."""

    at_ms: int
    wall_at: str


class PausePart(TypedDict):
    """A pause: where it stands on the session clock, when it began, and how long it took."""

    at_ms: int
    wall_at: str
    wall_ms: int


class NotePart(TypedDict):
    """A moment that somebody marked; `name` is the display name, where it is known."""

    at_ms: int
    wall_at: str
    user_id: str | None
    name: str | None
    text: str | None


class EventPart(TypedDict):
    """What happened to the connection: `connected`, `disconnected` (it has an end) or `ended`."""

    kind: str
    at_ms: int
    ends_ms: int | None
    reason: str | None


class GapPart(TypedDict):
    """A stretch in which nothing is heard; `reason` is one of `gaps.GapReason`."""

    at_sample: int
    samples: int
    at_ms: int
    duration_ms: int
    reason: str


class TrackPart(TypedDict):
    """One file. Numbers of what is heard, and gaps, are a speaker's; the mix has none.

    The gaps are in order and do not overlap; whatever is between them is heard.
    """

    track: str
    user_id: str | None
    name: str | None
    kind: str
    file: str
    master_file: str | None
    samples: int
    duration_ms: int
    size_bytes: int
    sha256: str
    master_sha256: str | None
    heard_ms: int | None
    lost_ms: int | None
    concealed_ms: int | None
    undecryptable_ms: int | None
    longest_gap_ms: int | None
    packets: dict[str, Any] | None
    gaps: list[GapPart]


class Manifest(TypedDict):
    """All of it."""

    format: int
    program: str
    versions: dict[str, str]
    meeting: MeetingPart
    duration_samples: int
    duration_ms: int
    clock: list[ClockPart]
    pauses: list[PausePart]
    notes: list[NotePart]
    events: list[EventPart]
    packets: dict[str, Any] | None
    tracks: list[TrackPart]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is stored of a meeting beside its audio: its marks in order, and the display names of its speakers."""

    marks: Sequence[Mark]
    names: Mapping[Track, str | None]


def manifest_json(
    meeting: Meeting,
    *,
    ended_at: datetime,
    status: RecordingStatus,
    duration_samples: int,
    told: Told,
    tracks: Iterable[RecordingTrack],
    ledgers: Mapping[Track, TrackLedger],
    master_hashes: Mapping[Track, str],
) -> str:
    """The file's text, for a meeting that is promoted or mended; each key, and each track, is on a line of its own.

    Args:
        meeting: its row.
        ended_at: when it ended.
        status: of the recording.
        duration_samples: how long the session, and each file, is.
        told: what its rows tell beside the audio.
        tracks: the files.
        ledgers: of the speakers' tracks.
        master_hashes: SHA-256 of the master files.
    """
    counted = json.loads(meeting.packets) if meeting.packets else {}
    packets: Mapping[str, Any] = counted.get("tracks", {})
    pauses = [mark for mark in told.marks if mark.kind is MarkKind.PAUSED]
    lines = [
        _track_line(_track(track, master_hashes.get(track.track), packets.get(track.track)), ledgers.get(track.track))
        for track in tracks
    ]
    head = Manifest(
        format=FORMAT,
        program=f"discord-recorder {__version__}",
        versions=_versions(),
        meeting=MeetingPart(
            meeting_id=meeting.id,
            title=meeting.title,
            guild_id=meeting.guild_id,
            channel_id=meeting.channel_id,
            user_id=meeting.user_id,
            started_at=meeting.started_at.isoformat(),
            ended_at=ended_at.isoformat(),
            end_reason=meeting.end_reason,
            status=status.value,
            recovered=meeting.recovered,
        ),
        duration_samples=duration_samples,
        duration_ms=samples_to_ms(duration_samples),
        clock=_clock(meeting, pauses),
        pauses=[
            PausePart(at_ms=samples_to_ms(mark.at_sample), wall_at=mark.wall_at.isoformat(), wall_ms=mark.wall_ms)
            for mark in pauses
        ],
        notes=[_note(mark, told.names) for mark in told.marks if mark.kind is MarkKind.NOTE],
        events=[_event(mark) for mark in told.marks if mark.kind in _EVENTS],
        packets=counted.get("call"),
        tracks=[],
    )
    texts = {key: json.dumps(value) for key, value in head.items()} | {"tracks": "[\n" + ",\n".join(lines) + "\n]"}
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in texts.items()) + "\n}\n"


def read_manifest(store: RecordingStore, key: str) -> Manifest:
    """A manifest from the store; raises `StorageError` when it cannot be read, or this version did not write it."""
    file = store.local_file(key)
    try:
        manifest: Manifest = json.loads(file.read_bytes())
        version = manifest["format"]
    except OSError as error:
        raise StorageError(f"The manifest {file} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise StorageError(f"The manifest {file} is damaged: {error}") from error
    if version != FORMAT:
        raise StorageError(f"The manifest {file} has the format {version!r}: another version of this program wrote it.")
    return manifest


def gaps_in(part: TrackPart) -> list[Gap]:
    """A track's gaps as the ledger has them."""
    return [Gap(gap["at_sample"], gap["samples"], GapReason(gap["reason"])) for gap in part["gaps"]]


def _clock(meeting: Meeting, pauses: Iterable[Mark]) -> list[ClockPart]:
    """The start, and where session time went on after each pause."""
    moments = [ClockPart(at_ms=0, wall_at=meeting.started_at.isoformat())]
    for mark in pauses:
        resumed_at = mark.wall_at + timedelta(milliseconds=mark.wall_ms)
        moments.append(ClockPart(at_ms=samples_to_ms(mark.end_sample), wall_at=resumed_at.isoformat()))
    return moments


def _note(mark: Mark, names: Mapping[Track, str | None]) -> NotePart:
    return NotePart(
        at_ms=samples_to_ms(mark.at_sample),
        wall_at=mark.wall_at.isoformat(),
        user_id=mark.user_id,
        name=names.get(Track(mark.user_id)) if mark.user_id else None,
        text=mark.text,
    )


def _event(mark: Mark) -> EventPart:
    ends = samples_to_ms(mark.end_sample) if mark.kind is MarkKind.DISCONNECTED else None
    return EventPart(kind=mark.kind.value, at_ms=samples_to_ms(mark.at_sample), ends_ms=ends, reason=mark.reason)


def _track(track: RecordingTrack, master_sha256: str | None, packets: dict[str, Any] | None) -> TrackPart:
    return TrackPart(
        track=track.track,
        user_id=user_of(track.track),
        name=track.name,
        kind=track.kind.value,
        file=PurePosixPath(track.key).name,
        master_file=PurePosixPath(track.master_key).name if track.master_key else None,
        samples=track.samples,
        duration_ms=samples_to_ms(track.samples),
        size_bytes=track.size_bytes,
        sha256=track.sha256,
        master_sha256=master_sha256,
        heard_ms=ms_if_known(track.heard_samples),
        lost_ms=ms_if_known(track.lost_samples),
        concealed_ms=ms_if_known(track.concealed_samples),
        undecryptable_ms=ms_if_known(track.undecryptable_samples),
        longest_gap_ms=ms_if_known(track.longest_gap_samples),
        packets=packets,
        gaps=[],
    )


def _track_line(track: TrackPart, ledger: TrackLedger | None) -> str:
    """A track with its gaps. There are thousands; as text they take a third of the time they take as dictionaries."""
    gaps = [
        f'{{"at_sample": {at}, "samples": {samples}, "at_ms": {samples_to_ms(at)}, '
        f'"duration_ms": {samples_to_ms(samples)}, "reason": "{reason}"}}'
        for at, samples, reason in (ledger.gaps if ledger else ())
    ]
    return f"{json.dumps(track).removesuffix('[]}')}[{', '.join(gaps)}]}}"


def ms_if_known(samples: int | None) -> int | None:
    """Milliseconds, where there is a figure."""
    return None if samples is None else samples_to_ms(samples)


@cache
def _versions() -> dict[str, str]:
    """Versions of what has a part in how a recording sounds or is stored."""
    versions = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for library in _LIBRARIES:
        try:
            versions[library.lower()] = metadata.version(library)
        except metadata.PackageNotFoundError:  # a capture process may be installed without what decodes
            continue
    return versions
