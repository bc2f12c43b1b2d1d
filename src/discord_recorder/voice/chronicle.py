"""The story of a voice session as the sink is told it: segments, gaps, speakers, the end. No I/O, no clock."""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from discord_recorder.voice.counters import Outcome, PacketLedger
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.sink import Ended, GapReason, Segment, VoiceSink

_log = logging.getLogger(__name__)


class Chronicle:
    """Tells a sink what happens, in order; a sink that fails costs nothing but what it was told.

    Frames that it failed on are withdrawn in the ledger.
    """

    def __init__(self, sink: VoiceSink | None, ledger: PacketLedger) -> None:
        self._sink = sink
        self._ledger = ledger
        self._segments = 0
        self._speakers: set[int] = set()
        self._doubtful_since: float | None = None
        self._gap: tuple[float, GapReason] | None = None
        self._deafened_since: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything was ever heard, silence included."""
        return self._segments > 0

    @property
    def speakers(self) -> frozenset[int]:
        """Who is there."""
        return frozenset(self._speakers)

    def frames(self, frames: Sequence[OpusFrame]) -> None:
        """Something was heard."""
        if self._sink is not None and not self._tell(self._sink.on_frames, frames):
            for frame in frames:
                self._ledger.tally(frame.user_id).withdraw(Outcome.NOT_RECORDED)

    def doubt(self, since: float | None) -> None:
        """From then on nothing may have been heard; the first doubt counts until `resumed` or a new segment."""
        if self._doubtful_since is None:
            self._doubtful_since = since

    def resumed(self) -> None:
        """The doubt was unfounded: the same connection goes on."""
        self._doubtful_since = None

    def gap(self, reason: GapReason, since: float | None = None) -> None:
        """Nothing is heard from then on, or from the first doubt; the first gap counts until a new segment."""
        since = self._doubtful_since if since is None else since
        if since is not None and self._gap is None and self.has_begun:
            self._gap = (since, reason)

    def segment(self, channel_id: int, now: float, *, heard_until: float | None) -> None:
        """A new connection is heard; the one before was until `heard_until`."""
        self._end_gap(now, heard_until)
        self._doubtful_since = None
        self._segments += 1
        if self._sink is not None:
            self._tell(self._sink.on_segment, Segment(number=self._segments, channel_id=channel_id, started=now))

    def speaker(self, user_id: int, *, joined: bool) -> None:
        """Somebody is there, or not; told once."""
        if joined == (user_id in self._speakers):
            return
        (self._speakers.add if joined else self._speakers.discard)(user_id)
        if self._sink is not None:
            self._tell(self._sink.on_speaker, user_id, joined=joined)

    def only_present(self, present: Collection[int]) -> None:
        """Everybody else has left."""
        for user_id in self._speakers.difference(present):
            self.speaker(user_id, joined=False)

    def deafened(self, deafened: bool, now: float) -> None:
        """Whether a moderator forbids us to listen."""
        if deafened and self._deafened_since is None:
            self._deafened_since = now
        elif not deafened and self._deafened_since is not None:
            since, self._deafened_since = self._deafened_since, None
            self._tell_gap(since, now, GapReason.DEAFENED)

    def ended(self, ended: Ended, now: float, *, heard_until: float | None) -> None:
        """It is over."""
        self._end_gap(now, heard_until)
        self.deafened(False, now)
        if self._sink is not None:
            self._tell(self._sink.on_ended, ended)

    def _end_gap(self, now: float, heard_until: float | None) -> None:
        if self._gap is None:
            return
        (since, reason), self._gap = self._gap, None
        if heard_until is not None and reason is not GapReason.DEAF:  # silence is heard by the deaf, too
            since = max(since, heard_until)
        self._tell_gap(since, now, reason)

    def _tell_gap(self, since: float, now: float, reason: GapReason) -> None:
        if since < now and self._sink is not None:
            self._tell(self._sink.on_gap, since, now, reason)

    def _tell(self, call: Callable[..., None], *arguments: Any, **options: Any) -> bool:
        """Call the sink; false when it failed."""
        try:
            call(*arguments, **options)
        except Exception:
            _log.exception("voice_sink_failed", extra={"call": getattr(call, "__name__", "?")})
            return False
        return True
