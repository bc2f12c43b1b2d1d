"""The transcode queue: two small ports, and their embedded form over the `temp_recordings` rows.

The row is the job, so sealing a chunk and queueing its transcode is one transaction by nature. A queue that keeps
jobs of its own (procrastinate on PostgreSQL) puts them into the same transaction in `enqueue`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from discord_recorder.recording.context import Context
from discord_recorder.storage import chunks
from discord_recorder.storage.records import Chunk, NewChunk, TranscodeStatus
from discord_recorder.storage.stretches import Stretches


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcoded:
    """What the transcode of a chunk gave: the SHA-256 of its MP3, and where it has sound."""

    sha256: str
    stretches: Stretches


class TranscodeQueue(Protocol):
    """Takes sealed chunks."""

    def enqueue(self, tx: Connection, new: Sequence[NewChunk]) -> list[Chunk]:
        """Add rows and jobs in the caller's transaction; call `announce` after its commit."""

    def announce(self) -> None:
        """Wake the workers of this process: there may be work, or the state of some has changed."""


class JobSource(Protocol):
    """The workers' side of the queue."""

    async def wait(self, poll_seconds: float) -> None:
        """Return when there may be work, at the latest after the poll interval."""

    async def claim(self, limit: int) -> list[Chunk]:
        """Up to `limit` chunks that are now IN_PROGRESS here; an empty list when nothing is due."""

    async def renew(self, claimed: Sequence[Chunk]) -> None:
        """Lengthen the lease of chunks that are still being worked on."""

    async def done(self, finished: Sequence[tuple[Chunk, Transcoded]]) -> list[Chunk]:
        """Set chunks to DONE with what their transcode gave; gives those that were still ours."""

    async def failed(self, chunk: Chunk, reason: str, *, for_good: bool = False) -> None:
        """End an attempt: queued again after a pause, or FAILED with the reason after the last one."""

    async def give_back(self, claimed: Sequence[Chunk]) -> None:
        """Return chunks that were not worked on to the end, as if they had never been claimed."""


class SqlTranscodeQueue:
    """The embedded queue: compare-and-set on the rows, a lease for each claim."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._work = asyncio.Event()
        self._announced = False

    def enqueue(self, tx: Connection, new: Sequence[NewChunk]) -> list[Chunk]:
        """Insert the rows as QUEUED."""
        return chunks.add(tx, new, self._context.clock.now())

    def announce(self) -> None:
        """Wake `wait`."""
        self._announced = True
        self._work.set()

    async def wait(self, poll_seconds: float) -> None:
        """Return when there may be work: announced here, or after a poll interval for what others did."""
        try:
            async with asyncio.timeout(poll_seconds):
                await self._work.wait()
        except TimeoutError:
            pass
        self._work.clear()

    async def claim(self, limit: int) -> list[Chunk]:
        """Claim due rows; one that used up its attempts with dead workers is set to FAILED instead."""
        if not self._announced:  # then most likely nothing is due, and looking must not cost the writers their lock
            due = await self._context.database.read(chunks.next_due)
            if due is None or due > self._now():
                return []
        self._announced = False
        return await self._context.database.write(self._claim, limit)

    async def renew(self, claimed: Sequence[Chunk]) -> None:
        """Set new leases on the rows that are still ours."""
        lease_until = self._now() + self._context.settings.lease_seconds
        await self._context.database.write(chunks.renew, claimed, lease_until)

    async def done(self, finished: Sequence[tuple[Chunk, Transcoded]]) -> list[Chunk]:
        """Settle the rows in one transaction."""
        now = self._context.clock.now()

        def settle(tx: Connection) -> list[Chunk]:
            return [chunk for chunk, made in finished if chunks.done(tx, chunk, made.sha256, made.stretches, now)]

        return await self._context.database.write(settle)

    async def failed(self, chunk: Chunk, reason: str, *, for_good: bool = False) -> None:
        """Settle the row with the reason in it."""
        await self._context.database.write(self._fail, chunk, reason, for_good=for_good)
        self.announce()

    async def give_back(self, claimed: Sequence[Chunk]) -> None:
        """Queue the rows again with the attempt taken back."""

        def queue(tx: Connection) -> None:
            for chunk in claimed:
                status, attempts = TranscodeStatus.QUEUED, chunk.attempts - 1
                chunks.settle(tx, chunk, transcode_status=status, attempts=attempts, not_before=0)

        await self._context.database.write(queue)

    def _claim(self, tx: Connection, limit: int) -> list[Chunk]:
        settings, now = self._context.settings, self._now()
        lease_until = now + settings.lease_seconds
        claimed = chunks.claim(tx, owner=self._context.owner, now=now, lease_until=lease_until, limit=limit)
        worn_out = [chunk for chunk in claimed if chunk.attempts > settings.transcode_attempts]
        for chunk in worn_out:
            self._fail(tx, chunk, f"its worker died {settings.transcode_attempts} times", for_good=True)
        return [chunk for chunk in claimed if chunk not in worn_out]

    def _fail(self, tx: Connection, chunk: Chunk, reason: str, *, for_good: bool) -> None:
        settings = self._context.settings
        if for_good or chunk.attempts >= settings.transcode_attempts:
            values = {"transcode_status": TranscodeStatus.FAILED, "completed_at": self._context.clock.now()}
        else:
            pause = settings.transcode_backoff_seconds * 4 ** (chunk.attempts - 1)
            values = {"transcode_status": TranscodeStatus.QUEUED, "not_before": self._now() + pause}
        chunks.settle(tx, chunk, error=reason, **values)

    def _now(self) -> float:
        return self._context.clock.now().timestamp()
