"""Who may speak to a listener at all; pure.

TCP is open to everything on the machine and to every web page in a browser on it, so a plain TCP
listener asks the kernel whose socket is at the other end, and every TCP listener refuses what only
a browser sends. Authorisation of operations is not decided here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from pinnace.api.http.head import ListenerInfo, Peer, Request

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")
_CORS_HEADERS: Final = "Origin, X-Requested-With, Content-Type, Accept, X-Registry-Auth"
_CORS_METHODS: Final = "HEAD, GET, POST, DELETE, PUT, OPTIONS"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes:
        status: Status code of the answer.
        reason: One line for the client.
    """

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Decides by connection and by request head.

    Attributes:
        allowed_gid: Members of this group may use plain TCP besides root; None: root only.
        origins: Web origins that may use TCP listeners; None: none; `*`: every one.
        groups_of: Returns all groups of a user by the user database, primary and supplementary.
        open_network: Plain TCP serves whoever reaches it (`--insecure-tcp`); web pages of other
            origins are refused all the same.
    """

    allowed_gid: int | None = None
    origins: str | tuple[str, ...] | None = None
    groups_of: Callable[[int], frozenset[int]] = lambda _uid: frozenset()
    open_network: bool = False

    def decide(self, request: Request) -> Refusal | None:
        """Return why a request is refused, or None when it may be served."""
        return self.admit(request.peer, request.listener) or self.check(request)

    def admit(self, peer: Peer, listener: ListenerInfo) -> Refusal | None:
        """Decide what depends on the connection only.

        Unix sockets are guarded by their file mode, mutual TLS by the verified certificate.
        """
        if listener.kind == "unix" or (listener.tls and peer.cert_cn is not None):
            return None
        if self.open_network:
            return None
        if peer.address is None or not is_loopback(peer.address):
            return Refusal(403, "this listener serves clients of this host only")
        if peer.uid is None:
            return Refusal(403, "the user of the client's socket is unknown on this host")
        if peer.uid == 0:
            return None
        if self.allowed_gid is not None and self.allowed_gid in self.groups_of(peer.uid):
            return None
        return Refusal(403, f"user {peer.uid} may not use this listener")

    def check(self, request: Request) -> Refusal | None:
        """Decide what depends on the request's head."""
        if request.listener.kind == "unix":
            return None
        if request.peer.cert_cn is None and not self.open_network:
            for host in (request.authority, request.headers.get("host")):
                if host and not _is_local_host(host):
                    return Refusal(403, "the Host of the request is not this listener")
        return self._check_browser(request)

    def cors_headers(self, request: Request) -> list[tuple[str, str]]:
        """Return the fields which let the web origin of a request read the answer."""
        origin = request.headers.get("origin")
        if self.origins == "*":
            allowed = "*"
        elif origin is not None and self._allows(origin):
            allowed = origin
        else:
            return []
        fields = [
            ("Access-Control-Allow-Origin", allowed),
            ("Access-Control-Allow-Headers", _CORS_HEADERS),
            ("Access-Control-Allow-Methods", _CORS_METHODS),
        ]
        return fields if allowed == "*" else [*fields, ("Vary", "Origin")]

    def _check_browser(self, request: Request) -> Refusal | None:
        if self.origins == "*":
            return None
        origins = request.headers.get_all("origin")
        if not all(self._allows(origin) for origin in origins):
            return Refusal(403, "requests of web pages are refused here")
        sites = [site.lower() for site in request.headers.get_all("sec-fetch-site")]
        if not origins and any(site not in ("none", "same-origin") for site in sites):
            return Refusal(403, "cross-site requests are refused here")
        return None

    def _allows(self, origin: str) -> bool:
        match self.origins:
            case None:
                return False
            case str() as single:
                return single in ("*", origin)
            case several:
                return origin in several


def is_loopback(address: str) -> bool:
    """Tell whether an IP address, IPv4-mapped ones included, is this host's loopback."""
    ip = ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def _is_local_host(host: str) -> bool:
    name, separator, port = host.rpartition(":")
    if not separator or host.endswith("]"):
        name, port = host, ""
    return name.lower() in _LOCAL_HOSTS and (port == "" or (port.isascii() and port.isdecimal()))
