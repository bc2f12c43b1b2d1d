"""Answers to interactions, by discord.py: at once, later, hidden, changed, by form, by menu."""

from collections.abc import AsyncIterator
from typing import Any

import discord
import pytest
from discord import app_commands
from discord.ext import commands

from discord_recorder.errors import ApiRefusalError, SimulatorError
from discord_recorder.simulator.interactions import CallbackKind, Interaction, InteractionKind
from discord_recorder.simulator.permissions import Permission
from tests.simulator.parts import Parts
from tests.support.simulator import Scene, logged_in
from tests.support.waiting import until


class Menu(discord.ui.View):
    def __init__(self) -> None:
        super().__init__(timeout=None)

    @discord.ui.button(label="Update", custom_id="update")
    async def update(self, interaction: discord.Interaction, button: discord.ui.Button["Menu"]) -> None:
        button.disabled = True
        await interaction.response.edit_message(content="updated", view=self)

    @discord.ui.button(label="Ask", custom_id="ask")
    async def ask(self, interaction: discord.Interaction, button: discord.ui.Button["Menu"]) -> None:
        await interaction.response.send_modal(Form())

    @discord.ui.select(
        custom_id="colour",
        placeholder="Which colour?",
        max_values=2,
        options=[discord.SelectOption(label="Red", value="r"), discord.SelectOption(label="Blue", value="b")],
    )
    async def colour(self, interaction: discord.Interaction, select: discord.ui.Select["Menu"]) -> None:
        await interaction.response.send_message("+".join(select.values))

    @discord.ui.select(cls=discord.ui.ChannelSelect, custom_id="where")
    async def where(self, interaction: discord.Interaction, select: discord.ui.ChannelSelect["Menu"]) -> None:
        await interaction.response.send_message(select.values[0].name)

    @discord.ui.select(cls=discord.ui.UserSelect, custom_id="who")
    async def who(self, interaction: discord.Interaction, select: discord.ui.UserSelect["Menu"]) -> None:
        await interaction.response.send_message(select.values[0].display_name)


class Form(discord.ui.Modal, title="Details"):
    name: discord.ui.TextInput["Form"] = discord.ui.TextInput(label="Name", max_length=5)
    reason: discord.ui.Label["Form"] = discord.ui.Label(
        text="Reason", component=discord.ui.TextInput(custom_id="why", required=False)
    )

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        assert isinstance(self.reason.component, discord.ui.TextInput)
        await interaction.response.send_message(f"{self.name.value}: {self.reason.component.value}", ephemeral=True)


