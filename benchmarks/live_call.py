"""A simulated Discord with people who talk, in a process of its own: `python -m benchmarks.live_call TALKERS`.

On stdout it tells in JSON how to log in; then each line on stdin is an order: `talk`, `hush` (answered with the number
of packets sent so far), or the end.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator

from benchmarks.measure import until
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.opus_source import FRAME_SECONDS, tone
from discord_recorder.simulator.voice.speakers import Speaker

_VOICES = 4
_VOICE_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0


async def main(talkers: int) -> None:
    """Serve until stdin ends."""
    orders = asyncio.Queue[str]()
    asyncio.get_running_loop().add_reader(sys.stdin, lambda: orders.put_nowait(sys.stdin.readline()))
    voices = [tone(300 + 170 * number, _VOICE_SECONDS) for number in range(_VOICES)]
    async with Simulator() as simulator:
        people = [simulator.add_user(f"Talker {number}") for number in range(talkers)]
        guild = simulator.add_guild("Benchmark", *people)
        channel = simulator.add_voice_channel(guild, "Talk")
        bot = simulator.add_bot("Recorder", guild, permissions=int(Permission.ADMINISTRATOR))
        speakers = [Speaker(tls=simulator.client_context()) for _ in people]
        # A group of two first: they commit for all others, who would else each commit for everybody.
        for first, last in ((0, 2), (2, talkers)):
            await asyncio.gather(
                *(  # deaf, so that nothing is sent to them: only the recorder listens
                    speaker.join(simulator.join(person, channel, self_deaf=True))
                    for speaker, person in zip(speakers[first:last], people[first:last], strict=True)
                )
            )
            await _settled(simulator, guild.id, channel.id, {person.id for person in people[:last]})
        _tell(api_url=simulator.api_url, ca_file=str(simulator.ca_file), token=bot.token, channel_id=channel.id)
        talking: list[asyncio.Task[None]] = []
        hushed = False

        def frames(number: int) -> Iterator[bytes]:
            for frame in itertools.islice(itertools.cycle(voices[number % _VOICES]), 7 * number, None):
                if hushed:
                    return
                yield frame

        while order := (await orders.get()).strip():
            if order == "ready":
                await _settled(simulator, guild.id, channel.id, {bot.id, *(person.id for person in people)})
                _tell(ready=True)
            elif order == "talk":
                for number, speaker in enumerate(speakers):
                    talking.append(asyncio.create_task(speaker.speak(frames(number))))
                    await asyncio.sleep(FRAME_SECONDS / talkers)
            else:
                hushed = True
                await asyncio.gather(*talking)
                _tell(sent=sum(len(speaker.sent) for speaker in speakers))
        await asyncio.gather(*(speaker.leave() for speaker in speakers))


async def _settled(simulator: Simulator, guild_id: int, channel_id: int, members: set[int]) -> None:
    server = simulator.voice_server(simulator.world.guild(guild_id))

    def settled() -> bool:
        dave = server.dave(channel_id)
        return dave is not None and set(dave.members) == members and dave.settled

    if not await until(settled, _PATIENCE_SECONDS):
        raise RuntimeError("the encrypted group did not come together")


def _tell(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
