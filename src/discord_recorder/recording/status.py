"""What callers see of a live session."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, TypedDict

from discord_recorder.audio.pcm import ms_to_samples, samples_to_ms
from discord_recorder.recording.finishing.gaps import Figures
from discord_recorder.recording.live.events import VoiceEvent
from discord_recorder.storage.records import Track, TranscodeStatus, user_of
from discord_recorder.voice.counters import Outcome, PacketCounts, PacketLedger

_NO_KEY: Final = (Outcome.NO_GROUP, Outcome.NOT_A_MEMBER, Outcome.UNDECRYPTABLE)
"""What became of packets that no key opened."""

_PACKET_SAMPLES: Final = ms_to_samples(20)
"""What Discord's clients put into one; what is in those cannot be looked at."""


class ChunkCounts(TypedDict):
    """How many chunks are in each transcode status."""

    queued: int
    in_progress: int
    done: int
    failed: int


class PacketStatus(TypedDict):
    """Packets of one speaker: received = stored + parked + all that were dropped."""

    received: int
    stored: int
    plain: int
    """Of the stored ones, those that were not encrypted in an encrypted call."""
    parked: int
    """Those that wait for a key, or to be told whose they are."""
    dropped: dict[str, int]
    """Numbers by reason."""


class CallPacketStatus(PacketStatus):
    """Packets of a whole call."""

    kernel_dropped: int
    """Packets that the operating system threw away because they were not fetched in time: not among the received."""


class FigureStatus(TypedDict):
    """What is heard of a speaker, and what is not.

    `concealed_ms` is a part of `lost_ms`; `longest_gap_ms` is the longest stretch of which something is missing.
    """

    heard_ms: int
    lost_ms: int
    concealed_ms: int
    undecryptable_ms: int
    longest_gap_ms: int


class TrackStatus(FigureStatus):
    """One speaker of a live session; the figures are those of what is transcoded."""

    user_id: str | None
    name: str | None
    duration_ms: int
    packets: PacketStatus


class SessionStatus(TypedDict):
    """A live session as callers see it; `duration_ms` is session time, `buffer_size_bytes` is in no sealed chunk.

    `packets` are zeros, and there are no `events`, where audio is pushed.
    """

    meeting_id: str
    channel_id: str
    guild_id: str | None
    user_id: str | None
    title: str | None
    is_recording: bool
    is_paused: bool
    started_at: datetime
    duration_ms: int
    total_chunks: int
    chunk_statuses: ChunkCounts
    buffer_size_bytes: int
    dropped_bytes: int
    notes: int
    """How many there are."""
    warnings: list[str]
    tracks: list[TrackStatus]
    packets: CallPacketStatus
    events: list[VoiceEvent]


def chunk_counts(counts: Mapping[TranscodeStatus, int]) -> ChunkCounts:
    """The numbers of chunks under their names."""
    return ChunkCounts(
        queued=counts[TranscodeStatus.QUEUED],
        in_progress=counts[TranscodeStatus.IN_PROGRESS],
        done=counts[TranscodeStatus.DONE],
        failed=counts[TranscodeStatus.FAILED],
    )


def track_statuses(
    ends: Mapping[Track, int], names: Mapping[Track, str], ledger: PacketLedger, figures: Mapping[Track, Figures]
) -> list[TrackStatus]:
    """The tracks that end at these samples of session time."""
    return [_track(track, end, names.get(track), ledger, figures.get(track, Figures())) for track, end in ends.items()]


def figures_in_ms(figures: Figures) -> FigureStatus:
    """The same in milliseconds."""
    return FigureStatus(
        heard_ms=samples_to_ms(figures.heard),
        lost_ms=samples_to_ms(figures.lost),
        concealed_ms=samples_to_ms(figures.concealed),
        undecryptable_ms=samples_to_ms(figures.undecryptable),
        longest_gap_ms=samples_to_ms(figures.longest_gap),
    )


def all_packets_of(ledger: PacketLedger) -> CallPacketStatus:
    """What became of all packets."""
    return CallPacketStatus(**_packets(ledger.counts()), kernel_dropped=ledger.kernel_dropped)


def _track(track: Track, end: int, name: str | None, ledger: PacketLedger, figures: Figures) -> TrackStatus:
    user_id = user_of(track)
    counts = ledger.user_counts(int(user_id or 0))
    undecryptable = sum(counts.dropped.get(outcome, 0) for outcome in _NO_KEY) * _PACKET_SAMPLES
    return TrackStatus(
        user_id=user_id,
        name=name,
        duration_ms=samples_to_ms(end),
        packets=_packets(counts),
        **figures_in_ms(dataclasses.replace(figures, undecryptable=undecryptable)),
    )


def stored_packets(ledger: PacketLedger, tracks: Iterable[Track]) -> str | None:
    """JSON for `meetings.packets`: `{"call": CallPacketStatus, "tracks": {track: PacketStatus}}`; None without any."""
    if not ledger.received and not ledger.kernel_dropped:
        return None
    by_track = {track: _packets(ledger.user_counts(int(user_of(track) or 0))) for track in tracks}
    return json.dumps({"call": all_packets_of(ledger), "tracks": by_track})


def _packets(counts: PacketCounts) -> PacketStatus:
    return PacketStatus(
        received=counts.received,
        stored=counts.stored,
        plain=counts.plain,
        parked=counts.parked,
        dropped={outcome.value: count for outcome, count in counts.dropped.items() if count},
    )
