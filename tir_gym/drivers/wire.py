"""Messages over a stream socket, without waiting."""

import contextlib
import socket
import struct
from collections import deque

_LENGTH = struct.Struct("!Q")
_CHUNK = 1 << 18


class Wire:
    """One end of a connection; messages are bytes of any length."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # a hint
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._connection = connection
        self._in = bytearray()
        self._out: deque[memoryview] = deque()
        self.ended = False
        """The other end is gone, and everything that it said has been received."""

    def fileno(self) -> int:
        """The socket, for polling."""
        return self._connection.fileno()

    def post(self, message: bytes) -> None:
        """Say something as soon as there is room; see `flush`."""
        self._out += [memoryview(_LENGTH.pack(len(message))), memoryview(message)]

    def flush(self) -> bool:
        """Write what there is room for now; True where nothing is left to be written."""
        while self._out:
            try:
                sent = self._connection.sendmsg(list(self._out)[:64])
            except BlockingIOError:
                return False
            except OSError:  # nobody listens any more, which `receive` finds out
                self._out.clear()
                return True
            while sent:
                if sent < len(self._out[0]):
                    self._out[0] = self._out[0][sent:]
                    break
                sent -= len(self._out.popleft())
        return True

    def receive(self) -> list[bytes]:
        """The messages that have come."""
        while True:
            try:
                data = self._connection.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.ended = True
                break
            self._in += data
        messages, start = [], 0
        while len(self._in) >= start + _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(self._in, start)[0]
            if len(self._in) < end:
                break
            messages.append(bytes(self._in[start + _LENGTH.size : end]))
            start = end
        del self._in[:start]
        return messages

    def shut(self) -> None:
        """Let the other end know that nothing more will be said."""
        with contextlib.suppress(OSError):  # it knows
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the connection, also for processes that were forked from this one; idempotent."""
        with contextlib.suppress(OSError):  # it has ended
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
