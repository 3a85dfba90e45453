"""The runtime specification's `config.json` (OCI runtime-spec 1.0.2), as far as it is used here.

Fields left at their default are left out of the JSON, which is what the specification asks for
optional properties. Sizes in bytes, times as the kernel files take them.
"""

import msgspec
from msgspec import field

SPEC_VERSION = "1.0.2"
UNLIMITED = 2**64 - 1  # rlimits are uint64; RLIM_INFINITY


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of the parts: frozen, camelCase keys, defaults left out."""


class User(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who the process is; uid and gid are always written."""

    uid: int = 0
    gid: int = 0
    additional_gids: list[int] = field(default_factory=list)
    umask: int | msgspec.UnsetType = msgspec.UNSET


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Capability sets, full names. Inheritable and ambient are never set, see `process`."""

    bounding: list[str]
    effective: list[str]
    permitted: list[str]


class Rlimit(msgspec.Struct, frozen=True, kw_only=True):
    """One resource limit; type is RLIMIT_*."""

    type: str
    hard: int
    soft: int


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """Size of a terminal in characters."""

    height: int
    width: int


class Process(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A process: the container's first one, or an exec's."""

    terminal: bool = False
    console_size: Box | None = None
    user: User = field()
    args: list[str] = field()
    env: list[str] = []
    cwd: str = field()
    capabilities: Capabilities = field()
    rlimits: list[Rlimit] = []
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None


class Root(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """The root filesystem: absolute path on the host."""

    path: str = field()
    readonly: bool = False


class Mount(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A mount, made in list order."""

    destination: str = field()
    type: str = ""
    source: str = ""
    options: list[str] = []


class Namespace(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A namespace: a new one, or the one at `path`."""

    type: str = field()
    path: str = ""


class Device(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A device node to make; `type` is c, b or p."""

    path: str = field()
    type: str = field()
    major: int = field()
    minor: int = field()
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A rule of the devices controller; None means every number."""

    allow: bool = field()
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = field()


class MemoryLimits(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Memory in bytes; -1: unlimited. `swap` is memory plus swap."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = field(name="disableOOMKiller", default=None)


class CpuLimits(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """CPU weight, bandwidth (microseconds) and placement."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""


class PidsLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Number of tasks; -1: unlimited."""

    limit: int


class WeightDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Block IO weight of one device."""

    major: int
    minor: int
    weight: int


class ThrottleDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Block IO rate of one device, bytes or operations per second."""

    major: int
    minor: int
    rate: int


class BlockIoLimits(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Block IO weights and rates."""

    weight: int | None = None
    weight_device: list[WeightDevice] = []
    throttle_read_bps_device: list[ThrottleDevice] = []
    throttle_write_bps_device: list[ThrottleDevice] = []
    throttle_read_iops_device: list[ThrottleDevice] = field(
        name="throttleReadIOPSDevice", default_factory=list
    )
    throttle_write_iops_device: list[ThrottleDevice] = field(
        name="throttleWriteIOPSDevice", default_factory=list
    )


class Resources(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What the control groups hold the container to."""

    devices: list[DeviceRule] = []
    memory: MemoryLimits | None = None
    cpu: CpuLimits | None = None
    pids: PidsLimits | None = None
    block_io: BlockIoLimits | None = field(name="blockIO", default=None)


class SyscallArg(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A comparison of one argument; for MASKED_EQ `value` is the mask, `value_two` the datum."""

    index: int = field()
    value: int = field()
    value_two: int = 0
    op: str = field()


class SyscallRule(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What happens to some system calls."""

    names: list[str] = field()
    action: str = field()
    errno_ret: int | None = None
    args: list[SyscallArg] = []


class Seccomp(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A filter of system calls. Actions and operators as libseccomp spells them."""

    default_action: str = field()
    default_errno_ret: int | None = None
    architectures: list[str] = []
    flags: list[str] = []
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[SyscallRule] = []


class Linux(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The Linux part."""

    sysctl: dict[str, str] = {}
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: list[Namespace] = []
    devices: list[Device] = []
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: list[str] = []
    readonly_paths: list[str] = []
    mount_label: str = ""


class RuntimeSpec(_Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A whole `config.json`."""

    oci_version: str = field()
    process: Process = field()
    root: Root = field()
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] = []
    annotations: dict[str, str] = {}
    linux: Linux = field()


def encode(part: RuntimeSpec | Process) -> bytes:
    """Return the JSON of a `config.json`, or of the file that `exec --process` reads."""
    return msgspec.json.encode(part)
