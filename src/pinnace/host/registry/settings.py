"""What the registry client is told once, at the daemon's start."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pinnace.host.registry.proxies import Proxies

DEFAULT_CERTIFICATES = (Path("/etc/pinnace/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Where registries are and how far they are trusted.

    Attributes:
        mirrors: Base URLs asked before Docker's registry when its images are pulled.
        insecure: Hosts with optional port, and networks (`10.0.0.0/8`), whose certificates are
            not checked and which may speak plain HTTP; loopback is always among them.
        certificates: Directories with one directory per registry, `HOST[:PORT]/*.crt`.
        proxies: For requests to registries.
        attempts: How often a transfer is tried before it fails, at least 1.
        backoff_s: Longest pause before the second attempt; it doubles with each further one.
        default_url: Base URL that stands in for Docker's registry and index; "": they themselves.
        user_agent: What registries are told of us.
        stall_s: How long a registry may be silent, or slower than `low_water` on average.
        low_water: Bytes per second.
    """

    mirrors: Sequence[str] = ()
    insecure: Sequence[str] = ()
    certificates: Sequence[Path] = DEFAULT_CERTIFICATES
    proxies: Proxies = Proxies()  # noqa: RUF009  immutable
    attempts: int = 5
    backoff_s: float = 0.5
    default_url: str = ""
    user_agent: str = "pinnace"
    stall_s: float = 60.0
    low_water: int = 1024
