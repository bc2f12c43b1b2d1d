"""Routes by which a bot answers interactions: the callback, and the interaction's token as a webhook."""

from collections.abc import Sequence
from typing import Final

from discord_recorder.simulator.drafts import Draft
from discord_recorder.simulator.entities import Json, Message
from discord_recorder.simulator.interactions import CallbackKind, Interaction, Interactions
from discord_recorder.simulator.messages import Messages
from discord_recorder.simulator.rest.api import Call, Handler

_ORIGINAL: Final = "@original"
_WITH_MESSAGE: Final = (
    CallbackKind.MESSAGE,
    CallbackKind.DEFERRED_MESSAGE,
    CallbackKind.DEFERRED_UPDATE,
    CallbackKind.UPDATE,
)


class Webhooks:
    """Answers and follow-ups; the token in the path is all the leave they need."""

    def __init__(self, interactions: Interactions, messages: Messages) -> None:
        self._interactions = interactions
        self._messages = messages

    def routes(self) -> Sequence[tuple[str, str, Handler]]:
        """All of them."""
        webhook = "/webhooks/{webhook_id}/{webhook_token}"
        return [
            ("POST", "/interactions/{webhook_id}/{webhook_token}/callback", self._respond),
            ("POST", webhook, self._follow_up),
            ("GET", f"{webhook}/messages/{{message_id}}", self._get),
            ("PATCH", f"{webhook}/messages/{{message_id}}", self._edit),
            ("DELETE", f"{webhook}/messages/{{message_id}}", self._delete),
        ]

    async def _respond(self, call: Call) -> Json | None:
        body = call.fields
        interaction = self._interactions.respond(
            call.id("webhook_id", "interaction"),
            call.path["webhook_token"],
            int(body["type"]),
            body.get("data") or {},
            call.uploads,
        )
        return self._callback(interaction) if call.query.get("with_response") in ("1", "true") else None

    async def _follow_up(self, call: Call) -> Json:
        message = self._interactions.follow_up(self._interaction(call), Draft.of(call.fields, call.uploads))
        return self._messages.payload(message)

    async def _get(self, call: Call) -> Json:
        return self._messages.payload(self._interactions.message(self._interaction(call), _message_id(call)))

    async def _edit(self, call: Call) -> Json:
        draft = Draft.of(call.fields, call.uploads)
        return self._messages.payload(self._interactions.edit(self._interaction(call), _message_id(call), draft))

    async def _delete(self, call: Call) -> None:
        self._interactions.delete(self._interaction(call), _message_id(call))

    def _interaction(self, call: Call) -> Interaction:
        return self._interactions.of_webhook(call.id("webhook_id", "Webhook"), call.path["webhook_token"])

    def _callback(self, interaction: Interaction) -> Json:
        about: Json = {"id": str(interaction.id), "type": int(interaction.kind)}
        answer: Json = {"interaction": about}
        kind, message = interaction.answer, interaction.original
        if kind is None:
            return answer
        if kind in _WITH_MESSAGE and isinstance(message, Message):
            about |= {
                "response_message_id": str(message.id),
                "response_message_loading": message.is_loading,
                "response_message_ephemeral": message.is_ephemeral,
            }
            answer["resource"] = {"type": int(kind), "message": self._messages.payload(message)}
        return answer


def _message_id(call: Call) -> int | None:
    return None if call.path["message_id"] == _ORIGINAL else call.id("message_id", "Message")
