"""The one rule by which a track is put together, and a track that grows on disk by it.

The rule, for each segment in the order of its first frame: what already stands at or behind that frame is cut off, what
is missing before it becomes silence, then the whole segment follows. So a chunk overrides what its predecessor only
guessed (its tail, made as if silence followed), a gap or a failed chunk is silence, and the last tail is kept.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from discord_recorder.audio.framefile import FinishedTrack, FrameFile, storage_errors
from discord_recorder.audio.mp3 import split_frames


@dataclass(frozen=True, slots=True, order=True)
class _Segment:
    """Where a segment stands; of two that begin with one frame, the one whose audio begins or ends later overrides."""

    first_frame: int
    start_sample: int
    last_frame: int
    path: Path = field(compare=False)


class SplicedTrack:
    """A track's MP3 while it grows: segments are appended as they come and finishing has little left to do.

    Blocking; one lock makes it safe to call from several threads. A segment's file has to stay until `finish` is done.
    """

    def __init__(self, path: Path) -> None:
        """Begin an empty track at `path`, in place of what was there."""
        self._file = FrameFile.create(path)
        self._segments: list[_Segment] = []  # in the rule's order
        self._placed = 0  # how many of them, from the first on, stand in the file
        self._lock = Lock()

    def add(self, first_frame: int, path: Path, *, start_sample: int = 0) -> None:
        """Take in the frames of the file at `path`, which stand at `first_frame` and after it.

        In order, they are appended; a late one (a retry) is only noted, and the track from there on is rebuilt when it
        is next added to, read or finished. A segment added again replaces itself. Nothing changes when this raises.

        Args:
            first_frame: number of the first frame on the track's grid.
            path: a file of nothing but frames.
            start_sample: where its audio begins; tells the order of segments too short to have a frame of their own.

        Raises:
            Mp3Error: the file holds something else.
            StorageError: a file could not be read or written.
        """
        last_frame = first_frame + len(_read_segment(path))
        segment = _Segment(first_frame, start_sample, last_frame, path)
        with self._lock:
            place = bisect_left(self._segments, segment)
            replaced = [old for old in self._segments[place : place + 1] if old == segment]
            self._segments[place : place + len(replaced)] = [segment]
            self._placed = min(self._placed, place)
            if segment is self._segments[-1]:
                try:
                    self._settle()
                except Exception:
                    self._segments[place : place + 1] = replaced
                    raise

    def reach(self, count: int) -> None:
        """Grow to `count` frames with silence, where the track is shorter; what is added later cuts it off again.

        So a track that says nothing for hours has little to write at its end.

        Raises:
            StorageError: a file could not be read or written.
        """
        with self._lock:
            self._settle()
            self._file.append_silence(count - self._file.count)

    def frames(self, first: int, last: int) -> list[bytes]:
        """The frames `first..last` (`last` not included) as of now; `SILENT_FRAME` where there is nothing."""
        with self._lock:
            self._settle()
            return self._file.frames(first, last)

    def finish(self, total_samples: int) -> FinishedTrack:
        """Make the file a recording of exactly `total_samples` and end the track; the file is the caller's to move.

        May be repeated when it failed.

        Raises:
            StorageError: a file could not be read or written.
        """
        with self._lock:
            self._settle()
            return self._file.finish(total_samples)

    def _settle(self) -> None:
        """Bring the file up to date, from the first segment that does not stand in it as the rule says."""
        while self._placed < len(self._segments):
            segment = self._segments[self._placed]
            frames = _read_segment(segment.path)
            try:
                if segment.first_frame < self._file.count:
                    self._file.cut(segment.first_frame)
                self._file.append_silence(segment.first_frame - self._file.count)
                self._file.append(frames)
            except Exception:
                self._placed = max(0, self._placed - 1)  # its tail may be cut off
                raise
            self._placed += 1


def _read_segment(path: Path) -> list[bytes]:
    with storage_errors("read", path):
        return split_frames(path.read_bytes())
