"""`simulate`: a Discord that another program logs in to."""

import os
import signal
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
