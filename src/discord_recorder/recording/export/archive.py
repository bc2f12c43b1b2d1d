"""A zip of all tracks, written a file after the other with little memory; sound is stored as it is, not deflated."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

_BLOCK_BYTES: Final = 1024 * 1024
_READABLE: Final = 0o644 << 16


class Archive:
    """A zip file while it is written; what writing it raises is `OSError`.

    Args:
        zip_file: the open file.
        made_at: the time that its members get.
    """

    def __init__(self, zip_file: ZipFile, made_at: datetime) -> None:
        self._zip = zip_file
        self._time = made_at.astimezone().timetuple()[:6]

    async def add_file(self, name: str, source: Path) -> str:
        """Store a file; gives its SHA-256."""
        member = self._member(name)
        member.file_size = (await asyncio.to_thread(source.stat)).st_size  # beyond 4 GiB it becomes a Zip64 member
        digest = hashlib.sha256()
        with await asyncio.to_thread(source.open, "rb") as file, self._zip.open(member, "w") as target:
            while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
                digest.update(block)
                await asyncio.to_thread(target.write, block)
        return digest.hexdigest()

    def add_text(self, name: str, text: str) -> None:
        """Store a text."""
        self._zip.writestr(self._member(name), text, ZIP_DEFLATED)

    def _member(self, name: str) -> ZipInfo:
        member = ZipInfo(name, self._time)
        member.compress_type = ZIP_STORED
        member.external_attr = _READABLE
        return member


@contextmanager
def archive(path: Path, made_at: datetime) -> Iterator[Archive]:
    """A new zip file at `path`, whole when the block ends."""
    with ZipFile(path, "w", ZIP_STORED) as zip_file:
        yield Archive(zip_file, made_at)
