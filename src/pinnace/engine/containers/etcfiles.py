"""Contents of a container's /etc/hosts, /etc/hostname and /etc/resolv.conf. Pure."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from pinnace.errors import InvalidParameter

_LOCAL = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
_HOST_GATEWAY = "host-gateway"
# What dockerd falls back to when the host only names servers that a container cannot reach.
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
STUB_SERVER = "127.0.0.53"
STUB_UPSTREAM = "/run/systemd/resolve/resolv.conf"


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolver configuration, resolv.conf(5).

    Attributes:
        servers: Addresses.
        search: Domains; a single "." means none.
        options: Such as `ndots:2`.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = field(default=())


def hosts_file(
    *,
    hostname: str,
    domainname: str = "",
    addresses: Sequence[str] = (),
    extra: Sequence[str] = (),
    gateways: Sequence[str] = (),
    host_file: str | None = None,
) -> str:
    """Return /etc/hosts.

    Args:
        hostname: The container's name for itself.
        domainname: Put behind it when not empty.
        addresses: The container's own addresses.
        extra: `--add-host` words, checked before.
        gateways: What `host-gateway` stands for.
        host_file: Content of the host's file, for containers in the host's network.

    Raises:
        InvalidParameter: `host-gateway` is asked for and unknown, or an entry is malformed.
    """
    if host_file is None:
        lines = [f"{address}\t{names}" for address, names in _LOCAL]
    else:
        lines = host_file.splitlines()
    for entry in extra:
        name, address = split_extra_host(entry)
        targets = [address]
        if address == _HOST_GATEWAY:
            targets = list(gateways)
            if not targets:
                raise InvalidParameter(f"unable to derive the IP value for host-gateway: {entry}")
        lines += [f"{target}\t{name}" for target in targets]
    names = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines += [f"{address}\t{names}" for address in addresses]
    return "".join(f"{line}\n" for line in lines)


def split_extra_host(entry: str) -> tuple[str, str]:
    """Read an `--add-host` word, `name:address` or `name=address`.

    Raises:
        InvalidParameter: It is malformed.
    """
    name, separator, address = entry.partition("=")
    if not separator:
        name, separator, address = entry.partition(":")
    if not separator or not name or any(letter.isspace() for letter in entry):
        raise InvalidParameter(f'bad format for add-host: "{entry}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != _HOST_GATEWAY and not _is_address(address):
        raise InvalidParameter(f'invalid IP address in add-host: "{address}"')
    return name, address


def hostname_file(hostname: str) -> str:
    """Return the text of /etc/hostname: the host name alone, as `hostname` prints it."""
    return f"{hostname}\n"


def parse_resolv_conf(content: str) -> Resolver:
    """Read a resolv.conf; the last `search` or `domain` counts, comments are dropped."""
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in content.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search" | "domain", *domains]:
                search = domains
            case ["options", *more]:
                options += more
            case _:
                continue
    return Resolver(tuple(servers), tuple(search), tuple(options))


def resolv_conf(host: Resolver, asked: Resolver, *, host_network: bool, ipv6: bool = True) -> str:
    """Return /etc/resolv.conf.

    Args:
        host: The host's configuration.
        asked: `--dns`, `--dns-search` and `--dns-option`; what is given replaces the host's.
        host_network: The container is in the host's network and reaches its loopback.
        ipv6: The container reaches IPv6 servers.
    """
    servers = asked.servers or host.servers
    if not asked.servers and not host_network:
        servers = tuple(server for server in servers if _is_reachable(server, ipv6=ipv6))
        servers = servers or FALLBACK_SERVERS
    search = asked.search or host.search
    options = asked.options or host.options
    lines = [f"nameserver {server}" for server in servers]
    if search and search != (".",):
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def check_dns(servers: Sequence[str], extra: Sequence[str]) -> None:
    """Check `--dns` and `--add-host` at create.

    Raises:
        InvalidParameter: An address is none.
    """
    for server in servers:
        if not _is_address(server):
            raise InvalidParameter(f"bad nameserver address: {server}: invalid IP address")
    for entry in extra:
        split_extra_host(entry)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_reachable(server: str, *, ipv6: bool) -> bool:
    """Loopback is the container's own; zone ids name links which the container does not have."""
    try:
        address = ipaddress.ip_address(server.partition("%")[0])
    except ValueError:
        return False
    if address.version == 6 and ("%" in server or not ipv6):
        return False
    return not address.is_loopback
