"""People by command: they talk, write, and use a discord.py bot."""

from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from discord_recorder.errors import NotAudioError, SimulatorError
from discord_recorder.simulator.console.console import Console
from discord_recorder.simulator.voice.speakers import SpeakerOptions
from tests.support.simulator import Scene, logged_in
from tests.support.waiting import until


class Form(discord.ui.Modal, title="Note"):
    text: discord.ui.TextInput["Form"] = discord.ui.TextInput(label="Text")

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        await interaction.response.send_message(f"noted: {self.text.value}")


class Panel(discord.ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)

    @discord.ui.button(label="Add note", custom_id="note")
    async def note(self, interaction: discord.Interaction, button: discord.ui.Button["Panel"]) -> None:
        await interaction.response.send_modal(Form())

    @discord.ui.button(label="Nothing", custom_id="nothing")
    async def nothing(self, interaction: discord.Interaction, button: discord.ui.Button["Panel"]) -> None:
        await interaction.response.defer()


@pytest.fixture
async def bot(scene: Scene) -> AsyncIterator[commands.Bot]:
    """With commands that take every type, and a panel."""
    bot = scene.command_bot()
    panels: list[Panel] = []
    group = app_commands.Group(name="panel", description="Panels")

    @group.command(description="Show it")
    async def show(
        interaction: discord.Interaction,
        title: str,
        member: discord.Member,
        channel: discord.TextChannel,
        role: discord.Role,
        times: int,
        share: float,
        loud: bool,
    ) -> None:
        words = (title, member.name, channel.name, role.name, str(times), str(share), str(loud))
        embed = discord.Embed(title="Panel").add_field(name="State", value="idle")
        panels.append(Panel())
        await interaction.response.send_message(" ".join(words), embed=embed, view=panels[-1], ephemeral=True)

    @group.command(description="Never answers")
    async def silence(interaction: discord.Interaction) -> None:
        return

    @group.command(description="Answers later")
    async def think(interaction: discord.Interaction) -> None:
        await interaction.response.defer(thinking=True)

    bot.tree.add_command(group)
    async with logged_in(bot, scene.bot):
        await bot.tree.sync()
        yield bot
        for panel in panels:
            panel.stop()  # discord.py gives panels that only one sees a time limit of their own


async def test_people_talk_in_turn(scene: Scene, console: Console, told: list[str], tmp_path: Path) -> None:
    assert await console.run("who") == "Nobody is in voice."
    await console.run("join Ada Talk")
    await console.run("join ben talk")
    assert await console.run("say Ada 0.2") == "Ada says 10 packets."
    with pytest.raises(SimulatorError, match="speaking already"):
        await console.run("say Ada")
    (tmp_path / "noise.txt").write_text("no audio")
    with pytest.raises(NotAudioError):
        await console.run(f"say Ben {tmp_path / 'noise.txt'}")
    await console.run("mute Ben on")
    shown = (await console.run("who")).splitlines()
    assert shown[1] == "Talk: Ben, muted, 0 packets sent"
    await console.run("mute Ben off")
    assert not scene.guild.voice_states[scene.ben.id].self_mute
    await console.run("leave Ada")
    await console.run("join Ada Talk")
    assert (await console.run("say Ada 0.04")).startswith("Ada says")  # what was not said before leaving is forgotten
    await console.run("leave Ada")
    assert (await console.run("who")).splitlines() == ["Talk: Ben, 0 packets sent"]
    await console.run("join Ada Side")
    await console.run("kick Ada")
    with pytest.raises(SimulatorError, match="not in voice"):
        await console.run("say Ada")
    assert told == []


async def test_a_voice_has_a_habit_and_a_clock(scene: Scene, console: Console) -> None:
    async with scene.simulator.participant(scene.ben, SpeakerOptions(hear=True)) as ben:
        await ben.join(scene.talk)
        times: dict[str, list[int]] = {}

        def spoken(count: int) -> bool:
            return len(ben.speaker.heard) == count

        for habit in ("running", "stopping"):
            await console.run(f"join Ada Talk habit={habit} drift_ppm=100")
            await console.run("join Ada Side")  # what is not said again stays
            await console.run("join Ada Talk")
            ben.speaker.heard.clear()
            for _ in range(2):
                await console.run("say Ada 0.04")
                count = len(ben.speaker.heard) + 7  # two of a tone, five of silence
                await until(partial(spoken, count))
                await console.run("wait 0.1")
            times[habit] = [frame.timestamp for frame in ben.speaker.heard]
        steps = {habit: [b - a & 0xFFFF_FFFF for a, b in pairwise(each)] for habit, each in times.items()}
    assert set(steps["stopping"]) == {960}
    assert steps["running"][6] > 3 * 960


@pytest.mark.usefixtures("bot")
async def test_people_use_a_bot(scene: Scene, console: Console) -> None:
    scene.simulator.add_role(scene.guild, "Staff")
    values = "title='two words' member=Ben channel=general role=Staff times=3 share=0.5 loud=yes"
    shown = await console.run(f"use Ada general panel show {values}")
    assert shown == (
        "Recorder (only one sees it): two words Ben general Staff 3 0.5 True Panel State: idle [Add note] [Nothing]"
    )
    with pytest.raises(SimulatorError, match="no button"):
        await console.run("click Ben Add note")
    assert await console.run("click Ada Nothing") == "Recorder has understood."
    assert await console.run("click Ada Add note") == "Recorder opens a form with Text."
    assert await console.run("fill Ada 'Text=well said'") == "Recorder: noted: well said"
    assert await console.run("read general Ben") == "Recorder: noted: well said"
    assert len((await console.run("read general")).splitlines()) == 2


@pytest.mark.usefixtures("bot")
async def test_a_bot_that_takes_its_time_is_not_waited_for(scene: Scene, console: Console) -> None:
    assert await console.run("use Ada general panel think") == "Recorder is thinking."
    assert await console.run("use Ada general panel silence") == "Recorder did not respond."
