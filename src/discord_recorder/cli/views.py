"""Recordings and chunks as lines of a terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence

from discord_recorder.cli.formats import clock, count, printable, size, span, when
from discord_recorder.cli.terminal import Terminal
from discord_recorder.services.sql_recording import (
    EventDict,
    MeetingDict,
    NoteDict,
    RecordingDict,
    SpeakerDict,
    TempRecordingDict,
    TrackDict,
)


def track_name(track: TrackDict) -> str:
    """Who is heard on a track."""
    return "mix" if track["kind"] == "mix" else speaker_name(track)


def speaker_name(speaker: SpeakerDict | TrackDict) -> str:
    """Who that is."""
    return speaker["name"] or speaker["user_id"] or "unknown speaker"


def speakers_of(recording: RecordingDict) -> list[str]:
    """Everybody who is heard in a recording."""
    return [track_name(track) for track in recording["tracks"] if track["kind"] == "speaker"]


def status_of(meeting: MeetingDict, recording: RecordingDict | None) -> str:
    """The one word for both: a recording's own once it is final, else the meeting's."""
    final = meeting["status"] in ("completed", "failed")
    return recording["status"] if recording and final else meeting["status"]


def print_meeting(terminal: Terminal, meeting: MeetingDict, recording: RecordingDict | None) -> None:
    """A meeting, and the files of its recording if it has one."""
    ended = recording["ended_at"] if recording else meeting["ended_at"]
    terminal.details(
        [
            ("Meeting", meeting["meeting_id"]),
            ("Title", meeting["title"]),
            ("Started", when(meeting["started_at"])),
            ("Ended", when(ended) if ended else None),
            ("Length", clock(recording["duration_ms"]) if recording else None),
            ("Status", status_of(meeting, recording)),
            ("Recovered", "yes: its recorder was interrupted" if meeting["recovered"] else None),
            ("End reason", meeting["end_reason"]),
            ("Error", meeting["error"]),
        ]
    )
    if recording:
        terminal.say()
        print_tracks(terminal, recording["tracks"])


def print_tracks(terminal: Terminal, tracks: Sequence[TrackDict]) -> None:
    """The files of a recording."""
    rows = [
        [track_name(track), track["kind"], clock(track["duration_ms"]), size(track["size_bytes"]), track["path"]]
        for track in tracks
    ]
    terminal.table(["Track", "Kind", "Length", "Size", "File"], rows)
    for track in tracks:
        if track["master_path"]:
            terminal.say(f"Master of {track_name(track)}: {track['master_path']}")


def print_speakers(terminal: Terminal, speakers: Sequence[SpeakerDict]) -> None:
    """How much of each speaker is heard, and how much is missing."""
    rows = [
        [
            speaker_name(one),
            span(one["heard_ms"]),
            span(one["lost_ms"]),
            span(one["concealed_ms"]),
            span(one["undecryptable_ms"]),
            span(one["longest_gap_ms"]),
        ]
        for one in speakers
    ]
    terminal.table(["Speaker", "Heard", "Lost", "Concealed", "Undecryptable", "Longest gap"], rows)


def print_notes(terminal: Terminal, notes: Sequence[NoteDict], names: Mapping[str | None, str]) -> None:
    """The notes, each at its moment."""
    rows = [[clock(note["at_ms"]), names.get(note["user_id"], note["user_id"] or "-"), note["text"]] for note in notes]
    terminal.table(["At", "Note by", "Text"], rows)


def print_events(terminal: Terminal, events: Sequence[EventDict]) -> None:
    """Pauses, and what happened to the connection."""
    rows = [
        [clock(one["at_ms"]), when(one["wall_at"]), one["kind"], _lasted(one), one["reason"] or "-"] for one in events
    ]
    terminal.table(["At", "When", "Event", "Lasted", "Reason"], rows)


def _lasted(event: EventDict) -> str:
    return span(event["wall_ms"]) if event["kind"] in ("paused", "disconnected") else "-"


def print_chunks(terminal: Terminal, chunks: Sequence[TempRecordingDict]) -> None:
    """How many chunks are in which status, and each that failed or may fail, with its reason."""
    counted = Counter(chunk["transcode_status"] for chunk in chunks)
    states = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in sorted(counted.items()))
    terminal.say(f"{count(len(chunks), 'chunk')} in work: {states}")
    troubled = [chunk for chunk in chunks if chunk["error"]]
    if troubled:
        terminal.say()
        terminal.table(["Speaker", "From", "Length", "Status", "Tries", "Error"], [_chunk_row(c) for c in troubled])


def _chunk_row(chunk: TempRecordingDict) -> list[str]:
    return [
        chunk["user_id"] or "unknown",
        clock(chunk["start_ms"]),
        clock(chunk["duration_ms"]),
        chunk["transcode_status"],
        str(chunk["attempts"]),
        printable(chunk["error"] or ""),
    ]
