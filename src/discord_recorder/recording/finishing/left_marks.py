"""Marks that a recorder could not store before it was closed: a file beside the audio keeps them for the recovery."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from discord_recorder.ids import MeetingId
from discord_recorder.storage import marks
from discord_recorder.storage.files import make_folder, sync_folder, write_durably
from discord_recorder.storage.records import Mark, MarkKind

log = logging.getLogger(__name__)

_FILE: Final = "marks.json"


def leave(folder: Path, left: Sequence[Mark]) -> None:
    """Write marks into a meeting's folder; those that have a row already are to be made as long as they are now."""
    make_folder(folder)
    write_durably(folder / _FILE, json.dumps([asdict(mark) for mark in left], default=str).encode())
    sync_folder(folder)


def read(folder: Path) -> list[Mark]:
    """What was left in a meeting's folder; damaged files are told in the log and passed over."""
    path = folder / _FILE
    try:
        return [
            Mark(**{**fields, "kind": MarkKind(fields["kind"]), "wall_at": datetime.fromisoformat(fields["wall_at"])})
            for fields in json.loads(path.read_bytes())
        ]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError):
        log.exception("What happened to a meeting cannot be read", extra={"path": str(path)})
        return []


def store(tx: Connection, meeting_id: MeetingId, left: Sequence[Mark]) -> None:
    """Store them in the caller's transaction; those that an interrupted recovery stored before are passed over."""
    known = {replace(mark, id=None) for mark in marks.of_meeting(tx, meeting_id)}
    marks.add(tx, meeting_id, [mark for mark in left if mark.id is None and mark not in known])
    for mark in left:
        if mark.id is not None:
            marks.lengthen(tx, mark.id, sample_count=mark.sample_count, wall_ms=mark.wall_ms)
