"""The certificates: clients that trust the authority accept the server, others do not; and so do other programs."""

import asyncio
import os
import ssl
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp
import pytest

from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.tls import Certificates

CHILD = """
import asyncio, sys, aiohttp
async def main():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1] + "/gateway") as answer:
        print(answer.status)
asyncio.run(main())
"""


async def test_only_who_trusts_the_authority_connects(simulator: Simulator) -> None:
    for trust in (Certificates().client_context(), ssl.create_default_context()):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(f"{simulator.api_url}/gateway")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_another_program_trusts_it_by_ssl_cert_file(simulator: Simulator, host: str) -> None:
    environment = {**os.environ, "SSL_CERT_FILE": str(simulator.ca_file)}
    url = simulator.api_url.replace("127.0.0.1", host)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, url, env=environment, stdout=subprocess.PIPE
    )
    stdout, _ = await child.communicate()
    assert stdout.strip() == b"200"


def test_the_key_is_on_the_disk_for_its_loading_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    load = ssl.SSLContext.load_cert_chain

    def look(context: ssl.SSLContext, name: str) -> None:
        seen.append((name, stat.S_IMODE(Path(name).stat().st_mode)))
        load(context, name)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)
    Certificates().server_context()
    [(name, mode)] = seen
    assert mode == 0o600
    assert name.startswith(tempfile.gettempdir())
    assert not Path(name).exists()
