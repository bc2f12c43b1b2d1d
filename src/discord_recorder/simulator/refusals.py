"""Discord's refusals, by name.

Source: Discord developer documentation, "Opcodes and Status Codes", JSON error codes.
"""

from typing import Final

from discord_recorder.errors import ApiRefusalError
from discord_recorder.simulator.entities import Json

MALFORMED: Final = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading a client's JSON raises when a field is missing, of another type, or of no sense."""


def unknown(what: str) -> ApiRefusalError:
    """Something that is not there: 404."""
    codes = {
        "Application": 10002,
        "Channel": 10003,
        "Guild": 10004,
        "Member": 10007,
        "Message": 10008,
        "Role": 10011,
        "User": 10013,
        "Webhook": 10015,
        "interaction": 10062,
        "application command": 10063,
        "Voice State": 10065,
    }
    return ApiRefusalError(404, codes[what], f"Unknown {what}")


def no_such_route() -> ApiRefusalError:
    """A path that Discord does not have, or this simulator does not."""
    return ApiRefusalError(404, 0, "404: Not Found")


def unauthorized() -> ApiRefusalError:
    """No token, or one that nobody has."""
    return ApiRefusalError(401, 0, "401: Unauthorized")


def invalid_webhook_token() -> ApiRefusalError:
    """An interaction's token that is unknown or too old."""
    return ApiRefusalError(401, 50027, "Invalid Webhook Token")


def missing_access() -> ApiRefusalError:
    """The channel or guild cannot even be seen."""
    return ApiRefusalError(403, 50001, "Missing Access")


def missing_permissions() -> ApiRefusalError:
    """A permission is missing."""
    return ApiRefusalError(403, 50013, "Missing Permissions")


def direct_messages_closed() -> ApiRefusalError:
    """The person takes no direct messages."""
    return ApiRefusalError(403, 50007, "Cannot send messages to this user")


def not_in_direct_channels() -> ApiRefusalError:
    """What is for channels of guilds only."""
    return ApiRefusalError(403, 50003, "Cannot execute action on a DM channel")


def not_the_author() -> ApiRefusalError:
    """Somebody else's message cannot be edited."""
    return ApiRefusalError(403, 50005, "Cannot edit a message authored by another user")


def already_acknowledged() -> ApiRefusalError:
    """An interaction is answered once."""
    return ApiRefusalError(400, 40060, "Interaction has already been acknowledged.")


def empty_message() -> ApiRefusalError:
    """A message of nothing."""
    return ApiRefusalError(400, 50006, "Cannot send an empty message")


def not_in_voice() -> ApiRefusalError:
    """Only who is connected can be moved."""
    return ApiRefusalError(400, 40032, "Target user is not connected to voice.")


def too_large() -> ApiRefusalError:
    """A file, or the request, is over the limit."""
    return ApiRefusalError(413, 40005, "Request entity too large")


def no_json() -> ApiRefusalError:
    """The body cannot be parsed."""
    return ApiRefusalError(400, 50109, "The request body contains invalid JSON.")


def invalid(path: str, code: str, message: str) -> ApiRefusalError:
    """A field, by its dotted path, has a value that is not allowed."""
    errors: Json = {"_errors": [{"code": code, "message": message}]}
    for part in reversed(path.split(".")):
        errors = {part: errors}
    return ApiRefusalError(400, 50035, "Invalid Form Body", errors)
