"""`export`: a recording's files under readable names, checked on the way."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from discord_recorder.cli.export_names import distinct, safe_part
from discord_recorder.cli.formats import size
from discord_recorder.cli.invocation import FAILED, Invocation
from discord_recorder.cli.listing import Entry, find_entry
from discord_recorder.cli.views import track_name
from discord_recorder.errors import StorageError, UserError
from discord_recorder.services.sql_recording import RecordingDict, TrackDict

_BLOCK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One file to export; without `sha256` it is only taken down."""

    source: Path
    target: Path
    sha256: str | None
    track: TrackDict


def export_meeting(invocation: Invocation, meeting_id: str, folder: Path, *, force: bool, as_json: bool) -> int:
    """Copy what is whole, tell what is not."""
    entry, _ = invocation.run(find_entry(invocation.settings(), meeting_id))
    recording = _recording_of(entry)
    folder.mkdir(parents=True, exist_ok=True)
    stem = _stem(recording, folder)
    copies, sheet = _plan(recording, folder, stem), folder / f"{stem}.json"
    if not force:
        _refuse_to_overwrite([*(copy.target for copy in copies), sheet])
    files, faults = _copy_all(invocation, copies, force=force)
    description = _description(recording, files)
    _write_new(sheet, json.dumps(description, indent=2).encode(), force=force)
    if as_json:
        invocation.terminal.json({"folder": folder.absolute(), "description_file": sheet.name, **description})
    else:
        rows = [[file["name"] or "", size(file["size_bytes"]), str(folder / file["file"])] for file in files]
        invocation.terminal.table(["Track", "Size", "File"], [*rows, ["", "", str(sheet)]])
    for fault in faults:
        invocation.terminal.error(fault)
    return FAILED if faults else 0


def _recording_of(entry: Entry) -> RecordingDict:
    if entry.recording is None:
        raise UserError(
            f"Meeting {entry.meeting['meeting_id']} has no recording to export yet: it is {entry.meeting['status']}. "
            f"`discord-recorder show {entry.meeting['meeting_id']}` tells more."
        )
    return entry.recording


def _stem(recording: RecordingDict, folder: Path) -> str:
    """What all names begin with; the meeting's id is in it when another meeting has the same day and title."""
    day = recording["started_at"].astimezone().strftime("%Y-%m-%d")
    meeting_id = recording["meeting_id"]
    stem = f"{day} {safe_part(recording['title'] or '', meeting_id)}"
    try:
        known = json.loads((folder / f"{stem}.json").read_bytes())
    except (OSError, ValueError):
        return stem
    ours = isinstance(known, dict) and known.get("meeting_id") == meeting_id
    return stem if ours else f"{stem} {meeting_id}"


def _plan(recording: RecordingDict, folder: Path, stem: str) -> list[Copy]:
    found: list[tuple[TrackDict, Path, str | None]] = []
    for track in recording["tracks"]:
        found.append((track, Path(track["path"]), track["sha256"]))
        if track["master_path"]:
            found.append((track, Path(track["master_path"]), None))
    stems = [f"{stem} - {safe_part(track_name(track), track['user_id'] or 'unknown')}" for track, _, _ in found]
    names = distinct((name, path.suffix) for name, (_, path, _) in zip(stems, found, strict=True))
    return [
        Copy(source=path, target=folder / name, sha256=sha256, track=track)
        for name, (track, path, sha256) in zip(names, found, strict=True)
    ]


def _copy_all(invocation: Invocation, copies: list[Copy], *, force: bool) -> tuple[list[dict[str, Any]], list[str]]:
    files: list[dict[str, Any]] = []
    faults: list[str] = []
    with invocation.terminal.progress() as bars:
        bar = bars.add_task("Copying", total=sum(copy.track["size_bytes"] for copy in copies if copy.sha256), shown="")
        for copy in copies:
            try:
                found = _copy(copy, force=force, advance=lambda count: bars.advance(bar, count))
            except StorageError as error:
                faults.append(str(error))
                continue
            files.append(_sheet_line(copy, found))
    return files, faults


def _sheet_line(copy: Copy, sha256: str) -> dict[str, Any]:
    track = copy.track
    return {
        "file": copy.target.name,
        "name": track_name(track),
        "user_id": track["user_id"],
        "kind": track["kind"] if copy.sha256 else f"{track['kind']} master",
        "duration_ms": track["duration_ms"],
        "size_bytes": copy.target.stat().st_size,
        "sha256": sha256,
    }


def _copy(copy: Copy, *, force: bool, advance: Callable[[int], object]) -> str:
    """Copy one file, complete under its name or not there at all; gives its SHA-256. Raises `StorageError`."""
    part = copy.target.with_name(f".{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with copy.source.open("rb") as source, part.open("wb") as target:
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
                target.write(block)
                advance(len(block))
            target.flush()
            os.fsync(target.fileno())
        if copy.sha256 not in (None, digest.hexdigest()):
            raise StorageError(
                f"{copy.source} is damaged and was not exported: its SHA-256 is {digest.hexdigest()}, and was "
                f"{copy.sha256} when it was recorded. Get that file back from a backup."
            )
        _put(part, copy.target, force=force)
    except FileNotFoundError as error:
        raise StorageError(f"{error.filename} is gone and was not exported. Get it back from a backup.") from error
    except OSError as error:
        raise StorageError(f"{copy.target} could not be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest()


def _put(part: Path, target: Path, *, force: bool) -> None:
    if not force:
        _refuse_to_overwrite([target])
    part.replace(target)


def _write_new(path: Path, data: bytes, *, force: bool) -> None:
    part = path.with_name(f".{os.getpid()}.part")
    try:
        part.write_bytes(data)
        _put(part, path, force=force)
    finally:
        part.unlink(missing_ok=True)


def _refuse_to_overwrite(targets: list[Path]) -> None:
    there = [target for target in targets if target.exists()]
    if there:
        others = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
        raise UserError(
            f"{there[0]}{others} already there, nothing was replaced. --force replaces, --to names another folder."
        )


def _description(recording: RecordingDict, files: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "meeting_id": recording["meeting_id"],
        "title": recording["title"],
        "started_at": recording["started_at"].isoformat(),
        "ended_at": recording["ended_at"].isoformat(),
        "duration_ms": recording["duration_ms"],
        "status": recording["status"],
        "recovered": recording["recovered"],
        "guild_id": recording["guild_id"],
        "channel_id": recording["channel_id"],
        "files": files,
    }
