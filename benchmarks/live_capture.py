"""A bot that records a call, in a process of its own: `python -m benchmarks.live_capture TALKERS SECONDS FOLDER`.

Prints a `Reading` as JSON on stdout.
"""

import asyncio
import json
import ssl
import sys
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import discord

from benchmarks.measure import Cpu, loop_lags, percentile, rss_mib, until
from discord_recorder import ServicesManager, Settings
from discord_recorder.voice.ports import ConnectionOptions

_WARM_UP_SECONDS = 2.0
_PATIENCE_SECONDS = 120.0
_LAST_PACKETS_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one case gave; the times are of the part that is measured, `sent` and what follows of the whole call."""

    packets: int
    cpu_seconds: float
    wall_seconds: float
    lag_p99_ms: float
    rss_begin_mib: float
    rss_end_mib: float
    sent: int
    stored: int
    dropped_audio: int
    kernel_dropped: int


async def main(talkers: int, seconds: float, folder: Path) -> Reading:
    """Record for so long."""
    call = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.live_call", str(talkers), stdin=PIPE, stdout=PIPE
    )
    try:
        return await _record(call, await _answer(call), seconds, folder)
    finally:
        if call.stdin is not None:
            call.stdin.close()
        try:
            async with asyncio.timeout(_LAST_PACKETS_SECONDS):
                await call.wait()
        except TimeoutError:
            call.kill()
            await call.wait()


async def _record(call: Process, login: dict[str, Any], seconds: float, folder: Path) -> Reading:
    trust = ssl.create_default_context(cafile=login["ca_file"])
    # Chunks are as long as the run, so that the workers, which are not the capture's cost, have nothing to do.
    settings = Settings(
        data_dir=folder, discord_api_url=login["api_url"], flush_interval_seconds=300.0, shutdown_grace_seconds=0.0
    )
    client = discord.Client(
        intents=discord.Intents(guilds=True, voice_states=True),
        connector=aiohttp.TCPConnector(ssl=trust),
        guild_ready_timeout=0.1,
    )
    async with ServicesManager(settings) as services, client:
        services.attach(client, options=ConnectionOptions(ssl_context=trust))
        running = asyncio.create_task(client.start(login["token"]))
        try:
            await until(lambda: client.is_ready() and client.get_channel(login["channel_id"]), _PATIENCE_SECONDS)
            recorder = services.discord_recorder_service
            await recorder.start_session(login["channel_id"])
            await _answer(call, "ready")
            live = recorder.sessions[login["channel_id"]].go_live()
            await _order(call, "talk")
            await asyncio.sleep(_WARM_UP_SECONDS)
            rss_begin = rss_mib()
            packets, cpu, began = live.ledger.received, Cpu.now(), time.perf_counter()
            await asyncio.sleep(seconds)
            spent, wall = Cpu.now() - cpu, time.perf_counter() - began
            packets = live.ledger.received - packets
            async with loop_lags() as lags:  # apart, as it costs CPU itself
                await asyncio.sleep(max(1.0, seconds / 4))
            rss_end = rss_mib()
            sent = (await _answer(call, "hush"))["sent"]
            await until(lambda: live.ledger.counts().stored >= sent, _LAST_PACKETS_SECONDS)
            live.ledger.check()
            counts = live.ledger.counts()
            return Reading(
                packets=packets,
                cpu_seconds=spent.own,
                wall_seconds=wall,
                lag_p99_ms=percentile(lags, 99) * 1000,
                rss_begin_mib=rss_begin,
                rss_end_mib=rss_end,
                sent=sent,
                stored=counts.stored,
                dropped_audio=counts.lost,
                kernel_dropped=live.ledger.kernel_dropped,
            )
        finally:
            await client.close()
            await asyncio.gather(running, return_exceptions=True)


async def _order(call: Process, order: str) -> None:
    if call.stdin is None:
        raise RuntimeError("the call has no stdin")
    call.stdin.write(f"{order}\n".encode())
    await call.stdin.drain()


async def _answer(call: Process, order: str | None = None) -> dict[str, Any]:
    if order is not None:
        await _order(call, order)
    if call.stdout is None:
        raise RuntimeError("the call has no stdout")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        answer: dict[str, Any] = json.loads(await call.stdout.readline())
    return answer


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))))))
