"""Export of one recording into a folder: which files, what they are called, and what became of each."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile

from discord_recorder.audio.ffmpeg import Ffmpeg
from discord_recorder.audio.pcm import samples_to_ms
from discord_recorder.recording.export.archive import archive
from discord_recorder.recording.export.formats import ExportFormat, ExportOrder
from discord_recorder.recording.export.labels import labels_of
from discord_recorder.recording.export.material import Material, name_of
from discord_recorder.recording.export.names import distinct, safe_part
from discord_recorder.recording.export.new_files import new_file, refuse_to_overwrite, scratch_file, told_of
from discord_recorder.recording.export.sheet import ExportedFile, sheet_json
from discord_recorder.recording.export.sources import Source, SourceError, sources_of
from discord_recorder.recording.export.tagging import tags_of
from discord_recorder.recording.export.track_files import TrackFileMaker, is_copy
from discord_recorder.storage.files import MANIFEST, RecordingStore
from discord_recorder.storage.records import RecordingTrack, user_of

LABELS = "labels.txt"
"""The label track in a zip."""


class Watcher(Protocol):
    """Who shows how far an export is."""

    def begins(self, track: str, export_format: ExportFormat) -> None:
        """A file of a track is begun; `track` says whose."""

    def advances(self, samples: int) -> None:
        """So much more of a track is done."""


@dataclass(slots=True, kw_only=True)
class Exported:
    """What became of an export.

    Args:
        files: the tracks' files, in the folder.
        zipped: the tracks' files, in the zip.
        sheet: the file that tells of `files`, if there are any.
        zip_file: the zip, if there is one.
        faults: what is damaged or gone, a sentence each.
    """

    files: list[ExportedFile] = field(default_factory=list)
    zipped: list[ExportedFile] = field(default_factory=list)
    sheet: Path | None = None
    zip_file: Path | None = None
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A file to make."""

    track: RecordingTrack
    format: ExportFormat
    name: str


