"""Platforms of images, with the names Go uses (OCI image-spec, image-index.md)."""

import re
from dataclasses import dataclass

from pinnace.errors import InvalidParameter

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "i386": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
}
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
}
# What Go compiles for: a specifier of one component must be one of these.
_SYSTEMS = frozenset((
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
    "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos",
))  # fmt: skip
_GO_ARCHITECTURES = frozenset((
    "386", "amd64", "amd64p32", "arm", "arm64", "arm64be", "armbe", "loong64", "mips", "mips64",
    "mips64le", "mips64p32", "mips64p32le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv",
    "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
))  # fmt: skip
_COMPONENT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system, architecture and its variant ("" for the plain one)."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def text(self) -> str:
        """Return `os/architecture[/variant]`."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, other: "Platform") -> bool:
        """Whether a host of this platform runs images of `other`."""
        if (self.os, self.architecture) != (other.os, other.architecture):
            return False
        if self.variant == other.variant or not other.variant:
            return True
        if self.architecture == "arm64":
            return (self.variant or "v8") == other.variant
        return self.architecture == "arm" and (self.variant or "v7") >= other.variant


def host_platform(machine: str) -> Platform:
    """Return the platform of a Linux host whose `uname -m` is `machine`."""
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def parse_platform(text: str, host: Platform) -> Platform:
    """Return what `os[/arch[/variant]]`, or an architecture alone, means.

    Raises:
        InvalidParameter: Neither.
    """
    parts = text.strip().split("/")
    for part in parts:
        if not _COMPONENT.fullmatch(part):
            raise InvalidParameter(
                f'"{part}" is an invalid component of "{text}": platform specifier component must'
                f' match "^{_COMPONENT.pattern}$": invalid argument'
            )
    if len(parts) > 3:
        raise InvalidParameter(f'"{text}": cannot parse platform specifier: invalid argument')
    first, *rest = (part.lower() for part in parts)
    if rest:
        architecture, variant = _ARCHITECTURES.get(rest[0], (rest[0], ""))
        return Platform(first, architecture, rest[1] if len(rest) == 2 else variant)
    if first in _SYSTEMS:
        return Platform(first, host.architecture, host.variant)
    architecture, variant = _ARCHITECTURES.get(first, (first, ""))
    if architecture not in _GO_ARCHITECTURES:
        raise InvalidParameter(
            f'"{text}": unknown operating system or architecture: invalid argument'
        )
    return Platform(host.os, architecture, variant)
