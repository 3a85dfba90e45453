"""Which proxy a URL is asked through, by the rules of Go's `httpproxy`, which Docker uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxies by the scheme of the request.

    Attributes:
        http: URL of the proxy for `http`; "": none.
        https: URL of the proxy for `https`; "": none.
        none_for: Comma-separated hosts that are asked directly: `*`, `example.com` (with all
            below), `.example.com` (only those below), addresses, networks; each but networks
            with an optional port.
    """

    http: str = ""
    https: str = ""
    none_for: str = ""

    def for_url(self, url: str) -> str | None:
        """Return the proxy to ask for `url`, or None; loopback is always asked directly."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        if not proxy or parts.hostname is None:
            return None
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        if self._is_direct(parts.hostname.rstrip("."), port):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"

    def _is_direct(self, host: str, port: int) -> bool:
        if host == "localhost" or _is_loopback(host):
            return True
        rules = (rule.strip().lower() for rule in self.none_for.split(","))
        return any(_rule_names(rule, host, port) for rule in rules if rule)


def proxies_from(
    environment: Mapping[str, str], *, http: str = "", https: str = "", none_for: str = ""
) -> Proxies:
    """Return the proxies of the configuration, each setting else from the environment."""

    def variable(name: str) -> str:
        return environment.get(name) or environment.get(name.lower()) or ""

    return Proxies(
        http=http or variable("HTTP_PROXY"),
        https=https or variable("HTTPS_PROXY"),
        none_for=none_for or variable("NO_PROXY"),
    )


def _rule_names(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        return _in_network(host, rule)
    wanted, wanted_port = _split_port(rule)
    if wanted_port and wanted_port != str(port):
        return False
    if _is_address(wanted) or _is_address(host):
        return wanted == host
    bare = wanted.removeprefix("*").removeprefix(".")
    return host.endswith(f".{bare}") or (host == bare and wanted == bare)


def _split_port(rule: str) -> tuple[str, str]:
    if rule.startswith("["):
        address, _, rest = rule[1:].partition("]")
        return address, rest.removeprefix(":")
    if rule.count(":") > 1:  # an IPv6 address without brackets
        return rule, ""
    host, _, port = rule.partition(":")
    return host, port


def _in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ip_address(host).is_loopback
