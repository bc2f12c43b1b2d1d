"""Joins, moves, mutes: what the gateway tells, and what the voice servers are told."""

import pytest

from discord_recorder.errors import ApiRefusalError, SimulatorError
from discord_recorder.simulator.gateway.hub import Op
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.voice_port import VoiceAccess
from discord_recorder.simulator.voice_states import UpdateOrder
from tests.simulator.parts import GatewayClient, Parts


def join(client: GatewayClient, parts: Parts, channel_id: int | None, *, deaf: bool = False) -> None:
    channel = None if channel_id is None else str(channel_id)
    data = {"guild_id": str(parts.guild.id), "channel_id": channel, "self_mute": False, "self_deaf": deaf}
    client.say(Op.VOICE_STATE, data)


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (UpdateOrder.STATE_FIRST, ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"]),
        (UpdateOrder.SERVER_FIRST, ["VOICE_SERVER_UPDATE", "VOICE_STATE_UPDATE"]),
    ],
)
def test_a_join_brings_both_updates_in_the_order_set(parts: Parts, order: UpdateOrder, told: list[str]) -> None:
    parts.discord.voice_states.order = order
    client = parts.client()
    join(client, parts, parts.talk.id)
    assert client.events() == told
    [state], [server] = client.events("VOICE_STATE_UPDATE"), client.events("VOICE_SERVER_UPDATE")
    ticket = parts.voice[0].admitted[parts.bot.id]
    assert client.session is not None
    assert state["session_id"] == ticket.session_id == client.session.id
    assert (server["token"], server["endpoint"]) == (ticket.token, "localhost:1")
    assert ticket.channel_id == parts.talk.id


def test_others_learn_of_a_join_but_get_no_ticket(parts: Parts) -> None:
    client = parts.client()
    parts.discord.join(parts.ada, parts.talk)
    assert client.events() == ["VOICE_STATE_UPDATE"]
    assert client.events("VOICE_STATE_UPDATE")[0]["member"]["user"]["id"] == str(parts.ada.id)


def test_a_full_channel_answers_nothing(parts: Parts) -> None:
    small = parts.discord.add_voice_channel(parts.guild, "Small", user_limit=1)
    parts.discord.join(parts.ada, small)
    client = parts.client()
    join(client, parts, small.id)
    assert client.events() == []
    assert parts.bot.id not in parts.voice[0].admitted
    with pytest.raises(SimulatorError, match="full"):
        parts.discord.join(parts.ben, small)


def test_who_may_move_members_enters_a_full_channel(parts: Parts) -> None:
    small = parts.discord.add_voice_channel(parts.guild, "Small", user_limit=1)
    parts.discord.join(parts.ada, small)
    parts.discord.overwrite(small, parts.bot, allow=Permission.MOVE_MEMBERS)
    client = parts.client()
    join(client, parts, small.id)
    assert len(client.events("VOICE_SERVER_UPDATE")) == 1


def test_a_channel_without_the_permission_to_connect_answers_nothing(parts: Parts) -> None:
    parts.discord.overwrite(parts.talk, parts.bot, deny=Permission.CONNECT)
    client = parts.client()
    join(client, parts, parts.talk.id)
    assert client.events() == []


def test_the_same_channel_again_only_changes_the_own_mute(parts: Parts) -> None:
    client = parts.client()
    join(client, parts, parts.talk.id)
    ticket = parts.voice[0].admitted[parts.bot.id]
    client.got.clear()
    join(client, parts, parts.talk.id, deaf=True)
    assert client.events() == ["VOICE_STATE_UPDATE"]
    assert parts.voice[0].admitted[parts.bot.id] is ticket
    assert parts.voice[0].self_deaf[parts.bot.id] is True


def test_leaving_ends_the_voice_connection(parts: Parts) -> None:
    client = parts.client()
    join(client, parts, parts.talk.id)
    client.got.clear()
    join(client, parts, None)
    [state] = client.events("VOICE_STATE_UPDATE")
    assert state["channel_id"] is None
    assert parts.voice[0].removed == [(parts.bot.id, 4014)]
    assert parts.discord.voice_access(parts.bot, parts.guild) is None


def test_a_move_gives_a_new_ticket(parts: Parts) -> None:
    client = parts.client()
    join(client, parts, parts.talk.id)
    old = parts.voice[0].admitted[parts.bot.id]
    client.got.clear()
    access = parts.discord.move(parts.bot, parts.side)
    assert client.events() == ["VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE"]
    assert parts.voice[0].removed == [(parts.bot.id, 4014)]
    assert parts.voice[0].admitted[parts.bot.id] is access.ticket
    assert access.ticket.channel_id == parts.side.id
    assert access.ticket.token != old.token
    assert access.ticket.session_id == old.session_id


