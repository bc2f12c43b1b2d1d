"""The opcodes of voice gateway v8; those of the end-to-end encryption are in `voice.dave`."""

from enum import IntEnum


class Op(IntEnum):
    """What a JSON message of the voice gateway is about. Source: Discord's list of voice opcodes."""

    IDENTIFY = 0
    SELECT_PROTOCOL = 1
    READY = 2
    HEARTBEAT = 3
    SESSION_DESCRIPTION = 4
    SPEAKING = 5
    HEARTBEAT_ACK = 6
    RESUME = 7
    HELLO = 8
    RESUMED = 9
    CLIENTS_CONNECT = 11
    VIDEO = 12
    CLIENT_DISCONNECT = 13
