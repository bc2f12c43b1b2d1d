"""discord.py's own VoiceClient as speaker and listener, and a reader of its packets that shares nothing with ours."""

import asyncio
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import davey
import discord
import nacl.bindings

from discord_recorder.simulator.entities import User
from tests.support.simulator import Scene, logged_in

SILENCE = b"\xf8\xff\xfe"


class Frames(discord.AudioSource):
    """Ready-made Opus, again and again until `over`; notes what discord.py took."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = cycle(frames)
        self.taken: list[bytes] = []
        self.over = False

    def read(self) -> bytes:
        frame = b"" if self.over else next(self._frames)
        if frame:
            self.taken.append(frame)
        return frame

    def is_opus(self) -> bool:
        return True


@asynccontextmanager
async def in_voice(scene: Scene, account: User, channel_id: int) -> AsyncIterator[discord.VoiceClient]:
    """A bot of discord.py, logged in and connected with the library's own VoiceClient."""
    async with logged_in(scene.client(), account) as client:
        channel = client.get_channel(channel_id)
        assert isinstance(channel, discord.VoiceChannel)
        voice: discord.VoiceClient = await channel.connect(timeout=20, reconnect=False)
        try:
            yield voice
        finally:
            await voice.disconnect(force=True)


async def play(voice: discord.VoiceClient, source: discord.AudioSource) -> None:
    """Play to the end."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    voice.play(source, after=lambda error: loop.call_soon_threadsafe(ended.set))
    await ended.wait()


@dataclass
class Heard:
    sequence: int
    timestamp: int
    opus: bytes
    had_extension: bool
    had_padding: bool


class Ear:
    """Listens on a VoiceClient's socket, and opens everything with the client's own keys and davey session.

    Frames of an epoch that the client is still to enter are tried again with each datagram that follows.
    """

    def __init__(self, voice: discord.VoiceClient, user_of: dict[int, int]) -> None:
        self._voice = voice
        self._user_of = user_of
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, bytes, Heard]] = []
        self.heard: list[Heard] = []
        self.problems: list[str] = []
        state: Any = voice._connection
        state.add_socket_listener(self._receive)

    @property
    def frames(self) -> list[Heard]:
        with self._lock:
            self._try_again()
            return sorted(self.heard, key=lambda one: one.sequence)

    @property
    def unopened(self) -> int:
        return len(self._waiting)

    def _receive(self, datagram: bytes) -> None:
        if len(datagram) < 32 or datagram[1] != 120:
            return
        try:
            with self._lock:
                self._open(datagram)
                self._try_again()
        except Exception as error:
            self.problems.append(repr(error))

    def _open(self, datagram: bytes) -> None:
        flags, _, sequence, timestamp, ssrc = struct.unpack_from(">BBHII", datagram)
        extended, padded = bool(flags & 0x10), bool(flags & 0x20)
        clear = 12 + 4 * (flags & 15) + 4 * extended
        nonce = datagram[-4:] + bytes(20)
        assert self._voice.mode == "aead_xchacha20_poly1305_rtpsize"
        plain = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            datagram[clear:-4], datagram[:clear], nonce, bytes(self._voice.secret_key)
        )
        if extended:
            plain = plain[4 * struct.unpack_from(">H", datagram, clear - 2)[0] :]
        if padded:
            plain = plain[: -plain[-1]]
        heard = Heard(sequence, timestamp, plain, extended, padded)
        if plain == SILENCE:
            self.heard.append(heard)
        else:
            self._waiting.append((self._user_of[ssrc], plain, heard))

    def _try_again(self) -> None:
        session = self._voice._connection.dave_session
        assert session is not None
        still = []
        for user_id, sealed, heard in self._waiting:
            try:
                heard.opus = session.decrypt(user_id, davey.MediaType.audio, sealed)
                self.heard.append(heard)
            except ValueError:
                still.append((user_id, sealed, heard))
        self._waiting = still
