"""`retry`, `delete` and `cleanup`: mending and making room."""

from dataclasses import dataclass

import typer

from discord_recorder.cli.following import until_ended, watch
from discord_recorder.cli.formats import clock, count, when
from discord_recorder.cli.hints import command_line
from discord_recorder.cli.invocation import FAILED, Invocation
from discord_recorder.cli.listing import Entry, find_entry
from discord_recorder.cli.views import print_chunks, status_of
from discord_recorder.config import Settings
from discord_recorder.services.manager import ServicesManager
from discord_recorder.services.sql_recording import TempRecordingDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """What a retry came to."""

    entry: Entry
    retried: int
    left: list[TempRecordingDict]
    """Chunks that are not in the recording."""

    @property
    def failed(self) -> int:
        """Chunks that failed again."""
        return sum(chunk["transcode_status"] == "failed" for chunk in self.left)

    @property
    def is_whole(self) -> bool:
        """True when nothing is missing any more."""
        return not self.left and status_of(self.entry.meeting, self.entry.recording) in ("complete", "completed")


def retry_meeting(invocation: Invocation, meeting_id: str, *, as_json: bool) -> int:
    """Try a meeting's failed chunks again, and tell what is mended."""
    settings = invocation.settings()
    invocation.run(find_entry(settings, meeting_id))  # an unknown meeting starts nothing
    mending = invocation.run(_retry(invocation, settings, meeting_id))
    if as_json:
        invocation.terminal.json(
            {
                "meeting_id": meeting_id,
                "status": status_of(mending.entry.meeting, mending.entry.recording),
                "retried": mending.retried,
                "mended": max(0, mending.retried - len(mending.left)),
                "failed": mending.failed,
                "chunks": mending.left,
            }
        )
    else:
        _print_mending(invocation, mending)
    return 0 if mending.is_whole else FAILED


def delete_meeting(invocation: Invocation, meeting_id: str, *, sure: bool) -> int:
    """Delete a meeting, after asking."""
    settings = invocation.settings()
    entry, _ = invocation.run(find_entry(settings, meeting_id))
    if not sure:
        length = clock(entry.recording["duration_ms"]) if entry.recording else "no recording"
        title = entry.meeting["title"] or "no title"
        invocation.terminal.note(f"{meeting_id}: {title}, {when(entry.meeting['started_at'])}, {length}")
        typer.confirm("Delete it with all its files, for good?", abort=True, err=True)
    invocation.run(_delete(invocation, settings, meeting_id))
    invocation.terminal.say(f"Meeting {meeting_id} is deleted.")
    return 0


def clean_up(invocation: Invocation, ttl_hours: float | None, *, as_json: bool) -> int:
    """Remove what outlived its use."""
    settings = invocation.settings()
    removed, undeletable = invocation.run(_clean_up(settings, ttl_hours))
    if as_json:
        invocation.terminal.json({"removed": removed, "undeletable": undeletable})
    else:
        invocation.terminal.say(f"{count(removed, 'temp recording')} removed.")
    if undeletable:
        invocation.terminal.error(f"{count(undeletable, 'file')} could not be deleted; the next cleanup tries again.")
    return FAILED if undeletable else 0


async def _retry(invocation: Invocation, settings: Settings, meeting_id: str) -> Mending:
    async with ServicesManager(settings) as services:
        recorder, catalog = services.discord_recorder_service, services.sql_recording_service
        retried = await recorder.retry_meeting(meeting_id)

        async def ended() -> tuple[int, int] | None:
            chunks = await catalog.get_temp_recordings_for_meeting(meeting_id)
            return sum(chunk["transcode_status"] in ("done", "failed") for chunk in chunks), len(chunks)

        with invocation.terminal.progress() as bars:
            await watch(bars, ended, until_ended(services, meeting_id))
    entry, left = await find_entry(settings, meeting_id)
    return Mending(entry=entry, retried=retried, left=left)


def _print_mending(invocation: Invocation, mending: Mending) -> None:
    terminal, meeting_id = invocation.terminal, mending.entry.meeting["meeting_id"]
    if mending.left:
        print_chunks(terminal, mending.left)
        terminal.say()
    terminal.details(
        [
            ("Meeting", meeting_id),
            ("Status", status_of(mending.entry.meeting, mending.entry.recording)),
            ("Tried again", count(mending.retried, "chunk")),
            ("Mended", count(max(0, mending.retried - len(mending.left)), "chunk")),
        ]
    )
    if mending.failed:
        terminal.error(f"{count(mending.failed, 'chunk')} failed again; the audio is kept. See the reasons above.")
    elif not mending.is_whole:
        show = command_line("show", meeting_id, data_dir=invocation.options.data_dir)
        terminal.error(f"The meeting is not whole yet. See: {show}")


async def _delete(invocation: Invocation, settings: Settings, meeting_id: str) -> None:
    async with ServicesManager(settings) as services:
        recorder = services.discord_recorder_service

        async def nothing_to_count() -> None:
            return None

        with invocation.terminal.progress() as bars:  # a meeting that a dead recorder left is finished first
            await watch(bars, nothing_to_count, until_ended(services, meeting_id))
        await recorder.delete_meeting(meeting_id)


async def _clean_up(settings: Settings, ttl_hours: float | None) -> tuple[int, int]:
    async with ServicesManager(settings) as services:
        recorder = services.discord_recorder_service
        removed = await recorder.cleanup_old_temp_recordings_once(ttl_hours)
        return removed, await recorder.count_undeletable_files()
