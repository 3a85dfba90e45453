"""Parsers of option values, in the notation of the Docker CLI. Pure.

Each raises `ValueError` with a text for the user.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pinnace.client.engine import JsonValue

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
DURATION_NANOS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
PROTOCOLS = ("tcp", "udp", "sctp")
MAX_PORT = 65535


def parse_size(text: str) -> int:
    """Return bytes: "64m" is 64 MiB; the units are k, m, g, t and p, powers of 1024."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * 1024 ** POWERS[match[2].lower()])


def parse_signed_size(text: str) -> int:
    """Return bytes, or -1 for "-1" (no limit)."""
    return -1 if text.strip() == "-1" else parse_size(text)


def parse_duration(text: str) -> int:
    """Return nanoseconds of a duration such as "1m30s"; "0" needs no unit."""
    if text == "0":
        return 0
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"invalid duration: '{text}'")
    return int(sum(float(number) * DURATION_NANOS[unit] for number, unit in parts))


def parse_cpus(text: str) -> int:
    """Return billionths of a CPU."""
    try:
        return round(float(text) * 1_000_000_000)
    except (ValueError, OverflowError):
        raise ValueError(f"invalid number of CPUs: '{text}'") from None


def parse_pairs(items: Iterable[str]) -> dict[str, JsonValue]:
    """Return `key=value` items as a mapping; a lone key gets an empty value."""
    return {key: value for key, _, value in (item.partition("=") for item in items)}


def parse_environment(
    items: Iterable[str], files: Iterable[str], environment: Mapping[str, str]
) -> list[str]:
    """Return `KEY=value` items; a lone KEY takes its value from `environment`, or is left out.

    Args:
        items: From `--env`; they come after the files' and so win.
        files: Contents of `--env-file`; blank lines and `#` comments are skipped.
        environment: Of the calling process.
    """
    lines = [line for text in files for line in text.splitlines()]
    wanted = [
        line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")
    ]
    result = []
    for item in [*wanted, *items]:
        key, given, _ = item.partition("=")
        if not key or (" " in key and item in wanted):
            raise ValueError(f"invalid environment variable: {item}")
        if given:
            result.append(item)
        elif key in environment:
            result.append(f"{key}={environment[key]}")
    return result


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """One container port and where it is published; `host_port` "" lets the engine choose."""

    container: str  # "80/tcp"
    host_ip: str
    host_port: str


def parse_publish(text: str) -> list[PublishedPort]:
    """Parse `[[ip:]hostPort:]containerPort[/protocol]`; both ports may be ranges."""
    spec, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    rest, _, container = spec.rpartition(":")
    host_ip, _, host = rest.rpartition(":")
    if host_ip.startswith("["):
        host_ip = host_ip[1:].rstrip("]")
    inner = _parse_range(container, text)
    outer = _parse_range(host, text) if host else None
    if outer is None:
        return [PublishedPort(f"{port}/{protocol}", host_ip, "") for port in inner]
    if len(inner) == 1 and len(outer) > 1:
        return [PublishedPort(f"{inner[0]}/{protocol}", host_ip, host)]
    if len(inner) != len(outer):
        raise ValueError(f"invalid ranges specified for container and host Ports: {text}")
    pairs = zip(inner, outer, strict=True)
    return [PublishedPort(f"{port}/{protocol}", host_ip, str(at)) for port, at in pairs]


def _parse_range(text: str, whole: str) -> range:
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isascii() and last.isascii() and first.isdigit() and last.isdigit()):
        raise ValueError(f"invalid containerPort: {whole}")
    low, high = int(first), int(last)
    if not 0 < low <= high <= MAX_PORT:
        raise ValueError(f"invalid range of ports: {whole}")
    return range(low, high + 1)


def parse_expose(text: str) -> list[str]:
    """Return the ports of `port[-port][/protocol]`, each as "80/tcp"."""
    spec, _, protocol = text.partition("/")
    return [f"{port}/{protocol or 'tcp'}" for port in _parse_range(spec, text)]


