"""A speaker's track in a live capture whose handler class overrides `push_audio_data`.

Every frame is stored as Opus first, in a journal beside the track's chunks. Then a task of the track's own hands it,
decoded, to the override, whose result is recorded as any pushed audio. Whatever the override does, the frame is
recorded: if it raises, takes too long or falls too far behind, as it came. Journals are deleted when what is recorded
of their time has rows; after a crash the recovery records what of them is not.
"""

import asyncio
import logging
from bisect import insort
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Protocol

from discord_recorder.audio.pcm import SAMPLES_PER_MS
from discord_recorder.errors import SessionEndedError
from discord_recorder.recording.clock import Clock
from discord_recorder.recording.session.override import LivePermit, permitted
from discord_recorder.recording.tracks.chunk_file import JOURNAL, ClosedChunk
from discord_recorder.recording.tracks.opus_track import OpusTrack
from discord_recorder.storage.records import Track
from discord_recorder.voice.counters import Outcome

log = logging.getLogger(__name__)

CALL_SECONDS: Final = 2.0
"""How long the override may take for one frame; then the call is cancelled."""

CANCEL_SECONDS: Final = 0.5
"""How long it may take to be cancelled. One that does not even end then is not called any more."""

LAG_SECONDS: Final = 3.0
"""How far the override may be behind; then what waits is recorded as it came, until nothing does."""

REORDER_SECONDS: Final = 0.06
"""How long a frame waits for those before it that are missing."""

MAX_WAITING: Final = 4_000
"""Frames that may wait: 10 s of the shortest. The limits above keep it from filling up; any more are refused."""


class Decoder(Protocol):
    """Makes PCM of packets, see `audio.opus_decoder.OpusDecoder`."""

    def decode(self, opus: bytes, at_sample: int) -> bytes:
        """The packet as s16le, 48 kHz, stereo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideCalls:
    """How a session's override is called, and how audio is recorded without it."""

    push: Callable[[Track, bytes, float], Coroutine[Any, Any, None]]
    """Hands PCM, with its session time in milliseconds, to the override."""
    record: Callable[[Track, bytes, int], None]
    """Records what of PCM, with its session time in samples, is not recorded yet; raises `OSError`."""
    failed: Callable[[str], None]
    """Told why the override's result is not what is recorded; logs each cause once."""


@dataclass(frozen=True, slots=True)
class _Frame:
    at_sample: int
    end_sample: int
    opus: bytes
    came: float


_place = attrgetter("at_sample")


