"""Container configs of eighteen fields, as containers had them in 2013, and images made then.

Lists count as a whole there: what says any environment has nothing of the image's.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec.structs import asdict, replace

from pinnace.model.container import ContainerConfig
from pinnace.model.record import Record

_PRIVATE = re.compile(r"(?:.*:)?([0-9]{1,5})")
_KEPT = frozenset({"User", "Env", "Cmd", "Volumes"})


class EarlyConfig(Record, frozen=True, kw_only=True):
    """What a container is; sizes in bytes, 0: no limit.

    Attributes:
        port_specs: TCP ports to publish: `80`, `:80`, `8080:80`.
        dns: Name servers.
        volumes_from: Container whose volumes are mounted too.
    """

    hostname: str = ""
    user: str = ""
    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    port_specs: list[str] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    dns: list[str] | None = None
    image: str = ""
    volumes: dict[str, dict[str, str]] | None = None
    volumes_from: str = ""

    def fields(self) -> dict[str, object]:
        """Return all eighteen, in wire names."""
        names = dict(zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True))
        return {names[name]: value for name, value in asdict(self).items()}

    def further_fields(self) -> dict[str, object]:
        """Return those that `image_defaults` says nothing of, in wire names."""
        return {name: value for name, value in self.fields().items() if name not in _KEPT}

    def image_defaults(self) -> ContainerConfig:
        """Return what an image of today keeps of it."""
        ports = [_PRIVATE.fullmatch(spec) for spec in self.port_specs or []]
        return ContainerConfig(
            user=self.user,
            env=self.env or None,
            cmd=self.cmd or None,
            volumes=self.volumes or None,
            exposed_ports={f"{found[1]}/tcp": {} for found in ports if found} or None,
        )


def read_config(written: Mapping[str, object] | None) -> EarlyConfig:
    """Return a config that an image has, in wire names.

    Foreign configs may hold anything; what is no config of the time says nothing.
    """
    given = {name: value for name, value in (written or {}).items() if value is not None}
    try:
        return msgspec.convert(given, EarlyConfig)
    except msgspec.ValidationError:
        return EarlyConfig()


def merged(request: EarlyConfig, image: EarlyConfig) -> EarlyConfig:
    """Return a request completed by the image's config.

    What is empty or zero is the image's; an image's true flags cannot be switched off. Volumes
    and what attaches are the request's alone.
    """
    return replace(
        request,
        hostname=request.hostname or image.hostname,
        user=request.user or image.user,
        memory=request.memory or image.memory,
        memory_swap=request.memory_swap or image.memory_swap,
        cpu_shares=request.cpu_shares or image.cpu_shares,
        port_specs=request.port_specs or image.port_specs,
        tty=request.tty or image.tty,
        open_stdin=request.open_stdin or image.open_stdin,
        stdin_once=request.stdin_once or image.stdin_once,
        env=_environment(request.env or image.env),
        cmd=request.cmd or image.cmd,
        dns=request.dns or image.dns,
    )


def _environment(entries: list[str] | None) -> list[str] | None:
    """A variable without a value was an empty one."""
    return [entry if "=" in entry else f"{entry}=" for entry in entries or ()] or None
