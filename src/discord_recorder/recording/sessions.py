"""The live sessions of a process, by channel."""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any

from discord_recorder.errors import InvalidIdError
from discord_recorder.ids import Snowflake, parse_snowflake
from discord_recorder.recording.session.handler import DiscordSessionHandler


class Sessions(Mapping[int | str, DiscordSessionHandler]):
    """Live sessions by channel id, which may be an int or its text."""

    def __init__(self) -> None:
        self._by_channel: dict[Snowflake, DiscordSessionHandler] = {}

    def __getitem__(self, channel_id: int | str) -> DiscordSessionHandler:
        try:
            return self._by_channel[parse_snowflake(channel_id, "channel id")]
        except InvalidIdError:
            raise KeyError(channel_id) from None

    def __iter__(self) -> Iterator[int | str]:
        return iter(list(self._by_channel))

    def __len__(self) -> int:
        return len(self._by_channel)

    def values(self) -> ValuesView[DiscordSessionHandler]:
        """The sessions of this moment, so that they may end while somebody goes through them."""
        return dict(self._by_channel).values()

    def items(self) -> ItemsView[Any, DiscordSessionHandler]:
        """Channels and sessions of this moment."""
        return {**self._by_channel}.items()

    def add(self, channel_id: Snowflake, session: DiscordSessionHandler) -> None:
        """Enter a session."""
        self._by_channel[channel_id] = session

    def remove(self, channel_id: Snowflake) -> None:
        """Strike a session out."""
        self._by_channel.pop(channel_id, None)
