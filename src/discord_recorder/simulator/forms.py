"""What people enter: the values of a command's options, of a menu, of a form, as interactions carry them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from discord_recorder.errors import SimulatorError
from discord_recorder.simulator import payloads
from discord_recorder.simulator.commands import OptionKind, check_value
from discord_recorder.simulator.drafts import LABEL, SELECTS, TEXT_INPUT, Upload
from discord_recorder.simulator.entities import Channel, Guild, Json, Member, Role, User
from discord_recorder.simulator.permissions import Permission, channel_permissions, guild_permissions

_STRING_SELECT: Final = 3
_CHECKBOX: Final = 23
_RADIO_GROUP: Final = 21
_ROW: Final = 1
_TEXT: Final = 10
_MISSING: Final = object()

Entity = User | Member | Role | Channel
"""What a command's option or a select can name."""


class Resolved:
    """Collects what the values name, as the interaction of `user` carries it along."""

    def __init__(self, guild: Guild | None, user: User) -> None:
        self._guild = guild
        self._user = user
        self._found: dict[str, Json] = {}

    def option(self, declared: Json, value: Any) -> Json:
        """A command's option with its value."""
        if isinstance(value, (User, Member, Role, Channel)):
            value = self.add(value)
        elif isinstance(value, Upload):
            raise SimulatorError("commands with attachments are not simulated")
        elif declared["type"] == OptionKind.NUMBER:
            value = float(value)
        else:
            check_value(declared, value)
        return {"name": declared["name"], "type": declared["type"], "value": value}

    def add(self, entity: Entity) -> str:
        """Note an entity; gives its id."""
        if isinstance(entity, (User, Member)):
            user = entity.user if isinstance(entity, Member) else entity
            self._note("users", user.id, payloads.user_payload(user))
            member = self._guild.members.get(user.id) if self._guild else None
            if self._guild and member:
                allowed = guild_permissions(self._guild, member)
                payload = payloads.member_payload(member, with_user=False) | {"permissions": str(int(allowed))}
                self._note("members", user.id, payload)
            return str(user.id)
        if isinstance(entity, Role):
            self._note("roles", entity.id, payloads.role_payload(entity))
        else:
            payload = payloads.channel_payload(entity) | {"permissions": str(int(self._allowed_in(entity)))}
            self._note("channels", entity.id, payload)
        return str(entity.id)

    def as_data(self) -> Json:
        """The part of the interaction's data that explains its ids."""
        return {"resolved": self._found} if self._found else {}

    def _allowed_in(self, channel: Channel) -> Permission:
        """What the user who names a channel may do there: a bot goes by it."""
        member = self._guild.members.get(self._user.id) if self._guild else None
        return channel_permissions(self._guild, member, channel) if self._guild and member else Permission(0)

    def _note(self, kind: str, number: int, payload: Json) -> None:
        self._found.setdefault(kind, {})[str(number)] = payload


def declared_option(declared: Sequence[Json], name: str) -> Json:
    """The option of that name; raises `SimulatorError`."""
    for option in declared:
        if option["name"] == name:
            return option
    raise SimulatorError(f"the command has no option {name!r}")


def find_component(components: Iterable[Json], wanted: str, keys: Sequence[str]) -> Json:
    """The component whose `keys` say `wanted`; raises `SimulatorError` if there is none, or it is disabled."""
    found = list(components)
    for key in keys:
        for component in found:
            if component.get(key) == wanted:
                if component.get("disabled"):
                    raise SimulatorError(f"{wanted!r} is disabled")
                return component
    shown = ", ".join(repr(component.get(keys[-1]) or component.get(keys[0])) for component in found)
    raise SimulatorError(f"the message has no {wanted!r}; it has {shown or 'nothing to use'}")


def chosen_values(component: Json, values: Sequence[str | Entity], resolved: Resolved) -> list[str]:
    """The values that a menu sends for what was chosen; raises `SimulatorError` for what it does not offer."""
    least, most = component.get("min_values", 1), component.get("max_values", 1)
    if not least <= len(values) <= most:
        raise SimulatorError(f"{len(values)} values chosen; the menu takes {least} to {most}")
    if component["type"] != _STRING_SELECT:
        return [each if isinstance(each, str) else resolved.add(each) for each in values]
    options = component.get("options") or ()
    chosen = []
    for value in values:
        found = [each["value"] for each in options if value in (each["value"], each["label"])]
        if not found:
            raise SimulatorError(f"the menu does not offer {value!r}")
        chosen.append(found[0])
    return chosen


def filled_field(component: Json, left: dict[str, Any], resolved: Resolved, label: str | None = None) -> Json:
    """A form's component with what was entered; takes it out of `left`."""
    kind = component["type"]
    base: Json = {"type": kind, "id": component.get("id", 0)}
    if kind == _ROW:
        return base | {"components": [filled_field(each, left, resolved) for each in component["components"]]}
    if kind == LABEL:
        return base | {"component": filled_field(component["component"], left, resolved, component.get("label"))}
    if kind == _TEXT:
        return base
    base["custom_id"] = component["custom_id"]
    given: Any = _MISSING
    for name in (component["custom_id"], component.get("label"), label):
        if name in left:
            given = left.pop(name)
            break
    if given is _MISSING and component.get("required", True) and component.get("value") is None:
        raise SimulatorError(
            f"the form's field {component.get('label') or label or component['custom_id']!r} is required"
        )
    if kind == TEXT_INPUT:
        return base | {"value": _text(component, given)}
    if kind in SELECTS:
        return base | {"values": [] if given is _MISSING else chosen_values(component, given, resolved)}
    if kind in (_RADIO_GROUP, _CHECKBOX):
        return base | {"value": None if given is _MISSING else given}
    return base | {"values": [] if given is _MISSING else list(given)}


def _text(component: Json, given: Any) -> str:
    text = str(component.get("value") or "") if given is _MISSING else str(given)
    least, most = component.get("min_length") or 0, component.get("max_length") or 4_000
    if len(text) > most or (text and len(text) < least):
        raise SimulatorError(f"the field takes {least} to {most} characters, not {len(text)}")
    return text
