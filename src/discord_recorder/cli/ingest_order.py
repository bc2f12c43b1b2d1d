"""What to ingest: files, and whom each of them is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import typer

from discord_recorder.errors import NotAudioError
from discord_recorder.ids import MeetingId, Snowflake, parse_meeting_id, parse_snowflake


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerFile:
    """One speaker's audio, from the meeting's start on."""

    path: Path
    user_id: Snowflake
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOrder:
    """One meeting to be made from files."""

    files: tuple[SpeakerFile, ...]
    title: str | None = None
    meeting_id: MeetingId | None = None

    @classmethod
    def of(
        cls,
        paths: Sequence[Path],
        *,
        names: Sequence[str],
        user_ids: Sequence[str],
        title: str | None,
        meeting_id: str | None,
    ) -> Self:
        """From what was typed: fewer names than files are filled up with the files' own, no ids at all with 1, 2, 3...

        Raises `InvalidIdError`, and `typer.BadParameter` for what does not fit together.
        """
        if len(names) > len(paths):
            raise typer.BadParameter("more names than files", param_hint="--name")
        if user_ids and len(user_ids) != len(paths):
            raise typer.BadParameter("give it once for each file, or not at all", param_hint="--user-id")
        ids = [parse_snowflake(value, "user id") for value in user_ids or range(1, len(paths) + 1)]
        if len(set(ids)) < len(ids):
            raise typer.BadParameter("each file needs another speaker", param_hint="--user-id")
        all_names = [*names, *(path.stem for path in paths[len(names) :])]
        return cls(
            files=tuple(
                SpeakerFile(path=path, user_id=user_id, name=_storable(name))
                for path, user_id, name in zip(paths, ids, all_names, strict=True)
            ),
            title=_storable(title) if title else None,
            meeting_id=parse_meeting_id(meeting_id) if meeting_id is not None else None,
        )

    def check_files(self) -> None:
        """See that all files are there; raises `NotAudioError` that names each that is not."""
        faults = [fault for file in self.files if (fault := _fault_of(file.path))]
        if faults:
            raise NotAudioError(f"{'; '.join(faults)}. Nothing was recorded.")


def _fault_of(path: Path) -> str | None:
    if path.is_dir():
        return f"{str(path)!r} is a folder; name the files in it"
    return None if path.exists() else f"{str(path)!r} does not exist"


def _storable(text: str) -> str:
    """Without the bytes of a file name that are no text: the database takes Unicode only."""
    return text.encode("utf-8", "replace").decode()
