"""The in-process workers: claim, transcode, settle, tell."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from discord_recorder.errors import DatabaseError, DiscordRecorderError
from discord_recorder.recording.context import Context
from discord_recorder.recording.transcoding.queue import JobSource
from discord_recorder.recording.transcoding.transcode import SourceMissingError, Transcoder
from discord_recorder.storage import chunks
from discord_recorder.storage.records import Chunk

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH: Final = 4
"""Chunks in one FFmpeg run: spares most of the process starts, and none waits for more than three others."""

POLL_SECONDS: Final = 1.0
"""How often to look for work that nobody in this process announced: retries that became due, leases that ended."""


class WorkerPool:
    """Works on so many batches at a time; `on_settled` is told of each chunk that became DONE here."""

    def __init__(
        self, context: Context, queue: JobSource, on_settled: Callable[[Sequence[Chunk]], Awaitable[None]]
    ) -> None:
        self._context = context
        self._queue = queue
        self._transcoder = Transcoder(context)
        self._on_settled = on_settled
        self._free = asyncio.Semaphore(context.settings.transcode_workers)
        self._tasks: list[asyncio.Task[None]] = []
        self._working: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Future[list[Chunk]] | None = None
        self._more = True
        self._busy: dict[int, Chunk] = {}

    def start(self) -> None:
        """Start working."""
        self._tasks = [
            asyncio.create_task(self._dispatch(), name="transcode dispatcher"),
            asyncio.create_task(self._keep_leases(), name="transcode leases"),
        ]

    def is_busy_with(self, meeting_id: str) -> bool:
        """True while a worker has a chunk of that meeting in hand, until its source is deleted as well."""
        return any(chunk.meeting_id == meeting_id for chunk in self._busy.values())

    async def aclose(self) -> None:
        """Stop at once; what was in hand is QUEUED again."""
        tasks = [*self._tasks, *self._working]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
            await self._give_back([] if self._claiming.exception() else self._claiming.result())
        await self._give_back(list(self._busy.values()))

    async def _dispatch(self) -> None:
        """Hand what is due to whoever is free. One looks for all of them, so that a chunk costs one look."""
        while True:
            await self._free.acquire()
            working = asyncio.create_task(self._work(await self._claim()), name="transcode worker")
            self._working.add(working)
            working.add_done_callback(self._ended)

    def _ended(self, working: asyncio.Task[None]) -> None:
        self._working.discard(working)
        self._free.release()

    async def _claim(self) -> list[Chunk]:
        """The next batch, as soon as there is one."""
        while True:
            try:
                if not self._more:
                    await self._queue.wait(POLL_SECONDS)
                self._claiming = asyncio.ensure_future(self._queue.claim(BATCH))
                await asyncio.wait([self._claiming])  # not awaited itself: cancelling it would not undo it
                claimed = self._claiming.result()
                self._more = len(claimed) == BATCH
                if claimed:
                    self._busy |= {chunk.id: chunk for chunk in claimed}
                    return claimed
            except Exception:
                log.exception("Looking for transcodes was interrupted; it goes on")
                await self._context.clock.sleep(POLL_SECONDS)

    async def _keep_leases(self) -> None:
        """While this process lives, nobody takes over what its workers have in hand."""
        while True:
            await self._context.clock.sleep(self._context.settings.lease_seconds / 3)
            try:
                if self._busy:
                    await self._queue.renew(list(self._busy.values()))
            except DatabaseError:
                log.warning("Leases could not be renewed; it is tried again", exc_info=True)

    async def _work(self, claimed: list[Chunk]) -> None:
        try:
            for batch in _batches(claimed):
                done = await self._transcode(batch)
                self._put_down(batch)
                await self._on_settled(done)
        except Exception:
            log.exception("A transcode was interrupted; it is tried again")
            await self._give_back([chunk for chunk in claimed if chunk.id in self._busy])
            self._put_down(claimed)

    async def _transcode(self, batch: Sequence[Chunk]) -> list[Chunk]:
        try:
            made = await self._transcoder.transcode(batch)
        except (DiscordRecorderError, SourceMissingError, OSError) as error:
            if len(batch) > 1:  # find out which one it was
                return [done for chunk in batch for done in await self._transcode([chunk])]
            await self._fail(batch[0], error)
            return []
        done = await self._patiently(lambda: self._queue.done(list(zip(batch, made, strict=True))))
        if gone := await asyncio.to_thread(self._transcoder.delete_sources, done):
            await self._patiently(lambda: self._mark_cleaned(gone))
        return done

    async def _mark_cleaned(self, gone: Sequence[Chunk]) -> None:
        await self._context.database.write(chunks.mark_cleaned, [chunk.id for chunk in gone])

    async def _fail(self, chunk: Chunk, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        log.warning(
            "A transcode failed",
            extra={"chunk": chunk.id, "meeting": chunk.meeting_id, "attempt": chunk.attempts, "reason": reason},
        )
        await self._patiently(lambda: self._queue.failed(chunk, reason, for_good=isinstance(error, SourceMissingError)))

    async def _patiently(self, settle: Callable[[], Awaitable[T]]) -> T:
        """Settle a job however long the database is locked, so that it need not wait for its lease to end."""
        while True:
            try:
                return await settle()
            except DatabaseError:
                log.warning("A finished transcode waits for the database", exc_info=True)
                await self._context.clock.sleep(POLL_SECONDS)

    async def _give_back(self, unfinished: Sequence[Chunk]) -> None:
        """Queue again what an interruption left in hand; where that fails too, the lease ends by itself."""
        if not unfinished:
            return
        try:
            await self._queue.give_back(unfinished)
        except DatabaseError:
            log.warning("Chunks in hand could not be given back; they are tried again when their lease ends")

    def _put_down(self, batch: Sequence[Chunk]) -> None:
        for chunk in batch:
            self._busy.pop(chunk.id, None)


def _batches(claimed: list[Chunk]) -> list[list[Chunk]]:
    """First tries together, repeated ones alone, so that one bad chunk never costs its neighbours a try."""
    first = [chunk for chunk in claimed if chunk.attempts == 1]
    return ([first] if first else []) + [[chunk] for chunk in claimed if chunk.attempts > 1]
