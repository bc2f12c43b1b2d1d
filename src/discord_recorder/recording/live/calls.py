"""The voice channels that sessions of this process have joined, and the names of who speaks there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from discord_recorder.errors import ServicesClosedError
from discord_recorder.ids import Snowflake
from discord_recorder.recording.live.voice_port import VoiceCall, VoicePlace, VoicePort
from discord_recorder.recording.session.handler import DiscordSessionHandler
from discord_recorder.storage.records import Track
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.sink import Ended, GapReason, Segment, VoiceSink

log = logging.getLogger(__name__)


class Calls:
    """Joins channels for sessions, and leaves them.

    `port` gives the way into voice of now, None while no bot is attached: sessions are pushed to then.
    """

    def __init__(self, port: Callable[[], VoicePort | None]) -> None:
        self._port = port
        self._calls: dict[Snowflake, VoiceCall] = {}
        self._joining: set[asyncio.Task[VoiceCall]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    def __contains__(self, channel_id: Snowflake) -> bool:
        return channel_id in self._calls

    async def find(self, channel_id: Snowflake) -> VoicePlace | None:
        """The channel to join, None when no bot is attached; raises `VoiceChannelError`."""
        port = self._port()
        if port is None:
            return None
        if self._leaving:  # the bot may be on its way out of this very server
            await asyncio.wait(self._leaving)
        return port.find(channel_id)

    async def join(self, place: VoicePlace, session: DiscordSessionHandler) -> Ended | None:
        """Record a channel into a session; returns when audio can flow, with the end if it has come already.

        Raises `VoiceConnectionError`, and `ServicesClosedError` when the recorder is closed meanwhile.
        """
        port = self._port()
        if port is None or not self._may_join_with(port):
            raise ServicesClosedError("The recorder was closed, or its bot detached, while it joined the channel.")
        live = session.go_live()
        names = _Names(live, lambda user_id: _name(port, place, session, user_id))
        joining = asyncio.create_task(port.join(place, names, live.ledger), name=f"join of {place.channel_id}")
        self._joining.add(joining)
        try:
            call = await joining
        except asyncio.CancelledError:
            await _undo(joining)
            if self._closed:
                raise ServicesClosedError("The recorder was closed while it joined the channel.") from None
            raise
        finally:
            self._joining.discard(joining)
        if not self._may_join_with(port):
            await _leave(call)
            raise ServicesClosedError("The recorder was closed, or its bot detached, while it joined the channel.")
        self._calls[place.channel_id] = call
        return call.ended

    def _may_join_with(self, port: VoicePort) -> bool:
        return not self._closed and self._port() is port

    async def leave(self, channel_id: Snowflake) -> None:
        """Leave a channel, if it was joined. Who is cancelled stops waiting, the leave goes on."""
        call = self._calls.pop(channel_id, None)
        if call is None:
            return
        leaving = asyncio.create_task(_leave(call), name=f"leave of {channel_id}")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        await asyncio.shield(leaving)

    def joined(self) -> list[Snowflake]:
        """The channels that were joined."""
        return list(self._calls)

    def close(self) -> None:
        """Join nothing more, and give up what is being joined."""
        self._closed = True
        for joining in self._joining:
            joining.cancel()

    async def aclose(self) -> None:
        """Leave every channel."""
        self.close()
        await asyncio.gather(*(self.leave(channel_id) for channel_id in self.joined()), return_exceptions=True)
        await asyncio.gather(*self._joining, *self._leaving, return_exceptions=True)


async def _leave(call: VoiceCall) -> None:
    try:
        await call.leave()
    except Exception:  # whatever it is, the session has to be finished
        log.exception("A voice channel could not be left")


async def _undo(joining: asyncio.Task[VoiceCall]) -> None:
    """Leave again when the channel was joined in the very moment in which nobody wanted it any more."""
    joining.cancel()
    await asyncio.wait([joining])
    if not joining.cancelled() and joining.exception() is None:
        await _leave(joining.result())


def _name(port: VoicePort, place: VoicePlace, session: DiscordSessionHandler, user_id: int) -> Awaitable[None] | None:
    """Give a speaker the name that is known now."""
    name = port.name_of(place.guild_id, user_id)
    if name is None or session.speaker_names.get(Track(str(user_id))) == name:
        return None
    return session.set_speaker_name(user_id, name)


class _Names:
    """A sink that names speakers as they come, and hands everything on."""

    def __init__(self, sink: VoiceSink, name: Callable[[int], object]) -> None:
        self._sink = sink
        self._name = name
        self.on_frames: Callable[[Sequence[OpusFrame]], None] = sink.on_frames

    def on_segment(self, segment: Segment) -> None:
        """See `VoiceSink`."""
        self._sink.on_segment(segment)

    def on_gap(self, start: float, end: float, reason: GapReason) -> None:
        """See `VoiceSink`."""
        self._sink.on_gap(start, end, reason)

    def on_speaker(self, user_id: int, *, joined: bool) -> None:
        """See `VoiceSink`."""
        if joined:
            self._name(user_id)
        self._sink.on_speaker(user_id, joined=joined)

    def on_ended(self, ended: Ended) -> None:
        """See `VoiceSink`."""
        self._sink.on_ended(ended)
