"""Close codes of the voice gateway that the simulator sends (Discord's documentation; PROTOCOL, close-code table)."""

from typing import Final

ABNORMAL: Final = 1006
UNKNOWN_OPCODE: Final = 4001
DECODE_ERROR: Final = 4002
NOT_AUTHENTICATED: Final = 4003
AUTHENTICATION_FAILED: Final = 4004
ALREADY_AUTHENTICATED: Final = 4005
SESSION_INVALID: Final = 4006
SESSION_TIMEOUT: Final = 4009
UNKNOWN_PROTOCOL: Final = 4012
DISCONNECTED: Final = 4014
SERVER_CRASHED: Final = 4015
UNKNOWN_MODE: Final = 4016
DAVE_REQUIRED: Final = 4017

RESUMABLE: Final = frozenset((ABNORMAL, SERVER_CRASHED))
"""After these a client can resume; all others of the server's end the session."""
