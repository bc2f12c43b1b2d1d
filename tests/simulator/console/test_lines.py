"""Lines that are understood, and lines that are not."""

import pytest

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.console.console import Console
from tests.support.simulator import Scene


async def test_empty_lines_and_comments_do_nothing(console: Console) -> None:
    assert [await console.run(line) for line in ("", "  ", "# join Ada Talk", "wait 0")] == ["", "", "", ""]


async def test_help_shows_every_command(console: Console) -> None:
    shown = await console.run("help")
    assert [line.split()[0] for line in shown.splitlines()] == [command.name for command in console.commands]
    assert {"join", "say", "disturb", "close", "cut", "rotate", "move", "version"} <= set(shown.split())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "no command 'nonsense'"),
        ("join 'Ada", "makes no sense"),
        ("join Ada", "join WHO CHANNEL"),
        ("leave Ada Talk", "leave WHO"),
        ("join Zoe Talk", "nobody is called 'Zoe'"),
        ("join Ada Nowhere", "no channel is called 'Nowhere'"),
        ("join Ada general", "cannot enter"),
        ("join Ada Talk habit=lying", "running or stopping"),
        ("join Ada Talk speed=2", "habit"),
        ("join Ada Talk drift_ppm=much", "no number"),
        ("join Recorder Talk", "only its own program"),
        ("say Ada", "not in voice"),
        ("disturb Ada sideways loss=1", "neither up"),
        ("disturb Ada up rain=1", "no fault rain"),
        ("disturb Ada up loss=much", "no number"),
        ("disturb Ada up blackhole=perhaps", "neither on nor off"),
        ("close Ada 4015", "no voice session"),
        ("close Ada 99999", "no close code"),
        ("cut Ada", "no voice session"),
        ("garbage Ada", "no voice session"),
        ("version Talk 2", "versions 0 and 1"),
        ("move Ada general", "no voice channel"),
        ("move Ada Talk", "not connected to voice"),
        ("gateway Ada drop", "no bot"),
        ("gateway Recorder dissolve", "no number"),
        ("use Ada general hi", "0 bots"),
        ("use Ada general who=Ben", "0 bots"),
        ("click Ada Stop", "no button 'Stop'"),
        ("fill Ada Name=x", "no form"),
        ("wait long", "no number"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_a_reason(console: Console, line: str, reason: str) -> None:
    with pytest.raises(SimulatorError, match=reason):
        await console.run(line)


async def test_who_shares_a_name_is_meant_by_id(scene: Scene, console: Console) -> None:
    other = scene.simulator.add_user("Ada")
    scene.simulator.add_member(scene.guild, other)
    with pytest.raises(SimulatorError, match=f"{scene.ada.id}, {other.id}"):
        await console.run("post Ada general hello")
    assert await console.run(f"post {other.id} '#GENERAL' hello there") == "Ada: hello there"
    assert [message.author for message in scene.simulator.messages(scene.text)] == [other]
