"""The UDP socket of a voice server: drained in whole when it is readable, without a transport or a task."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from logging import getLogger
from typing import Final

from discord_recorder.simulator.voice.forwarder import Address

BUFFER_BYTES: Final = 4 << 20
"""Asked of the kernel in both directions; Linux gives what it allows."""

_MAX_DATAGRAM: Final = 4096
_AT_ONCE: Final = 512  # datagrams read before the event loop gets its turn
_MAX_DELAYED: Final = 50_000

_log = getLogger(__name__)


class UdpSocket:
    """A bound socket that hands every datagram to `receive`; delayed sends end with it.

    A datagram that the kernel does not take at once is dropped and counted, as a full link would do.
    """

    def __init__(self, host: str, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._delayed: set[asyncio.TimerHandle] = set()
        self.refused = 0
        """Datagrams that the kernel did not take, or that were delayed beyond what is kept."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                with suppress(OSError):  # some kernels refuse what is more than they allow
                    self._socket.setsockopt(socket.SOL_SOCKET, buffer, BUFFER_BYTES)
            self._socket.bind((host, 0))
            self._loop.add_reader(self._socket, self._drain)
        except BaseException:
            self._socket.close()
            raise

    @property
    def address(self) -> Address:
        """Where it is bound."""
        host, port = self._socket.getsockname()
        return host, port

    def send(self, datagram: bytes, address: Address) -> None:
        """Send a datagram now."""
        try:
            self._socket.sendto(datagram, address)
        except OSError:  # no room, or the other end has closed its socket
            self.refused += 1

    def later(self, delay: float, act: Callable[[], None]) -> None:
        """Act after a delay in seconds, unless the socket is closed before."""
        if len(self._delayed) >= _MAX_DELAYED:
            self.refused += 1
            return

        def due() -> None:
            self._delayed.discard(handle)
            act()

        handle = self._loop.call_later(delay, due)
        self._delayed.add(handle)

    def close(self) -> None:
        """Close the socket; what was delayed is not sent."""
        for handle in self._delayed:
            handle.cancel()
        self._delayed.clear()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _drain(self) -> None:
        receive, recvfrom = self._receive, self._socket.recvfrom
        for _ in range(_AT_ONCE):
            try:
                datagram, address = recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # a port that is closed by now was told of; the next datagram may be good
                continue
            try:
                receive(datagram, address)
            except Exception:
                _log.exception("A datagram could not be handled")
