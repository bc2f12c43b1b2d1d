"""A zip of all tracks, written a file after the other with little memory; sound is stored as it is, not deflated."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final
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

    async def add_file(self, name: str, source: Path) -> None:
        """Store a file."""
        with _opened(source) as file, self._zip.open(self._sized_member(name, source), "w") as target:
            while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
                await asyncio.to_thread(target.write, block)

    def add_text(self, name: str, text: str) -> None:
        """Store a text."""
        self._zip.writestr(self._member(name), text, ZIP_DEFLATED)

    def _sized_member(self, name: str, source: Path) -> ZipInfo:
        member = self._member(name)
        member.file_size = source.stat().st_size  # of 2 GiB and more zipfile has to know before
        return member

    def _member(self, name: str) -> ZipInfo:
        member = ZipInfo(name, self._time)
        member.compress_type = ZIP_STORED
        member.external_attr = _READABLE
        return member


def _opened(source: Path) -> BinaryIO:
    return source.open("rb")


@contextmanager
def archive(path: Path, made_at: datetime) -> Iterator[Archive]:
    """A new zip file at `path`, whole when the block ends."""
    with ZipFile(path, "w", ZIP_STORED) as zip_file:
        yield Archive(zip_file, made_at)
