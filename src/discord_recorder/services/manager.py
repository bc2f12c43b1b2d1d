"""The services of one process: made in one place, started on first use, closed in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from weakref import WeakKeyDictionary

from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg
from discord_recorder.config import Settings
from discord_recorder.errors import ServicesClosedError, UserError
from discord_recorder.recording.clock import Clock, SystemClock
from discord_recorder.recording.context import Context
from discord_recorder.recording.manager import RecordingManager
from discord_recorder.recording.ownership import ProcessRegistry
from discord_recorder.recording.sessions import Sessions
from discord_recorder.services.logs import LoggingService
from discord_recorder.services.recorder import DiscordRecorderManagerService
from discord_recorder.services.sql_recording import SqlRecordingService
from discord_recorder.storage.database import Database
from discord_recorder.storage.files import LocalRecordingStore

if TYPE_CHECKING:
    import discord

    from discord_recorder.services.discord_voice import DiscordVoice
    from discord_recorder.voice.ports import ConnectionOptions

DETACHED: Final = "the bot was detached"


class ServicesManager:
    """The named services of the API.

    With a bot attached (`attach`) sessions join their channels; without one they are pushed to.

    Use it as `async with ServicesManager(settings) as services`, or make it anywhere, let the first call start it and
    end with `await services.aclose()`. Starting raises `SettingsError`, `FfmpegNotFoundError`, `StorageError` or
    `DatabaseError`, and may be tried again.
    """

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings or Settings()
        self._clock = clock or SystemClock()
        self._store = LocalRecordingStore(self.settings.recordings_dir)
        self._sessions = Sessions()
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: tuple[Context, RecordingManager] | None = None
        self._closed = False
        self._voice: DiscordVoice | None = None
        self.discord_recorder_service = DiscordRecorderManagerService(self._manager, self._sessions)
        self.sql_recording_service = SqlRecordingService(self._database, self.settings, self._store)
        self.logging_service = LoggingService()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Start now what the first use would start: the database, the workers, and the recovery after a crash."""
        await self._start()

    async def aclose(self) -> None:
        """Stop all sessions, finish what can be finished within `shutdown_grace_seconds`, and free everything."""
        async with self._lock:
            self._closed = True
            if self._running is None:
                return
            context, manager = self._running
            self._running = None
            try:
                await manager.aclose()
            finally:
                await context.database.close()
                context.registry.leave()

    def attach(self, bot: "discord.Client", *, options: "ConnectionOptions | None" = None) -> None:
        """Let `start_session` join channels with this bot; call it before the bot logs in.

        The bot needs the intents `guilds` and `voice_states`. If the setting `discord_api_url` names another service,
        discord.py is pointed there, for the whole process. The same bot may be attached again.

        Args:
            bot: a discord.py client, logged in or not.
            options: how voice connections are made, other than by default.

        Raises:
            UserError: another bot is attached.
        """
        if self._voice is not None and self._voice.bot is not bot:
            raise UserError(
                "Another bot is attached to these services. Detach it first, or make a ServicesManager with a data "
                "directory of its own for the second bot."
            )
        # Who only pushes PCM need not wait for discord.py to load, nor have it pointed anywhere.
        voice = import_module("discord_recorder.services.discord_voice")
        if self.settings.discord_api_url:
            import_module("discord_recorder.services.discord_api").use_discord_api(self.settings.discord_api_url)
        self._voice = voice.DiscordVoice(bot, options)
        _ATTACHED[bot] = self

    @staticmethod
    def attached_to(bot: "discord.Client") -> "ServicesManager | None":
        """The services that a bot is attached to, None when they were closed."""
        services = _ATTACHED.get(bot)
        return services if services is not None and services.bot is bot and services.is_usable else None

    async def detach(self) -> None:
        """Stop the sessions that joined a channel, within `shutdown_grace_seconds`, and join no more."""
        if self._running is not None and self._voice is not None:
            await self._running[1].stop_calls(max_wait_seconds=self.settings.shutdown_grace_seconds, reason=DETACHED)
        self._voice = None

    @property
    def bot(self) -> "discord.Client | None":
        """The attached bot."""
        return None if self._voice is None else self._voice.bot

    @property
    def is_usable(self) -> bool:
        """False once it was closed, or when the event loop that it ran in was closed under it."""
        return not self._closed and not (self._loop is not None and self._loop.is_closed())

    def abandon(self) -> None:
        """Give up what an event loop left that was closed without `aclose`: the next start finishes its meetings."""
        if self._running is not None and not self.is_usable:
            context, _ = self._running
            self._running, self._closed = None, True
            context.registry.leave()

    async def _start(self) -> tuple[Context, RecordingManager]:
        if self._running is not None and self._loop is asyncio.get_running_loop():
            return self._running
        async with self._lock:
            if self._closed or (self._loop is not None and self._loop is not asyncio.get_running_loop()):
                raise ServicesClosedError(
                    "This ServicesManager was closed, or belongs to another event loop. Make a new one, or call "
                    "get_services_manager() again."
                )
            if self._running is None:
                self._running = await self._open()
                self._loop = asyncio.get_running_loop()
            return self._running

    async def _open(self) -> tuple[Context, RecordingManager]:
        settings = self.settings
        ffmpeg = Ffmpeg(find_ffmpeg(settings.ffmpeg_path), settings.transcode_time_limit_seconds)
        registry = ProcessRegistry(settings.run_dir)
        registry.enter()
        database = Database(settings.database_file, busy_seconds=settings.database_busy_seconds)
        try:
            await database.open()
            context = Context(
                settings=settings,
                clock=self._clock,
                database=database,
                store=self._store,
                ffmpeg=ffmpeg,
                registry=registry,
                encoders=asyncio.Semaphore(settings.transcode_workers),
            )
            manager = RecordingManager(context, self._sessions, lambda: self._voice)
            await manager.open()
        except BaseException:
            await database.close()
            registry.leave()
            raise
        return context, manager

    async def _manager(self) -> RecordingManager:
        return (await self._start())[1]

    async def _database(self) -> Database:
        return (await self._start())[0].database


_ATTACHED: "Final[WeakKeyDictionary[discord.Client, ServicesManager]]" = WeakKeyDictionary()


class _Process:
    manager: ServicesManager | None = None


def get_services_manager() -> ServicesManager:
    """The one manager of this process, with settings from the environment; a new one after it was closed.

    Can be called before any event loop runs; the services start on first use.
    """
    if _Process.manager is not None and not _Process.manager.is_usable:
        _Process.manager.abandon()
        _Process.manager = None
    if _Process.manager is None:
        _Process.manager = ServicesManager()
    return _Process.manager


@asynccontextmanager
async def open_catalog(settings: Settings) -> AsyncIterator[SqlRecordingService]:
    """Only read what is recorded: no workers, no recovery, no cleanup."""
    database = Database(settings.database_file, busy_seconds=settings.database_busy_seconds)
    try:
        await database.open()

        async def opened() -> Database:
            return database

        yield SqlRecordingService(opened, settings, LocalRecordingStore(settings.recordings_dir))
    finally:
        await database.close()
