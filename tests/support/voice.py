"""A voice server that nobody can reach; what it was told can be read."""

from discord_recorder.simulator.voice_port import VoiceTicket


class NoVoice:
    """A `VoicePort` that only notes."""

    def __init__(self, endpoint: str = "localhost:1") -> None:
        self.endpoint = endpoint
        self.admitted: dict[int, VoiceTicket] = {}
        """The valid tickets, by user."""
        self.removed: list[tuple[int, int]] = []
        """Users and close codes."""
        self.muted: dict[int, tuple[bool, bool]] = {}
        """Server mute and deaf, by user."""
        self.self_deaf: dict[int, bool] = {}
        self.versions: dict[int, int] = {}
        """DAVE versions, by channel."""

    def admit(self, ticket: VoiceTicket) -> None:
        self.admitted[ticket.user_id] = ticket

    def remove(self, user_id: int, guild_id: int, close_code: int = 4014) -> None:
        if self.admitted.pop(user_id, None) is not None:
            self.removed.append((user_id, close_code))

    def set_muted(self, user_id: int, guild_id: int, *, mute: bool, deaf: bool) -> None:
        self.muted[user_id] = (mute, deaf)

    def set_self_deaf(self, user_id: int, guild_id: int, *, deaf: bool) -> None:
        self.self_deaf[user_id] = deaf

    def change_version(self, channel_id: int, version: int) -> None:
        self.versions[channel_id] = version