class Exporter:
    """Exports one recording.

    Args:
        material: what is known of it.
        store: where its files are.
        ffmpeg: called when FFmpeg is needed; may raise `FfmpegNotFoundError`.
    """

    def __init__(self, material: Material, store: RecordingStore, ffmpeg: Callable[[], Ffmpeg]) -> None:
        self.material = material
        self._store = store
        self._maker = TrackFileMaker(ffmpeg, material.samples)

    def samples(self, order: ExportOrder) -> int:
        """How much there is to do, in samples of all files, for a watcher."""
        formats = len(order.formats) + (order.zip_of is not None)
        return formats * len(self.material.recording.tracks) * self.material.samples

    async def export(self, folder: Path, order: ExportOrder, watcher: Watcher) -> Exported:
        """Make what is ordered, in a folder that is there.

        Every file is complete under its name or not there at all. A recorded file that is damaged or gone is told of in
        the result's `faults`; what can be made without it is made.

        Raises:
            UserError: files of these names are there.
            StorageError: the folder does not take them.
            FfmpegError: FFmpeg could not be run, or did not do it.
        """
        stem = await asyncio.to_thread(self._stem, folder)
        planned = self._plan(stem, order.formats)
        sheet, zip_file = folder / f"{stem}.json", folder / f"{stem}.zip"
        if not order.force:
            targets = [folder / plan.name for plan in planned]
            targets += [sheet] if planned else []
            targets += [zip_file] if order.zip_of else []
            await asyncio.to_thread(refuse_to_overwrite, targets)
        exported = Exported(faults=[self.material.fault] if self.material.fault else [])
        if planned:
            exported.sheet = sheet
            await self._into_folder(planned, sheet, order, exported, watcher)
        if order.zip_of:
            exported.zip_file = zip_file
            await self._into_zip(self._plan(stem, (order.zip_of,)), zip_file, order, exported, watcher)
        return exported

    async def _into_folder(
        self, planned: Sequence[_Planned], sheet: Path, order: ExportOrder, exported: Exported, watcher: Watcher
    ) -> None:
        for plan in planned:
            target = sheet.with_name(plan.name)
            with suppress(SourceError):
                async with new_file(target, force=order.force) as part:
                    source = await self._make(plan, part, exported, watcher)
                    file = await asyncio.to_thread(self._exported, plan, source, part)
                exported.files.append(file)
        async with new_file(sheet, force=order.force) as part:
            with told_of(sheet):
                await asyncio.to_thread(part.write_text, sheet_json(self.material.manifest, exported.files), "utf-8")

    async def _into_zip(
        self, planned: Sequence[_Planned], zip_file: Path, order: ExportOrder, exported: Exported, watcher: Watcher
    ) -> None:
        manifest = self.material.manifest
        async with new_file(zip_file, force=order.force) as part, scratch_file(zip_file.parent) as scratch:
            with told_of(zip_file), archive(part, self.material.recording.started_at) as target:
                for plan in planned:
                    with suppress(SourceError):
                        source = await self._make(plan, scratch, exported, watcher)
                        file = await asyncio.to_thread(self._exported, plan, source, scratch)
                        await target.add_file(plan.name, scratch)
                        exported.zipped.append(file)
                target.add_text(LABELS, labels_of(manifest))
                target.add_text(MANIFEST, sheet_json(manifest, exported.zipped))

    async def _make(self, plan: _Planned, target: Path, exported: Exported, watcher: Watcher) -> Source:
        """Make a file of the best source that is whole; gives that, and tells of the others."""
        watcher.begins(name_of(plan.track), plan.format)
        tags = tags_of(self.material, plan.track)
        sources = await asyncio.to_thread(sources_of, self.material, plan.track, self._store, plan.format)
        faults: list[str] = []
        for source in sources:
            try:
                await self._maker.make(source, plan.format, tags, target, watcher.advances)
            except SourceError as error:
                faults.append(str(error))
            else:
                exported.faults += [f"{fault} {plan.name} was made from {source.path} instead." for fault in faults]
                return source
        exported.faults += [f"{fault} {plan.name} was not exported." for fault in faults]
        raise SourceError(faults[-1])

    def _exported(self, plan: _Planned, source: Source, made: Path) -> ExportedFile:
        samples = plan.track.samples if is_copy(source, plan.format) else self.material.samples
        with made.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return ExportedFile(
            track=plan.track.track,
            name=name_of(plan.track),
            user_id=user_of(plan.track.track),
            kind=plan.track.kind.value,
            file=plan.name,
            format=plan.format.value,
            made_from=source.kind,
            duration_ms=samples_to_ms(samples),
            size_bytes=made.stat().st_size,
            sha256=sha256,
        )

    def _plan(self, stem: str, formats: Sequence[ExportFormat]) -> list[_Planned]:
        found = [(track, export_format) for export_format in formats for track in self.material.recording.tracks]
        parts = [safe_part(name_of(track), user_of(track.track) or "unknown") for track, _ in found]
        names = distinct((f"{stem} - {part}", f".{kind}") for part, (_, kind) in zip(parts, found, strict=True))
        return [_Planned(track=track, format=kind, name=name) for name, (track, kind) in zip(names, found, strict=True)]

    def _stem(self, folder: Path) -> str:
        """What all names begin with; the meeting's id is in it when another meeting has the same day and title."""
        meeting_id = self.material.meeting_id
        day = self.material.recording.started_at.astimezone().strftime("%Y-%m-%d")
        stem = f"{day} {safe_part(self.material.recording.title or '', meeting_id)}"
        known = (_meeting_in_sheet(folder / f"{stem}.json"), _meeting_in_zip(folder / f"{stem}.zip"))
        return stem if set(known) <= {None, meeting_id} else f"{stem} {meeting_id}"


def _meeting_in_sheet(sheet: Path) -> str | None:
    """Whose export a sheet tells of; None where there is none that can be read."""
    try:
        return _meeting_of(json.loads(sheet.read_bytes()))
    except (OSError, ValueError):
        return None


def _meeting_in_zip(zip_file: Path) -> str | None:
    try:
        with ZipFile(zip_file) as file:
            return _meeting_of(json.loads(file.read(MANIFEST)))
    except (OSError, ValueError, KeyError, BadZipFile):
        return None


def _meeting_of(sheet: Any) -> str:
    """The meeting id in a sheet, which those of version 0.1 have at the top; "" when it is something else."""
    meeting = sheet.get("meeting", sheet) if isinstance(sheet, dict) else None
    found = meeting.get("meeting_id") if isinstance(meeting, dict) else None
    return found if isinstance(found, str) else ""