def test_only_who_is_connected_can_be_moved_or_muted(parts: Parts) -> None:
    with pytest.raises(ApiRefusalError, match="not connected"):
        parts.discord.move(parts.ada, parts.side)
    with pytest.raises(ApiRefusalError, match="not connected"):
        parts.discord.server_mute(parts.ada, parts.guild)


def test_server_mute_and_deafen_reach_the_voice_server(parts: Parts) -> None:
    parts.discord.join(parts.ada, parts.talk)
    client = parts.client()
    parts.discord.server_mute(parts.ada, parts.guild)
    parts.discord.server_deafen(parts.ada, parts.guild)
    assert [(state["mute"], state["deaf"]) for state in client.events("VOICE_STATE_UPDATE")] == [
        (True, False),
        (True, True),
    ]
    assert parts.voice[0].muted[parts.ada.id] == (True, True)
    parts.discord.move(parts.ada, parts.side)
    assert parts.voice[0].muted[parts.ada.id] == (True, True)


def test_on_a_stage_everyone_is_suppressed_and_nothing_is_end_to_end_encrypted(parts: Parts) -> None:
    stage = parts.discord.add_stage_channel(parts.guild, "Stage")
    client = parts.client()
    join(client, parts, stage.id)
    assert client.events("VOICE_STATE_UPDATE")[0]["suppress"] is True
    assert parts.voice[0].muted[parts.bot.id] == (True, False)
    assert parts.voice[0].versions == {stage.id: 0}


@pytest.mark.parametrize("null_first", [False, True])
def test_rotation_moves_everyone_to_the_next_server(parts: Parts, null_first: bool) -> None:
    parts.discord.voice_states.announce_null_endpoint = null_first
    client = parts.client()
    join(client, parts, parts.talk.id)
    parts.discord.join(parts.ada, parts.talk)
    heard: list[VoiceAccess] = []
    parts.discord.voice_states.on_access(heard.append)
    client.got.clear()
    parts.discord.rotate_voice_server(parts.guild)
    told = [update["endpoint"] for update in client.events("VOICE_SERVER_UPDATE")]
    assert told == ([None] if null_first else []) + ["localhost:2"]
    assert client.events("VOICE_STATE_UPDATE") == []
    assert sorted(parts.voice[1].admitted) == sorted((parts.bot.id, parts.ada.id))
    assert parts.voice[0].admitted == {}
    assert {access.ticket.user_id for access in heard} == {parts.bot.id, parts.ada.id}
    parts.discord.rotate_voice_server(parts.guild)
    assert sorted(parts.voice[0].admitted) == sorted((parts.bot.id, parts.ada.id))


def test_a_bot_whom_the_voice_server_lost_stays_until_its_session_ends(parts: Parts) -> None:
    client = parts.client()
    join(client, parts, parts.talk.id)
    client.got.clear()
    parts.discord.voice_states.left(parts.bot.id, parts.guild.id)
    assert client.events() == []
    assert parts.bot.id in parts.guild.voice_states
    assert parts.discord.voice_access(parts.bot, parts.guild) is None
    join(client, parts, None)
    join(client, parts, parts.talk.id)
    assert len(client.events("VOICE_SERVER_UPDATE")) == 1
    client.go(for_good=True)
    assert parts.bot.id not in parts.guild.voice_states


def test_a_person_whom_the_voice_server_lost_is_out(parts: Parts) -> None:
    parts.discord.join(parts.ada, parts.talk)
    client = parts.client()
    parts.discord.voice_states.left(parts.ada.id, parts.guild.id)
    assert client.events("VOICE_STATE_UPDATE")[0]["channel_id"] is None
    parts.discord.voice_states.left(parts.ada.id, parts.guild.id)
    assert len(client.events()) == 1


@pytest.mark.parametrize("end", ["kick", "remove_channel"])
def test_who_loses_guild_or_channel_loses_voice(parts: Parts, end: str) -> None:
    parts.discord.join(parts.ben, parts.talk)
    if end == "kick":
        parts.discord.kick(parts.ben, parts.guild)
    else:
        parts.discord.remove_channel(parts.talk)
    assert parts.guild.voice_states == {}
    assert parts.voice[0].removed == [(parts.ben.id, 4014)]


def test_an_ended_gateway_session_takes_its_voice_connection_along(parts: Parts) -> None:
    client = parts.client()
    join(client, parts, parts.talk.id)
    client.go()
    assert parts.bot.id in parts.guild.voice_states
    parts.wait(60)
    assert parts.bot.id not in parts.guild.voice_states
    assert parts.voice[0].removed == [(parts.bot.id, 4014)]
