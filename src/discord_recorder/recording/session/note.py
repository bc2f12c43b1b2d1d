"""What people note in a meeting, checked."""

from typing import Final

from discord_recorder.errors import InvalidNoteError

MAX_NOTE_CHARACTERS: Final = 2_000
"""As long as a Discord message."""


def checked_note(text: object) -> str:
    """The text of a note without the space around it; raises `InvalidNoteError`."""
    if not isinstance(text, str):
        raise InvalidNoteError(f"The text of a note is a {type(text).__name__}; it takes a str.")
    note = text.strip()
    if not note:
        raise InvalidNoteError("The text of a note is empty; say in a few words what happens at this moment.")
    if len(note) > MAX_NOTE_CHARACTERS:
        raise InvalidNoteError(
            f"The text of a note has {len(note)} characters; it takes at most {MAX_NOTE_CHARACTERS}. Shorten it, or "
            "make several notes of it."
        )
    try:
        note.encode()
    except UnicodeEncodeError as error:
        raise InvalidNoteError("The text of a note has half a surrogate pair in it, which is no character.") from error
    return note
