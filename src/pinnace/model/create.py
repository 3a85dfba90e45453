"""What the API edge hands to `create`."""

from dataclasses import dataclass, field

from pinnace.model.container import ContainerConfig, HostConfig
from pinnace.model.endpoint import EndpointSettings
from pinnace.model.record import ContainerId


@dataclass(frozen=True, slots=True)
class CreateParams:
    """A container to be made.

    The fields after `networking` are behaviour that changed between API versions, with the
    modern default; an adapter of the edge sets them for older clients.

    Attributes:
        name: Wanted name without slash; None: one is made up.
        id: Wanted id, known to nobody yet; None: one is made up.
        platform: `os[/arch[/variant]]`, or None.
        image: Id of the image where `config.image` is only what the client calls it. Environment,
            ports and volumes are then complete: nothing is added to them from the image.
        networking: Endpoint settings by network name or id.
        default_cgroupns: Used when HostConfig.CgroupnsMode is empty; "": the host's default.
        default_ipc: Used when HostConfig.IpcMode is empty; "": private.
        lenient_hostname: Take host names that are not RFC 1123.
        read_only_non_recursive: Read-only binds leave their submounts writable.
        clamp_cpu_shares: Bring CPU shares into the kernel's range instead of failing.
        lenient_mount_options: Drop options that do not fit the mount's type.
    """

    config: ContainerConfig
    host_config: HostConfig
    networking: dict[str, EndpointSettings] = field(default_factory=dict)
    name: str | None = None
    id: ContainerId | None = None
    platform: str | None = None
    image: str = ""
    default_cgroupns: str = ""
    default_ipc: str = ""
    lenient_hostname: bool = False
    read_only_non_recursive: bool = False
    clamp_cpu_shares: bool = False
    lenient_mount_options: bool = False
