"""Notices that a voice connection has gone deaf, sans-I/O, and tells it apart from people who are silent.

Evidence, each held against the clock: datagrams come and none opens; somebody says that audio comes and nothing does;
everybody's audio breaks off in mid-word (a sender ends with silence frames) and nothing comes any more; the server
used to answer our UDP keepalives and no longer does. Heartbeats are the gateway's affair (`VoiceGateway.tick`).
Source: PROTOCOL "When the connection breaks"; noticed within 10 s, as DESIGN section 6 promises.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.opus import SILENCE

NOTICE_SECONDS: Final = 8.5
"""How long evidence has to last. Re-keying takes 2 s at most, and 10 s is what is promised."""

FRESH_SECONDS: Final = 2.5
"""Datagrams that do not open are evidence while they keep coming; one burst that a re-key explains is none."""

LEAST_UNOPENED: Final = 25
"""Half a second of one voice; less may be garbage."""

EARLY_SECONDS: Final = 2.0
"""Audio may come before the websocket announces it, by so much."""

KEEPALIVE_SECONDS: Final = 5.0
"""NAT mappings live for 30 s or more; servers stop sending to a client that was silent for minutes."""

PROBE_SECONDS: Final = 0.8
"""After an unanswered keepalive the next ones follow at this distance, so that one lost datagram is no alarm."""

PROBES: Final = 5
"""Keepalives in a row that must go unanswered; with 10 % loss both ways together, one alarm in 100,000 keepalives."""

PAUSE_SECONDS: Final = 1.5
"""A hole of this length within a user's audio is a pause."""

MAX_USERS: Final = 1024
"""Users remembered to have announced audio, or to be talking; what more of them do is not watched."""


class Deafness(StrEnum):
    """How a connection turned out to be deaf."""

    NOTHING_OPENS = "datagrams came and none could be opened"
    NOTHING_COMES = "speaking was announced and no audio came"
    BROKE_OFF = "all audio broke off while people were talking"
    KEEPALIVE_UNANSWERED = "the voice server stopped answering on UDP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A connection is deaf."""

    deafness: Deafness
    since: float
    """When the evidence begins, in monotonic seconds: from then on nothing may have been heard."""


class DeafnessWatch:
    """Watches one connection. Times are monotonic seconds; a new connection takes a new watch.

    `careless` is shared by the watches of a session: users whose audio was seen to break off by itself, without
    frames of silence. Of them it proves nothing, so each costs one needless alarm at most.
    """

    def __init__(self, now: float, *, careless: set[int] | None = None) -> None:
        self._careless = set() if careless is None else careless
        self._last_audio = now - EARLY_SECONDS
        self._unopened_since: float | None = None
        self._last_unopened = now
        self._unopened = 0
        self._announced: dict[int, float] = {}
        self._talking: dict[int, float] = {}
        self._broke_off_at: float | None = None
        self._server_deafened = False
        self._answers_keepalives = False
        self._last_keepalive = self._last_answer = now - KEEPALIVE_SECONDS
        self._next_keepalive = now
        self._unanswered = 0

    def heard(self, frames: Sequence[OpusFrame], now: float) -> None:
        """Frames came out of the receiver."""
        if not frames:
            return
        talking, opened = self._talking, False
        for frame in frames:
            user_id = frame.user_id
            if frame.opus == SILENCE:
                if talking.pop(user_id, None) is not None:
                    self._careless.discard(user_id)
            else:
                opened = True
                if now - talking.get(user_id, now) > PAUSE_SECONDS and len(self._careless) < MAX_USERS:
                    self._careless.add(user_id)
                if user_id in talking or len(talking) < MAX_USERS:
                    talking[user_id] = now
        self._last_audio = now
        self._announced.clear()
        if opened:
            self._unopened_since, self._unopened = None, 0

    def unopened(self, datagrams: int, now: float) -> None:
        """So many audio datagrams have come since the last call whose encryption did not come off."""
        if not datagrams:
            return
        if now - self._last_unopened > FRESH_SECONDS:
            self._unopened = 0  # these are other words: they may only be waiting for their key
        self._last_audio = self._last_unopened = now
        self._announced.clear()
        if self._unopened_since is None:
            self._unopened_since = now
        self._unopened += datagrams

    def announced(self, user_id: int, *, speaking: bool, now: float) -> None:
        """A user said (op 5) that audio comes, or ends."""
        if not speaking:
            self._announced.pop(user_id, None)
        elif now - self._last_audio >= EARLY_SECONDS and len(self._announced) < MAX_USERS:
            self._announced.setdefault(user_id, now)

    def gone(self, user_id: int) -> None:
        """A user left: nothing is to be expected any more."""
        self._announced.pop(user_id, None)
        self._talking.pop(user_id, None)

    def voice_states(self, *, muted: Collection[int], server_deafened: bool) -> None:
        """What the main gateway knows: who cannot speak, and whether we are forbidden to listen."""
        self._server_deafened = server_deafened
        for user_id in muted:
            self.gone(user_id)

    def keepalive_due(self, now: float) -> bool:
        """Whether to send a UDP keepalive now; true counts as sent."""
        if now < self._next_keepalive:
            return False
        self._unanswered += 1
        self._last_keepalive = now
        self._next_keepalive = now + (PROBE_SECONDS if self._answers_keepalives else KEEPALIVE_SECONDS)
        return True

    def keepalive_answered(self) -> None:
        """The server sent a keepalive back. Only a server that has ever done so is expected to."""
        self._answers_keepalives = True
        self._unanswered = 0
        self._last_answer = self._last_keepalive
        self._next_keepalive = self._last_keepalive + KEEPALIVE_SECONDS

    def check(self, now: float) -> Alarm | None:
        """What is wrong, if anything is; told again and again as long as nothing changes."""
        silent_for = now - self._last_audio
        if self._answers_keepalives and self._unanswered > PROBES and silent_for > PROBES * PROBE_SECONDS:
            since = max(self._last_audio, self._last_answer)
            return Alarm(deafness=Deafness.KEEPALIVE_UNANSWERED, since=since)
        if self._server_deafened:
            self._forget()
            return None
        if (
            self._unopened_since is not None
            and now - self._unopened_since >= NOTICE_SECONDS
            and now - self._last_unopened <= FRESH_SECONDS
            and self._unopened >= LEAST_UNOPENED
        ):
            return Alarm(deafness=Deafness.NOTHING_OPENS, since=self._unopened_since)
        if silent_for < NOTICE_SECONDS:
            return None
        announced = min(self._announced.values(), default=now)
        if now - announced >= NOTICE_SECONDS:
            return Alarm(deafness=Deafness.NOTHING_COMES, since=announced)
        broke_off = {user_id for user_id, last in self._talking.items() if self._last_audio - last <= PAUSE_SECONDS}
        if broke_off - self._careless and len(self._careless) + len(broke_off) <= MAX_USERS:
            self._careless |= broke_off
            self._broke_off_at = self._last_audio
        if self._broke_off_at == self._last_audio and broke_off:
            return Alarm(deafness=Deafness.BROKE_OFF, since=self._last_audio)
        return None

    def _forget(self) -> None:
        """Forget all evidence: what it is about may be over by the time that we may listen again."""
        self._unopened_since, self._unopened = None, 0
        self._announced.clear()
        self._talking.clear()
