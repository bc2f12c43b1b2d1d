"""What a client sends to make or change a message, checked as Discord checks it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from discord_recorder.simulator.entities import Json, MessageFlag
from discord_recorder.simulator.refusals import invalid

MAX_CONTENT: Final = 2_000
MAX_EMBEDS: Final = 10
MAX_FILES: Final = 10
MAX_FILE_BYTES: Final = 10 * 1024 * 1024
"""Of one attachment: Discord's limit for bots in a guild without boosts."""
MAX_ROWS: Final = 5
MAX_COMPONENTS: Final = 40
MAX_EMBED_TITLE: Final = 256
MAX_EMBED_DESCRIPTION: Final = 4_096
MAX_EMBED_FIELDS: Final = 25
MAX_EMBED_FIELD_NAME: Final = 256
MAX_EMBED_FIELD_VALUE: Final = 1_024
MAX_EMBED_FOOTER: Final = 2_048
MAX_EMBED_AUTHOR: Final = 256
MAX_EMBED_TEXT: Final = 6_000
"""Of all texts of a message's embeds together."""
MAX_FORM_TITLE: Final = 45
MAX_FORM_LABEL: Final = 45
MAX_FORM_FIELDS: Final = 5
MAX_CUSTOM_ID: Final = 100
MAX_LABEL: Final = 80
MAX_OPTIONS: Final = 25
BUTTON: Final = 2
LINK_STYLES: Final = (5, 6)
"""Styles of buttons that are no interaction: links and purchases."""

SELECTS: Final = (3, 5, 6, 7, 8)
TEXT_INPUT: Final = 4
LABEL: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that came with a request."""

    field_name: str
    filename: str
    content_type: str
    data: bytes = field(repr=False)
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message to be; None is what was not named."""

    content: str | None = None
    embeds: tuple[Json, ...] | None = None
    components: tuple[Json, ...] | None = None
    files: tuple[Upload, ...] = ()
    keep: frozenset[int] | None = None
    """Attachments that an edit leaves; None leaves all."""
    flags: int = 0
    nonce: str | int | None = None
    tts: bool = False
    reply_to: int | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any], uploads: Sequence[Upload] = ()) -> "Draft":
        """Read a request's body; raises `ApiRefusalError` that names the field."""
        keep, files = _attachments(body.get("attachments"), uploads)
        reference = body.get("message_reference") or {}
        return cls(
            content=_content(body),
            embeds=_embeds(body),
            components=_components(body),
            files=files,
            keep=keep,
            flags=int(body.get("flags") or 0),
            nonce=body.get("nonce"),
            tts=bool(body.get("tts")),
            reply_to=int(reference["message_id"]) if reference.get("message_id") else None,
        )


def walk(components: Sequence[Json]) -> Iterator[Json]:
    """All components, those within others included."""
    for component in components:
        yield component
        yield from walk(component.get("components", ()))
        yield from walk([component[name] for name in ("accessory", "component") if name in component])


def _content(body: Mapping[str, Any]) -> str | None:
    if "content" not in body:
        return None
    content = body["content"] or ""
    if not isinstance(content, str):
        raise invalid("content", "STRING_TYPE_CONVERT", "Could not interpret value as string.")
    if len(content) > MAX_CONTENT:
        raise invalid("content", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_CONTENT} or fewer in length.")
    return content


def _embeds(body: Mapping[str, Any]) -> tuple[Json, ...] | None:
    if "embeds" not in body:
        return None
    embeds = body["embeds"] or []
    if len(embeds) > MAX_EMBEDS:
        raise invalid("embeds", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_EMBEDS} or fewer in length.")
    if sum(_check_embed(embed, f"embeds.{index}") for index, embed in enumerate(embeds)) > MAX_EMBED_TEXT:
        message = f"Embed size exceeds maximum size of {MAX_EMBED_TEXT}"
        raise invalid("embeds", "MAX_EMBED_SIZE_EXCEEDED", message)
    return tuple({"type": "rich"} | embed for embed in embeds)


