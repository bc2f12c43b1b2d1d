"""Interactions: what a person did, and how the application answers.

An interaction is answered once, within three seconds; for a quarter of an hour its token makes and edits messages.
Source: Discord developer documentation, "Receiving and Responding".
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from discord_recorder.simulator import payloads
from discord_recorder.simulator.drafts import MAX_FILE_BYTES, Draft, Upload, check_form
from discord_recorder.simulator.entities import Channel, Guild, Json, Message, MessageFlag, User
from discord_recorder.simulator.messages import Messages
from discord_recorder.simulator.permissions import ALL, channel_permissions
from discord_recorder.simulator.refusals import already_acknowledged, invalid, invalid_webhook_token, unknown
from discord_recorder.simulator.world import Audience, World

ANSWER_SECONDS: Final = 3.0
TOKEN_SECONDS: Final = 15 * 60.0
MAX_KEPT: Final = 1_000
"""Interactions that are remembered; older ones are forgotten as if their tokens had expired."""
MAX_FOLLOW_UPS: Final = 100


class InteractionKind(IntEnum):
    """What a person did."""

    COMMAND = 2
    COMPONENT = 3
    AUTOCOMPLETE = 4
    MODAL = 5


class CallbackKind(IntEnum):
    """How an application answers."""

    MESSAGE = 4
    DEFERRED_MESSAGE = 5
    DEFERRED_UPDATE = 6
    UPDATE = 7
    CHOICES = 8
    MODAL = 9


_ALLOWED: Final = {
    InteractionKind.COMMAND: {CallbackKind.MESSAGE, CallbackKind.DEFERRED_MESSAGE, CallbackKind.MODAL},
    InteractionKind.COMPONENT: set(CallbackKind) - {CallbackKind.CHOICES},
    InteractionKind.AUTOCOMPLETE: {CallbackKind.CHOICES},
    InteractionKind.MODAL: set(CallbackKind) - {CallbackKind.CHOICES, CallbackKind.MODAL},
}


@dataclass(slots=True, kw_only=True)
class Interaction:
    """One deed of a person and all that came of it; it changes as the application answers."""

    id: int
    token: str = field(repr=False)
    kind: InteractionKind
    application: User
    user: User
    channel: Channel
    guild: Guild | None
    data: Json
    source: Message | None
    """The message whose component was used."""
    made_at: float
    """Monotonic seconds."""
    answer: CallbackKind | None = None
    original: Message | None = None
    """The answer as it was sent or last edited by the interaction's token; the source after an update."""
    follow_ups: list[Message] = field(default_factory=list)
    modal: Json | None = None
    """The form that the application opened."""
    choices: Sequence[Json] = ()
    """What an autocomplete offers."""

    @property
    def is_answered(self) -> bool:
        """The application has given more than a promise."""
        if self.answer is CallbackKind.DEFERRED_MESSAGE:
            return self.original is None or not self.original.is_loading
        return self.answer is not None


