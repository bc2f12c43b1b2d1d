"""The gateway's rules, without sockets: sessions, resumes, intents, shards, close codes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.simulator.gateway.hub import CHUNK, Close, Op
from discord_recorder.simulator.gateway.session import MAX_KEPT
from discord_recorder.simulator.permissions import Permission
from tests.simulator.parts import ALL_INTENTS, UNPRIVILEGED, GatewayClient, Parts

GUILDS, MEMBERS, CONTENT = 1 << 0, 1 << 1, 1 << 15
GUILD_MESSAGES, DIRECT_MESSAGES = 1 << 9, 1 << 12


def test_identify_brings_ready_and_the_guilds(parts: Parts) -> None:
    client = GatewayClient(parts.hub)
    client.identify(parts.bot)
    assert client.events() == ["READY", "GUILD_CREATE"]
    [ready], [guild] = client.events("READY"), client.events("GUILD_CREATE")
    assert ready["user"]["id"] == ready["application"]["id"] == str(parts.bot.id)
    assert ready["resume_gateway_url"] == "wss://gateway/"
    assert [message["s"] for message in client.got] == [1, 2]
    assert {channel["name"] for channel in guild["channels"]} == {"general", "Talk", "Side"}
    assert {member["user"]["username"] for member in guild["members"]} == {"Ada", "Ben", "Recorder"}


def test_without_the_members_intent_only_the_bot_and_who_is_in_voice_are_shown(parts: Parts) -> None:
    parts.discord.join(parts.ben, parts.talk)
    client = GatewayClient(parts.hub)
    client.identify(parts.bot, intents=UNPRIVILEGED)
    [guild] = client.events("GUILD_CREATE")
    assert {member["user"]["username"] for member in guild["members"]} == {"Ben", "Recorder"}
    assert [state["user_id"] for state in guild["voice_states"]] == [str(parts.ben.id)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"token": "nobody's"}, Close.AUTHENTICATION_FAILED),
        ({"shard": [2, 2]}, Close.INVALID_SHARD),
        ({"intents": 1 << 40}, Close.INVALID_INTENTS),
        ({"intents": "all"}, Close.DECODE_ERROR),
    ],
)
def test_a_bad_identify_is_closed(parts: Parts, data: dict[str, Any], code: int) -> None:
    client = GatewayClient(parts.hub)
    client.say(Op.IDENTIFY, {"token": parts.bot.token, "intents": ALL_INTENTS, **data})
    assert (client.closed, client.session) == (code, None)


def test_privileged_intents_have_to_be_switched_on(parts: Parts) -> None:
    parts.hub.without_privileges.add(parts.bot.id)
    refused, allowed = GatewayClient(parts.hub), GatewayClient(parts.hub)
    refused.identify(parts.bot)
    allowed.identify(parts.bot, intents=UNPRIVILEGED)
    assert refused.closed == Close.DISALLOWED_INTENTS
    assert allowed.session is not None


def test_ops_before_identify_after_it_and_unknown_ones_are_closed(parts: Parts) -> None:
    early, twice, odd = GatewayClient(parts.hub), parts.client(), parts.client()
    early.say(Op.VOICE_STATE, {"guild_id": "1", "channel_id": None})
    twice.identify(parts.bot)
    odd.say(99)
    assert (early.closed, twice.closed, odd.closed) == (
        Close.NOT_AUTHENTICATED,
        Close.ALREADY_AUTHENTICATED,
        Close.UNKNOWN_OPCODE,
    )


def test_heartbeats_are_acknowledged(parts: Parts) -> None:
    client = parts.client()
    client.say(Op.HEARTBEAT, 1)
    assert [message["op"] for message in client.got] == [Op.HEARTBEAT_ACK]


def test_a_resume_repeats_exactly_what_was_missed(parts: Parts) -> None:
    client = parts.client()
    assert client.session is not None
    seen = client.session.sequence
    client.go()
    sent = [parts.discord.post(parts.ada, parts.text, f"number {number}") for number in range(3)]
    back = GatewayClient(parts.hub)
    back.resume(parts.bot, client.session.id, seen)
    assert [each["content"] for each in back.events("MESSAGE_CREATE")] == [message.content for message in sent]
    assert back.events()[-1] == "RESUMED"
    assert [message["s"] for message in back.got] == list(range(seen + 1, seen + 5))
    parts.wait(3600)
    parts.discord.post(parts.ada, parts.text, "later")
    assert back.events("MESSAGE_CREATE")[-1]["content"] == "later"


@pytest.mark.parametrize("why", ["unknown", "expired", "for good", "from the future", "too much missed", "not its own"])
def test_a_resume_that_cannot_be_is_an_invalid_session(parts: Parts, why: str) -> None:
    client = parts.client()
    assert client.session is not None
    session_id, seq, user = client.session.id, client.session.sequence, parts.bot
    client.go(for_good=why == "for good")
    if why == "unknown":
        session_id = "0" * 32
    elif why == "expired":
        parts.wait(61)
    elif why == "from the future":
        seq += 1
    elif why == "not its own":
        user = parts.discord.add_bot("Other", parts.guild)
    elif why == "too much missed":
        for _ in range(MAX_KEPT + 1):
            client.session.dispatch("TYPING_START", {})
    back = GatewayClient(parts.hub)
    back.resume(user, session_id, seq)
    assert back.got == [{"op": Op.INVALID_SESSION, "d": False, "s": None, "t": None}]
    assert back.session is None


def test_a_resume_takes_the_session_from_a_dead_connection(parts: Parts) -> None:
    client = parts.client()
    assert client.session is not None
    back = GatewayClient(parts.hub)
    back.resume(parts.bot, client.session.id, client.session.sequence)
    client.go()
    parts.wait(3600)
    assert client.was_cut
    assert parts.hub.sessions(parts.bot.id) == [back.session]


@pytest.mark.parametrize(
    ("intents", "mentioned", "content"),
    [
        (GUILDS | GUILD_MESSAGES | CONTENT, False, ["hello"]),
        (GUILDS | GUILD_MESSAGES, False, [""]),
        (GUILDS | GUILD_MESSAGES, True, ["hello <@{bot}>"]),
        (GUILDS | DIRECT_MESSAGES | CONTENT, False, []),
    ],
)
def test_message_intents(parts: Parts, intents: int, mentioned: bool, content: list[str]) -> None:
    client = parts.client(intents=intents)
    parts.discord.post(parts.ada, parts.text, f"hello <@{parts.bot.id}>" if mentioned else "hello")
    told = [each["content"] for each in client.events("MESSAGE_CREATE")]
    assert told == [each.format(bot=parts.bot.id) for each in content]


def test_direct_messages_are_told_to_their_bot_only(parts: Parts) -> None:
    other = parts.discord.add_bot("Other", parts.guild)
    client, stranger = parts.client(intents=DIRECT_MESSAGES), parts.client(other)
    parts.discord.post(parts.ada, parts.discord.direct_channel(parts.bot, parts.ada), "psst")
    [message] = client.events("MESSAGE_CREATE")
    assert message["content"] == "psst"
    assert "guild_id" not in message
    assert stranger.events() == []


def test_a_hidden_channel_is_hidden(parts: Parts) -> None:
    parts.discord.overwrite(parts.text, parts.bot, deny=Permission.VIEW_CHANNEL)
    client = parts.client()
    parts.discord.post(parts.ada, parts.text, "secret")
    assert client.events() == []


def test_shards_share_the_guilds(parts: Parts) -> None:
    guilds = [parts.guild, *(parts.discord.add_guild(f"Guild {number}", parts.ada) for number in range(7))]
    for guild in guilds[1:]:
        parts.discord.add_member(guild, parts.bot)
    shards = [GatewayClient(parts.hub) for _ in range(2)]
    for number, shard in enumerate(shards):
        shard.identify(parts.bot, shard=(number, 2))
    told = [{int(guild["id"]) for guild in shard.events("GUILD_CREATE")} for shard in shards]
    assert told[0] | told[1] == {guild.id for guild in guilds}
    assert told[0] & told[1] == set()
    assert all(told)
    [number] = [number for number in range(2) if parts.guild.id in told[number]]
    parts.discord.post(parts.ada, parts.text, "hello")
    assert len(shards[number].events("MESSAGE_CREATE")) == 1
    assert shards[1 - number].events("MESSAGE_CREATE") == []


def test_members_come_in_chunks(parts: Parts) -> None:
    for number in range(CHUNK):
        parts.discord.add_member(parts.guild, parts.discord.add_user(f"User {number}"))
    client = parts.client()
    client.say(Op.REQUEST_MEMBERS, {"guild_id": str(parts.guild.id), "query": "", "limit": 0, "nonce": "n"})
    chunks = client.events("GUILD_MEMBERS_CHUNK")
    assert [(chunk["chunk_index"], chunk["chunk_count"], chunk["nonce"]) for chunk in chunks] == [
        (0, 2, "n"),
        (1, 2, "n"),
    ]
    ids = [member["user"]["id"] for chunk in chunks for member in chunk["members"]]
    assert len(set(ids)) == len(ids) == CHUNK + 3


def test_members_by_name_and_by_id(parts: Parts) -> None:
    client = parts.client(intents=UNPRIVILEGED)
    guild_id = str(parts.guild.id)
    client.say(Op.REQUEST_MEMBERS, {"guild_id": guild_id, "query": "ad", "limit": 5})
    client.say(Op.REQUEST_MEMBERS, {"guild_id": guild_id, "user_ids": [str(parts.ben.id), "7"]})
    client.say(Op.REQUEST_MEMBERS, {"guild_id": guild_id, "query": "", "limit": 0})  # needs the intent
    by_name, by_id = client.events("GUILD_MEMBERS_CHUNK")
    assert [member["user"]["username"] for member in by_name["members"]] == ["Ada"]
    assert [member["user"]["username"] for member in by_id["members"]] == ["Ben"]
    assert by_id["not_found"] == ["7"]


def test_a_bot_that_is_let_in_or_put_out_is_told(parts: Parts) -> None:
    other = parts.discord.add_bot("Other")
    client = parts.client(other)
    parts.discord.add_member(parts.guild, other)
    parts.discord.kick(other, parts.guild)
    parts.discord.post(parts.ada, parts.text, "gone")
    assert client.events() == ["GUILD_CREATE", "GUILD_MEMBER_REMOVE", "GUILD_DELETE"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_FIELDS = st.sampled_from(
    ["token", "intents", "shard", "guild_id", "channel_id", "session_id", "seq", "user_ids", "query", "limit", "nonce"]
)


@given(
    op=st.sampled_from(list(Op)) | _JSON,
    data=st.dictionaries(_FIELDS, _JSON, max_size=6) | _JSON,
    known=st.booleans(),
)
def test_whatever_a_client_says_is_answered_or_closed(op: object, data: object, known: bool) -> None:
    parts = Parts()
    client = parts.client() if known else GatewayClient(parts.hub)
    if isinstance(data, dict) and known:
        data.setdefault("guild_id", str(parts.guild.id))
    client.say_raw(json.dumps({"op": op, "d": data}))
    parts.discord.post(parts.ada, parts.text, "still here")


@given(st.text() | st.binary())
def test_noise_is_closed(text: str | bytes) -> None:
    parts = Parts()
    client = parts.client()
    client.say_raw(text)
    assert client.closed in (Close.DECODE_ERROR, Close.UNKNOWN_OPCODE)
