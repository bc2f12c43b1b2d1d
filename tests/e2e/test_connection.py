"""What happens to the connection, and what it costs: half a second of audio at most, and it is told."""

import asyncio
import time
from collections.abc import Callable

import pytest

from discord_recorder.simulator.voice.faults import Direction, LinkFaults
from discord_recorder.simulator.world import Audience
from discord_recorder.voice.sink import EndReason, GapReason
from tests.e2e.call import Call
from tests.support.waiting import until

NOTICED_AND_HEALED_SECONDS = 15.0


def resumable_close(call: Call) -> None:
    call.server.close_websocket(call.bot.id, call.guild.id, 4015)


def session_ended(call: Call) -> None:
    call.server.close_websocket(call.bot.id, call.guild.id, 4006, void_ticket=True)


def tcp_cut(call: Call) -> None:
    call.server.cut(call.bot.id, call.guild.id)


def server_rotated(call: Call) -> None:
    call.simulator.rotate_voice_server(call.guild)


@pytest.mark.parametrize(
    ("happens", "tells"),
    [
        (resumable_close, None),
        (tcp_cut, None),
        (session_ended, GapReason.SESSION_ENDED),
    ],
)
async def test_a_lost_connection_costs_half_a_second_at_most(
    call: Call, happens: Callable[[Call], None], tells: GapReason | None
) -> None:
    for person in (call.ada, call.ben):
        person.begin()
    await call.ada.said(25)
    happens(call)
    await call.ada.said(75)
    await until(lambda: call.counts(call.ada.id).stored > 60)
    for person in (call.ada, call.ben):
        await person.end()
    await call.tail()
    for person in (call.ada, call.ben):
        assert not call.lost_too_much(person)
    gaps = await call.gaps()
    assert gaps == ([] if tells is None else [tells])
    if tells is None:
        assert call.missing(call.ada) == call.missing(call.ben) == []
    await call.stop()
    assert (await call.meeting())["end_reason"] == "stopped"


async def test_another_voice_server(call: Call) -> None:
    """The people move, too, so that what they send before they are there is nobody's."""
    call.ada.begin()
    await call.ada.said(25)
    call.simulator.rotate_voice_server(call.guild)
    await call.ada.end()
    await _people_follow(call)
    before = len(call.ada.speaker.sent)
    await call.ada.say(0.5)
    await call.tail()
    missing = call.missing(call.ada)
    assert not call.lost_too_much(call.ada)
    assert not set(missing) & set(call.ada.speaker.sent[before:])
    assert await call.gaps() == [GapReason.SERVER_MOVED]
    await call.stop()


async def test_the_voice_server_is_taken_away_and_another_one_given(call: Call) -> None:
    """What is said in between nobody can hear; nobody asks for another server, and all that follows is stored."""
    ada, bot, guild = call.ada, call.bot, call.guild
    joined: list[int] = []
    call.simulator.voice_states.on_access(lambda access: joined.append(access.ticket.user_id))
    await ada.say(0.5)
    await call.tail()
    null = {"token": "none", "guild_id": str(guild.id), "endpoint": None}
    call.simulator.world.publish("VOICE_SERVER_UPDATE", null, Audience(user_ids=frozenset((bot.id,))))
    await until(lambda: call.server.session(bot.id, guild.id) is None)
    unheard = len(ada.spoken)
    await ada.say(0.5)
    heard_again = len(ada.spoken)
    assert joined == []
    call.simulator.rotate_voice_server(guild)
    await _people_follow(call)
    await ada.say(0.5)
    await call.tail()
    assert call.missing(ada) == ada.spoken[unheard:heard_again]
    assert joined.count(bot.id) == 1
    assert await call.gaps() == [GapReason.SERVER_MOVED]
    await call.stop()


async def _people_follow(call: Call) -> None:
    """Everybody but the bot, which does so by itself, connects to the voice server of now."""
    for person in (call.ada, call.ben):
        await person.speaker.leave()
        access = call.simulator.voice_access(person.user, call.guild)
        assert access is not None
        await person.speaker.join(access)
    await call.together(call.ada.id, call.ben.id)


async def test_moved_to_another_channel_the_meeting_goes_on_there(call: Call) -> None:
    await call.ada.say(0.4)
    await call.tail()
    call.simulator.move(call.bot, call.side)
    call.channel, old = call.side, call.channel
    await call.ada.leave()
    await call.ada.join()
    await call.together(call.ada.id)
    await call.ada.say(0.4)
    await call.tail()
    assert call.missing(call.ada) == []
    call.channel = old
    assert await call.gaps() == [GapReason.SERVER_MOVED]
    await call.stop()
    assert not call.in_channel()


