"""The proof: discord.py's own clients, unmodified, take the simulator for Discord."""

import asyncio
import io
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from tests.support.simulator import Scene, logged_in

FILE = bytes(range(256)) * 1_000


class Panel(discord.ui.View):
    @discord.ui.button(label="Send it", custom_id="send")
    async def send(self, interaction: discord.Interaction, button: discord.ui.Button["Panel"]) -> None:
        await interaction.response.send_message("here it is", file=discord.File(io.BytesIO(FILE), "proof.ogg"))


class Noting(discord.VoiceProtocol):
    """Joins a voice channel, and notes what the gateway says to it."""

    def __init__(self, client: discord.Client, channel: discord.abc.Connectable) -> None:
        super().__init__(client, channel)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.both = asyncio.Event()

    async def on_voice_state_update(self, data: Any, /) -> None:
        self._note("state", data)

    async def on_voice_server_update(self, data: Any, /) -> None:
        self._note("server", data)

    async def connect(
        self,
        *,
        timeout: float,  # noqa: ASYNC109 - as discord.py calls it
        reconnect: bool,
        self_deaf: bool = False,
        self_mute: bool = False,
    ) -> None:
        assert isinstance(self.channel, discord.VoiceChannel)
        await self.channel.guild.change_voice_state(channel=self.channel, self_mute=self_mute, self_deaf=self_deaf)
        await asyncio.wait_for(self.both.wait(), timeout)

    async def disconnect(self, *, force: bool) -> None:
        assert isinstance(self.channel, discord.VoiceChannel)
        await self.channel.guild.change_voice_state(channel=None)
        self.cleanup()

    def _note(self, kind: str, data: dict[str, Any]) -> None:
        self.told.append((kind, data))
        if {kind for kind, _ in self.told} == {"state", "server"}:
            self.both.set()


async def test_commands_buttons_files_and_voice(scene: Scene) -> None:
    simulator = scene.simulator
    other = simulator.add_bot("Other", scene.guild)
    bot = scene.command_bot()

    @bot.tree.command(description="Open the panel")
    @app_commands.describe(title="What is it about?")
    async def panel(interaction: discord.Interaction, title: str) -> None:
        await interaction.response.send_message(f"About {title}", view=Panel(timeout=None))

    async with logged_in(bot, scene.bot), logged_in(scene.client(), other) as client:
        assert bot.user is not None
        assert (bot.user.id, bot.guilds[0].name) == (scene.bot.id, "Team")
        assert [command.name for command in await bot.tree.sync()] == ["panel"]

        opened = await simulator.answered(simulator.invoke(scene.ada, "panel", {"title": "it"}, channel=scene.text))
        assert opened.original is not None
        assert opened.original.content == "About it"

        pressed = await simulator.answered(simulator.click(scene.ben, opened.original, "Send it"))
        assert pressed.original is not None
        [attachment] = pressed.original.attachments
        assert (attachment.filename, attachment.data) == ("proof.ogg", FILE)

        channel = client.get_channel(scene.talk.id)
        assert isinstance(channel, discord.VoiceChannel)
        voice = await channel.connect(cls=Noting)
        (_, state), (_, server) = voice.told
        access = simulator.voice_access(other, scene.guild)
        assert access is not None
        assert (state["channel_id"], state["session_id"]) == (str(scene.talk.id), access.ticket.session_id)
        assert (server["token"], server["endpoint"]) == (access.ticket.token, access.endpoint)
        await voice.disconnect(force=False)
        await simulator.until(lambda: other.id not in scene.guild.voice_states)


async def test_text_commands(scene: Scene) -> None:
    simulator, bot = scene.simulator, scene.command_bot()

    @bot.command()
    async def where(ctx: commands.Context[commands.Bot], *, greeting: str) -> None:
        assert isinstance(ctx.author, discord.Member)
        assert ctx.author.voice is not None
        assert ctx.author.voice.channel is not None
        await ctx.send(f"{greeting} {ctx.author.name} in {ctx.author.voice.channel.name}")

    async with logged_in(bot, scene.bot):
        simulator.join(scene.ada, scene.talk)
        simulator.post(scene.ada, scene.text, "!where Good morning")
        await simulator.until(lambda: len(simulator.messages(scene.text)) == 2)
        answer = simulator.messages(scene.text)[1]
        assert (answer.author, answer.content) == (scene.bot, "Good morning Ada in Talk")