class Interactions:
    """All interactions.

    Args:
        world: who is there.
        messages: where answers go.
        monotonic: the clock of the time limits, in seconds.
        answer_seconds: how long an application may take; Discord's 3 s unless told otherwise.
    """

    def __init__(
        self,
        world: World,
        messages: Messages,
        monotonic: Callable[[], float],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._world = world
        self._messages = messages
        self._monotonic = monotonic
        self._answer_seconds = answer_seconds
        self._by_token: OrderedDict[str, Interaction] = OrderedDict()

    def create(
        self,
        kind: InteractionKind,
        application: User,
        user: User,
        channel: Channel,
        data: Json,
        source: Message | None = None,
    ) -> Interaction:
        """A person does something; the application is told through its gateway."""
        interaction = Interaction(
            id=self._world.ids.next(),
            token=secrets.token_urlsafe(24),
            kind=kind,
            application=application,
            user=user,
            channel=channel,
            guild=None if channel.guild_id is None else self._world.guild(channel.guild_id),
            data=data,
            source=source,
            made_at=self._monotonic(),
        )
        self._by_token[interaction.token] = interaction
        if len(self._by_token) > MAX_KEPT:
            self._by_token.popitem(last=False)
        audience = Audience(guild_id=channel.guild_id, user_ids=frozenset((application.id,)))
        self._world.publish("INTERACTION_CREATE", self._payload(interaction), audience)
        return interaction

    def respond(self, interaction_id: int, token: str, kind: int, data: Json, uploads: Sequence[Upload]) -> Interaction:
        """The application's one answer; raises `ApiRefusalError` if it is late, a second one, or of no use."""
        interaction = self._by_token.get(token)
        if interaction is None or interaction.id != interaction_id:
            raise unknown("interaction")
        if interaction.answer is not None:
            raise already_acknowledged()
        if self._monotonic() - interaction.made_at > self._answer_seconds:
            raise unknown("interaction")
        if kind not in _ALLOWED[interaction.kind]:
            raise invalid("type", "INTERACTION_RESPONSE_TYPE_INVALID", "Not an answer to this interaction")
        callback = CallbackKind(kind)
        if callback in (CallbackKind.UPDATE, CallbackKind.DEFERRED_UPDATE) and interaction.source is None:
            raise invalid("type", "INTERACTION_RESPONSE_TYPE_INVALID", "There is no message to update")
        self._act(interaction, callback, data, uploads)
        interaction.answer = callback
        return interaction

    def of_webhook(self, application_id: int, token: str) -> Interaction:
        """The interaction whose token is used as a webhook's; raises `ApiRefusalError`."""
        interaction = self._by_token.get(token)
        if interaction is None or interaction.application.id != application_id:
            raise unknown("Webhook")
        if self._monotonic() - interaction.made_at > TOKEN_SECONDS:
            raise invalid_webhook_token()
        if interaction.answer is None:
            raise unknown("Webhook")
        return interaction

    def follow_up(self, interaction: Interaction, draft: Draft) -> Message:
        """One more message; the first after a promise keeps the promise."""
        if interaction.original is not None and interaction.original.is_loading:
            return self.edit(interaction, None, draft)
        if len(interaction.follow_ups) >= MAX_FOLLOW_UPS:
            raise invalid("_", "FOLLOW_UP_LIMIT", "Too many follow-up messages")
        message = self._send(interaction, draft, flags=draft.flags & MessageFlag.EPHEMERAL)
        interaction.follow_ups.append(message)
        return message

    def message(self, interaction: Interaction, message_id: int | None) -> Message:
        """A message that the interaction made (None: its answer); raises `ApiRefusalError`."""
        if message_id is None or (interaction.original and interaction.original.id == message_id):
            if interaction.original is None:
                raise unknown("Message")
            return self._messages.get(interaction.channel.id, interaction.original.id)
        if all(message.id != message_id for message in interaction.follow_ups):
            raise unknown("Message")
        return self._messages.get(interaction.channel.id, message_id)

    def edit(self, interaction: Interaction, message_id: int | None, draft: Draft) -> Message:
        """Change a message that the interaction made."""
        message = self._messages.edit(self.message(interaction, message_id), draft)
        if interaction.original is not None and message.id == interaction.original.id:
            interaction.original = message
        interaction.follow_ups = [message if each.id == message.id else each for each in interaction.follow_ups]
        return message

    def delete(self, interaction: Interaction, message_id: int | None) -> None:
        """Take a message away that the interaction made."""
        message = self.message(interaction, message_id)
        self._messages.delete(message)
        if interaction.original is not None and message.id == interaction.original.id:
            interaction.original = None
        interaction.follow_ups = [each for each in interaction.follow_ups if each.id != message.id]

    def _act(self, interaction: Interaction, kind: CallbackKind, data: Json, uploads: Sequence[Upload]) -> None:
        match kind:
            case CallbackKind.MESSAGE:
                draft = Draft.of(data, uploads)
                interaction.original = self._send(interaction, draft)
            case CallbackKind.DEFERRED_MESSAGE:
                draft = Draft(flags=int(data.get("flags") or 0))
                interaction.original = self._send(interaction, draft, flags=MessageFlag.LOADING)
            case CallbackKind.DEFERRED_UPDATE:
                interaction.original = interaction.source
            case CallbackKind.UPDATE if interaction.source is not None:
                interaction.original = self._messages.edit(interaction.source, Draft.of(data, uploads))
            case CallbackKind.MODAL:
                check_form(data)
                interaction.modal = data
            case CallbackKind.CHOICES:
                interaction.choices = tuple(data.get("choices") or ())

    def _send(self, interaction: Interaction, draft: Draft, *, flags: int = 0) -> Message:
        return self._messages.send(
            interaction.channel,
            interaction.application,
            draft,
            flags=flags,
            application_id=interaction.application.id,
            interaction={
                "id": str(interaction.id),
                "type": int(interaction.kind),
                "user": payloads.user_payload(interaction.user),
                "authorizing_integration_owners": {},
            },
            visible_to=interaction.user.id,
        )

    def _payload(self, interaction: Interaction) -> Json:
        guild, channel = interaction.guild, interaction.channel
        payload: Json = {
            "id": str(interaction.id),
            "application_id": str(interaction.application.id),
            "type": int(interaction.kind),
            "token": interaction.token,
            "version": 1,
            "data": interaction.data,
            "channel_id": str(channel.id),
            "channel": payloads.channel_payload(channel),
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {"0": str(guild.id if guild else 0)},
            "attachment_size_limit": MAX_FILE_BYTES,
            "context": 0 if guild else 1,
            "app_permissions": str(int(ALL)),
        }
        if interaction.source is not None:
            payload["message"] = self._messages.payload(interaction.source)
        if guild is None:
            return payload | {"user": payloads.user_payload(interaction.user)}
        member = self._world.member(guild, interaction.user.id)
        allowed = channel_permissions(guild, member, channel)
        payload |= {
            "guild_id": str(guild.id),
            "guild": {"id": str(guild.id), "locale": "en-US", "features": []},
            "guild_locale": "en-US",
            "member": payloads.member_payload(member) | {"permissions": str(int(allowed))},
        }
        if bot := guild.members.get(interaction.application.id):
            payload["app_permissions"] = str(int(channel_permissions(guild, bot, channel)))
        return payload
