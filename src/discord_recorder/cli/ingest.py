"""`ingest`: files go through a session as fast as it takes them, side by side, and come out as a recording."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Final

from rich.progress import Progress

from discord_recorder.audio.ffmpeg import Ffmpeg, find_ffmpeg
from discord_recorder.cli.following import until_ended, watch
from discord_recorder.cli.formats import clock
from discord_recorder.cli.hints import command_line
from discord_recorder.cli.ingest_order import IngestOrder
from discord_recorder.cli.interruption import InterruptedRunError, Interruption, exit_code_of
from discord_recorder.cli.invocation import FAILED, Invocation
from discord_recorder.cli.sources import Source, measure_ms, open_sources
from discord_recorder.cli.views import print_meeting
from discord_recorder.config import Settings
from discord_recorder.errors import DiscordRecorderError, MeetingNotFoundError, SessionEndedError
from discord_recorder.recording.manager import STOPPED
from discord_recorder.recording.session.handler import DiscordSessionHandler
from discord_recorder.services.manager import ServicesManager
from discord_recorder.services.recorder import DiscordRecorderManagerService
from discord_recorder.services.sql_recording import MeetingDict, RecordingDict

LONGEST_BACKLOG_SECONDS: Final = 600.0
"""How much audio may wait for its transcode, all speakers together: 110 MiB of PCM, however long the files are."""

_BACKLOG_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an order."""

    meeting: MeetingDict
    recording: RecordingDict | None
    sources: list[Source]
    problem: str | None
    """What ended the session before the files did."""

    interrupted_by: int | None
    """Exit code of the signal that ended it."""

    @property
    def exit_code(self) -> int:
        """0 only when all of every file is in the recording."""
        whole = self.recording is not None and self.recording["status"] == "complete" and self.problem is None
        faultless = whole and not any(source.error for source in self.sources)
        return self.interrupted_by or (0 if faultless else FAILED)


def ingest_files(invocation: Invocation, order: IngestOrder, *, as_json: bool) -> int:
    """Record a meeting from files and print what came out."""
    outcome = record_files(invocation, invocation.settings(), order)
    print_outcome(invocation, outcome, as_json=as_json)
    return outcome.exit_code


def record_files(invocation: Invocation, settings: Settings, order: IngestOrder) -> Outcome:
    """Record a meeting from files; nothing is recorded unless every one of them holds audio."""
    order.check_files()
    return invocation.run_watched(lambda interruption: _Ingest(invocation, settings, order, interruption).run())


def print_outcome(invocation: Invocation, outcome: Outcome, *, as_json: bool) -> None:
    """Print the recording on stdout, what went wrong on stderr."""
    terminal, meeting_id = invocation.terminal, outcome.meeting["meeting_id"]
    if as_json:
        terminal.json(_as_dict(outcome))
    else:
        print_meeting(terminal, outcome.meeting, outcome.recording)
    for source in outcome.sources:
        if source.error:
            terminal.error(source.error)
    if outcome.problem:
        terminal.error(outcome.problem)
    data_dir = invocation.options.data_dir
    show = command_line("show", meeting_id, data_dir=data_dir)
    if outcome.recording is None:
        terminal.error(f"Meeting {meeting_id} has no recording ({outcome.meeting['status']}). See: {show}")
    elif outcome.recording["status"] != "complete":
        retry = command_line("retry", meeting_id, data_dir=data_dir)
        terminal.error(f"A part could not be transcoded, silence holds its place. Mend it: {retry}")
    if outcome.interrupted_by and outcome.recording:
        export = command_line("export", meeting_id, "--to", "DIR", data_dir=data_dir)
        length = clock(outcome.recording["duration_ms"])
        terminal.note(f"Interrupted: the first {length} are kept as meeting {meeting_id}.\n")
        terminal.note(f"  {show}")
        terminal.note(f"  {export}")


