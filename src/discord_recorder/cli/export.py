"""`export`: a recording's files under readable names, in any format, checked on the way."""

from collections.abc import Iterable
from pathlib import Path

from rich.progress import Progress

from discord_recorder.cli.formats import printable, size
from discord_recorder.cli.invocation import FAILED, Invocation
from discord_recorder.cli.listing import Entry, find_entry
from discord_recorder.cli.options import WantedFormat
from discord_recorder.errors import UserError
from discord_recorder.recording.export.exporter import Exported, Exporter
from discord_recorder.recording.export.formats import ExportFormat, ExportOrder
from discord_recorder.recording.export.sheet import ExportedFile
from discord_recorder.services.exports import open_export


def order_of(formats: Iterable[WantedFormat], tracks: ExportFormat, *, force: bool) -> ExportOrder:
    """What was typed; a format that was named twice counts once."""
    wanted = dict.fromkeys(formats)
    return ExportOrder(
        formats=tuple(ExportFormat(name) for name in wanted if name is not WantedFormat.ZIP),
        zip_of=tracks if WantedFormat.ZIP in wanted else None,
        force=force,
    )


def export_meeting(invocation: Invocation, meeting_id: str, folder: Path, order: ExportOrder, *, as_json: bool) -> int:
    """Export what is whole, tell what is not."""
    settings = invocation.settings()
    entry, _ = invocation.run(find_entry(settings, meeting_id))
    _refuse_unfinished(entry)
    exporter = invocation.run(open_export(settings, meeting_id))
    folder.mkdir(parents=True, exist_ok=True)
    with invocation.terminal.progress() as bars:
        bar = _Bar(bars, exporter.samples(order))
        exported = invocation.run(exporter.export(folder, order, bar))
    if as_json:
        invocation.terminal.json(_as_dict(exporter, exported, folder))
    else:
        _print(invocation, exported, folder)
    for fault in exported.faults:
        invocation.terminal.error(fault)
    return FAILED if exported.faults else 0


def _refuse_unfinished(entry: Entry) -> None:
    if entry.recording is None:
        raise UserError(
            f"Meeting {entry.meeting['meeting_id']} has no recording to export yet: it is {entry.meeting['status']}. "
            f"`discord-recorder show {entry.meeting['meeting_id']}` tells more."
        )


class _Bar:
    """One bar for all files, and whose is in work."""

    def __init__(self, bars: Progress, samples: int) -> None:
        self._bars = bars
        self._bar = bars.add_task("Exporting", total=samples, shown="")

    def begins(self, track: str, export_format: ExportFormat) -> None:
        self._bars.update(self._bar, shown=f"{printable(track)}, {export_format}")

    def advances(self, samples: int) -> None:
        self._bars.advance(self._bar, samples)


def _print(invocation: Invocation, exported: Exported, folder: Path) -> None:
    rows = [[file["name"], size(file["size_bytes"]), str(folder / file["file"])] for file in exported.files]
    if exported.sheet:
        rows.append(["", "", str(exported.sheet)])
    if exported.zip_file:
        names = ", ".join(file["name"] for file in exported.zipped)
        rows.append([names, size(exported.zip_file.stat().st_size), str(exported.zip_file)])
    invocation.terminal.table(["Track", "Size", "File"], rows)
    encoded = dict.fromkeys(map(_encoded, _anew([*exported.files, *exported.zipped])))
    if encoded:
        invocation.terminal.note(
            f"Not Opus as it was received, of which there is none, but encoded: {', '.join(encoded)}"
        )


def _anew(files: Iterable[ExportedFile]) -> list[ExportedFile]:
    """Opus files that are not what was received."""
    return [file for file in files if file["format"] == ExportFormat.OPUS != file["made_from"]]


def _encoded(file: ExportedFile) -> str:
    return f"{file['name']} (from {file['made_from'].upper()})"


def _as_dict(exporter: Exporter, exported: Exported, folder: Path) -> dict[str, object]:
    manifest = exporter.material.manifest
    return {
        "folder": folder.absolute(),
        "description_file": exported.sheet.name if exported.sheet else None,
        "zip_file": exported.zip_file.name if exported.zip_file else None,
        **manifest["meeting"],
        "duration_ms": manifest["duration_ms"],
        "files": exported.files,
        "zipped": exported.zipped,
    }
