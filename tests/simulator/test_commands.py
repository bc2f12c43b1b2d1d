"""Commands: registered by discord.py's tree, used by people."""

from typing import Any, Literal

import discord
import pytest
from discord import app_commands

from discord_recorder.errors import ApiRefusalError, SimulatorError
from discord_recorder.simulator.commands import Commands
from discord_recorder.simulator.snowflakes import Snowflakes
from tests.support.simulator import Scene, logged_in


def command(name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "description": "Does it", **given}


def option(name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "description": "An option", "type": 3, **given}


@pytest.fixture
def commands() -> Commands:
    return Commands(Snowflakes(lambda: 1_800_000_000.0))


def test_an_overwrite_replaces_all_and_keeps_the_ids(commands: Commands) -> None:
    first = {each["name"]: each["id"] for each in commands.overwrite(1, None, [command("a"), command("b")])}
    second = {each["name"]: each["id"] for each in commands.overwrite(1, None, [command("b"), command("c")])}
    assert list(second) == ["b", "c"]
    assert second["b"] == first["b"]
    assert second["c"] not in first.values()
    assert [each["name"] for each in commands.all(1, None)] == ["b", "c"]
    assert commands.all(1, 5) == commands.all(2, None) == []


def test_a_guilds_own_command_comes_before_a_global_one(commands: Commands) -> None:
    commands.overwrite(1, None, [command("a", description="everywhere")])
    commands.overwrite(1, 5, [command("a", description="here")])
    for guild, description in ((5, "here"), (6, "everywhere"), (None, "everywhere")):
        found = commands.find(1, guild, "a", 1)  # type: ignore[arg-type]
        assert found is not None
        assert found["description"] == description


def test_single_commands_are_added_changed_and_deleted(commands: Commands) -> None:
    added = commands.upsert(1, None, command("a"))
    again = commands.upsert(1, None, command("a", description="Better"))
    assert (again["id"], len(commands.all(1, None))) == (added["id"], 1)
    number = int(added["id"])
    assert commands.edit(1, None, number, {"description": "Best"})["description"] == "Best"
    commands.delete(1, None, number)
    with pytest.raises(ApiRefusalError, match="Unknown application command"):
        commands.get(1, None, number)


def test_an_edit_changes_neither_id_nor_type(commands: Commands) -> None:
    made, other = commands.overwrite(1, None, [command("a"), command("b")])
    given = {"id": other["id"], "application_id": "2", "type": 3, "description": "Does more"}
    edited = commands.edit(1, None, int(made["id"]), given)
    assert {name for name, value in edited.items() if value != made[name]} == {"description", "version"}
    assert commands.all(1, None) == [edited, other]


@pytest.mark.parametrize(
    ("bodies", "path"),
    [
        ([command("Big")], ["0", "name"]),
        ([command("two words")], ["0", "name"]),
        ([command("x" * 33)], ["0", "name"]),
        ([command("a"), command("b", description="")], ["1", "description"]),
        ([command("a"), command("a")], ["1", "name"]),
        ([command("a", options=[option("x"), option("y", required=True)])], ["0", "options", "1"]),
        ([command("a", options=[option(f"o{n}") for n in range(26)])], ["0", "options"]),
        ([command("a", options=[option("s", type=1, options=[option("Bad")])])], ["0", "options", "0", "options", "0"]),
        ([command(f"c{n}") for n in range(101)], ["_"]),
        ([{"name": "", "type": 2}], ["0", "name"]),
    ],
)
def test_what_discord_refuses_is_refused_with_the_place(
    commands: Commands, bodies: list[dict[str, Any]], path: list[str]
) -> None:
    with pytest.raises(ApiRefusalError) as refusal:
        commands.overwrite(1, None, bodies)
    assert (refusal.value.status, refusal.value.code) == (400, 50035)
    errors: Any = refusal.value.errors
    for part in path:
        errors = errors[part]
    assert commands.all(1, None) == []