class OverrideTrack:
    """A `LiveTrack` whose frames go through an override."""

    def __init__(self, name: Track, folder: Path, *, calls: OverrideCalls, decoder: Decoder, clock: Clock) -> None:
        self._name = name
        self._calls = calls
        self._decoder = decoder
        self._clock = clock
        self._journal = OpusTrack(folder, suffix=JOURNAL)
        self._journals: list[ClosedChunk] = []
        self._waiting: list[_Frame] = []
        self._taken_until = 0
        self._dealt_until = 0
        self._in_hand: _Frame | None = None
        self._error: OSError | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurry_at: float | None = None
        self._is_lagging = False
        self._is_given_up = False
        self._stuck: set[asyncio.Task[None]] = set()
        self._task = asyncio.create_task(self._run(), name=f"override of track {name}")

    # --- as `LiveTrack`

    @property
    def end(self) -> int:
        """Session time, in samples, at which the last frame ends."""
        return self._journal.end

    @property
    def open_from(self) -> int | None:
        """Session time of the first frame that the override has not dealt with."""
        frame = self._in_hand or (self._waiting[0] if self._waiting else None)
        return None if frame is None else frame.at_sample

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait for the override."""
        return sum(len(frame.opus) for frame in self._waiting)

    def write(self, opus: bytes, at_sample: int, samples: int, *, chunk_samples: int, now: float) -> Outcome | None:
        """Store a frame in the journal, and let it wait for the override."""
        if at_sample < self._taken_until:
            return Outcome.LATE
        if len(self._waiting) >= MAX_WAITING:
            self._calls.failed("the override is too far behind; frames are dropped")
            return Outcome.NOT_RECORDED
        outcome = self._journal.write(opus, at_sample, samples, chunk_samples=chunk_samples, now=now)
        if outcome is None:
            insort(self._waiting, _Frame(at_sample, at_sample + samples, opus, now), key=_place)
            self._idle.clear()
            self._wake.set()
        return outcome

    def miss(self, like: bytes, at_sample: int, samples: int, *, chunk_samples: int, now: float) -> None:
        """Nothing is handed to the override for what is not there."""

    def begin_spurt(self) -> None:
        """Frames go to the override where they were placed first."""

    def move_spurt(self, samples: int) -> int:
        """What the override may have had is not moved."""
        return 0

    def new_encoder(self) -> None:
        """See `OpusTrack`; the decoder finds its way by the silence in between."""
        self._journal.new_encoder()

    def flush(self, now: float) -> None:
        """Write all frames so far into the journal."""
        self._journal.flush(now)

    def cut_if_older(self, seconds: float, now: float) -> None:
        """End the open journal if it is older than that."""
        self._journal.cut_if_older(seconds, now)

    def cut(self) -> None:
        """End the open journals."""
        self._journal.cut()

    def take_closed(self) -> Sequence[ClosedChunk]:
        """Nothing: chunks come from what the override hands on."""
        self._journals += self._journal.take_closed()
        return ()

    def take_error(self) -> OSError | None:
        """What kept frames from being written since the last call."""
        error, self._error = self._error or self._journal.take_error(), None
        return error

    def unsynced_descriptors(self) -> Iterator[int]:
        """Descriptors for `sync_and_close`."""
        return self._journal.unsynced_descriptors()

    def tidy(self, unsealed_from: int | None) -> None:
        """Delete journals that were dealt with and of whose time everything recorded has its row."""
        settled = self._dealt_until if unsealed_from is None else min(self._dealt_until, unsealed_from)
        kept = []
        for journal in self._journals:
            if journal.place.start_sample + journal.sample_count <= settled:
                journal.discard()
            else:
                kept.append(journal)
        self._journals = kept

    async def drain(self) -> None:
        """Return when no frame waits any more; those that would take too long are recorded as they came."""
        self._hurry_at = self._clock.monotonic() + CALL_SECONDS
        self._wake.set()
        await self._idle.wait()
        self._hurry_at = None

    async def aclose(self) -> None:
        """End the task, and calls that did not end; journals that are still needed stay on the disk."""
        self._task.cancel()
        await asyncio.wait({self._task})
        for call in self._stuck:
            call.cancel()
        if self._stuck:
            await asyncio.wait(self._stuck, timeout=CANCEL_SECONDS)
        self._idle.set()
        self._journal.cut()
        self.take_closed()
        for journal in self._journals:
            await asyncio.to_thread(journal.settle)
        self._journals.clear()

    # --- the task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if not self._waiting:
                self._is_lagging = False
                self._idle.set()
                await self._wake.wait()
            elif (patience := self._patience(self._waiting[0])) > 0:
                await self._wait(patience)
            else:
                await self._deal_with(self._waiting.pop(0))

    def _patience(self, frame: _Frame) -> float:
        """How long to wait for frames that this one may have overtaken."""
        if frame.at_sample <= self._taken_until or self._hurry_at is not None:
            return 0.0
        return frame.came + REORDER_SECONDS - self._clock.monotonic()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _deal_with(self, frame: _Frame) -> None:
        self._in_hand, self._taken_until = frame, frame.end_sample
        try:
            pcm = self._decoder.decode(frame.opus, frame.at_sample)
            if self._must_hurry(frame) or not await self._call(pcm, frame.at_sample):
                self._calls.record(self._name, pcm, frame.at_sample)
        except OSError as error:
            self._error = error
        except Exception:
            log.exception("A frame was not recorded", extra={"at_sample": frame.at_sample})
        self._in_hand, self._dealt_until = None, frame.end_sample

    def _must_hurry(self, frame: _Frame) -> bool:
        now = self._clock.monotonic()
        if now - frame.came > LAG_SECONDS and not self._is_lagging:
            self._is_lagging = True
            self._calls.failed(f"the override is more than {LAG_SECONDS:g} s behind")
        return self._is_given_up or self._is_lagging or (self._hurry_at is not None and now >= self._hurry_at)

    async def _call(self, pcm: bytes, at_sample: int) -> bool:
        """Hand a frame to the override; True when it has dealt with it."""
        permit = LivePermit()
        call = asyncio.create_task(permitted(permit, self._calls.push(self._name, pcm, at_sample / SAMPLES_PER_MS)))
        try:
            await asyncio.wait({call}, timeout=CALL_SECONDS)
            if not call.done():
                self._calls.failed(f"the override took more than {CALL_SECONDS:g} s for a frame")
                call.cancel()
                await asyncio.wait({call}, timeout=CANCEL_SECONDS)
        finally:
            permit.is_revoked = True
            if not call.done():
                call.cancel()
                self._is_given_up = True
                self._stuck.add(call)
                call.add_done_callback(self._unstuck)
        if not call.done() or call.cancelled():
            return False
        error = call.exception()
        if error is not None and not isinstance(error, SessionEndedError):
            self._calls.failed(f"the override raised {type(error).__name__}")
        return error is None

    def _unstuck(self, call: asyncio.Task[None]) -> None:
        self._stuck.discard(call)
        if not call.cancelled():
            call.exception()
