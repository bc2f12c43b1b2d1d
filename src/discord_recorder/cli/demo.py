"""`demo`: the whole way once. Three people meet in a simulated Discord, and a bot records them as it would anywhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import discord

from discord_recorder.cli.demo_people import CAST, MEETING_SECONDS, Meeting, speech_of
from discord_recorder.cli.following import until, until_ended
from discord_recorder.cli.formats import clock
from discord_recorder.cli.hints import command_line
from discord_recorder.cli.interruption import InterruptedRunError, Interruption, exit_code_of
from discord_recorder.cli.invocation import FAILED, Invocation
from discord_recorder.cli.packets import PacketReport
from discord_recorder.cli.terminal import Terminal
from discord_recorder.cli.views import print_meeting
from discord_recorder.config import Settings
from discord_recorder.errors import DiscordRecorderError, MeetingNotFoundError
from discord_recorder.services.manager import ServicesManager
from discord_recorder.services.sql_recording import MeetingDict, RecordingDict
from discord_recorder.simulator.entities import User
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.server import Simulator
from discord_recorder.voice.ports import ConnectionOptions

DATA_DIR: Final = Path("discord-recorder-demo")
_LOGIN_SECONDS: Final = 20.0
_LAST_PACKETS_SECONDS: Final = 2.5
"""How long the last packets may be on their way, or wait for a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    meeting: MeetingDict
    recording: RecordingDict | None
    packets: PacketReport
    interrupted_by: int | None

    @property
    def problems(self) -> list[str]:
        """Why this is no success, if it is none; an interrupted meeting has its packets compared all the same."""
        whole = self.recording is not None and self.recording["status"] == "complete"
        return [*self.packets.problems, *([] if whole else ["The recording is not complete."])]

    @property
    def exit_code(self) -> int:
        """0 only when every packet is accounted for and all of it is in the recording."""
        return self.interrupted_by or (FAILED if self.problems else 0)


def run_demo(invocation: Invocation, *, as_json: bool) -> int:
    """Record the demo meeting and tell where it is and what to try next."""
    settings = invocation.settings()
    if "data_dir" not in settings.model_fields_set:
        settings = settings.model_copy(update={"data_dir": DATA_DIR.absolute()})
    outcome = invocation.run_watched(
        lambda interruption: _Demo(invocation, settings, interruption, as_json=as_json).run()
    )
    terminal = invocation.terminal
    if as_json:
        terminal.json(
            {"meeting": outcome.meeting, "recording": outcome.recording, "packets": outcome.packets.as_dict()}
        )
    else:
        terminal.say()
        print_meeting(terminal, outcome.meeting, outcome.recording)
        terminal.say()
        outcome.packets.print(terminal)
        if outcome.recording:
            _print_next(terminal, settings, outcome.recording["path"], outcome.meeting["meeting_id"])
    for problem in outcome.problems:
        terminal.error(problem)
    return outcome.exit_code


class _Demo:
    """One run."""

    def __init__(
        self, invocation: Invocation, settings: Settings, interruption: Interruption, *, as_json: bool
    ) -> None:
        self._terminal = invocation.terminal
        self._settings = settings
        self._interruption = interruption
        self._silent = as_json

    async def run(self) -> Outcome:
        async with Simulator() as simulator:
            meeting = Meeting(simulator, self._tell)
            bot = simulator.add_bot("Recorder", meeting.guild, permissions=int(Permission.ADMINISTRATOR))
            settings = self._settings.model_copy(update={"discord_api_url": simulator.api_url})
            async with ServicesManager(settings) as services:
                try:
                    return await self._record(simulator, meeting, bot, services)
                finally:
                    await meeting.disperse()

    async def _record(self, simulator: Simulator, meeting: Meeting, bot: User, services: ServicesManager) -> Outcome:
        guard, recorder = self._interruption.guard, services.discord_recorder_service
        self._say("A Discord is simulated on this machine; a bot logs in to it and joins a call.")
        spoken = await guard(asyncio.to_thread(speech_of, CAST, MEETING_SECONDS))
        await guard(meeting.gather())
        async with _logged_in(simulator, bot, services):
            await guard(recorder.start_session(meeting.channel.id))
            session = recorder.sessions[meeting.channel.id]
            self._interruption.in_work = f"meeting {session.meeting_id}"
            try:
                await guard(meeting.encrypted_with(bot))
                await guard(meeting.hold(spoken))
            except InterruptedRunError:
                pass  # what was said by then is the meeting
            live = session.live
            if live is None:
                raise DiscordRecorderError("The bot did not join the channel.")
            sent = sum(meeting.sent.values())
            # If some never come, the report says so.
            await until(lambda: live.ledger.received >= sent and not live.ledger.parked, _LAST_PACKETS_SECONDS)
            self._say("The bot leaves; the last pieces are encoded and put together.")
            await recorder.stop_session(session.channel_id)
            await until_ended(services, session.meeting_id)
        names = {int(track): name for track, name in session.speaker_names.items()}
        signal = self._interruption.signal
        return Outcome(
            meeting=await _meeting(services, session.meeting_id),
            recording=next(
                iter(await services.sql_recording_service.get_recordings_for_meeting(session.meeting_id)), None
            ),
            packets=PacketReport(ledger=live.ledger, sent=meeting.sent, names=names),
            interrupted_by=None if signal is None else exit_code_of(signal),
        )

    def _tell(self, seconds: float, what: str) -> None:
        self._say(f"  {clock(1000 * seconds)}  {what}")

    def _say(self, text: str) -> None:
        if not self._silent:
            self._terminal.say(text)


@asynccontextmanager
async def _logged_in(simulator: Simulator, account: User, services: ServicesManager) -> AsyncIterator[None]:
    """A bot of discord.py, attached to the services, as long as the block runs."""
    client = discord.Client(
        intents=discord.Intents(guilds=True, voice_states=True),
        connector=aiohttp.TCPConnector(ssl=simulator.client_context()),
        guild_ready_timeout=0.1,
    )
    services.attach(client, options=ConnectionOptions(ssl_context=simulator.client_context()))
    async with client:
        running = asyncio.create_task(client.start(account.token))
        try:
            await until(lambda: running.done() or (client.is_ready() and client.guilds), _LOGIN_SECONDS)
            if running.done():
                running.result()
            yield
            await services.detach()
        finally:
            await client.close()
            await asyncio.gather(running, return_exceptions=True)


async def _meeting(services: ServicesManager, meeting_id: str) -> MeetingDict:
    meeting = await services.sql_recording_service.get_meeting(meeting_id)
    if meeting is None:
        raise MeetingNotFoundError(f"Meeting {meeting_id} was deleted meanwhile.")
    return meeting


def _print_next(terminal: Terminal, settings: Settings, mix: str, meeting_id: str) -> None:
    say = terminal.say
    data_dir = _shortest(settings.data_dir)
    say()
    say("Listen to all of them together:")
    say(f"  {_shortest(Path(mix))}")
    say()
    say("What to try next:")
    for arguments in (
        ("recordings",),
        ("show", meeting_id),
        ("export", meeting_id, "--to", "exported"),
        ("delete", meeting_id),
        ("ingest", "YOUR.wav", "THEIRS.mp3", "--title", "First try"),
    ):
        say(f"  {command_line(*arguments, data_dir=data_dir)}")


def _shortest(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
