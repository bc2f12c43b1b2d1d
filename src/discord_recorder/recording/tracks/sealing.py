"""Sealing: a closed chunk's bytes reach the disk, then its row and its job are committed together."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection

from discord_recorder.errors import DatabaseError
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.tracks.chunk_file import ClosedChunk
from discord_recorder.recording.transcoding.queue import TranscodeQueue
from discord_recorder.storage import meetings
from discord_recorder.storage.files import sync_folder
from discord_recorder.storage.records import Chunk, NewChunk, Track

log = logging.getLogger(__name__)

MAX_UNSEALED: Final = 64
"""Closed chunks that may wait for the disk or the database before a push has to wait for them."""

RETRY_SECONDS: Final = 1.0

PATIENCE_SECONDS: Final = 0.5
"""How long a push that filled a chunk waits for it to be sealed."""


class Sealer:
    """Seals the chunks of one meeting in the order they were closed, as many as there are in one transaction."""

    def __init__(
        self,
        context: Context,
        queue: TranscodeQueue,
        *,
        meeting_id: MeetingId,
        guild_id: str | None,
        on_sealed: Callable[[Sequence[Chunk]], None],
        on_disk_error: Callable[[OSError], None],
    ) -> None:
        self._context = context
        self._queue = queue
        self._meeting_id = meeting_id
        self._guild_id = guild_id
        self._on_sealed = on_sealed
        self._on_disk_error = on_disk_error
        self.unsealed_bytes = 0
        """Bytes of audio in closed chunks that have no row yet."""
        self._closed: list[tuple[Track, ClosedChunk]] = []
        self._settled: list[NewChunk] = []
        self._settled_bytes = 0
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sealing: set[asyncio.Task[None]] = set()

    def first_unsealed(self) -> dict[Track, int]:
        """Session time, in samples, of the first chunk of each track that has no row yet."""
        starts: dict[Track, int] = {}
        for new in self._settled:
            starts.setdefault(new.track, new.start_sample)
        for track, chunk in self._closed:
            starts.setdefault(track, chunk.place.start_sample)
        return starts

    def start(self) -> None:
        """Seal in the background what is submitted."""
        self._task = asyncio.create_task(self._run(), name=f"sealer of {self._meeting_id}")

    def submit(self, track: Track, closed: Sequence[ClosedChunk]) -> bool:
        """Take closed chunks over; True when there are any."""
        if closed:
            self._closed += [(track, chunk) for chunk in closed]
            self.unsealed_bytes += sum(chunk.accepted_bytes for chunk in closed)
            self._wanted.set()
        return bool(closed)

    async def sealed(self) -> None:
        """Return when all that was submitted is sealed, or soon when the disk or the database is slow.

        Only when very much waits does this wait as long as it takes, so that a fast pusher cannot run away.
        """
        patience = None if len(self._closed) + len(self._settled) >= MAX_UNSEALED else PATIENCE_SECONDS
        try:
            async with asyncio.timeout(patience):
                await self.seal()
        except (TimeoutError, DatabaseError):
            self._wanted.set()  # the background goes on

    async def seal(self) -> None:
        """Seal all that was submitted so far; raises `DatabaseError` when that has to wait (nothing is lost).

        A caller that is cancelled stops waiting, the sealing goes on.
        """
        sealing = asyncio.create_task(self._seal())
        self._sealing.add(sealing)
        sealing.add_done_callback(self._sealing_ended)
        await asyncio.shield(sealing)

    async def aclose(self) -> None:
        """Stop sealing in the background; what is being sealed at the moment is ended first."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, *self._sealing, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.seal()
            except Exception:
                log.warning(
                    "Chunks could not be sealed; they wait on the disk and are tried again",
                    extra={"meeting": self._meeting_id, "chunks": len(self._settled)},
                    exc_info=True,
                )
                await self._context.clock.sleep(RETRY_SECONDS)
                self._wanted.set()

    async def _seal(self) -> None:
        async with self._lock:
            while self._closed:
                batch, self._closed = self._closed, []
                self._settled += [self._new_chunk(track, chunk) for track, chunk in batch]
                self._settled_bytes += sum(chunk.accepted_bytes for _, chunk in batch)
                for error in await asyncio.to_thread(_settle, [chunk for _, chunk in batch]):
                    self._on_disk_error(error)
            if not self._settled:
                return
            rows = await self._context.database.write(self._enqueue, tuple(self._settled))
            self._settled.clear()
            self.unsealed_bytes -= self._settled_bytes
            self._settled_bytes = 0
            self._on_sealed(rows)
            self._queue.announce()

    def _enqueue(self, tx: Connection, new: Sequence[NewChunk]) -> list[Chunk]:
        meetings.name_speakers(tx, self._meeting_id, dict.fromkeys(chunk.track for chunk in new))
        return self._queue.enqueue(tx, new)

    def _sealing_ended(self, task: asyncio.Task[None]) -> None:
        self._sealing.discard(task)
        if not task.cancelled():
            task.exception()  # the waiter, or the next round, deals with it

    def _new_chunk(self, track: Track, chunk: ClosedChunk) -> NewChunk:
        return NewChunk(
            meeting_id=self._meeting_id,
            track=track,
            guild_id=self._guild_id,
            start_sample=chunk.place.start_sample,
            sample_count=chunk.sample_count,
            preroll_samples=chunk.place.preroll_samples,
            source_key=self._context.temp_key(chunk.path),
            mp3_key=self._context.temp_key(chunk.path.with_suffix(".mp3")),
        )


def _settle(batch: Sequence[ClosedChunk]) -> list[OSError]:
    """Sync the files; what failed is told, but the bytes are accepted and may well be readable: the rows follow."""
    errors = []
    for chunk in batch:
        try:
            chunk.settle()
        except OSError as error:
            errors.append(error)
    for folder in {chunk.path.parent for chunk in batch}:
        try:
            sync_folder(folder)
        except OSError as error:
            errors.append(error)
    return errors
