"""`recordings` and `show`: what is there, read without starting anything."""

from dataclasses import dataclass
from datetime import datetime

from discord_recorder.cli.formats import clock, when
from discord_recorder.cli.hints import command_line
from discord_recorder.cli.invocation import Invocation
from discord_recorder.cli.terminal import Terminal
from discord_recorder.cli.views import (
    print_chunks,
    print_events,
    print_meeting,
    print_notes,
    print_speakers,
    speaker_name,
    speakers_of,
    status_of,
)
from discord_recorder.config import Settings
from discord_recorder.errors import MeetingNotFoundError
from discord_recorder.ids import parse_meeting_id
from discord_recorder.services.manager import open_catalog
from discord_recorder.services.sql_recording import (
    EventDict,
    MeetingDict,
    NoteDict,
    RecordingDict,
    SpeakerDict,
    TempRecordingDict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A meeting with its recording, if it has one."""

    meeting: MeetingDict
    recording: RecordingDict | None

    @property
    def status(self) -> str:
        """One word for both."""
        return status_of(self.meeting, self.recording)

    def as_dict(self) -> dict[str, object]:
        """For scripts: the same keys for every meeting, promoted or not."""
        meeting, recording = self.meeting, self.recording
        return {
            "meeting_id": meeting["meeting_id"],
            "title": meeting["title"],
            "status": self.status,
            "started_at": meeting["started_at"],
            "ended_at": self._ended_at,
            "duration_ms": recording["duration_ms"] if recording else None,
            "speakers": speakers_of(recording) if recording else [],
            "meeting": meeting,
            "recording": recording,
        }

    def row(self) -> list[str]:
        """For the table."""
        recording = self.recording
        return [
            self.meeting["meeting_id"],
            when(self.meeting["started_at"]),
            self.meeting["title"] or "-",
            clock(recording["duration_ms"]) if recording else "-",
            ", ".join(speakers_of(recording)) if recording else "-",
            self.status,
        ]

    @property
    def _ended_at(self) -> datetime | None:
        return self.recording["ended_at"] if self.recording else self.meeting["ended_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What became of a meeting's audio, and what happened meanwhile."""

    speakers: list[SpeakerDict]
    notes: list[NoteDict]
    events: list[EventDict]

    def as_dict(self) -> dict[str, object]:
        """For scripts."""
        return {"figures": self.speakers, "notes": self.notes, "events": self.events}

    def print(self, terminal: Terminal) -> None:
        """Tables of what there is."""
        if self.speakers:
            terminal.say()
            print_speakers(terminal, self.speakers)
        if self.notes:
            terminal.say()
            print_notes(terminal, self.notes, {one["user_id"]: speaker_name(one) for one in self.speakers})
        if self.events:
            terminal.say()
            print_events(terminal, self.events)


def list_all(invocation: Invocation, *, as_json: bool) -> int:
    """Print every meeting, newest first."""
    settings = invocation.settings()
    entries = invocation.run(_all_entries(settings))
    if as_json:
        invocation.terminal.json([entry.as_dict() for entry in entries])
    elif entries:
        headers = ["Meeting", "When", "Title", "Length", "Speakers", "Status"]
        invocation.terminal.table(headers, [entry.row() for entry in entries])
    else:
        demo = command_line("demo", data_dir=invocation.options.data_dir)
        invocation.terminal.note(f"There are no recordings in {settings.data_dir}. To make one: {demo}")
    return 0


def show_one(invocation: Invocation, meeting_id: str, *, as_json: bool) -> int:
    """Print one meeting with all that is known of it."""
    settings = invocation.settings()
    entry, chunks = invocation.run(find_entry(settings, meeting_id))
    story = invocation.run(_story_of(settings, meeting_id))
    terminal = invocation.terminal
    if as_json:
        terminal.json(entry.as_dict() | story.as_dict() | {"chunks": chunks})
        return 0
    print_meeting(terminal, entry.meeting, entry.recording)
    story.print(terminal)
    if chunks:
        terminal.say()
        print_chunks(terminal, chunks)
    failed = any(chunk["transcode_status"] == "failed" for chunk in chunks)
    if failed or status_of(entry.meeting, entry.recording) == "incomplete":
        terminal.say()
        terminal.say(f"To try again: {command_line('retry', meeting_id, data_dir=invocation.options.data_dir)}")
    return 0


async def find_entry(settings: Settings, meeting_id: str) -> tuple[Entry, list[TempRecordingDict]]:
    """A meeting and its chunks in work; raises `InvalidIdError` and `MeetingNotFoundError`."""
    parsed = parse_meeting_id(meeting_id)
    if settings.database_file.exists():  # a wrong folder is told, not filled
        async with open_catalog(settings) as catalog:
            meeting = await catalog.get_meeting(parsed)
            if meeting is not None:
                found = await catalog.get_recordings_for_meeting(parsed)
                chunks = await catalog.get_temp_recordings_for_meeting(parsed)
                return Entry(meeting=meeting, recording=next(iter(found), None)), chunks
    raise MeetingNotFoundError(
        f"There is no meeting {meeting_id} in {settings.data_dir}. `discord-recorder recordings` lists what is there; "
        "--data-dir chooses another folder."
    )


async def _story_of(settings: Settings, meeting_id: str) -> Story:
    parsed = parse_meeting_id(meeting_id)
    async with open_catalog(settings) as catalog:
        return Story(
            speakers=await catalog.get_speakers_for_meeting(parsed),
            notes=await catalog.get_notes_for_meeting(parsed),
            events=await catalog.get_events_for_meeting(parsed),
        )


async def _all_entries(settings: Settings) -> list[Entry]:
    if not settings.database_file.exists():
        return []
    async with open_catalog(settings) as catalog:
        finished = {recording["meeting_id"]: recording for recording in await catalog.list_recordings()}
        meetings = await catalog.list_meetings()
    return [Entry(meeting=meeting, recording=finished.get(meeting["meeting_id"])) for meeting in reversed(meetings)]
