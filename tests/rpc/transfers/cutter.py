"""A network between client and server that resets connections."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time

TO_SERVER, TO_CLIENT = "to server", "to client"


class Cutter:
    """Passes bytes on, and resets the connection that carries every so many of them.

    Args:
        address: the server's.
        direction: whose bytes are counted.
        cuts: how many connections it resets, in all.
        apart: bytes from one cut to the next: about so many on average, at random.
        seed: of the random numbers.
        pause: seconds before each 64 KiB: it can also be slow.
    """

    def __init__(
        self,
        address: str,
        direction: str,
        *,
        cuts: int = 0,
        apart: int = 1,
        seed: int = 1,
        pause: float = 0.0,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._direction, self._cuts, self._apart = direction, cuts, apart
        self._pause = pause
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._left = self._next()
        self.done = 0
        """How many connections it has reset."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _next(self) -> int:
        return self._random.randint(1, 2 * self._apart)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for source, sink, direction in (
                    (client, server, TO_SERVER),
                    (server, client, TO_CLIENT),
                ):
                    arguments = (source, sink, direction)
                    threading.Thread(target=self._carry, args=arguments, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(self._pause)
                count = self._allowed(len(data)) if direction == self._direction else len(data)
                sink.sendall(data[:count])
                if count < len(data):
                    break
        except OSError:
            pass
        for each in (source, sink):
            # A reset, not an end: nothing that is on its way arrives.
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _allowed(self, count: int) -> int:
        """How many of so many bytes may pass; fewer: then the connection ends."""
        with self._lock:
            if self.done == self._cuts or count <= self._left:
                self._left -= count
                return count
            allowed, self._left = self._left, self._next()
            self.done += 1
            return max(allowed, 0)
