"""How much a client may ask of one connection, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one listener's connections; every one answers or closes when exceeded.

    Attributes:
        head_bytes: Request line and header fields together.
        request_line_bytes: Method, target and version.
        header_count: Header fields of one request.
        header_deadline_s: From the first byte of a head (or the connection) to its last.
        idle_deadline_s: Between two requests of a kept connection.
        body_idle_s: Longest silence while the application waits for body bytes; 0: no limit.
        handshake_deadline_s: TLS only, from accept to the end of the handshake.
        linger_s: How long unread input is swallowed after the last answer, so that the kernel
            does not reset the connection before the client has read that answer.
        queue_bytes: Received bytes held before reading pauses.
        connections: Connections of one listener at a time.
    """

    head_bytes: int = 64 * 1024
    request_line_bytes: int = 16 * 1024
    header_count: int = 100
    header_deadline_s: float = 30.0
    idle_deadline_s: float = 180.0
    body_idle_s: float = 600.0
    handshake_deadline_s: float = 10.0
    linger_s: float = 2.0
    queue_bytes: int = 256 * 1024
    connections: int = 4096
