"""One track of pushed audio, cut into chunk files.

Pushes are contiguous from session time 0; a later place may be named, and what lies between is silence. Short
silence becomes a hole in the chunk files. A long one ends the chunk, and no file stands for the time in between.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from discord_recorder.audio.mp3 import PREROLL_SAMPLES
from discord_recorder.audio.pcm import SAMPLE_BYTES, SAMPLE_RATE, samples_to_ms
from discord_recorder.errors import InvalidAudioError
from discord_recorder.recording.tracks.chunk_file import ChunkPlace, ClosedChunk, OpenChunk
from discord_recorder.storage.files import make_folder

_LATEST_SAMPLE: Final = 7 * 24 * 3600 * SAMPLE_RATE
"""A place after a week of session time is a mistake of the caller's, not audio."""


class TrackWriter:
    """Accepts PCM for one track; `take_closed` gives the chunks that filled up. Knows no SQL and no event loop."""

    def __init__(self, folder: Path, monotonic: Callable[[], float]) -> None:
        self.position = 0
        """Session time, in samples, at which the next contiguous push goes on."""
        self.discarded_bytes = 0
        """Bytes of half samples that never got their other half."""
        self._folder = folder
        self._monotonic = monotonic
        self._open: OpenChunk | None = None
        self._closed: list[ClosedChunk] = []
        self._half_sample = b""
        self._preroll = b""  # what stands before the next chunk; what is missing of PREROLL_SAMPLES was silence

    @property
    def buffered_bytes(self) -> int:
        """Bytes accepted that are in no closed chunk."""
        return len(self._half_sample) + (self._open.accepted_bytes if self._open else 0)

    @property
    def open_from(self) -> int | None:
        """Session time at which the open chunk begins, None without one."""
        return self._open.place.start_sample if self._open else None

    def seek(self, sample: int, chunk_samples: int) -> None:
        """Go on at a later session time with silence up to there.

        Raises:
            InvalidAudioError: that time is before the end of the track, or far beyond any meeting.
            OSError: the disk does not take it.
        """
        gap = sample - self.position
        if gap < 0:
            raise InvalidAudioError(
                f"at_ms={samples_to_ms(sample)} lies before the end of the track at {samples_to_ms(self.position)} ms; "
                "audio that is stored is not overwritten. Leave at_ms out to go on where the track ends."
            )
        if sample > _LATEST_SAMPLE:
            raise InvalidAudioError(
                f"at_ms={samples_to_ms(sample)} is more than a week after the session's start; at_ms is session time."
            )
        if gap:
            self.drop_half_sample()
        if gap >= chunk_samples:
            self.cut()
            self.position = sample
            self._preroll = b""
        else:
            self._append_silence(gap, chunk_samples)

    def append(self, pcm: memoryview, chunk_samples: int) -> None:
        """Write PCM where the track ends; a trailing part of a sample waits for the next push.

        Raises `OSError` when the disk does not take it; what was written before stays accepted.
        """
        if self._half_sample:
            pcm = memoryview(self._half_sample + bytes(pcm))
            self._half_sample = b""
        if rest := len(pcm) % SAMPLE_BYTES:
            self._half_sample = bytes(pcm[-rest:])
            pcm = pcm[:-rest]
        while pcm:
            chunk = self._open_chunk()
            piece = pcm[: max(0, chunk_samples - chunk.sample_count) * SAMPLE_BYTES]
            chunk.append(piece)
            self.position += len(piece) // SAMPLE_BYTES
            pcm = pcm[len(piece) :]
            if chunk.sample_count >= chunk_samples:
                self.cut()

    def cut(self) -> None:
        """End the open chunk, however short it is."""
        if self._open is None:
            return
        if self._open.sample_count:
            self._preroll = self._open.tail(PREROLL_SAMPLES * SAMPLE_BYTES)
        closed, self._open = self._open.close(), None
        if closed.sample_count:
            self._closed.append(closed)
        else:  # the disk did not take its first write
            closed.discard()

    def cut_if_older(self, seconds: float) -> None:
        """End the open chunk if its first audio came longer ago than that."""
        if self._open and self._monotonic() - self._open.opened_at >= seconds:
            self.cut()

    def finish(self) -> None:
        """End the track, or its part before a pause: a half sample cannot be completed any more."""
        self.drop_half_sample()
        self.cut()

    def drop_half_sample(self) -> None:
        """Give up what waits for its other half."""
        self.discarded_bytes += len(self._half_sample)
        self._half_sample = b""

    def take_closed(self) -> list[ClosedChunk]:
        """The chunks that ended since the last call, oldest first; they are the caller's to seal."""
        closed, self._closed = self._closed, []
        return closed

    def unsynced_descriptor(self) -> int | None:
        """A descriptor of the open chunk for `sync_and_close`, None when there is nothing to sync."""
        return self._open.unsynced_descriptor() if self._open else None

    def _append_silence(self, samples: int, chunk_samples: int) -> None:
        while samples:
            chunk = self._open_chunk()
            piece = min(samples, max(0, chunk_samples - chunk.sample_count))
            chunk.append_silence(piece)
            self.position += piece
            samples -= piece
            if chunk.sample_count >= chunk_samples:
                self.cut()

    def _open_chunk(self) -> OpenChunk:
        if self._open is None:
            make_folder(self._folder)
            place = ChunkPlace(start_sample=self.position, preroll_samples=len(self._preroll) // SAMPLE_BYTES)
            self._open = OpenChunk(self._folder, place, self._preroll, opened_at=self._monotonic())
        return self._open
