"""TLS below a connection, with half-close.

asyncio's own TLS transport drops what is written after the client's close_notify; attach and exec
need exactly that. Here OpenSSL works on two memory buffers and close_notify is an end of input.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pinnace.api.http.overriding import override

_READ_BYTES: Final = 256 * 1024
_NO_DEFAULT: Final = None


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """Files of a TLS listener.

    Attributes:
        cert: PEM certificate chain of this server.
        key: Its PEM private key.
        ca: PEM certificates that sign clients; needed when `verify`.
        verify: Only clients with a certificate signed by `ca` are served (mutual TLS).
    """

    cert: Path
    key: Path
    ca: Path | None = None
    verify: bool = True


def server_context(spec: TlsSpec) -> ssl.SSLContext:
    """Load the files into a server context: TLS 1.2 or newer, no renegotiation.

    Raises:
        OSError: A file cannot be read or is not what it should be (ssl.SSLError is one).
        ValueError: Clients shall be verified but no `ca` is given.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(spec.cert, spec.key)
    context.set_alpn_protocols(["http/1.1"])
    if spec.verify:
        if spec.ca is None:
            raise ValueError("verifying clients needs a ca")
        context.load_verify_locations(spec.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def common_name(certificate: object) -> str | None:
    """Return the subject's common name of a certificate as `getpeercert` gives it.

    A verified certificate without one yields an empty name; no certificate yields None.
    """
    if not isinstance(certificate, dict) or not certificate:
        return None
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""


class TlsTransport(asyncio.Transport):
    """The plain side of a TLS connection, as a transport for the protocol above."""

    def __init__(self, carrier: "TlsProtocol", below: asyncio.Transport) -> None:
        super().__init__()
        self._carrier = carrier
        self._below = below
        self._closing = False

    @override
    def get_extra_info(self, name: str, default: object = _NO_DEFAULT) -> object:
        """Return facts about the connection; `peercert` is the verified certificate."""
        if name == "peercert":
            return self._carrier.tls.getpeercert()
        return self._below.get_extra_info(name, default)

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the stream to another protocol."""
        assert isinstance(protocol, asyncio.Protocol)  # noqa: S101 - narrows the type
        self._carrier.above = protocol

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        return self._carrier.above

    @override
    def is_closing(self) -> bool:
        """Tell whether the transport was closed or is being closed."""
        return self._closing or self._below.is_closing()

    @override
    def is_reading(self) -> bool:
        """Tell whether received bytes are delivered."""
        return self._carrier.reading

    @override
    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`."""
        self._carrier.reading = False
        self._below.pause_reading()

    @override
    def resume_reading(self) -> None:
        """Deliver again, what was decrypted meanwhile first."""
        if not self._carrier.reading and not self._below.is_closing():
            self._carrier.reading = True
            self._below.resume_reading()
            # Not at once: the caller may be inside the protocol's own callback.
            self._carrier.loop.call_soon(self._carrier.deliver)

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when `pause_writing` and `resume_writing` of the protocol are called."""
        self._below.set_write_buffer_limits(high, low)

    @override
    def get_write_buffer_size(self) -> int:
        """Return the encrypted bytes not yet taken by the kernel."""
        return self._below.get_write_buffer_size()

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if not self.is_closing():
            self._carrier.encrypt(data)

    @override
    def can_write_eof(self) -> bool:
        """Return True: close_notify ends our side only."""
        return True

    @override
    def write_eof(self) -> None:
        """Send close_notify; the client may go on sending."""
        if not self.is_closing():
            self._carrier.send_close_notify()

    @override
    def close(self) -> None:
        """Send close_notify and close when everything is delivered."""
        if not self.is_closing():
            self._carrier.send_close_notify()
            self._closing = True
            self._below.close()

    @override
    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._below.abort()


class TlsProtocol(asyncio.Protocol):
    """Takes TLS off a connection and passes the rest to a protocol made after the handshake.

    Attributes:
        above: The protocol above; None until the handshake is done.
        reading: Decrypted bytes are delivered.
        tls: OpenSSL's state of this connection.
    """

    above: asyncio.Protocol

    def __init__(
        self,
        context: ssl.SSLContext,
        factory: Callable[[], asyncio.Protocol],
        loop: asyncio.AbstractEventLoop,
        *,
        handshake_deadline_s: float,
    ) -> None:
        self.loop = loop
        self.reading = True
        self._factory = factory
        self._deadline_s = handshake_deadline_s
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._established = False
        self._ended = False
        self._notified = False
        self._timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client's part of the handshake."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self._below = transport
        self._timer = self.loop.call_later(self._deadline_s, transport.abort)

    @override
    def data_received(self, data: bytes) -> None:
        """Decrypt and deliver."""
        self._incoming.write(data)
        if not self._established and not self._shake_hands():
            return
        self.deliver()

    @override
    def eof_received(self) -> bool:
        """End the connection: without close_notify it may have been cut by an attacker."""
        if self._established and not self._ended:
            self._below.abort()
        # After close_notify the client may close its socket and still read.
        return self._established

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the end on."""
        if self._timer is not None:
            self._timer.cancel()
        if self._established:
            self.above.connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        """Pass back-pressure on."""
        if self._established:
            self.above.pause_writing()

    @override
    def resume_writing(self) -> None:
        """Pass relief on."""
        if self._established:
            self.above.resume_writing()

    def deliver(self) -> None:
        """Decrypt what is there and pass it on, unless the protocol paused reading."""
        while self.reading and not self._ended and not self._below.is_closing():
            try:
                data = self.tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError:
                self._flush()
                self._below.abort()
                return
            if data:
                self.above.data_received(data)
            else:
                self._ended = True
                if not self.above.eof_received():
                    self._transport.close()
        self._flush()

    def encrypt(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send; errors end the connection."""
        if self._notified:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self.tls.write(view) :]
        except ssl.SSLError:
            self._below.abort()
            return
        self._flush()

    def send_close_notify(self) -> None:
        """End our side of the stream; harmless when repeated."""
        if self._notified:
            return
        self._notified = True
        # close_notify is written before OpenSSL complains that the client's is missing.
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self._flush()

    def _shake_hands(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, ssl.CertificateError):
            # The alert tells the client why.
            self._flush()
            self._below.close()
            return False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flush()
        self._established = True
        self._transport = TlsTransport(self, self._below)
        self.above = self._factory()
        self.above.connection_made(self._transport)
        return True

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._below.is_closing():
            self._below.write(data)
