"""`simulate`: a Discord that another program logs in to."""

import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.cli.runs import Cli

BOT = """
import asyncio, sys
import discord
from discord_recorder.bot.endpoint import use_discord_api

async def main():
    use_discord_api(sys.argv[1])
    client = discord.Client(intents=discord.Intents.default(), guild_ready_timeout=0.1)

    @client.event
    async def on_ready():
        while any(guild.unavailable for guild in client.guilds):  # it may be late
            await asyncio.sleep(0.01)
        print(client.user.name, sorted(channel.name for channel in client.guilds[0].channels))
        await client.close()

    await client.start(sys.argv[2])

asyncio.run(main())
"""

BACKGROUND = """
import fcntl, os, subprocess, sys, termios

fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # this process has the terminal, the other one is in its background
process = subprocess.Popen(sys.argv[1:], process_group=0)
_, status = os.waitpid(process.pid, os.WUNTRACED)
if os.WIFSTOPPED(status):
    process.kill()
    print("stopped")
else:
    print("ended with", os.waitstatus_to_exitcode(status))
"""


def test_another_program_logs_in_until_ctrl_c(cli: Cli, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    with cli.process("simulate", "--json", "--bot", "One", "--bot", "Two", "--ca-file", ca_file) as process:
        about = process.read_json()
        assert about["ca_file"] == str(ca_file)
        bots = {bot["name"]: bot["token"] for bot in about["bots"]}
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", BOT, about["api_url"], bots["Two"]],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "SSL_CERT_FILE": about["ca_file"],
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.stdout.strip() == "Two ['Stage', 'Talk', 'general']", ran.stderr
        process.signal(signal.SIGTERM)
        code, _, stderr = process.result()
    assert code == 0
    assert "Traceback" not in stderr


def test_it_ends_by_itself_and_says_what_there_is(cli: Cli) -> None:
    result = cli.run("simulate", "--seconds", "0", "--person", "Zoe")
    assert result.exit_code == 0
    for word in ("https://127.0.0.1:", "/api/v10", "SSL_CERT_FILE=", "Recorder", "Zoe", "Simulated guild"):
        assert word in result.stdout
    assert "Ada" not in result.stdout


def test_commands_are_typed_while_it_runs(cli: Cli) -> None:
    with cli.process("simulate", stdin=subprocess.PIPE) as process:
        process.until(lambda: process.read_line().startswith("  use_discord_api("))
        assert process.read_error_line().startswith("Running.")
        process.type("join Ada Talk")
        assert process.read_line() == "Ada is in Talk.\n"
        process.type("join Nobody Talk")
        assert process.read_error_line() == "error: nobody is called 'Nobody'\n"
        process.type("who")
        assert process.read_line() == "Talk: Ada, 0 packets sent\n"
        process.type("quit")
        code, stdout, stderr = process.result()
    assert (code, stdout, stderr) == (0, "", "")


def test_commands_come_from_a_file_and_it_runs_on_at_its_end(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("# a script\njoin Ada Talk\nwho")  # no line end at its end
    with script.open() as file, cli.process("simulate", "--json", stdin=file.fileno()) as process:
        process.read_json()
        assert process.read_error_line().startswith("Ada is in Talk")
        assert process.read_error_line().startswith("Talk: Ada")
        process.signal()
        code, stdout, stderr = process.result()
    assert (code, stdout) == (0, "")
    assert stderr.startswith("Stopping")


def test_in_the_background_of_a_terminal_it_is_not_stopped() -> None:
    ours, theirs = pty.openpty()
    try:
        ran = subprocess.run(
            [
                sys.executable,
                "-c",
                BACKGROUND,
                sys.executable,
                "-m",
                "discord_recorder",
                "simulate",
                "--seconds",
                "0.2",
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert ran.stdout.splitlines()[-1] == "ended with 0", ran.stderr


def test_it_runs_without_a_stdin(cli: Cli) -> None:
    command = f"{shlex.quote(sys.executable)} -m discord_recorder simulate --seconds 0.2 <&-"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_that_is_taken_is_told(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert str(taken.getsockname()[1]) in cli.refused("simulate", "--port", str(taken.getsockname()[1]))
