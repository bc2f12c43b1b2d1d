"""Who owns a meeting or a job: a running process, proved alive by a file lock that the kernel frees when it dies."""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from discord_recorder.errors import StorageError


class ProcessRegistry:
    """The recorders that work on one data directory: each holds the lock on a file that is named after it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.own_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = FileLock(self._file(self.own_id), thread_local=False)

    def enter(self) -> None:
        """Become known as alive; raises `StorageError` when the folder cannot be written."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._door():
                self._lock.acquire(timeout=0)
        except OSError as error:
            raise StorageError(
                f"The data directory {self._folder.parent} cannot be written ({error.strerror}). "
                "Choose another one (DISCORD_RECORDER_DATA_DIR), or give this user the right to write there."
            ) from error

    def leave(self) -> None:
        """Stop being known; what is still owned is then free to be taken over."""
        if self._lock.is_locked:
            with self._door():
                self._file(self.own_id).unlink(missing_ok=True)
                self._lock.release()

    def alive(self) -> set[str]:
        """Ids of all live recorders, this one among them; the files of dead ones are removed on the way."""
        with self._door():
            return {self.own_id, *self._others()}

    def _others(self) -> Iterator[str]:
        for file in self._folder.glob("*.lock"):
            if file.stem == self.own_id:
                continue
            lock = FileLock(file, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                yield file.stem
            else:
                file.unlink(missing_ok=True)
                lock.release()

    def _door(self) -> FileLock:
        """Held while files come, go or are tried, so that nobody is taken for dead between making and locking."""
        return FileLock(self._folder / "registry", thread_local=False)

    def _file(self, process_id: str) -> Path:
        return self._folder / f"{process_id}.lock"
