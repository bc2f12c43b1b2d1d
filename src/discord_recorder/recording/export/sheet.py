"""What was exported, for scripts: the recording's manifest, with the exported files in place of the recorded ones."""

import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

from discord_recorder.recording.finishing.manifest import Manifest


class ExportedFile(TypedDict):
    """A file that was made.

    `format` is one of `formats.ExportFormat`; `made_from` is the format of the recorded file that it was made from,
    `kind` is "speaker" or "mix".
    """

    track: str
    name: str
    user_id: str | None
    kind: str
    file: str
    format: str
    made_from: str
    duration_ms: int
    size_bytes: int
    sha256: str


def sheet_json(manifest: Manifest, files: Sequence[ExportedFile]) -> str:
    """The manifest of an export: `files` lists all, and each track names its own first one, null where there is none.

    Each key, each track and each file is on a line of its own.
    """
    first: dict[str, ExportedFile] = {}
    for file in files:
        first.setdefault(file["track"], file)
    tracks = []
    for part in manifest["tracks"]:
        own: Mapping[str, object] = first.get(part["track"]) or {}
        exported = {name: own.get(name) for name in ("file", "duration_ms", "size_bytes", "sha256")}
        tracks.append({**part, **exported, "master_file": None, "master_sha256": None})
    texts = {key: json.dumps(value) for key, value in manifest.items()}
    texts |= {"tracks": _lines(tracks), "files": _lines(files)}
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in texts.items()) + "\n}\n"


def _lines(values: Sequence[object]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, values)) + "\n]"
