"""The smallest thing that can be a `RecordingStore`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from discord_recorder.errors import StorageError


class MemoryRecordingStore:
    """Finished recordings in memory; stands for a store that is elsewhere, so that local copies have to be made."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._copies = tempfile.TemporaryDirectory()

    def put(self, source: Path, key: str) -> None:
        self._check(key)
        try:
            self._files[key] = source.read_bytes()
            source.unlink()
        except OSError as error:
            raise StorageError(f"{key} could not be written: {error.strerror}") from error

    def location(self, key: str) -> str:
        self._check(key)
        return f"memory:{key}"

    def local_file(self, key: str) -> Path:
        self._check(key)
        copy = Path(self._copies.name, key)
        if key in self._files:
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(self._files[key])
        return copy

    def delete(self, key: str) -> None:
        self._check(key)
        self._files.pop(key, None)

    def keys(self) -> Iterator[str]:
        yield from list(self._files)

    def close(self) -> None:
        """Remove the local copies."""
        self._copies.cleanup()

    def _check(self, key: str) -> None:
        parts = key.split("/")
        if len(parts) != 2 or {"", ".", ".."} & set(parts):
            raise StorageError(f"{key!r} is not a storage key: it takes MEETING/FILE")
