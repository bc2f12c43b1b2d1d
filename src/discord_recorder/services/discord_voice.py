"""The way into voice channels through a discord.py bot: its cache, its permissions, its connection.

Only discord.py's public API. Every refusal says what to do, because Discord itself says nothing: it ignores a request
to join a channel that may not be joined (PROTOCOL "Connecting" 1).
"""

from typing import Final

import discord

from discord_recorder.errors import VoiceChannelError, VoiceConnectionError
from discord_recorder.ids import Snowflake
from discord_recorder.recording.live.voice_port import VoiceCall, VoicePlace
from discord_recorder.voice.client import RecorderVoiceClient, VocalChannel
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.ports import ConnectionOptions
from discord_recorder.voice.sink import Ended, VoiceSink

JOIN_SECONDS: Final = 20.0
"""How long joining may take: three tries to get a voice server, and the handshake, which takes a second."""


class DiscordVoice:
    """A bot as `VoicePort`; `options` says how voice connections are made."""

    def __init__(self, bot: discord.Client, options: ConnectionOptions | None = None) -> None:
        self.bot = bot
        self._options = options

    def find(self, channel_id: Snowflake) -> VoicePlace:
        """See `VoicePort`."""
        channel = self._channel(channel_id)
        self._check_permissions(channel)
        self._check_room(channel)
        return VoicePlace(channel_id=channel_id, channel_name=channel.name, guild_id=Snowflake(str(channel.guild.id)))

    def name_of(self, guild_id: Snowflake, user_id: int) -> str | None:
        """See `VoicePort`."""
        guild = self.bot.get_guild(int(guild_id))
        member = None if guild is None else guild.get_member(user_id)
        user = member or self.bot.get_user(user_id)
        return None if user is None else user.display_name

    async def join(self, place: VoicePlace, sink: VoiceSink, ledger: PacketLedger) -> VoiceCall:
        """See `VoicePort`."""
        channel = self._channel(place.channel_id)
        client = RecorderVoiceClient.into(sink, ledger=ledger, options=self._options)
        try:
            return _Call(await channel.connect(cls=client, timeout=JOIN_SECONDS))
        except TimeoutError:
            raise VoiceConnectionError(
                f"Discord did not let the bot into the channel {channel.name} ({channel.id}) within "
                f"{JOIN_SECONDS:g} s. See that it is not full, that the bot may connect to it, and that Discord has "
                "no outage; then try again."
            ) from None
        except discord.DiscordException as error:
            raise VoiceConnectionError(
                f"The channel {channel.name} ({channel.id}) could not be joined: {error} Try again."
            ) from error

    def _channel(self, channel_id: Snowflake) -> VocalChannel:
        bot = self.bot
        if bot.user is None or bot.is_closed():
            raise VoiceChannelError(
                "The attached bot is not logged in, so it can join no channel. Start it, wait with "
                "`await bot.wait_until_ready()`, then start the session."
            )
        missing = [name for name in ("guilds", "voice_states") if not getattr(bot.intents, name)]
        if missing:
            raise VoiceChannelError(
                f"The bot has no intent {' and '.join(missing)}, so Discord does not tell it about voice. Make it with "
                "`intents=discord.Intents.default()`, which has both."
            )
        channel = bot.get_channel(int(channel_id))
        if channel is None and not bot.is_ready():
            raise VoiceChannelError(
                "The bot does not know its channels yet. Wait with `await bot.wait_until_ready()`, then start the "
                "session."
            )
        if channel is None:
            raise VoiceChannelError(
                f"The bot knows no channel {channel_id}. Check the id, and that the bot was invited to the channel's "
                "server. To push audio by yourself, use services that no bot is attached to."
            )
        if not isinstance(channel, VocalChannel):
            raise VoiceChannelError(
                f"Channel {channel_id} is no voice channel, so nobody can be heard there. Give the id of a voice or "
                "stage channel."
            )
        if channel.guild.unavailable or channel.guild.me is None:
            raise VoiceChannelError(
                f"The server of channel {channel.name} ({channel_id}) is not available now: Discord has an outage "
                "there. Try again later."
            )
        return channel

    def _check_permissions(self, channel: VocalChannel) -> None:
        allowed = channel.permissions_for(channel.guild.me)
        for granted, name in ((allowed.view_channel, "View Channel"), (allowed.connect, "Connect")):
            if not granted:
                raise VoiceChannelError(
                    f"The bot may not join the channel {channel.name} ({channel.id}). Give it, or a role that it has, "
                    f'the permission "{name}" there.'
                )

    def _check_room(self, channel: VocalChannel) -> None:
        here = channel.guild.voice_client
        if here is not None:
            raise VoiceChannelError(
                f"The bot is in {here.channel} already, and Discord lets a bot be in one voice channel of a server "
                "only. Stop what it does there, then start the session."
            )
        allowed = channel.permissions_for(channel.guild.me)
        if 0 < channel.user_limit <= len(channel.voice_states) and not allowed.move_members:
            raise VoiceChannelError(
                f"The channel {channel.name} ({channel.id}) is full: it has room for {channel.user_limit}. Raise its "
                'user limit, or give the bot the permission "Move Members", which lets it in all the same.'
            )


class _Call:
    """A voice client as `VoiceCall`."""

    def __init__(self, client: RecorderVoiceClient) -> None:
        self._client = client

    @property
    def ended(self) -> Ended | None:
        """See `VoiceCall`."""
        return self._client.ended

    async def leave(self) -> None:
        """See `VoiceCall`."""
        await self._client.disconnect(force=True)
