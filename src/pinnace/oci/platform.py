"""Platforms of images, with the names Go uses (OCI image-spec, image-index.md)."""

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
    parts = text.strip().lower().split("/")
    if not all(part and part.replace("-", "").replace("_", "").isalnum() for part in parts):
        raise InvalidParameter(f'"{text}" is an invalid OS/architecture: invalid argument')
    if len(parts) == 1:
        if parts[0] in ("linux", "windows", "darwin", "freebsd"):
            return Platform(parts[0], host.architecture, host.variant)
        return Platform(host.os, *_ARCHITECTURES.get(parts[0], (parts[0], "")))
    if len(parts) > 3:
        raise InvalidParameter(f'"{text}" is an invalid OS/architecture: invalid argument')
    architecture, variant = _ARCHITECTURES.get(parts[1], (parts[1], ""))
    return Platform(parts[0], architecture, parts[2] if len(parts) == 3 else variant)
