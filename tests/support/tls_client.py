"""A blocking TLS client which can half-close, as Go's CloseWrite does."""

from __future__ import annotations

import contextlib
import socket
import ssl


class TlsClient:
    """TLS over memory buffers; used in a thread."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        self.socket = socket.create_connection(address, timeout=20)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        try:
            while True:
                try:
                    self.tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self.flush()
                    self.fill()
            self.flush()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> TlsClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        data = self.outgoing.read()
        if data:
            self.socket.sendall(data)

    def fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server closed the connection")
        self.incoming.write(data)

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def end(self) -> None:
        """Send close_notify and go on reading."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self.flush()

    def read(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            got += self.some()
        return got

    def some(self) -> bytes:
        """Return decrypted bytes; empty at the server's close_notify."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.fill()
            except ssl.SSLZeroReturnError:
                return b""

    def until_end(self) -> bytes:
        got = b""
        while data := self.some():
            got += data
        return got
