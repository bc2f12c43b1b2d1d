"""Makes the tracks of a live capture: Opus as it comes or, where the handler class has an override, through that."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from discord_recorder.audio.opus_decoder import OpusDecoder
from discord_recorder.ids import MeetingId
from discord_recorder.recording.context import Context
from discord_recorder.recording.live.capture import MakeTrack
from discord_recorder.recording.live.override_track import OverrideCalls, OverrideTrack
from discord_recorder.recording.live.track import LiveTrack, StoredTrack
from discord_recorder.storage.records import Track

log = logging.getLogger(__name__)


def stored_tracks(context: Context, meeting_id: MeetingId, *, begins_at: Callable[[Track], int]) -> MakeTrack:
    """Tracks that store Opus as it comes; `begins_at` tells up to where something else is on a track."""

    def make(track: Track) -> LiveTrack:
        return StoredTrack(context.track_folder(meeting_id, track), start_sample=begins_at(track))

    return make


def overridden_tracks(
    context: Context,
    meeting_id: MeetingId,
    *,
    handler: str,
    push: Callable[[Track, bytes, float], Coroutine[Any, Any, None]],
    record: Callable[[Track, bytes, int], None],
) -> MakeTrack:
    """Tracks whose frames go through the override of the class that is named `handler`; see `OverrideCalls`."""
    causes: set[str] = set()

    def failed(cause: str) -> None:
        if cause not in causes:
            causes.add(cause)
            log.error(
                "Audio is recorded as it came, because of push_audio_data of %s: %s",
                handler,
                cause,
                extra={"meeting": meeting_id},
            )

    calls = OverrideCalls(push=push, record=record, failed=failed)

    def make(track: Track) -> LiveTrack:
        folder = context.track_folder(meeting_id, track)
        return OverrideTrack(track, folder, calls=calls, decoder=OpusDecoder(), clock=context.clock)

    return make