@pytest.fixture
async def bot(scene: Scene) -> AsyncIterator[commands.Bot]:
    """A bot with all the ways to answer, its commands registered in the guild."""
    bot, hidden_menu = scene.command_bot(), Menu()

    @bot.tree.command(description="Menu")
    async def menu(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("choose", view=Menu())

    @bot.tree.command(description="Slow")
    async def slow(interaction: discord.Interaction, hidden: bool) -> None:
        await interaction.response.defer(ephemeral=hidden, thinking=True)
        await interaction.edit_original_response(content="done")
        extra = await interaction.followup.send("and this", wait=True)
        await extra.edit(content="and that")
        gone = await interaction.followup.send("not this", wait=True)
        await gone.delete()

    @bot.tree.command(description="Followed")
    async def followed(interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        await interaction.followup.send("kept promise")

    @bot.tree.command(description="Whisper")
    async def whisper(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("psst", ephemeral=True, view=hidden_menu)
        original = await interaction.original_response()
        await interaction.edit_original_response(content=original.content + "!")

    async with logged_in(bot, scene.bot):
        bot.tree.copy_global_to(guild=discord.Object(scene.guild.id))
        await bot.tree.sync(guild=discord.Object(scene.guild.id))
        yield bot
        hidden_menu.stop()  # discord.py gives views of hidden messages a time-out


async def answer(scene: Scene, interaction: Interaction) -> str:
    done = await scene.simulator.answered(interaction)
    assert done.original is not None
    return done.original.content


@pytest.fixture
async def opened(scene: Scene, bot: commands.Bot) -> Interaction:
    """The menu, opened by Ada."""
    return await scene.simulator.answered(scene.simulator.invoke(scene.ada, "menu", channel=scene.text))


async def test_a_button_updates_its_message(scene: Scene, opened: Interaction) -> None:
    assert opened.original is not None
    assert await answer(scene, scene.simulator.click(scene.ben, opened.original, "Update")) == "updated"
    message = scene.simulator.message(opened.original)
    assert message.content == "updated"
    with pytest.raises(SimulatorError, match="disabled"):
        scene.simulator.click(scene.ben, message, "Update")
    with pytest.raises(SimulatorError, match="has no 'Nothing'; it has 'Update', 'Ask'"):
        scene.simulator.click(scene.ben, message, "Nothing")


async def test_menus_send_what_was_chosen(scene: Scene, opened: Interaction) -> None:
    simulator, message = scene.simulator, opened.original
    assert message is not None
    assert await answer(scene, simulator.select(scene.ada, message, "Which colour?", ["Blue", "r"])) == "b+r"
    assert await answer(scene, simulator.select(scene.ada, message, "where", [scene.talk])) == "Talk"
    assert await answer(scene, simulator.select(scene.ada, message, "who", [scene.ben])) == "Ben"
    with pytest.raises(SimulatorError, match="does not offer 'Green'"):
        simulator.select(scene.ada, message, "colour", ["Green"])
    with pytest.raises(SimulatorError, match="takes 1 to 2"):
        simulator.select(scene.ada, message, "colour", [])


async def test_a_form_is_filled_in_and_sent(scene: Scene, opened: Interaction) -> None:
    simulator = scene.simulator
    assert opened.original is not None
    asked = await simulator.answered(simulator.click(scene.ada, opened.original, "Ask"))
    assert asked.modal is not None
    with pytest.raises(SimulatorError, match="required"):
        simulator.submit(asked, {"Reason": "fun"})
    with pytest.raises(SimulatorError, match="0 to 5 characters"):
        simulator.submit(asked, {"Name": "too long"})
    with pytest.raises(SimulatorError, match="no field 'Age'"):
        simulator.submit(asked, {"Name": "it", "Age": "7"})
    assert await answer(scene, simulator.submit(asked, {"Name": "it", "why": "fun"})) == "it: fun"


@pytest.mark.parametrize("hidden", [False, True])
async def test_a_promise_is_kept_and_followed_up(scene: Scene, bot: commands.Bot, hidden: bool) -> None:
    simulator = scene.simulator
    interaction = simulator.invoke(scene.ada, "slow", {"hidden": hidden}, channel=scene.text)
    assert await answer(scene, interaction) == "done"
    await simulator.until(
        lambda: [message.content for message in simulator.messages(scene.text)] == ["done", "and that"]
    )
    seen = [message.content for message in simulator.messages(scene.text, seen_by=scene.ben)]
    assert seen == (["and that"] if hidden else ["done", "and that"])


async def test_the_first_follow_up_keeps_a_promise(scene: Scene, bot: commands.Bot) -> None:
    simulator = scene.simulator
    interaction = simulator.invoke(scene.ada, "followed", channel=scene.text)
    assert await answer(scene, interaction) == "kept promise"
    assert len(simulator.messages(scene.text)) == 1


async def test_an_ephemeral_answer_is_its_readers_only(scene: Scene, bot: commands.Bot) -> None:
    simulator = scene.simulator
    heard = []

    @bot.listen()
    async def on_message(message: discord.Message) -> None:
        heard.append(message.content)

    interaction = simulator.invoke(scene.ada, "whisper", channel=scene.text)
    message = await simulator.until(lambda: [m for m in simulator.messages(scene.text) if m.content == "psst!"])
    assert simulator.messages(scene.text, seen_by=scene.ben) == []
    with pytest.raises(SimulatorError, match="somebody else's"):
        simulator.click(scene.ben, message[0], "Update")
    assert await answer(scene, simulator.click(scene.ada, message[0], "Update")) == "updated"
    assert interaction.answer is CallbackKind.MESSAGE
    channel = bot.get_channel(scene.text.id)
    assert isinstance(channel, discord.TextChannel)
    assert [each async for each in channel.history()] == []
    await channel.send("public")
    await simulator.until(lambda: len(simulator.messages(scene.text)) == 2)
    await until(lambda: "public" in heard)
    assert heard == ["public"]


def invoked(parts: Parts, kind: InteractionKind = InteractionKind.COMMAND) -> Interaction:
    return parts.discord.interactions.create(kind, parts.bot, parts.ada, parts.text, {"id": "1", "name": "x"})


def respond(parts: Parts, interaction: Interaction, kind: int) -> Interaction:
    data = {"content": "hello"}
    return parts.discord.interactions.respond(interaction.id, interaction.token, kind, data, ())


def test_an_answer_after_three_seconds_is_too_late(parts: Parts) -> None:
    intime, late = invoked(parts), invoked(parts)
    parts.wait(2.9)
    respond(parts, intime, CallbackKind.MESSAGE)
    parts.wait(0.2)
    with pytest.raises(ApiRefusalError, match="Unknown interaction"):
        respond(parts, late, CallbackKind.MESSAGE)


def test_an_interaction_is_answered_once(parts: Parts) -> None:
    interaction = invoked(parts)
    respond(parts, interaction, CallbackKind.DEFERRED_MESSAGE)
    with pytest.raises(ApiRefusalError, match="already been acknowledged"):
        respond(parts, interaction, CallbackKind.MESSAGE)


def test_a_token_ends_after_a_quarter_of_an_hour(parts: Parts) -> None:
    interaction = invoked(parts)
    webhook = parts.discord.interactions.of_webhook
    with pytest.raises(ApiRefusalError, match="Unknown Webhook"):
        webhook(parts.bot.id, interaction.token)
    respond(parts, interaction, CallbackKind.MESSAGE)
    parts.wait(899)
    assert webhook(parts.bot.id, interaction.token) is interaction
    parts.wait(2)
    with pytest.raises(ApiRefusalError, match="Invalid Webhook Token"):
        webhook(parts.bot.id, interaction.token)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (InteractionKind.COMMAND, CallbackKind.UPDATE),
        (InteractionKind.COMMAND, CallbackKind.CHOICES),
        (InteractionKind.MODAL, CallbackKind.MODAL),
        (InteractionKind.MODAL, CallbackKind.UPDATE),
        (InteractionKind.AUTOCOMPLETE, CallbackKind.MESSAGE),
        (InteractionKind.COMMAND, 77),
    ],
)
def test_an_answer_has_to_fit(parts: Parts, asked: InteractionKind, given: int) -> None:
    with pytest.raises(ApiRefusalError, match="Invalid Form Body"):
        respond(parts, invoked(parts, asked), given)


FIELD: dict[str, Any] = {"type": 1, "components": [{"type": 4, "custom_id": "f", "label": "Field", "style": 1}]}
FORM: dict[str, Any] = {"title": "Form", "custom_id": "form", "components": [FIELD]}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"title": "x" * 46}, "title"),
        ({"title": ""}, "title"),
        ({"custom_id": "x" * 101}, "custom_id"),
        ({"components": []}, "components"),
        ({"components": [FIELD] * 6}, "components"),
        ({"components": [{"type": 1, "components": [FIELD["components"][0] | {"label": "x" * 46}]}]}, "components"),
    ],
)
def test_forms_that_discord_refuses(parts: Parts, change: dict[str, Any], place: str) -> None:
    interaction, respond = invoked(parts), parts.discord.interactions.respond
    with pytest.raises(ApiRefusalError) as refusal:
        respond(interaction.id, interaction.token, CallbackKind.MODAL, FORM | change, ())
    errors: Any = refusal.value.errors
    assert place in errors["data"]
    respond(interaction.id, interaction.token, CallbackKind.MODAL, FORM, ())
    assert interaction.modal == FORM


