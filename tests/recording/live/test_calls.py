"""Joining and leaving, with a way into voice that does what the test says."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from discord_recorder import DiscordSessionHandler, ServicesClosedError, ServicesManager, VoiceConnectionError
from discord_recorder.ids import Snowflake
from discord_recorder.recording.live.calls import Calls
from discord_recorder.recording.live.voice_port import VoiceCall, VoicePlace
from discord_recorder.voice.counters import PacketLedger
from discord_recorder.voice.sink import Ended, EndReason, VoiceSink
from tests.support.recorder import CHANNEL, started
from tests.support.waiting import until

PLACE = VoicePlace(channel_id=Snowflake(str(CHANNEL)), channel_name="Talk", guild_id=Snowflake("7"))


@dataclass
class FakeCall:
    ended: Ended | None = None
    left: int = 0
    error: Exception | None = None

    async def leave(self) -> None:
        self.left += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error


@dataclass
class FakePort:
    call: FakeCall = field(default_factory=FakeCall)
    error: Exception | None = None
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    names: dict[int, str] = field(default_factory=dict)
    sink: VoiceSink | None = None
    on_answer: Callable[[], object] = bool
    """Called when the channel is joined, before anybody knows."""

    def find(self, channel_id: Snowflake) -> VoicePlace:
        return PLACE

    def name_of(self, guild_id: Snowflake, user_id: int) -> str | None:
        assert guild_id == PLACE.guild_id
        return self.names.get(user_id)

    async def join(self, place: VoicePlace, sink: VoiceSink, ledger: PacketLedger) -> VoiceCall:
        self.sink = sink
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        asyncio.get_running_loop().call_soon(self.on_answer)
        return self.call


@pytest.fixture
def port() -> FakePort:
    return FakePort()


@pytest.fixture
def calls(port: FakePort) -> Calls:
    return Calls(lambda: port)


@pytest.fixture
async def session(services: ServicesManager) -> DiscordSessionHandler:
    return await started(services)


async def test_without_a_bot_nothing_is_found() -> None:
    assert await Calls(lambda: None).find(PLACE.channel_id) is None


async def test_joins_and_leaves_once(calls: Calls, port: FakePort, session: DiscordSessionHandler) -> None:
    port.answers.set()
    assert await calls.join(PLACE, session) is None
    assert PLACE.channel_id in calls
    await calls.leave(PLACE.channel_id)
    await calls.leave(PLACE.channel_id)
    assert port.call.left == 1
    assert calls.joined() == []


async def test_tells_an_end_that_came_at_once(calls: Calls, port: FakePort, session: DiscordSessionHandler) -> None:
    port.answers.set()
    port.call.ended = Ended(reason=EndReason.REMOVED)
    assert await calls.join(PLACE, session) is port.call.ended


async def test_what_cannot_be_joined(calls: Calls, port: FakePort, session: DiscordSessionHandler) -> None:
    port.answers.set()
    port.error = VoiceConnectionError("no")
    with pytest.raises(VoiceConnectionError):
        await calls.join(PLACE, session)
    assert calls.joined() == []


async def test_cancelled_in_the_moment_of_joining(calls: Calls, port: FakePort, session: DiscordSessionHandler) -> None:
    """The channel is joined, and who asked for it does not know yet: it is left again."""
    joining = asyncio.create_task(calls.join(PLACE, session))
    await until(lambda: port.sink)
    port.on_answer = joining.cancel
    port.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert port.call.left == 1
    assert calls.joined() == []


async def test_closed_while_joining(calls: Calls, port: FakePort, session: DiscordSessionHandler) -> None:
    joining = asyncio.create_task(calls.join(PLACE, session))
    await until(lambda: port.sink)
    await calls.aclose()
    with pytest.raises(ServicesClosedError):
        await joining
    with pytest.raises(ServicesClosedError):
        await calls.join(PLACE, session)


async def test_the_bot_is_detached_while_joining(port: FakePort, session: DiscordSessionHandler) -> None:
    attached: list[FakePort] = [port]
    calls = Calls(lambda: attached[0] if attached else None)
    joining = asyncio.create_task(calls.join(PLACE, session))
    await until(lambda: port.sink)
    attached.clear()
    port.answers.set()
    with pytest.raises(ServicesClosedError):
        await joining
    assert port.call.left == 1


async def test_an_error_while_leaving_stops_nothing(
    calls: Calls, port: FakePort, session: DiscordSessionHandler, caplog: pytest.LogCaptureFixture
) -> None:
    port.answers.set()
    port.call.error = RuntimeError("no")
    await calls.join(PLACE, session)
    await calls.leave(PLACE.channel_id)
    assert "could not be left" in caplog.text


async def test_closing_leaves(calls: Calls, port: FakePort, session: DiscordSessionHandler) -> None:
    port.answers.set()
    await calls.join(PLACE, session)
    await calls.aclose()
    assert port.call.left == 1


async def test_speakers_are_named_as_they_come(calls: Calls, port: FakePort, session: DiscordSessionHandler) -> None:
    port.answers.set()
    port.names = {5: "Ada"}
    await calls.join(PLACE, session)
    assert port.sink is not None
    port.sink.on_speaker(5, joined=True)
    port.sink.on_speaker(6, joined=True)
    port.sink.on_speaker(5, joined=False)
    assert session.speaker_names == {"5": "Ada"}
    port.names = {5: "Ada Lovelace"}
    port.sink.on_speaker(5, joined=True)
    assert session.speaker_names == {"5": "Ada Lovelace"}
