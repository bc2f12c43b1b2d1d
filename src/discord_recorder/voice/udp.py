"""The UDP side of a voice connection: a connected socket that is drained in batches.

One wake-up of the event loop for each datagram costs more than all that is done with it, and a recorder is in no
hurry. So the first readable event starts a timer of 50 ms, or less in a crowd, which empties the socket again and
again; the first time that nothing was there, the socket is watched again. The kernel tells when each datagram came and
how many it had to drop, where it can (Linux).
"""

import asyncio
import logging
import socket
import sys
import time
from struct import Struct
from typing import Final, Protocol

Batch = list[tuple[bytes, float]]
"""Datagrams in the order of arrival, each with the monotonic second of its arrival."""

DRAIN_SECONDS: Final = 0.050
"""Distance between two looks into the socket while datagrams come. What is made of them has to be in a file 100 ms
after they came; of a small call each look costs more than what it finds."""

CROWD_SECONDS: Final = 0.020
"""The same while many datagrams come, of which the receive buffer of an unprivileged process holds 0.1 s and more."""

CROWD: Final = 128
"""Datagrams at one look that make a crowd."""

RECEIVE_BUFFER_BYTES: Final = 8 << 20
"""What is asked of the kernel: seconds of a hundred voices, for an event loop that hangs."""

MAX_BATCH: Final = 4096
"""Datagrams taken at one go; with more waiting, the event loop gets a turn in between."""

_MAX_DATAGRAM_BYTES: Final = 2048
"""More than any path's MTU; what is longer is cut, and then refused by its authentication."""

_MAX_ERRORS: Final = 64
"""Errors of the socket (ICMP's "unreachable" is one) in one go, before the rest waits for the next time."""

_LAST_DRAINS: Final = 8
"""More than the receive buffer holds; a flood that goes on must not keep the socket open."""

_LINUX: Final = sys.platform == "linux"
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_SO_RXQ_OVFL: Final = 40
_TIMESPEC: Final = Struct("@ll")
_DROP_COUNT: Final = Struct("@I")
_ANCILLARY_BYTES: Final = 128

_log = logging.getLogger(__name__)


class UdpListener(Protocol):
    """Takes what the socket delivers; called on the event loop, must not raise."""

    def on_datagrams(self, batch: Batch) -> None:
        """Datagrams have come."""

    def on_kernel_dropped(self, count: int) -> None:
        """The kernel had no room for so many datagrams since the last call."""


class UdpSocket:
    """A UDP socket connected to one voice server, so that the kernel refuses what others send.

    Raises:
        OSError: on construction, when there is no way to that address.
    """

    def __init__(self, ip: str, port: int, listener: UdpListener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._watching = False
        self._polling = False
        self._last_arrival = time.monotonic()
        self._kernel_dropped = 0
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self.receive_buffer_bytes = _grow_receive_buffer(self._socket)
            self._with_ancillary = _ask_for_ancillary(self._socket)
            self._socket.connect((ip, port))
            self._watch()
        except BaseException:
            self._socket.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it can be sent from."""
        return self._socket.fileno() >= 0

    def send(self, datagram: bytes) -> bool:
        """Send; false when the kernel would not take it."""
        try:
            self._socket.send(datagram)
        except OSError:  # no room, no route, refused, closed: as if it had been lost on the way
            return False
        return True

    def drain(self) -> int:
        """Hand all that has come to the listener; gives the number of datagrams."""
        if not self.is_open:
            return 0
        batch = self._receive_with_ancillary() if self._with_ancillary else self._receive()
        if batch:
            self._listener.on_datagrams(batch)
        return len(batch)

    def close(self) -> None:
        """Hand over what is still there and close."""
        if not self.is_open:
            return
        for _ in range(_LAST_DRAINS):
            if self.drain() < MAX_BATCH:
                break
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._socket.close()

    def _watch(self) -> None:
        try:
            self._loop.add_reader(self._socket, self._readable)
            self._watching = True
        except NotImplementedError:  # Windows' default event loop: look all the time instead
            self._polling = True
            self._timer = self._loop.call_later(DRAIN_SECONDS, self._due)

    def _unwatch(self) -> None:
        if self._watching:
            self._loop.remove_reader(self._socket)
            self._watching = False

    def _readable(self) -> None:
        self._unwatch()
        self._timer = self._loop.call_later(DRAIN_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        received = self.drain()
        if not self.is_open:  # the listener closed it
            return
        if received or self._polling:
            self._timer = self._loop.call_later(_pause_after(received), self._due)
        else:
            self._watch()

    def _receive(self) -> Batch:
        batch: Batch = []
        receive, errors, now = self._socket.recv, 0, time.monotonic()
        while len(batch) < MAX_BATCH:
            try:
                batch.append((receive(_MAX_DATAGRAM_BYTES), now))
            except BlockingIOError:
                break
            except OSError:
                errors += 1
                if errors >= _MAX_ERRORS:
                    break
        return batch

    def _receive_with_ancillary(self) -> Batch:
        batch: Batch = []
        receive, errors = self._socket.recvmsg, 0
        last, dropped = self._last_arrival, self._kernel_dropped
        now = time.monotonic()
        ahead = now - time.time()  # of monotonic before real time, which may be set at any time
        while len(batch) < MAX_BATCH:
            try:
                datagram, ancillary, _, _ = receive(_MAX_DATAGRAM_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError:
                errors += 1
                if errors >= _MAX_ERRORS:
                    break
                continue
            arrived = now
            for _, kind, data in ancillary:
                if kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
                    seconds, nanoseconds = _TIMESPEC.unpack(data)
                    arrived = seconds + nanoseconds * 1e-9 + ahead
                elif kind == _SO_RXQ_OVFL and len(data) == _DROP_COUNT.size:
                    (dropped,) = _DROP_COUNT.unpack(data)
            # The queue is in order, so a clock that was set in between cannot be believed beyond its neighbours.
            last = min(max(arrived, last), now) if last <= now else last
            batch.append((datagram, last))
        self._last_arrival = last
        if dropped != self._kernel_dropped:
            count = (dropped - self._kernel_dropped) % (1 << 32)
            self._kernel_dropped = dropped
            self._listener.on_kernel_dropped(count)
        return batch


def _pause_after(received: int) -> float:
    """How long to wait after a look that found so many."""
    if received < CROWD:
        return DRAIN_SECONDS
    return CROWD_SECONDS if received < MAX_BATCH else 0.0


def _grow_receive_buffer(udp: socket.socket) -> int:
    """Make the receive buffer as large as the system allows; gives the size that it says it has."""
    try:
        if _LINUX:
            udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)  # for the privileged
    except OSError:
        pass
    wanted = RECEIVE_BUFFER_BYTES
    while wanted > (granted := udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)):
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
            break
        except OSError:  # some systems refuse what they cannot grant, others cut it down
            wanted //= 2
    granted = udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    _log.debug("udp_receive_buffer", extra={"receive_buffer_bytes": granted})
    return granted


def _ask_for_ancillary(udp: socket.socket) -> bool:
    """Ask for arrival times and drop counts; false where datagrams come without."""
    if not _LINUX:
        return False
    try:
        udp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        udp.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
    except OSError:
        return False
    return True
