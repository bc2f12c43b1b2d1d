"""The figures of a session's speakers while it goes on: a sum that each chunk is added to once."""

from collections.abc import Iterable

from sqlalchemy import Connection

from discord_recorder.audio.stretches import Stretch, total
from discord_recorder.ids import MeetingId
from discord_recorder.recording.finishing.gaps import Figures, stretches_of
from discord_recorder.storage import chunks
from discord_recorder.storage.records import Chunk, Track, TranscodeStatus
from discord_recorder.storage.stretches import Stretches


class SessionFigures:
    """What is heard and lost of each speaker in the chunks that are DONE.

    Reads only the rows that are not counted yet, so that asking costs the same after hours as after a minute.
    """

    def __init__(self, meeting_id: MeetingId) -> None:
        self._meeting_id = meeting_id
        self._from_id = 0
        self._counted: set[int] = set()
        self._failed: set[int] = set()
        self._tracks: dict[Track, _TrackFigures] = {}

    def read(self, tx: Connection) -> list[Chunk]:
        """The rows that may be new; they are for `add`."""
        return chunks.since(tx, self._meeting_id, self._from_id, sorted(self._failed))

    def add(self, rows: Iterable[Chunk]) -> dict[Track, Figures]:
        """Count what of the rows is new; gives all figures."""
        pending = []
        for row in rows:
            if row.id in self._counted or (row.id < self._from_id and row.id not in self._failed):
                continue
            if row.transcode_status is TranscodeStatus.DONE:
                self._tracks.setdefault(row.track, _TrackFigures()).add(stretches_of(row))
                self._counted.add(row.id)
                self._failed.discard(row.id)
            elif row.transcode_status is TranscodeStatus.FAILED:
                self._failed.add(row.id)
            else:
                pending.append(row.id)
        settled = self._counted | self._failed
        self._from_id = max(self._from_id, min(pending, default=max(settled, default=-1) + 1))
        self._counted = {row_id for row_id in self._counted if row_id >= self._from_id}
        return {track: figures.so_far for track, figures in self._tracks.items()}


class _TrackFigures:
    """The sum for one track; what is lost over a chunk's border is one gap when its chunks come in order."""

    def __init__(self) -> None:
        self._heard = self._lost = self._concealed = self._longest = 0
        self._last_lost: Stretch = (0, 0)

    def add(self, found: Stretches) -> None:
        self._heard += total(found.heard)
        self._lost += total(found.lost)
        self._concealed += found.concealed_samples
        for start, end in found.lost:
            self._last_lost = (self._last_lost[0] if start == self._last_lost[1] else start, end)
            self._longest = max(self._longest, end - self._last_lost[0])

    @property
    def so_far(self) -> Figures:
        return Figures(heard=self._heard, lost=self._lost, concealed=self._concealed, longest_gap=self._longest)