async def test_a_named_channel_comes_with_what_the_person_may_do_there(scene: Scene) -> None:
    bot = scene.command_bot()

    @bot.tree.command(description="Look")
    async def look(interaction: discord.Interaction, channel: app_commands.AppCommandChannel) -> None:
        await interaction.response.send_message(str(channel.permissions.connect))

    async with logged_in(bot, scene.bot):
        await bot.tree.sync()
        simulator = scene.simulator
        simulator.overwrite(scene.talk, scene.ben, deny=Permission.CONNECT)
        for person, allowed in ((scene.ada, "True"), (scene.ben, "False")):
            asked = simulator.invoke(person, "look", {"channel": scene.talk}, channel=scene.text)
            assert await answer(scene, asked) == allowed


async def test_direct_messages_have_interactions_too(scene: Scene, bot: commands.Bot) -> None:
    simulator = scene.simulator
    await bot.tree.sync()
    direct = simulator.direct_channel(scene.bot, scene.ada)
    interaction = simulator.invoke(scene.ada, "menu", channel=direct)
    assert await answer(scene, interaction) == "choose"
    assert interaction.original is not None
    assert await answer(scene, simulator.click(scene.ada, interaction.original, "Update")) == "updated"


async def test_commands_of_people_are_checks_of_the_bot(scene: Scene) -> None:
    bot = scene.command_bot()
    refused = []

    @bot.tree.command(description="For moderators")
    @app_commands.checks.has_permissions(manage_guild=True)
    async def moderate(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("yes")

    @bot.tree.error
    async def on_error(interaction: discord.Interaction, error: app_commands.AppCommandError) -> None:
        refused.append(type(error))
        await interaction.response.send_message("no")

    async with logged_in(bot, scene.bot):
        await bot.tree.sync()
        simulator = scene.simulator
        assert await answer(scene, simulator.invoke(scene.ben, "moderate", channel=scene.text)) == "no"
        assert await answer(scene, simulator.invoke(scene.ada, "moderate", channel=scene.text)) == "yes"
    assert refused == [app_commands.MissingPermissions]
