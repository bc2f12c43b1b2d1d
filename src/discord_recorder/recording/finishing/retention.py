"""Retention: temp recordings that outlived their use, and files that no row names, are removed."""

import asyncio
import logging
import os
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from sqlalchemy import Connection

from discord_recorder.errors import InvalidIdError, StorageError
from discord_recorder.ids import MeetingId, parse_meeting_id
from discord_recorder.recording.context import Context
from discord_recorder.storage import chunks, meetings, recordings
from discord_recorder.storage.files import files_below, remove_empty_folders
from discord_recorder.storage.records import MeetingStatus

log = logging.getLogger(__name__)

_LONGEST_TTL_HOURS: Final = 24 * 366 * 1000
"""Before that there were no recordings, and soon no dates."""

_ENDED = (MeetingStatus.COMPLETED, MeetingStatus.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the rows say, in one snapshot."""

    meetings: Set[MeetingId]
    ended: Set[MeetingId]
    """Those whose files are orphans unless a row names them."""
    deleted: Set[MeetingId]
    temp_keys: Set[str]
    """What rows of ended meetings name in the temp folder."""
    stored_keys: Set[str]

    @classmethod
    def of(cls, tx: Connection, in_temp: Iterable[MeetingId]) -> Self:
        statuses, deleted = meetings.ids(tx), meetings.deleted(tx)
        ended = {meeting_id for meeting_id, status in statuses.items() if status in _ENDED}
        ended |= deleted - statuses.keys()  # the id of a deleted meeting may be in use again
        rows = [row for meeting_id in in_temp if meeting_id in ended for row in chunks.of_meeting(tx, meeting_id)]
        return cls(
            meetings=statuses.keys(),
            ended=ended,
            deleted=deleted,
            temp_keys={key for row in rows for key in (row.source_key, row.mp3_key)},
            stored_keys=recordings.keys(tx),
        )


class Retention:
    """The cleanup; `undeletable_files` counts, over its life, how often a file could not be deleted."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.undeletable_files = 0
        self._lock = asyncio.Lock()

    async def clean_up(self, ttl_hours: float) -> int:
        """Remove temp recordings older than that, never one that is still needed; gives their number.

        A chunk is needed while its meeting is live or still to be promoted, and for good when it FAILED. One whose
        file cannot be deleted keeps its row, is logged and counted, and is tried again next time.

        Files that no row names are removed as well: those of meetings that have ended or were deleted at once, those
        of meetings that this database does not know when they are older than the TTL, and only in the temp folder.
        """
        async with self._lock:
            removed = await self._remove_outdated(ttl_hours)
            await self._remove_orphans(ttl_hours)
        log.info("The cleanup ran", extra={"removed": removed})
        return removed

    async def _remove_outdated(self, ttl_hours: float) -> int:
        oldest = self._context.clock.now() - timedelta(hours=min(ttl_hours, _LONGEST_TTL_HOURS))
        outdated = await self._context.database.read(chunks.outdated, oldest)
        files = [
            [self._context.temp_file(chunk.source_key), self._context.temp_file(chunk.mp3_key)] for chunk in outdated
        ]
        deleted = await asyncio.to_thread(lambda: [self._delete(paths) for paths in files])
        removed = [chunk.id for chunk, gone in zip(outdated, deleted, strict=True) if gone]
        left = [chunk.id for chunk, gone in zip(outdated, deleted, strict=True) if not gone]

        def remove(tx: Connection) -> None:
            chunks.remove(tx, removed)
            chunks.mark_cleaned(tx, left)  # whatever of them is there still: no master is made of the rest of a track

        await self._context.database.write(remove)
        return len(removed)

    async def _remove_orphans(self, ttl_hours: float) -> None:
        # Folders first, rows second: a meeting that starts meanwhile has its row before it has a folder.
        temp = await asyncio.to_thread(_files_by_meeting, self._context.settings.temp_dir)
        stored = await asyncio.to_thread(self._stored_keys)
        known = await self._context.database.read(_Known.of, temp.keys())
        named_files = {self._context.temp_file(key) for key in known.temp_keys}
        oldest = self._context.clock.now().timestamp() - min(ttl_hours, _LONGEST_TTL_HOURS) * 3600
        for meeting_id, paths in temp.items():
            if meeting_id in known.ended:
                orphans = [path for path in paths if path not in named_files]
            elif meeting_id not in known.meetings:  # perhaps another database's: only what is old
                orphans = await asyncio.to_thread(_older_than, oldest, paths)
            else:
                continue
            await asyncio.to_thread(self._delete, orphans)
            await asyncio.to_thread(remove_empty_folders, self._context.settings.temp_dir / meeting_id)
        for key in stored:
            if _meeting_of(key.split("/")[0]) in known.ended and key not in known.stored_keys:
                await asyncio.to_thread(self._delete_stored, key)
        await self._forget_deletions(known.deleted)

    async def _forget_deletions(self, deleted: Set[MeetingId]) -> None:
        if not deleted:
            return
        temp = await asyncio.to_thread(_files_by_meeting, self._context.settings.temp_dir)
        stored = [_meeting_of(key.split("/")[0]) for key in await asyncio.to_thread(self._stored_keys)]
        gone = [meeting_id for meeting_id in deleted if not temp.get(meeting_id) and meeting_id not in stored]
        await self._context.database.write(meetings.forget_deletions, gone)

    def _stored_keys(self) -> list[str]:
        return list(self._context.store.keys())

    def _delete(self, paths: Iterable[Path]) -> bool:
        gone = True
        for path in paths:
            try:
                path.unlink(missing_ok=True)
                log.info("The cleanup removed %s", path)
            except OSError as error:
                gone = False
                self._undeletable(str(path), error)
        return gone

    def _delete_stored(self, key: str) -> None:
        try:
            self._context.store.delete(key)
        except StorageError as error:
            self._undeletable(self._context.store.location(key), error)

    def _undeletable(self, path: str, error: Exception) -> None:
        self.undeletable_files += 1
        log.warning(
            "The cleanup could not delete %s; it tries again next time",
            path,
            extra={"path": path, "reason": str(error)},
        )


def _files_by_meeting(temp_dir: Path) -> dict[MeetingId, list[Path]]:
    found: dict[MeetingId, list[Path]] = {}
    for folder in temp_dir.glob("*"):
        if (meeting_id := _meeting_of(folder.name)) is not None:
            found[meeting_id] = list(files_below(folder))
    return found


def _older_than(timestamp: float, paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if os.path.lexists(path) and path.lstat().st_mtime < timestamp]


def _meeting_of(name: str) -> MeetingId | None:
    try:
        return parse_meeting_id(name)
    except InvalidIdError:
        return None
