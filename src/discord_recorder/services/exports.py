"""Exports of recordings, without starting anything: no workers, no recovery, no cleanup."""

from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg
from discord_recorder.config import Settings
from discord_recorder.errors import MeetingNotFoundError
from discord_recorder.ids import parse_meeting_id
from discord_recorder.recording.export.exporter import Exporter
from discord_recorder.recording.export.material import read_material
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import LocalRecordingStore


async def open_export(settings: Settings, meeting_id: str) -> Exporter:
    """What exports a meeting's recording; raises `InvalidIdError`, and `MeetingNotFoundError` where there is none."""
    parsed = parse_meeting_id(meeting_id)
    store = LocalRecordingStore(settings.recordings_dir)
    database = Database(settings.database_file, busy_seconds=settings.database_busy_seconds)
    try:
        await database.open()
        material = await read_material(database, store, parsed)
    finally:
        await database.close()
    if material is None:
        raise MeetingNotFoundError(f"There is no recording of a meeting {meeting_id}.")

    def ffmpeg() -> Ffmpeg:
        return Ffmpeg(find_ffmpeg(settings.ffmpeg_path), settings.transcode_time_limit_seconds)

    return Exporter(material, store, ffmpeg)
