"""Kill -9 of a recorder whose bot is in a call: all but the last moment of what it received is recorded."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from discord_recorder import ServicesManager
from discord_recorder.simulator.permissions import Permission
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.opus_source import FRAME_SAMPLES
from discord_recorder.simulator.voice.speakers import Speaker
from tests.audio.opus_signals import reference
from tests.audio.signals import FULL_SCALE, played
from tests.e2e.call import ADA_HERTZ, BEN_HERTZ, voice
from tests.faults.children import recorder
from tests.faults.endings import the_recording
from tests.support.recorder import MEETING, quick_settings, track_of
from tests.support.waiting import until

MOST_LOST_SAMPLES = 48_000 // 5
WINDOW_SAMPLES = 4800
HEARD_SAMPLES = 140 * FRAME_SAMPLES
"""Two sealed chunks, and some of the next."""


async def test_killed_while_people_talk(simulator: Simulator, data_dir: Path) -> None:
    guild = simulator.add_guild("Team", simulator.add_user("Owner"))
    channel = simulator.add_voice_channel(guild, "Talk")
    bot = simulator.add_bot("Recorder", guild, permissions=int(Permission.ADMINISTRATOR))
    people = {}
    for name, hertz in (("Ada", ADA_HERTZ), ("Ben", BEN_HERTZ)):
        user = simulator.add_user(name)
        simulator.add_member(guild, user)
        people[user.id] = (Speaker(tls=simulator.client_context()), voice(hertz))
        await people[user.id][0].join(simulator.join(user, channel))

    def all_in_one_group() -> bool:
        dave = simulator.voice_server(guild).dave(channel.id)
        return dave is not None and set(dave.members) == {bot.id, *people} and dave.settled

    steps: list[dict[str, Any]] = [
        {"do": "open"},
        {"do": "attach", "ca_file": str(simulator.ca_file), "token": bot.token},
        {"do": "start", "channel": channel.id, "meeting": MEETING},
        {"do": "listen", "channel": channel.id, "users": list(people)},
    ]
    async with recorder(data_dir, *steps, discord_api_url=simulator.api_url) as child:
        await until(all_in_one_group)
        talks = [asyncio.create_task(speaker.speak(frames)) for speaker, frames in people.values()]
        await child.has_pushed(HEARD_SAMPLES)
        await child.killed()
    for speaker, _ in people.values():
        await speaker.leave()
    await asyncio.gather(*talks)

    async with ServicesManager(quick_settings(data_dir)) as services:
        recording = await the_recording(services)
    assert recording["recovered"]
    begins = {event["heard"]: event["at_sample"] for event in child.events if "heard" in event}
    for user_id, (_, frames) in people.items():
        sound = played(Path(track_of(recording, user_id)["path"]))[begins[user_id] :]
        assert len(sound) >= child.pushed_in[channel.id, user_id] - MOST_LOST_SAMPLES
        wanted = reference(frames[: len(sound) // FRAME_SAMPLES]) / FULL_SCALE
        for at in range(0, len(wanted) - WINDOW_SAMPLES, WINDOW_SAMPLES):
            here, there = sound[at : at + WINDOW_SAMPLES], wanted[at : at + WINDOW_SAMPLES]
            assert np.std(here - there) < 0.1 * np.std(there), f"{user_id} at {at}"