def parse_ulimit(text: str) -> JsonValue:
    """Parse `name=soft[:hard]`."""
    name, equals, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError:
        low, high, equals = 0, 0, ""
    if not (name and equals):
        raise ValueError(f"invalid ulimit argument: {text}")
    return {"Name": name, "Soft": low, "Hard": high}


def parse_device(text: str) -> JsonValue:
    """Parse `host[:container[:permissions]]`."""
    host, _, rest = text.partition(":")
    container, _, permissions = rest.partition(":")
    if container and not permissions and set(container) <= set("rwm"):
        container, permissions = "", container
    if not host or not set(permissions) <= set("rwm"):
        raise ValueError(f"bad device: {text}")
    return {
        "PathOnHost": host,
        "PathInContainer": container or host,
        "CgroupPermissions": permissions or "rwm",
    }


def parse_restart(text: str) -> JsonValue:
    """Parse `no`, `always`, `unless-stopped` or `on-failure[:count]`."""
    name, colon, count = text.partition(":")
    if (colon and not count.isdigit()) or ":" in count:
        raise ValueError(f"invalid restart policy: {text}")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def parse_mount(text: str) -> dict[str, JsonValue]:
    """Parse the comma-separated `key=value` list of `--mount`."""
    mount: dict[str, JsonValue] = {"Type": "volume"}
    try:
        items = next(csv.reader([text]))
    except csv.Error as exc:
        raise ValueError(f"invalid argument '{text}' for '--mount': {exc}") from None
    for item in items:
        key, equals, value = item.partition("=")
        _set_mount(mount, key.strip().lower(), value if equals else None, item)
    if not mount.get("Target"):
        raise ValueError(f"invalid argument '{text}' for '--mount': target is required")
    return mount


MOUNT_TEXTS = {
    "type": "Type",
    "source": "Source",
    "src": "Source",
    "target": "Target",
    "destination": "Target",
    "dst": "Target",
    "consistency": "Consistency",
}
MOUNT_OPTIONS = {
    "bind-propagation": ("BindOptions", "Propagation"),
    "tmpfs-size": ("TmpfsOptions", "SizeBytes"),
    "tmpfs-mode": ("TmpfsOptions", "Mode"),
    "volume-nocopy": ("VolumeOptions", "NoCopy"),
    "volume-subpath": ("VolumeOptions", "Subpath"),
    "volume-driver": ("VolumeOptions", "DriverConfig"),
    "volume-label": ("VolumeOptions", "Labels"),
}


def _set_mount(mount: dict[str, JsonValue], key: str, value: str | None, item: str) -> None:
    if key in ("readonly", "ro"):
        mount["ReadOnly"] = _parse_bool("true" if value is None else value, item)
    elif key in MOUNT_TEXTS and value is not None:
        mount[MOUNT_TEXTS[key]] = value
    elif key in MOUNT_OPTIONS:
        group, name = MOUNT_OPTIONS[key]
        kept = mount.get(group)
        options = dict(kept) if isinstance(kept, dict) else {}
        options[name] = _mount_option(name, value or "", options.get(name), item)
        mount[group] = options
    else:
        raise ValueError(f"unexpected key '{key}' in '{item}'")


def _mount_option(name: str, value: str, before: JsonValue, item: str) -> JsonValue:
    if name == "SizeBytes":
        return parse_size(value)
    if name == "Mode":
        return int(value, 8)
    if name == "NoCopy":
        return _parse_bool(value or "true", item)
    if name == "DriverConfig":
        return {"Name": value}
    if name == "Labels":
        return {**(before if isinstance(before, dict) else {}), **parse_pairs([value])}
    return value


def _parse_bool(text: str, item: str) -> bool:
    if text.lower() in ("1", "true", "t"):
        return True
    if text.lower() in ("0", "false", "f"):
        return False
    raise ValueError(f"invalid value for '{item}': use true or false")