def _check_embed(embed: Json, path: str) -> int:
    """Refuse texts that are too long or missing; gives how long they are together."""
    fields = embed.get("fields") or []
    _check_length(f"{path}.fields", fields, MAX_EMBED_FIELDS)
    length = _check_length(f"{path}.title", embed.get("title"), MAX_EMBED_TITLE)
    length += _check_length(f"{path}.description", embed.get("description"), MAX_EMBED_DESCRIPTION)
    length += _check_length(f"{path}.footer.text", (embed.get("footer") or {}).get("text"), MAX_EMBED_FOOTER)
    length += _check_length(f"{path}.author.name", (embed.get("author") or {}).get("name"), MAX_EMBED_AUTHOR)
    for number, each in enumerate(fields):
        where = f"{path}.fields.{number}"
        length += _check_length(f"{where}.name", each.get("name"), MAX_EMBED_FIELD_NAME, least=1)
        length += _check_length(f"{where}.value", each.get("value"), MAX_EMBED_FIELD_VALUE, least=1)
    return length


def _components(body: Mapping[str, Any]) -> tuple[Json, ...] | None:
    if "components" not in body:
        return None
    components = tuple(body["components"] or ())
    is_v2 = int(body.get("flags") or 0) & MessageFlag.COMPONENTS_V2
    _check_length("components", components, MAX_COMPONENTS if is_v2 else MAX_ROWS)
    check_components(components, "components")
    return components


def check_components(components: Sequence[Json], path: str) -> None:
    """Refuse what Discord would: custom ids that are missing, too long or used twice, and labels that are too long."""
    seen = set[str]()
    for component in walk(components):
        kind = component.get("type")
        if not isinstance(kind, int):
            raise invalid(f"{path}.type", "BASE_TYPE_REQUIRED", "This field is required")
        if kind == BUTTON:
            _check_length(f"{path}.label", component.get("label"), MAX_LABEL)
        if kind in SELECTS:
            _check_length(f"{path}.options", component.get("options"), MAX_OPTIONS)
        if (kind == BUTTON and component.get("style") not in LINK_STYLES) or kind in SELECTS:
            custom_id = component.get("custom_id") or ""
            _check_length(f"{path}.custom_id", custom_id, MAX_CUSTOM_ID, least=1)
            if custom_id in seen:
                message = "Component custom id cannot be duplicated"
                raise invalid(f"{path}.custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", message)
            seen.add(custom_id)


def check_form(form: Json) -> None:
    """Refuse a form without a title, an id or fields, or with too much of them."""
    _check_length("data.title", form.get("title"), MAX_FORM_TITLE, least=1)
    _check_length("data.custom_id", form.get("custom_id"), MAX_CUSTOM_ID, least=1)
    _check_length("data.components", form.get("components"), MAX_FORM_FIELDS, least=1)
    check_components(form["components"], "data.components")
    for component in walk(form["components"]):
        if component["type"] in (TEXT_INPUT, LABEL):
            _check_length("data.components.label", component.get("label"), MAX_FORM_LABEL)


def _check_length(path: str, value: Any, most: int, *, least: int = 0) -> int:
    length = 0 if value is None else len(value)
    if length > most:
        raise invalid(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
    if length < least:
        raise invalid(path, "BASE_TYPE_REQUIRED", "This field is required")
    return length


def _attachments(
    given: Sequence[Json] | None, uploads: Sequence[Upload]
) -> tuple[frozenset[int] | None, tuple[Upload, ...]]:
    if len(uploads) > MAX_FILES:
        raise invalid("attachments", "BASE_TYPE_MAX_LENGTH", f"Must be {MAX_FILES} or fewer in length.")
    if given is None:
        return None, tuple(uploads)
    by_id = {str(each.get("id")): each for each in given}
    files = []
    for upload in uploads:
        about = by_id.get(upload.field_name.removeprefix("files[").removesuffix("]"), {})
        files.append(
            Upload(
                field_name=upload.field_name,
                filename=about.get("filename") or upload.filename,
                content_type=upload.content_type,
                data=upload.data,
                description=about.get("description"),
            )
        )
    return frozenset(int(number) for number in by_id if number.isdecimal()), tuple(files)
