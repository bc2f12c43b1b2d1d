"""The REST API as discord.py and bare HTTP use it: messages, members, permissions, rate limits, refusals."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import discord
import pytest

from discord_recorder.simulator.drafts import MAX_FILE_BYTES
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.rest.rate_limits import Failure, RateLimit
from discord_recorder.simulator.server import Simulator, SimulatorOptions
from discord_recorder.simulator.world import MAX_CHANNELS
from tests.support.pointing import point_discord_py
from tests.support.simulator import Scene, logged_in
from tests.support.waiting import until


@pytest.fixture
async def client(scene: Scene) -> AsyncIterator[discord.Client]:
    """A client that is logged in."""
    async with logged_in(scene.client(), scene.bot) as client:
        yield client


@pytest.fixture
def general(scene: Scene, client: discord.Client) -> discord.TextChannel:
    """The text channel."""
    channel = client.get_channel(scene.text.id)
    assert isinstance(channel, discord.TextChannel)
    return channel


@pytest.fixture
def guild(client: discord.Client) -> discord.Guild:
    """The guild."""
    return client.guilds[0]


async def test_messages_are_sent_edited_listed_and_deleted(scene: Scene, general: discord.TextChannel) -> None:
    simulator = scene.simulator
    embed = discord.Embed(title="Title", description="Text").add_field(name="n", value="v")
    sent = await general.send("one", embed=embed)
    assert sent.author.id == scene.bot.id
    await general.send("two", reference=sent)
    await sent.edit(content="one, edited", embed=None)
    kept = simulator.messages(scene.text)
    assert [(message.content, message.embeds) for message in kept] == [("one, edited", ()), ("two", ())]
    assert kept[1].reply_to == sent.id
    newest_first = [message async for message in general.history()]
    assert [message.content for message in newest_first] == ["two", "one, edited"]
    assert newest_first[0].reference is not None
    assert isinstance(newest_first[0].reference.resolved, discord.Message)
    assert newest_first[0].reference.resolved.id == sent.id
    assert [message.content async for message in general.history(after=sent)] == ["two"]
    assert [message.content async for message in general.history(before=newest_first[0])] == ["one, edited"]
    assert (await general.fetch_message(sent.id)).edited_at is not None
    await sent.delete()
    with pytest.raises(discord.NotFound, match="Unknown Message"):
        await general.fetch_message(sent.id)


async def test_history_pages_through_more_than_a_hundred(scene: Scene, general: discord.TextChannel) -> None:
    for number in range(250):
        scene.simulator.post(scene.ada, scene.text, str(number))
    oldest_first = [message.content async for message in general.history(limit=None, oldest_first=True)]
    newest_first = [message.content async for message in general.history(limit=None)]
    assert oldest_first == newest_first[::-1] == [str(number) for number in range(250)]
    middle = scene.simulator.messages(scene.text)[100]
    around = [message.content async for message in general.history(limit=5, around=discord.Object(middle.id))]
    assert sorted(map(int, around)) == [98, 99, 100, 101, 102]


async def test_files_go_up_and_come_down(scene: Scene, general: discord.TextChannel) -> None:
    data = bytes(range(256)) * 5_000
    files = [discord.File(io.BytesIO(data), "a b.bin", description="noise"), discord.File(io.BytesIO(b"text"), "c.txt")]
    message = await general.send(files=files)
    [first, second] = scene.simulator.messages(scene.text)[0].attachments
    assert (first.filename, first.data, first.description) == ("a_b.bin", data, "noise")
    assert await message.attachments[0].read() == data
    assert await message.attachments[1].read() == b"text"
    edited = await message.edit(attachments=[message.attachments[1], discord.File(io.BytesIO(b"new"), "d.txt")])
    assert [attachment.filename for attachment in edited.attachments] == ["c.txt", "d.txt"]
    assert second.data == b"text"


async def test_a_file_over_the_limit_is_refused(general: discord.TextChannel) -> None:
    with pytest.raises(discord.HTTPException) as refusal:
        await general.send(file=discord.File(io.BytesIO(bytes(MAX_FILE_BYTES + 1)), "big"))
    assert (refusal.value.status, refusal.value.code) == (413, 40005)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"content": ""}, 50006),
        ({"content": "x" * 2001}, 50035),
        ({"embed": discord.Embed(description="x" * 4097)}, 50035),
        ({"embed": discord.Embed().add_field(name="n", value="x" * 1025)}, 50035),
        ({"embed": discord.Embed(title="t").set_footer(text="x" * 2049)}, 50035),
        ({"embed": discord.Embed(title="t").set_author(name="x" * 257)}, 50035),
        ({"embeds": [discord.Embed(description="x" * 4096), discord.Embed(description="x" * 1905)]}, 50035),
    ],
)
async def test_a_message_that_cannot_be_is_refused(
    general: discord.TextChannel, arguments: dict[str, Any], code: int
) -> None:
    with pytest.raises(discord.HTTPException) as refusal:
        await general.send(**arguments)
    assert (refusal.value.status, refusal.value.code) == (400, code)


async def test_what_permissions_do_not_allow_is_forbidden(
    scene: Scene, client: discord.Client, general: discord.TextChannel, guild: discord.Guild
) -> None:
    simulator = scene.simulator
    theirs = await general.fetch_message(simulator.post(scene.ada, scene.text, "mine").id)
    codes: dict[str, int] = {}
    simulator.join(scene.ben, scene.talk)
    ben = await guild.fetch_member(scene.ben.id)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "delete another's": theirs.delete,
        "edit another's": lambda: theirs.edit(content="x"),
        "change a channel": lambda: general.edit(name="x"),
        "mute": lambda: ben.edit(mute=True),
        "move": lambda: ben.move_to(None),
        "rename another": lambda: ben.edit(nick="x"),
        "kick": ben.kick,
    }
    for name, call in calls.items():
        with pytest.raises(discord.Forbidden) as refusal:
            await call()
        codes[name] = refusal.value.code
    assert codes == dict.fromkeys(codes, 50013) | {"edit another's": 50005}
    simulator.overwrite(scene.text, scene.bot, deny=Permission.ATTACH_FILES)
    with pytest.raises(discord.Forbidden, match="50013"):
        await general.send(file=discord.File(io.BytesIO(b"x"), "x"))
    simulator.overwrite(scene.text, scene.bot, deny=Permission.SEND_MESSAGES)
    with pytest.raises(discord.Forbidden, match="50013"):
        await general.send("x")
    simulator.overwrite(scene.text, scene.bot, deny=Permission.VIEW_CHANNEL)
    with pytest.raises(discord.Forbidden, match="50001"):
        await general.send("x")


async def test_a_moderating_bot_moves_mutes_and_kicks(scene: Scene, guild: discord.Guild) -> None:
    simulator = scene.simulator
    simulator.add_member(scene.guild, scene.bot, simulator.add_role(scene.guild, "Mod", Permission.ADMINISTRATOR))
    simulator.join(scene.ben, scene.talk)
    ben = await guild.fetch_member(scene.ben.id)
    await ben.edit(mute=True, deafen=True, nick="Benny")
    side = guild.get_channel(scene.side.id)
    assert isinstance(side, discord.VoiceChannel)
    await ben.move_to(side)
    member = scene.guild.members[scene.ben.id]
    assert (member.mute, member.deaf, member.nick) == (True, True, "Benny")
    assert scene.guild.voice_states[scene.ben.id].channel_id == scene.side.id
    await ben.kick()
    assert scene.ben.id not in scene.guild.members
    assert scene.ben.id not in scene.guild.voice_states


async def test_a_bot_changes_its_own_nickname(scene: Scene, guild: discord.Guild) -> None:
    await guild.me.edit(nick="[REC] Recorder")
    assert scene.guild.members[scene.bot.id].nick == "[REC] Recorder"
    await until(lambda: guild.me.nick == "[REC] Recorder")


async def test_direct_messages_and_closed_ones(scene: Scene, client: discord.Client) -> None:
    simulator = scene.simulator
    person = await client.fetch_user(scene.ada.id)
    await person.send("here is your recording", file=discord.File(io.BytesIO(b"audio"), "mix.mp3"))
    [message] = simulator.messages(simulator.direct_channel(scene.bot, scene.ada))
    assert (message.content, message.attachments[0].data) == ("here is your recording", b"audio")
    simulator.close_direct_messages(scene.ada)
    with pytest.raises(discord.Forbidden, match="50007"):
        await person.send("again")


async def test_on_a_stage_a_bot_speaks_only_with_the_right(scene: Scene, guild: discord.Guild) -> None:
    simulator = scene.simulator
    stage = simulator.add_stage_channel(scene.guild, "Stage")
    channel = await until(lambda: guild.get_channel(stage.id))
    await guild.change_voice_state(channel=channel)
    await until(lambda: guild.me.voice)
    await guild.me.request_to_speak()
    assert scene.guild.voice_states[scene.bot.id].request_to_speak_at is not None
    with pytest.raises(discord.Forbidden):
        await guild.me.edit(suppress=False)
    simulator.overwrite(stage, scene.bot, allow=Permission.MUTE_MEMBERS)
    await guild.me.edit(suppress=False)
    assert scene.guild.voice_states[scene.bot.id].suppress is False


async def test_a_429_is_waited_for_and_the_call_repeated(scene: Scene, general: discord.TextChannel) -> None:
    simulator = scene.simulator
    simulator.fail_next(Failure(retry_after_seconds=0.01, path="/messages"))
    simulator.fail_next(Failure(retry_after_seconds=0.01, is_global=True))
    await general.send("through")
    assert [message.content for message in simulator.messages(scene.text)] == ["through"]


async def test_a_real_bucket_makes_clients_wait_but_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = RateLimit(requests=3, per_seconds=0.2)
    async with Simulator(SimulatorOptions(rate_limit=limit)) as simulator:
        point_discord_py(monkeypatch, simulator)
        scene = Scene(simulator)
        async with logged_in(scene.client(), scene.bot) as client:
            channel = client.get_channel(scene.text.id)
            assert isinstance(channel, discord.TextChannel)
            for number in range(8):
                await channel.send(str(number))
        sent = simulator.messages(scene.text)
        assert [message.content for message in sent] == [str(number) for number in range(8)]
        assert (sent[-1].sent_at - sent[0].sent_at).total_seconds() > 0.2


async def test_a_server_error_is_an_error(scene: Scene, general: discord.TextChannel) -> None:
    scene.simulator.fail_next(Failure(status=503))
    with pytest.raises(discord.DiscordServerError):
        await general.send("x")


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    """Bare HTTP."""
    connector = aiohttp.TCPConnector(ssl=simulator.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def test_answers_are_exactly_json(scene: Scene, http: aiohttp.ClientSession) -> None:
    headers = {"Authorization": f"Bot {scene.bot.token}"}
    async with http.get(f"{scene.simulator.api_url}/users/@me", headers=headers) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset-After"} <= set(answer.headers)
        assert (await answer.json())["id"] == str(scene.bot.id)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/users/@me", None, 401, 0),
        ("GET", "/no/such/route", None, 404, 0),
        ("GET", "/channels/1", None, 404, 10003),
        ("GET", "/channels/not-an-id", None, 404, 10003),
        ("GET", f"/channels/{'9' * 40}", None, 404, 10003),
        ("GET", "/guilds/1", None, 404, 10004),
        ("POST", "/channels/{text}/messages", b"{", 400, 50109),
        ("POST", "/channels/{text}/messages", b"[]", 400, 50109),
        ("POST", "/channels/{text}/messages", b"[" * 100_000, 400, 50109),
        ("POST", "/channels/{text}/messages", b'{"content": 7}', 400, 50035),
        ("POST", "/channels/{text}/messages", b'{"embeds": "x"}', 400, 50035),
        ("POST", "/channels/{text}/messages", b'{"components": [7]}', 400, 50035),
        ("POST", "/channels/{text}/messages", b'{"content": "x", "flags": 1e999}', 400, 50035),
        ("POST", "/channels/{text}/messages", b'{"components": [{"type": 1, "components": [{}]}]}', 400, 50035),
        ("GET", "/channels/{text}/messages?limit=many", None, 400, 50035),
        ("PATCH", "/users/@me", b'{"username": ["a", "b"]}', 400, 50035),
        ("PATCH", "/users/@me", b'{"username": "a"}', 400, 50035),
        ("PATCH", "/guilds/{guild}/members/@me", b'{"nick": ["a"]}', 400, 50035),
        ("PATCH", "/guilds/{guild}/members/@me", b'{"nick": "' + b"a" * 33 + b'"}', 400, 50035),
        ("PATCH", "/channels/{direct}", b'{"name": "x"}', 403, 50003),
        ("DELETE", "/channels/{direct}", None, 403, 50003),
        ("PUT", "/channels/{direct}/permissions/1", b'{"type": 1}', 403, 50003),
        ("PUT", "/applications/{bot}/commands", b"{}", 400, 50109),
        ("PUT", "/applications/1/commands", b"[]", 403, 50001),
        ("POST", "/interactions/1/nothing/callback", b'{"type": 4}', 404, 10062),
        ("POST", "/webhooks/{bot}/nothing", b'{"content": "x"}', 404, 10015),
        ("POST", "/channels/{text}/messages", b" " * (1024 * 1024 + 1), 413, 40005),
    ],
)
async def test_refusals(
    scene: Scene, http: aiohttp.ClientSession, method: str, path: str, body: bytes | None, status: int, code: int
) -> None:
    ids = {"text": scene.text.id, "bot": scene.bot.id, "guild": scene.guild.id}
    ids["direct"] = scene.simulator.direct_channel(scene.bot, scene.ada).id
    url = scene.simulator.api_url + path.format(**ids)
    headers = {"Content-Type": "application/json"}
    if status != 401:
        headers["Authorization"] = f"Bot {scene.bot.token}"
    async with http.request(method, url, data=None if body is None else io.BytesIO(body), headers=headers) as answer:
        refusal = json.loads(await answer.read())
    assert (answer.status, refusal["code"]) == (status, code)
    assert scene.simulator.messages(scene.text) == []


async def test_what_the_simulator_cannot_hold_is_refused(scene: Scene, http: aiohttp.ClientSession) -> None:
    simulator = scene.simulator
    while len(scene.guild.channels) < MAX_CHANNELS:
        simulator.add_text_channel(scene.guild, "more")
    role = simulator.add_role(scene.guild, "all", Permission.ADMINISTRATOR)
    scene.guild.members[scene.bot.id].role_ids.add(role.id)
    url, headers = f"{simulator.api_url}/guilds/{scene.guild.id}/channels", {"Authorization": f"Bot {scene.bot.token}"}
    async with http.post(url, json={"name": "one more"}, headers=headers) as answer:
        assert (answer.status, "at most" in (await answer.json())["message"]) == (400, True)


async def test_a_broken_upload_is_refused(scene: Scene, http: aiohttp.ClientSession) -> None:
    url = f"{scene.simulator.api_url}/channels/{scene.text.id}/messages"
    headers = {"Content-Type": "multipart/form-data", "Authorization": f"Bot {scene.bot.token}"}
    async with http.post(url, data=b"no boundary", headers=headers) as answer:
        assert answer.status == 400
    headers["Content-Type"] += "; boundary=x"
    async with http.post(url, data=b"--x\r\nno headers", headers=headers) as answer:
        assert answer.status == 400
    assert scene.simulator.messages(scene.text) == []
