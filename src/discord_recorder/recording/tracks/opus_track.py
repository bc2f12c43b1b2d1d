"""One speaker's Opus in a live call, cut into chunk files; knows no SQL, no event loop and no Discord."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Final

from discord_recorder.audio.opus import UNIT_SAMPLES, missing_packet, packet_samples
from discord_recorder.audio.opus_preroll import OPUS_PREROLL_SAMPLES, OpusPreroll
from discord_recorder.audio.pcm import ms_to_samples
from discord_recorder.recording.tracks.chunk_file import OPUS, ChunkPlace, ClosedChunk
from discord_recorder.recording.tracks.opus_file import OpusFile
from discord_recorder.storage.files import make_folder
from discord_recorder.voice.counters import Outcome

HOLD_BACK_SECONDS: Final = 0.25
"""How long a chunk that is full is kept open for frames that were overtaken."""

HEADROOM_SAMPLES: Final = ms_to_samples(100)
"""Where there was a gap, a chunk begins so much before its first frame, for frames that it overtook."""

SETTLING_SAMPLES: Final = ms_to_samples(600)
"""A talk spurt begins a new chunk if less than that would fit into the open one, so that its beginning can be moved."""

MOVABLE_SECONDS: Final = 2.5
"""So long after it began to arrive a talk spurt can be moved; until then its packets are kept in memory."""

MAX_MOVED_PACKETS: Final = 1_000
"""A talk spurt of more packets is not moved any more: 20 s in one burst."""


class _Chunk:
    """An open chunk file, the length that its frames make, and when it has to be closed."""

    __slots__ = ("close_at", "end", "file", "opened_at", "start")

    def __init__(self, file: OpusFile, *, opened_at: float) -> None:
        self.file = file
        self.start = self.end = file.place.start_sample
        self.opened_at = opened_at
        self.close_at: float | None = None


class OpusTrack:
    """Accepts frames with their places; `take_closed` gives the chunks that ended.

    Frames never overlap: one whose time is taken, wholly or in part, is refused. A chunk holds only whole packets, so
    it may end up to a packet before its full length; its successor begins right there. A long gap ends a chunk, and no
    file stands for the time in between. Where frames are known to be missing, packets that say so stand for them; a
    frame that comes late for such a place is put beside them, and readers prefer it.

    Args:
        folder: of the track; made with the first chunk.
        suffix: of the chunk files.
        start_sample: no frame is taken for a time before that.
    """

    def __init__(self, folder: Path, *, suffix: str = OPUS, start_sample: int = 0) -> None:
        self.end = start_sample - start_sample % -UNIT_SAMPLES
        """Session time, in samples, at which the last frame ends."""
        self._folder = folder
        self._suffix = suffix
        self._has_folder = False
        self._preroll = OpusPreroll()
        self._open: _Chunk | None = None
        self._full: _Chunk | None = None
        self._closed: list[ClosedChunk] = []
        self._error: OSError | None = None
        self._starts: list[int] = []  # of the stretches without a gap, as far as late frames may come to them
        self._ends: list[int] = []
        self._spurt: list[tuple[bytes, int]] | None = None  # all since it began that is in the open chunk
        self._spurt_from = 0  # what is before belongs to others
        self._movable_until = 0.0

    @property
    def buffered_bytes(self) -> int:
        """Bytes accepted that are in no closed chunk."""
        return sum(chunk.file.accepted_bytes for chunk in self._chunks())

    @property
    def open_from(self) -> int | None:
        """Session time at which the oldest open chunk begins, None without one."""
        return next((chunk.start for chunk in self._chunks()), None)

    def write(self, opus: bytes, at_sample: int, samples: int, *, chunk_samples: int, now: float) -> Outcome | None:
        """Take a frame; None when it is in, else why not: its time is taken, or the chunk it belongs to is closed.

        Raises:
            OpusError: it is too long for a page.
            OSError: a new chunk file could not be made.
        """
        end = at_sample + samples
        if at_sample < self.end:
            return self._write_late(opus, at_sample, end, chunk_samples)
        self._append(opus, at_sample, samples, chunk_samples, now)
        if self._ends and self._ends[-1] == at_sample:
            self._ends[-1] = end
        else:
            self._starts.append(at_sample)
            self._ends.append(end)
        return None

    def miss(self, like: bytes, at_sample: int, samples: int, *, chunk_samples: int, now: float) -> None:
        """Frames like that one were sent for that time and are not there, as far as it is after all that is.

        Raises `OSError` as `write`.
        """
        at, end = max(at_sample, self.end), at_sample + samples
        frame_samples = packet_samples(like)
        while at < end:
            length = min(frame_samples, end - at)
            self._append(missing_packet(like, length), at, length, chunk_samples, now)
            at += length

    def begin_spurt(self) -> None:
        """What comes next may be moved as a whole for a while, as long as all of it is in the open chunk."""
        self._spurt, self._spurt_from = [], self.end
        if self._open is not None:
            self._open.file.mark()

    def move_spurt(self, samples: int) -> int:
        """Move the spurt to be so much earlier, as far as there is room; gives how far it was moved."""
        spurt, chunk = self._spurt, self._open
        if not spurt or chunk is None:
            return 0
        begun = self._spurt_from
        first = min(at for _, at in spurt if at >= begun)
        room = first - max(chunk.start, begun)
        samples = min(samples, room - room % UNIT_SAMPLES)
        if samples <= 0:
            return 0
        moved = sorted(((opus, at - samples if at >= begun else at) for opus, at in spurt), key=itemgetter(1))
        if not chunk.file.rewrite(moved):
            return 0
        self._spurt = moved
        known = bisect_left(self._starts, first)
        self._starts[known:] = [start - samples for start in self._starts[known:]]
        self._ends[known:] = [end - samples for end in self._ends[known:]]
        self._preroll.move(first, samples)
        self.end -= samples
        chunk.end -= samples
        return samples

    def new_encoder(self) -> None:
        """What comes next is another encoder's: pre-roll of this one is of no use to it."""
        self._preroll.clear()

    def flush(self, now: float) -> None:
        """Write all frames so far, and close a full chunk that was held back long enough."""
        for chunk in self._chunks():
            chunk.file.flush()
            self._error = self._error or chunk.file.error
        if self._full is not None and self._full.close_at is not None and now >= self._full.close_at:
            self._close_full()

    def cut_if_older(self, seconds: float, now: float) -> None:
        """End the open chunk if its first frame came longer ago than that."""
        if self._open is not None and now - self._open.opened_at >= seconds + HOLD_BACK_SECONDS:
            self.cut()

    def cut(self) -> None:
        """End the open chunks at once, however short."""
        self._close_full()
        if self._open is not None:
            chunk, self._open = self._open, None
            self._close(chunk)
            self._starts.clear()
            self._ends.clear()
            self._spurt = None

    def take_closed(self) -> list[ClosedChunk]:
        """The chunks that ended since the last call, oldest first; they are the caller's to seal."""
        closed, self._closed = self._closed, []
        return closed

    def take_error(self) -> OSError | None:
        """What kept frames from being written since the last call; they are tried again while their chunk is open."""
        error, self._error = self._error, None
        return error

    def unsynced_descriptors(self) -> Iterator[int]:
        """Descriptors for `sync_and_close`."""
        for chunk in self._chunks():
            if (descriptor := chunk.file.unsynced_descriptor()) is not None:
                yield descriptor

    # --- inside

    def _chunks(self) -> Iterator[_Chunk]:
        if self._full is not None:
            yield self._full
        if self._open is not None:
            yield self._open

    def _append(self, opus: bytes, at_sample: int, samples: int, chunk_samples: int, now: float) -> None:
        """Write a packet that comes after all that is there."""
        end = at_sample + samples
        chunk = self._open
        begins = self._spurt is not None and not self._spurt
        room = chunk_samples - min(SETTLING_SAMPLES, chunk_samples // 10) if begins else chunk_samples
        if chunk is None or end - chunk.start > room:
            chunk = self._next_chunk(at_sample, samples, chunk_samples, now)
        chunk.file.write(opus, at_sample)
        self._preroll.add(opus, at_sample, samples)
        if self._spurt is not None:
            if not self._spurt:
                self._movable_until = now + MOVABLE_SECONDS
            self._spurt.append((opus, at_sample))
            if now > self._movable_until or len(self._spurt) > MAX_MOVED_PACKETS:
                self._spurt = None
        self.end = chunk.end = end

    def _next_chunk(self, at_sample: int, samples: int, chunk_samples: int, now: float) -> _Chunk:
        start = self._border(at_sample, samples, chunk_samples)
        packets = self._preroll.packets()
        before = min(start - packets[0][1], OPUS_PREROLL_SAMPLES) if packets else 0
        place = ChunkPlace(start_sample=start, preroll_samples=before, suffix=self._suffix)
        if not self._has_folder:
            make_folder(self._folder)
            self._has_folder = True
        chunk = _Chunk(OpusFile(self._folder, place, packets), opened_at=now)
        self._close_full()
        self._full, self._open = self._open, chunk
        if self._full is not None:
            self._full.close_at = now + HOLD_BACK_SECONDS
        if self._spurt is not None:
            self._spurt = None if self._spurt else []
            chunk.file.mark()
        return chunk

    def _border(self, at_sample: int, samples: int, chunk_samples: int) -> int:
        """Where the chunk begins whose first frame this is: early enough for those that it overtook."""
        headroom = max(0, min(HEADROOM_SAMPLES, (chunk_samples - samples) // 2))
        start = max(self.end, at_sample - headroom + headroom % UNIT_SAMPLES)
        if self._open is not None and (room := self._open.start + chunk_samples - at_sample) < samples:
            start = max(start, at_sample + room // samples * samples)  # those before still fit into the open chunk
        return start

    def _close_full(self) -> None:
        if self._full is None:
            return
        full, self._full = self._full, None
        self._close(full)
        until = self._open.start if self._open is not None else self.end
        kept = bisect_right(self._starts, until - 1)  # one stretch may reach over the border
        first = kept - 1 if kept and self._ends[kept - 1] > until else kept
        del self._starts[:first], self._ends[:first]

    def _close(self, chunk: _Chunk) -> None:
        self._closed.append(chunk.file.close(chunk.end - chunk.start))
        self._error = self._error or chunk.file.error

    def _write_late(self, opus: bytes, at_sample: int, end: int, chunk_samples: int) -> Outcome | None:
        """Put a frame that was overtaken into a gap, if its chunk is open."""
        border = self._open.start if self._open is not None else 0
        chunk = self._open if at_sample >= border else self._full
        if chunk is None or at_sample < chunk.start or (chunk is self._full and end > chunk.start + chunk_samples):
            return Outcome.LATE
        number = bisect_right(self._starts, at_sample)
        before = self._ends[number - 1] if number else 0
        after = self._starts[number] if number < len(self._starts) else self.end
        if at_sample < before or end > after or at_sample < border < end:
            return Outcome.OVERLAPPING
        chunk.file.write(opus, at_sample)
        chunk.end = max(chunk.end, end)
        self._preroll.replace(opus, at_sample)
        if chunk is self._open and self._spurt is not None:
            self._spurt.append((opus, at_sample))
        if chunk is self._full and self._open is not None and border - at_sample <= OPUS_PREROLL_SAMPLES:
            self._open.file.write(opus, at_sample)  # as pre-roll
        self._starts.insert(number, at_sample)
        self._ends.insert(number, end)
        return None