async def test_the_main_gateway_drops_and_is_resumed(call: Call) -> None:
    call.ada.begin()
    await call.ada.said(20)
    call.simulator.drop_gateway(call.bot)
    await until(lambda: call.simulator.connected(call.bot))
    await call.ada.said(20)
    await call.ada.end()
    await call.tail()
    assert call.missing(call.ada) == []
    assert await call.gaps() == []
    await call.stop()


async def test_the_main_gateway_drops_and_cannot_be_resumed(call: Call) -> None:
    """Discord puts the bot out of the channel, and its library logs in anew after 5 s: half a second later it hears."""
    ada = call.ada
    ada.begin()
    await ada.said(20)
    dropped = len(ada.spoken)
    call.simulator.drop_gateway(call.bot, resumable=False)
    await until(lambda: call.simulator.connected(call.bot))
    back = len(ada.spoken)
    await until(call.in_channel)
    await call.together(ada.id, call.ben.id)
    await ada.said(20)
    await ada.end()
    await call.tail()
    sent, missing = ada.spoken, call.missing(ada)
    first = sent.index(missing[0])
    assert missing == sent[first : first + len(missing)]
    assert dropped - 1 <= first <= dropped + 1
    assert not call.lost_too_much(ada, since=back)
    assert await call.gaps() == [GapReason.SESSION_ENDED]
    await call.stop()


async def test_deafened_by_a_moderator(call: Call) -> None:
    """Exactly what was said meanwhile is missing, and it is told; it is no reason to join again."""
    await call.ada.say(0.4)
    await call.tail()
    call.simulator.server_deafen(call.bot, call.guild)
    before = len(call.ada.spoken)
    await call.ada.say(0.4)
    after = len(call.ada.spoken)
    call.simulator.server_deafen(call.bot, call.guild, deaf=False)
    await call.ada.say(0.4)
    await call.tail()
    assert call.missing(call.ada) == call.ada.spoken[before:after]
    assert await call.gaps() == [GapReason.DEAFENED]
    await call.stop()


async def test_a_blackhole_is_noticed_and_healed(call: Call) -> None:
    """All datagrams to the bot vanish, as when a NAT forgets it; the connection that it makes anew is heard again."""
    call.ada.begin()
    await call.ada.said(25)
    call.server.disturb(call.bot.id, Direction.DOWN, LinkFaults(blackhole=True))
    began = time.monotonic()
    session = call.server.session(call.bot.id, call.guild.id)
    call.simulator.voice_states.on_access(lambda _: call.server.heal(call.bot.id))
    await until(lambda: call.server.session(call.bot.id, call.guild.id) is not session)
    heard = call.counts(call.ada.id).stored
    await until(lambda: call.counts(call.ada.id).stored > heard + 25)
    assert time.monotonic() - began < NOTICED_AND_HEALED_SECONDS
    await call.ada.end()
    await call.tail()
    sent, missing = call.ada.spoken, call.missing(call.ada)
    first = sent.index(missing[0])
    assert missing == sent[first : first + len(missing)]
    assert await call.gaps() == [GapReason.DEAF]
    await call.stop()


async def test_put_out_of_the_channel(call: Call) -> None:
    await _ends_by_itself(call, lambda: call.simulator.disconnect(call.bot, call.guild), EndReason.REMOVED)


async def test_put_out_of_the_guild(call: Call) -> None:
    await _ends_by_itself(call, lambda: call.simulator.kick(call.bot, call.guild), EndReason.REMOVED)


async def test_the_channel_is_deleted(call: Call) -> None:
    await _ends_by_itself(call, lambda: call.simulator.remove_channel(call.channel), EndReason.REMOVED)


async def test_told_not_to_reconnect(call: Call) -> None:
    reason = f"{EndReason.RATE_LIMITED} (close code 4021)"
    await _ends_by_itself(call, lambda: call.server.close_websocket(call.bot.id, call.guild.id, 4021), reason)
    assert not call.in_channel()


async def test_the_bot_logs_out(call: Call) -> None:
    await call.ada.say(0.3)
    await call.tail()
    await call.client.close()
    await call.finished()
    assert (await call.meeting())["end_reason"] == EndReason.LEFT


async def _ends_by_itself(call: Call, act: Callable[[], None], reason: str) -> None:
    """What was said by then is promoted, with the reason."""
    await call.ada.say(0.3)
    await call.tail()
    assert call.missing(call.ada) == []
    act()
    recording = await call.finished()
    assert recording["duration_ms"] >= 300
    assert (await call.meeting())["end_reason"] == reason
    assert call.client.voice_clients == []
    await asyncio.sleep(0)
