from pathlib import Path

import pytest

import discord_recorder
from tests.cli.runs import MEETING, Cli

COMMANDS = ["ingest", "recordings", "show", "export", "retry", "delete", "cleanup", "doctor", "demo"]


def test_help_names_every_command(cli: Cli) -> None:
    printed = cli.run("--help").stdout
    assert [line for line in COMMANDS if f" {line} " not in printed] == []
    assert cli.run("-h").stdout == printed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    assert "Usage" in cli.ok(command, "--help").stdout


def test_version(cli: Cli) -> None:
    assert cli.ok("--version").stdout == f"discord-recorder {discord_recorder.__version__}\n"
    with cli.process("--version") as process:
        assert process.result() == (0, f"discord-recorder {discord_recorder.__version__}\n", "")


def test_a_usage_error(cli: Cli) -> None:
    assert "No such command" in cli.failed("record", code=2)
    assert "MEETING" in cli.failed("show", code=2)


def test_a_wrong_setting_names_itself_and_what_is_allowed(cli: Cli) -> None:
    cli.env["DISCORD_RECORDER_MP3_QUALITY"] = "12"
    for command in (["recordings"], ["show", MEETING], ["demo"], ["cleanup"]):
        complaint = cli.refused(*command)
        assert "mp3_quality = '12' (DISCORD_RECORDER_MP3_QUALITY)" in complaint
        assert "less than or equal to 9" in complaint


def test_a_data_directory_must_be_named(cli: Cli) -> None:
    assert "a folder must be named" in cli.refused("--data-dir", "", "recordings")


def test_the_option_goes_before_the_environment(recorded: Cli, tmp_path: Path) -> None:
    assert recorded.run("--data-dir", tmp_path / "other", "recordings", "--json").stdout == "[]\n"


def test_a_data_directory_that_cannot_be_made(cli: Cli, tones: list[Path]) -> None:
    cli.data_dir.write_text("mine")
    assert str(cli.data_dir) in cli.refused("ingest", *tones)
    assert cli.data_dir.read_text() == "mine"


def test_verbose_shows_the_log(recorded: Cli) -> None:
    assert "INFO discord_recorder" in recorded.run("--verbose", "cleanup").stderr
    assert recorded.run("cleanup").stderr == ""


def test_a_reader_that_has_had_enough_is_no_fault(recorded: Cli) -> None:
    with recorded.process("recordings") as process:
        assert process.run_unread() == (1, "")


def test_a_terminal_gets_bars_and_a_pipe_gets_none(cli: Cli, tones: list[Path]) -> None:
    printed, shown = cli.on_a_terminal("ingest", *tones, "--meeting-id", MEETING)
    assert "Recording" in shown
    assert "of 0:00:17" in shown  # both files together
    assert "\x1b[?25h" in shown  # the cursor is back
    assert "\x1b" not in printed
    assert MEETING in printed
