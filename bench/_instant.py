"""A server that answers `docker run` at once and does nothing: what the CLI itself costs.

python bench/_instant.py SOCKET
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
from pathlib import Path

_ID = b"a" * 64
_CREATED = b'{"Id":"%s","Warnings":[]}' % _ID
_ENDED = b'{"StatusCode":0}'
_API = b"Api-Version: 1.41\r\nOstype: linux\r\n"
_ANSWERS = {
    b"/_ping": b"HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n" % _API,
    b"/create": b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_CREATED), _CREATED),
    b"/attach": b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    b"Content-Type: application/vnd.docker.raw-stream\r\n\r\n",
    b"/wait": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"/start": b"HTTP/1.1 204 No Content\r\n\r\n",
}


class Instant:
    """Serves one `docker run` after the other over a unix socket."""

    def __init__(self, path: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._attached: socket.socket | None = None
        self._waiting: socket.socket | None = None

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    client, _ = self._listener.accept()
                    self._selector.register(client, selectors.EVENT_READ)
                else:
                    self._serve(key.fileobj)

    def _serve(self, client: socket.socket) -> None:
        data = client.recv(1 << 16)
        if not data:
            self._selector.unregister(client)
            if client is not self._attached:
                client.close()
            return
        line = data.partition(b"\r\n")[0]
        verb = next((verb for verb in _ANSWERS if verb in line), None)
        if verb is None or not line.endswith(b"HTTP/1.1"):
            return  # a body
        client.sendall(_ANSWERS[verb])
        if verb == b"/attach":
            self._attached = client
        elif verb == b"/wait":
            self._waiting = client
        elif verb == b"/start":
            self._end()

    def _end(self) -> None:
        """Say that the container has ended without output."""
        with contextlib.suppress(OSError):
            self._attached.shutdown(socket.SHUT_WR)
            self._waiting.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(_ENDED), _ENDED))


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    Instant(sys.argv[1]).run()
