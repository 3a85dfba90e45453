"""The container config of API 1.0 to 1.2: eighteen fields, also of the images made then."""

import re

from msgspec.structs import asdict

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
