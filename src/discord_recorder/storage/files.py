"""Files: durable writes, and the store of finished recordings behind a small interface."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from discord_recorder.errors import StorageError


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk, so that a new or renamed file survives a power cut."""
    if os.name == "posix":  # elsewhere a folder cannot be opened, and renames are durable by themselves
        sync_file(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that is complete under its name or not there at all; the caller syncs the folder."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def publish(source: Path, target: Path) -> None:
    """Move a synced file to `target` in one step, over one that is there; durable when this returns."""
    make_folder(target.parent)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = target.with_name(target.name + ".part")
        shutil.copyfile(source, part)
        sync_file(part)
        part.replace(target)
        source.unlink()
    sync_folder(target.parent)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, and every symbolic link; links are never followed, so nothing is outside of it."""
    if folder.is_symlink():
        return
    for path, folders, files in os.walk(folder):
        yield from (Path(path, name) for name in files)
        yield from (link for name in folders if (link := Path(path, name)).is_symlink())


def remove_empty_folders(folder: Path) -> None:
    """Remove a folder and those below it as far as they are empty."""
    if folder.is_symlink():
        return
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            Path(path).rmdir()
        except OSError:  # something is still in it, or somebody else removed it
            continue


class RecordingStore(Protocol):
    """Where finished files are kept, by key (`MEETING/TRACK.mp3`). All methods block; call them from a thread."""

    def put(self, source: Path, key: str) -> None:
        """Take a finished, synced local file over, durably, in one step; an older one of that key is replaced."""

    def location(self, key: str) -> str:
        """Where a person or a program finds the file: a path or a URL."""

    def local_file(self, key: str) -> Path:
        """A local copy to read from."""

    def delete(self, key: str) -> None:
        """Remove a file; one that is not there is no error."""

    def keys(self) -> Iterator[str]:
        """Keys of all files that are kept."""


MANIFEST: Final = "manifest.json"
"""The file in a recording's folder that tells what is in the others."""

_OUR_SUFFIXES: Final = {".mp3", ".flac", ".wav", ".opus", ".part"}
"""What `put` is called with, and what an interrupted copy leaves; notes that somebody keeps beside it are his."""


class LocalRecordingStore:
    """Finished recordings in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, source: Path, key: str) -> None:
        """Move the file in (copied first when it comes from another file system); raises `StorageError`."""
        try:
            publish(source, self._path(key))
        except OSError as error:
            raise StorageError(f"{self._path(key)} could not be written: {error.strerror}") from error

    def location(self, key: str) -> str:
        """The file's path."""
        return str(self._path(key))

    def local_file(self, key: str) -> Path:
        """The file itself."""
        return self._path(key)

    def delete(self, key: str) -> None:
        """Remove the file, and its folder when it was the last; raises `StorageError`."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path} could not be deleted: {error.strerror}") from error
        remove_empty_folders(path.parent)

    def keys(self) -> Iterator[str]:
        """Every audio file and manifest two levels down; all else, and what is behind a link, is not ours."""
        for path in self._root.glob("*/*"):
            is_named_by_us = path.suffix in _OUR_SUFFIXES or path.name == MANIFEST
            if is_named_by_us and path.is_file() and not path.parent.is_symlink():
                yield path.relative_to(self._root).as_posix()

    def _path(self, key: str) -> Path:
        folder, slash, name = key.partition("/")
        if not slash or "/" in name or {folder, name} & {"", ".", ".."}:
            raise StorageError(f"{key!r} is not a storage key: it takes MEETING/FILE")
        return self._root / folder / name