class _Ingest:
    """One order on its way."""

    def __init__(
        self, invocation: Invocation, settings: Settings, order: IngestOrder, interruption: Interruption
    ) -> None:
        self._terminal = invocation.terminal
        self._settings = settings
        self._order = order
        self._interruption = interruption
        self._ffmpeg = Ffmpeg(find_ffmpeg(settings.ffmpeg_path), settings.transcode_time_limit_seconds)

    async def run(self) -> Outcome:
        async with AsyncExitStack() as files:
            sources = await self._interruption.guard(open_sources(files, self._ffmpeg, self._order.files))
            services = ServicesManager(self._settings)
            async with aclosing(services):
                await self._interruption.guard(services.start())
                with self._terminal.progress() as bars:
                    return await self._record(services, files, sources, bars)

    async def _record(
        self, services: ServicesManager, files: AsyncExitStack, sources: list[Source], bars: Progress
    ) -> Outcome:
        recorder = services.discord_recorder_service
        session = await _start_session(recorder, self._order)
        self._interruption.in_work = f"meeting {session.meeting_id}"
        problem: str | None = None
        try:
            await self._interruption.guard(self._push(recorder, session, sources, bars))
        except InterruptedRunError:
            pass
        except SessionEndedError:
            problem = "The session ended by itself; what was stored by then is kept."
        except DiscordRecorderError as error:
            problem = str(error)
        await files.aclose()
        try:
            meeting, recording = await _finish(services, session, bars)
        except DiscordRecorderError:
            self._terminal.warn(f"Meeting {session.meeting_id} is not finished; the next start does that.")
            raise
        if meeting["end_reason"] != STOPPED:
            problem = f"{problem or 'The session ended by itself.'} Reason: {meeting['end_reason']}."
        signal = self._interruption.signal
        return Outcome(
            meeting=meeting,
            recording=recording,
            sources=sources,
            problem=problem,
            interrupted_by=None if signal is None else exit_code_of(signal),
        )

    async def _push(
        self,
        recorder: DiscordRecorderManagerService,
        session: DiscordSessionHandler,
        sources: Sequence[Source],
        bars: Progress,
    ) -> None:
        total_ms = None if bars.disable else await measure_ms(self._ffmpeg, self._order.files)
        bar = _AudioBar(bars, total_ms)
        for source in sources:
            await session.set_speaker_name(source.file.user_id, source.file.name)
        left = list(sources)
        while left:
            for source in list(left):
                pcm = await source.take()
                if pcm is None:
                    left.remove(source)
                    continue
                await session.push_audio_data(pcm, user_id=source.file.user_id)
                bar.show(sum(each.taken_ms for each in sources))
            await self._backlog_is_short(recorder, session)
        bar.remove()

    async def _backlog_is_short(self, recorder: DiscordRecorderManagerService, session: DiscordSessionHandler) -> None:
        longest = max(1, round(LONGEST_BACKLOG_SECONDS / session.flush_interval_seconds))
        while (status := await recorder.get_session_status(session.channel_id)) is not None:
            waiting = status["chunk_statuses"]
            if waiting["queued"] + waiting["in_progress"] <= longest:
                return
            await asyncio.sleep(_BACKLOG_POLL_SECONDS)


class _AudioBar:
    """The progress bar of pushing: audio time and speed."""

    def __init__(self, bars: Progress, total_ms: float | None) -> None:
        self._bars = bars
        self._total_ms = total_ms
        self._began = time.monotonic()
        self._bar = bars.add_task("Recording", total=total_ms, shown="")

    def show(self, pushed_ms: float) -> None:
        """Show how far it is."""
        speed = pushed_ms / 1000 / max(0.001, time.monotonic() - self._began)
        whole = f" of {clock(self._total_ms)}" if self._total_ms else ""
        self._bars.update(self._bar, completed=pushed_ms, shown=f"{clock(pushed_ms)}{whole}  {speed:.0f}x")

    def remove(self) -> None:
        """Take the bar away."""
        self._bars.remove_task(self._bar)


async def _start_session(recorder: DiscordRecorderManagerService, order: IngestOrder) -> DiscordSessionHandler:
    while True:  # a channel that is taken, which no two draws of 63 bits will give, is drawn anew
        # Discord's own ids stay below 2**63 until the year 2084.
        channel_id = (1 << 63) | secrets.randbits(63)
        if await recorder.start_session(channel_id, order.meeting_id, title=order.title):
            return recorder.sessions[channel_id]


async def _finish(
    services: ServicesManager, session: DiscordSessionHandler, bars: Progress
) -> tuple[MeetingDict, RecordingDict | None]:
    recorder, catalog = services.discord_recorder_service, services.sql_recording_service

    async def end() -> None:
        await recorder.stop_session(session.channel_id)
        await until_ended(services, session.meeting_id)

    async def count() -> tuple[int, int] | None:
        status = await recorder.get_session_status(session.channel_id)
        if status is None:
            return None
        counts = status["chunk_statuses"]
        return counts["done"] + counts["failed"], status["total_chunks"]

    await watch(bars, count, end())
    meeting = await catalog.get_meeting(session.meeting_id)
    if meeting is None:
        raise MeetingNotFoundError(f"Meeting {session.meeting_id} was deleted meanwhile.")
    return meeting, next(iter(await catalog.get_recordings_for_meeting(session.meeting_id)), None)


def _as_dict(outcome: Outcome) -> dict[str, object]:
    return {
        "meeting_id": outcome.meeting["meeting_id"],
        "status": outcome.recording["status"] if outcome.recording else outcome.meeting["status"],
        "interrupted": outcome.interrupted_by is not None,
        "problem": outcome.problem,
        "sources": [
            {
                "file": str(source.file.path),
                "user_id": source.file.user_id,
                "name": source.file.name,
                "recorded_ms": source.taken_ms,
                "error": source.error,
            }
            for source in outcome.sources
        ],
        "meeting": outcome.meeting,
        "recording": outcome.recording,
    }
