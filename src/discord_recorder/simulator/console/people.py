"""Commands for what people do: come, talk, write, use commands and buttons, go."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator.commands import CommandKind, resolve_path
from discord_recorder.simulator.console.command import Command, named_values
from discord_recorder.simulator.console.names import Names, number, switch
from discord_recorder.simulator.drafts import BUTTON, walk
from discord_recorder.simulator.entities import Message, User
from discord_recorder.simulator.forms import declared_option
from discord_recorder.simulator.interactions import CallbackKind, Interaction
from discord_recorder.simulator.participants import Participant
from discord_recorder.simulator.server import Simulator
from discord_recorder.simulator.voice.opus_source import from_file, tone
from discord_recorder.simulator.voice.speakers import Habit, SpeakerOptions

_SAID_SECONDS: Final = "5"
_LOWEST_HERTZ: Final = 220.0
_HERTZ_APART: Final = 110.0
_TONES: Final = 16
_SHOWN_MESSAGES: Final = 10


class People:
    """Everybody's hands and voices; `tell` hears what goes wrong with a speech that goes on meanwhile."""

    def __init__(self, simulator: Simulator, names: Names, tell: Callable[[str], None]) -> None:
        self._simulator = simulator
        self._names = names
        self._tell = tell
        self._voices: dict[int, Participant] = {}
        self._speeches: dict[int, asyncio.Task[None]] = {}
        self._forms: dict[int, Interaction] = {}

    def commands(self) -> Sequence[Command]:
        """All of them."""
        return [
            Command(
                name="join",
                usage="WHO CHANNEL [habit=running|stopping] [drift_ppm=N]",
                about="Enter a voice channel; the habit is what RTP timestamps do in silence, the drift the clock's.",
                act=self._join,
            ),
            Command(name="leave", usage="WHO", about="Leave voice.", act=self._leave),
            Command(
                name="say",
                usage="WHO [SECONDS|FILE]",
                about="Say a tone of one's own, or what is in an audio file; goes on meanwhile.",
                act=self._say,
            ),
            Command(name="mute", usage="WHO on|off", about="Mute oneself.", act=self._mute),
            Command(name="post", usage="WHO CHANNEL TEXT...", about="Write a message.", act=self._post),
            Command(
                name="use",
                usage="WHO CHANNEL COMMAND... [OPTION=VALUE...]",
                about="Use a slash command.",
                act=self._use,
            ),
            Command(
                name="click", usage="WHO BUTTON...", about="Press the newest button of that label.", act=self._click
            ),
            Command(name="fill", usage="WHO FIELD=VALUE...", about="Send the form that was opened.", act=self._fill),
            Command(name="read", usage="CHANNEL [WHO]", about="Show the last messages.", act=self._read),
            Command(name="who", usage="", about="Show who is in voice, and what was sent.", act=self._who),
        ]

    async def close(self) -> None:
        """Everybody leaves."""
        await asyncio.gather(*map(self._hush, self._voices))
        await asyncio.gather(*(voice.close() for voice in self._voices.values()), return_exceptions=True)

    async def _join(self, who: str, channel: str, *words: str) -> str:
        person, found, options = self._names.person(who), self._names.channel(channel), _speaker_options(words)
        voice = self._voices.get(person.id)
        if voice is None or (words and voice.speaker.options != options):
            if voice is not None:
                await self._hush(person.id)
                await voice.close()
            voice = self._voices[person.id] = self._simulator.participant(person, options)
            voice.open()
        await voice.join(found)
        return f"{person.name} is in {found.name}."

    async def _leave(self, who: str) -> str:
        person = self._names.person(who)
        voice = self._voice(person)
        await self._hush(person.id)
        await voice.leave()
        return f"{person.name} is out of voice."

    async def _say(self, who: str, what: str = _SAID_SECONDS) -> str:
        person = self._names.person(who)
        voice = self._voice(person)
        if person.id in self._speeches:
            raise SimulatorError(f"{person.name} is speaking already")
        frames = await asyncio.to_thread(self._frames, person, what)
        speech = asyncio.create_task(voice.say(frames), name="simulated speech")
        self._speeches[person.id] = speech
        speech.add_done_callback(partial(self._said, person))
        return f"{person.name} says {len(frames)} packets."

    async def _mute(self, who: str, state: str) -> str:
        person, muted = self._names.person(who), switch(state)
        voice = self._voice(person)
        channel = self._names.guild.voice_states[person.id].channel_id
        self._simulator.join(person, self._simulator.world.channel(channel), self_mute=muted)
        (voice.speaker.mute if muted else voice.speaker.unmute)()
        return f"Mute of {person.name}: {state}."

    async def _post(self, who: str, channel: str, *text: str) -> str:
        message = self._simulator.post(self._names.person(who), self._names.channel(channel), " ".join(text))
        return _shown(message)

    async def _use(self, who: str, channel: str, *words: str) -> str:
        person, found = self._names.person(who), self._names.channel(channel)
        path = list(takewhile(lambda word: "=" not in word, words))
        name = path[0] if path else ""
        bot = self._simulator.bot_with(name, CommandKind.CHAT, found)
        command = self._simulator.commands.find(bot.id, found.guild_id, name, CommandKind.CHAT)
        _, declared = resolve_path(command or {}, path[1:])
        options = {
            option: self._names.option(declared_option(declared, option), word)
            for option, word in named_values(words[len(path) :]).items()
        }
        return await self._answer(self._simulator.invoke(person, " ".join(path), options, channel=found, bot=bot))

    async def _click(self, who: str, *words: str) -> str:
        person, button = self._names.person(who), " ".join(words)
        for message in self._seen_by(person):
            if any(button in (each.get("label"), each.get("custom_id")) for each in _buttons(message)):
                return await self._answer(self._simulator.click(person, message, button))
        raise SimulatorError(f"{person.name} sees no button {button!r}")

    async def _fill(self, who: str, *words: str) -> str:
        person = self._names.person(who)
        form = self._forms.get(person.id)
        if form is None:
            raise SimulatorError(f"no form is open for {person.name}")
        sent = self._simulator.submit(form, named_values(words))
        del self._forms[person.id]
        return await self._answer(sent)

    async def _read(self, channel: str, who: str | None = None) -> str:
        reader = None if who is None else self._names.user(who)
        messages = self._simulator.messages(self._names.channel(channel), seen_by=reader)
        return "\n".join(map(_shown, messages[-_SHOWN_MESSAGES:])) or "Nothing is written there."

    async def _who(self) -> str:
        guild = self._names.guild
        lines = []
        for state in guild.voice_states.values():
            member, voice = guild.members[state.user_id], self._voices.get(state.user_id)
            flags = {"muted": state.self_mute, "deaf": state.self_deaf, "server-muted": member.mute}
            flags |= {"server-deaf": member.deaf, "suppressed": state.suppress}
            sent = [] if voice is None else [f"{len(voice.speaker.sent)} packets sent"]
            about = [*(name for name, on in flags.items() if on), *sent]
            lines.append(f"{guild.channels[state.channel_id].name}: {', '.join([member.user.name, *about])}")
        return "\n".join(lines) or "Nobody is in voice."

    async def _answer(self, interaction: Interaction) -> str:
        """What the application makes of it, in the time that it has; a promise can be read later."""
        bot = interaction.application.name
        try:
            await self._simulator.answered(interaction, timeout_seconds=self._simulator.options.answer_seconds)
        except TimeoutError:
            promised = interaction.answer is CallbackKind.DEFERRED_MESSAGE
            return f"{bot} is thinking." if promised else f"{bot} did not respond."
        if interaction.modal is not None:
            self._forms[interaction.user.id] = interaction
            inputs = [each for each in walk(interaction.modal["components"]) if "custom_id" in each]
            return f"{bot} opens a form with {', '.join(each.get('label') or each['custom_id'] for each in inputs)}."
        if interaction.original is not None and interaction.answer is not CallbackKind.DEFERRED_UPDATE:
            return _shown(interaction.original)
        return f"{bot} has understood."

    def _voice(self, person: User) -> Participant:
        voice = self._voices.get(person.id)
        if voice is None or person.id not in self._names.guild.voice_states:
            raise SimulatorError(f"{person.name} is not in voice")
        return voice

    def _frames(self, person: User, what: str) -> list[bytes]:
        """Takes a while for long ones."""
        if Path(what).is_file():
            return from_file(Path(what))
        hertz = _LOWEST_HERTZ + _HERTZ_APART * (list(self._names.guild.members).index(person.id) % _TONES)
        return tone(hertz, number(what, float))

    async def _hush(self, user_id: int) -> None:
        if speech := self._speeches.get(user_id):
            speech.cancel()
            await asyncio.gather(speech, return_exceptions=True)

    def _said(self, person: User, speech: asyncio.Task[None]) -> None:
        del self._speeches[person.id]
        if not speech.cancelled() and (error := speech.exception()):
            self._tell(f"{person.name} could not go on: {error}")

    def _seen_by(self, person: User) -> Iterator[Message]:
        """Newest first, whatever the channel."""
        found = [
            message
            for channel in self._simulator.world.channels.values()
            for message in self._simulator.messages(channel, seen_by=person)
        ]
        return iter(sorted(found, key=lambda message: message.id, reverse=True))


def _speaker_options(words: Sequence[str]) -> SpeakerOptions:
    given = named_values(words)
    habit, drift = given.pop("habit", Habit.RUNNING), given.pop("drift_ppm", "0")
    if given or habit not in tuple(Habit):
        raise SimulatorError(f"a voice has a habit ({' or '.join(Habit)}) and a drift_ppm")
    return SpeakerOptions(habit=Habit(habit), drift_ppm=number(drift, float))


def _buttons(message: Message) -> list[dict[str, object]]:
    return [each for each in walk(message.components) if each["type"] == BUTTON]


def _shown(message: Message) -> str:
    parts = [message.content]
    parts += [str(embed[name]) for embed in message.embeds for name in ("title", "description") if embed.get(name)]
    parts += [f"{field['name']}: {field['value']}" for embed in message.embeds for field in embed.get("fields") or ()]
    parts += [f"<{attachment.filename}, {len(attachment.data)} bytes>" for attachment in message.attachments]
    parts += [f"[{button.get('label') or button.get('custom_id')}]" for button in _buttons(message)]
    only = " (only one sees it)" if message.is_ephemeral else ""
    return f"{message.author.name}{only}: {' '.join(filter(None, parts))}"
