"""What happens to a session, as marks on its clock, until the database has them."""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from discord_recorder.audio.pcm import SAMPLE_RATE, seconds_to_samples
from discord_recorder.ids import MeetingId
from discord_recorder.recording.clock import Clock
from discord_recorder.recording.live.events import MAX_EVENTS, VoiceEvent, voice_event
from discord_recorder.recording.session.session_time import SessionTime
from discord_recorder.storage import marks
from discord_recorder.storage.records import Mark, MarkKind, Track

log = logging.getLogger(__name__)

MAX_WAITING: Final = 2_000
"""Marks that may wait for the database; any more are dropped and logged. With the longest notes they take 16 MB."""


@dataclass(slots=True, eq=False)
class Entry:
    """A mark that may still change, and the id of its row when it has one."""

    mark: Mark
    row_id: int | None = None


Unstored = Sequence[tuple[Entry, Mark]]
"""Entries with their marks of one moment."""


class MarkLog:
    """A session's marks. Whoever stores them takes what is `unstored`, writes it, and says that it `was_stored`."""

    def __init__(self, meeting_id: MeetingId, clock: Clock, time: SessionTime) -> None:
        self.notes = 0
        """How many notes there are."""
        self._meeting_id = meeting_id
        self._clock = clock
        self._time = time
        self._waiting: dict[Entry, None] = {}
        self._last: dict[tuple[MarkKind, Track, str | None], Entry] = {}
        self._pause: tuple[Entry, float] | None = None
        self._dropped = 0
        self._events: deque[VoiceEvent] = deque(maxlen=MAX_EVENTS)

    # --- the voice connection; times are monotonic seconds

    def connected(self, at: float, number: int, channel_id: int) -> None:
        """The connection of that number began."""
        event = self._tell(MarkKind.CONNECTED, at, text=str(channel_id))
        extra = {"meeting": self._meeting_id, "segment": number, "at_ms": event["at_ms"]}
        log.info("A voice connection began", extra=extra)

    def disconnected(self, start: float, end: float, reason: str) -> None:
        """Nothing was heard of anybody in between."""
        event = self._tell(MarkKind.DISCONNECTED, start, end, reason=reason)
        extra = {"meeting": self._meeting_id, "at_ms": event["at_ms"], "ends_ms": event["ends_ms"]}
        log.warning("Nothing was heard for a while: %s", reason, extra=extra)

    def ended(self, at: float, reason: str) -> None:
        """The connection is over."""
        self._tell(MarkKind.ENDED, at, reason=reason)
        log.info("The voice connection ended: %s", reason, extra={"meeting": self._meeting_id})

    def events(self) -> list[VoiceEvent]:
        """The last events of the voice connection, oldest first."""
        return list(self._events)

    # --- tracks; times are session time in samples

    def stretch(
        self, kind: MarkKind, track: Track, at_sample: int, sample_count: int, *, reason: str | None = None
    ) -> None:
        """Something was so for a stretch of a track; one that touches the last of its kind makes that one longer."""
        key = kind, track, reason
        end, last = at_sample + sample_count, self._last.get(key)
        if last is not None and last.mark.at_sample <= at_sample <= last.mark.end_sample:
            length = max(end, last.mark.end_sample) - last.mark.at_sample
            self._change(last, sample_count=length, wall_ms=_ms(length / SAMPLE_RATE))
            return
        entry = self._add(
            Mark(
                kind=kind,
                track=track,
                at_sample=at_sample,
                sample_count=sample_count,
                wall_at=self._wall_at_sample(at_sample),
                wall_ms=_ms(sample_count / SAMPLE_RATE),
                reason=reason,
            )
        )
        if entry is not None:
            self._last[key] = entry

    # --- people

    def note(self, at_sample: int, text: str, user_id: str | None) -> bool:
        """Somebody marks this moment; False when too much waits for the database."""
        note = Mark(kind=MarkKind.NOTE, at_sample=at_sample, wall_at=self._clock.now(), text=text, user_id=user_id)
        taken = self._add(note) is not None
        self.notes += taken
        return taken

    def begin_pause(self, at_sample: int) -> None:
        """The session is paused from now on."""
        entry = self._add(Mark(kind=MarkKind.PAUSED, at_sample=at_sample, wall_at=self._clock.now()))
        if entry is not None:
            self._pause = entry, self._clock.monotonic()

    def lengthen_pause(self) -> None:
        """Note how long the pause has lasted so far, if there is one."""
        if self._pause is not None:
            entry, began = self._pause
            seconds = self._clock.monotonic() - began
            samples = seconds_to_samples(seconds) if self._time.runs_on else 0
            self._change(entry, sample_count=samples, wall_ms=_ms(seconds))

    def end_pause(self) -> int:
        """The session goes on; gives the session time, in samples, that the pause has taken."""
        if self._pause is None:
            return 0
        self.lengthen_pause()
        (entry, _), self._pause = self._pause, None
        return entry.mark.sample_count

    # --- storing

    def unstored(self) -> Unstored:
        """What is new or has changed since it was stored."""
        return [(entry, entry.mark) for entry in self._waiting]

    def was_stored(self, stored: Unstored, row_ids: Sequence[int]) -> None:
        """These have the rows that `write` gave for them."""
        for (entry, mark), row_id in zip(stored, row_ids, strict=True):
            entry.row_id = row_id
            if entry.mark is mark:
                del self._waiting[entry]

    # --- inside

    def _tell(
        self, kind: MarkKind, at: float, end: float | None = None, *, reason: str | None = None, text: str | None = None
    ) -> VoiceEvent:
        at_sample = self._time.sample_at(at)
        mark = Mark(
            kind=kind,
            at_sample=at_sample,
            sample_count=0 if end is None else self._time.sample_at(end) - at_sample,
            wall_at=self._wall_at(at),
            wall_ms=0 if end is None else _ms(end - at),
            reason=reason,
            text=text,
        )
        self._add(mark)
        self._events.append(event := voice_event(mark))
        return event

    def _add(self, mark: Mark) -> Entry | None:
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            if self._dropped == 1:
                log.error(
                    "Too much waits for the database: what happens to a meeting is not noted any more",
                    extra={"meeting": self._meeting_id},
                )
            return None
        entry = Entry(mark)
        self._waiting[entry] = None
        return entry

    def _change(self, entry: Entry, *, sample_count: int, wall_ms: int) -> None:
        entry.mark = replace(entry.mark, sample_count=sample_count, wall_ms=wall_ms)
        self._waiting[entry] = None

    def _wall_at(self, monotonic: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - monotonic)

    def _wall_at_sample(self, sample: int) -> datetime:
        ago = self._time.sample_at(self._clock.monotonic()) - sample
        return self._clock.now() - timedelta(seconds=ago / SAMPLE_RATE)


def write(tx: Connection, meeting_id: MeetingId, unstored: Unstored) -> list[int]:
    """Store marks in the caller's transaction; gives the ids of their rows."""
    new = iter(marks.add(tx, meeting_id, [mark for entry, mark in unstored if entry.row_id is None]))
    row_ids = []
    for entry, mark in unstored:
        if entry.row_id is None:
            row_ids.append(next(new))
        else:
            marks.lengthen(tx, entry.row_id, sample_count=mark.sample_count, wall_ms=mark.wall_ms)
            row_ids.append(entry.row_id)
    return row_ids


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
