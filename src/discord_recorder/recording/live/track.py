"""A speaker's track in a live capture: what takes the frames, whatever becomes of them."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from discord_recorder.recording.tracks.chunk_file import ClosedChunk
from discord_recorder.recording.tracks.opus_track import OpusTrack
from discord_recorder.voice.counters import Outcome


class LiveTrack(Protocol):
    """Takes a speaker's frames; all methods but the asynchronous ones return at once."""

    @property
    def end(self) -> int:
        """Session time, in samples, at which the last frame ends."""

    @property
    def open_from(self) -> int | None:
        """Session time at which audio begins that is in no closed chunk, None without any."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes accepted that are in no closed chunk."""

    def write(self, opus: bytes, at_sample: int, samples: int, *, chunk_samples: int, now: float) -> Outcome | None:
        """Take a frame; why it is not recorded, None when it is. Raises `OpusError` or `OSError` as `OpusTrack`."""

    def miss(self, like: bytes, at_sample: int, samples: int, *, chunk_samples: int, now: float) -> None:
        """Frames like that one were sent for that time, as it seems now, and are not there. Raises `OSError`."""

    def begin_spurt(self) -> None:
        """The next frame begins a talk spurt."""

    def move_spurt(self, samples: int) -> int:
        """Move the spurt to be so much earlier, where that can still be done; gives how far it was moved."""

    def new_encoder(self) -> None:
        """What comes next is another encoder's."""

    def flush(self, now: float) -> None:
        """Write all frames so far."""

    def cut_if_older(self, seconds: float, now: float) -> None:
        """End the open chunk if its first frame came longer ago than that."""

    def cut(self) -> None:
        """End the open chunks."""

    def take_closed(self) -> Sequence[ClosedChunk]:
        """Chunks that ended since the last call, to be sealed."""

    def take_error(self) -> OSError | None:
        """What kept frames from being written since the last call."""

    def unsynced_descriptors(self) -> Iterator[int]:
        """Descriptors for `sync_and_close`."""

    def tidy(self, unsealed_from: int | None) -> None:
        """Delete what is not needed any more; all audio before `unsealed_from` (all there is, for None) has rows."""

    async def drain(self) -> None:
        """Return when all that was taken is written, in bounded time."""

    async def aclose(self) -> None:
        """End its tasks."""


class StoredTrack(OpusTrack):
    """A track whose Opus is recorded as it comes."""

    def tidy(self, unsealed_from: int | None) -> None:
        """Nothing is kept beside the chunks."""

    async def drain(self) -> None:
        """Nothing is under way."""

    async def aclose(self) -> None:
        """There are no tasks."""