async def test_groups_options_choices_and_completion(scene: Scene) -> None:
    simulator, bot = scene.simulator, scene.command_bot()
    group = app_commands.Group(name="record", description="Recording")
    inner = app_commands.Group(name="settings", description="Settings", parent=group)

    @group.command(description="Start")
    async def start(
        interaction: discord.Interaction,
        channel: discord.VoiceChannel,
        quality: Literal["low", "high"] = "low",
        minutes: app_commands.Range[int, 1, 90] = 5,
        role: discord.Role | None = None,
    ) -> None:
        await interaction.response.send_message(f"{channel.name} {quality} {minutes} {role and role.name}")

    @inner.command(description="Set the title")
    async def title(interaction: discord.Interaction, text: str, factor: float = 1.0) -> None:
        await interaction.response.send_message(f"{text} x {factor}")

    @title.autocomplete("text")
    async def complete(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=typed.upper(), value=typed.upper())]

    bot.tree.add_command(group)

    async def answer(name: str, **options: Any) -> str:
        done = await simulator.answered(simulator.invoke(scene.ada, name, options, channel=scene.text))
        assert done.original is not None
        return done.original.content

    async with logged_in(bot, scene.bot):
        await bot.tree.sync()
        role = simulator.add_role(scene.guild, "Staff")
        assert await answer("record start", channel=scene.talk) == "Talk low 5 None"
        everything = await answer("record start", channel=scene.talk, quality="high", minutes=90, role=role)
        assert everything == "Talk high 90 Staff"
        assert await answer("record settings title", text="it", factor=2) == "it x 2.0"
        offered = await simulator.answered(
            simulator.complete(scene.ada, "record settings title", "text", "ab", channel=scene.text)
        )
        assert [choice["value"] for choice in offered.choices] == ["AB"]
        for name, options, why in [
            ("record start", {}, "needs channel"),
            ("record start", {"channel": scene.talk, "quality": "best"}, "no choice"),
            ("record start", {"channel": scene.talk, "minutes": 91}, "out of the bounds"),
            ("record start", {"channel": scene.talk, "size": 1}, "no option 'size'"),
            ("record", {}, "one more subcommand"),
            ("record stop", {}, "no subcommand 'stop'"),
            ("play", {}, "0 bots"),
        ]:
            with pytest.raises(SimulatorError, match=why):
                simulator.invoke(scene.ada, name, options, channel=scene.text)


async def test_context_menus(scene: Scene) -> None:
    simulator, bot = scene.simulator, scene.command_bot()

    @bot.tree.context_menu(name="Quote it")
    async def quote(interaction: discord.Interaction, message: discord.Message) -> None:
        await interaction.response.send_message(f"> {message.content}")

    @bot.tree.context_menu(name="Greet")
    async def greet(interaction: discord.Interaction, member: discord.Member) -> None:
        await interaction.response.send_message(f"hello {member.name}")

    async with logged_in(bot, scene.bot):
        await bot.tree.sync()
        said = simulator.post(scene.ada, scene.text, "wise words")
        quoted = await simulator.answered(simulator.invoke_on(scene.ben, "Quote it", said, channel=scene.text))
        greeted = await simulator.answered(simulator.invoke_on(scene.ben, "Greet", scene.ada, channel=scene.text))
        assert quoted.original is not None
        assert greeted.original is not None
        assert (quoted.original.content, greeted.original.content) == ("> wise words", "hello Ada")


async def test_a_bad_command_fails_the_sync_with_its_name(scene: Scene) -> None:
    bot = scene.command_bot()

    @bot.tree.command(description="x" * 101)
    async def wordy(interaction: discord.Interaction) -> None: ...

    async with logged_in(bot, scene.bot):
        with pytest.raises(app_commands.CommandSyncFailure, match="In command 'wordy'"):
            await bot.tree.sync()


async def test_commands_show_only_to_who_may_use_them(scene: Scene) -> None:
    simulator, bot = scene.simulator, scene.command_bot()

    @bot.tree.command(description="For moderators")
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    async def moderate(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("yes")

    async with logged_in(bot, scene.bot):
        await bot.tree.sync()
        await simulator.answered(simulator.invoke(scene.ada, "moderate", channel=scene.text))
        with pytest.raises(SimulatorError, match="not shown to Ben"):
            simulator.invoke(scene.ben, "moderate", channel=scene.text)
        with pytest.raises(SimulatorError, match="not for direct messages"):
            simulator.invoke(scene.ada, "moderate", channel=simulator.direct_channel(scene.bot, scene.ada))
