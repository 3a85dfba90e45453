"""Containers as the newest API version describes them, and the record the engine keeps.

Wire names, types and defaults: Docker Engine API 1.56. `None` is sent as `null`, which is what
Docker sends for lists and maps that were never given.
"""

from typing import Literal

import msgspec
from msgspec import field

from pinnace.model.endpoint import EndpointSettings, PortMap
from pinnace.model.record import ContainerId, ImageId, Record

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]


class HealthConfig(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How a container's health is probed; durations in nanoseconds, 0: inherit or default."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


class ContainerConfig(Record, frozen=True, kw_only=True):
    """What a container is, apart from the host it runs on."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, str]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    network_disabled: bool = False
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class WeightDevice(Record, frozen=True, kw_only=True):
    """Block IO weight (10..1000) of one device."""

    path: str = ""
    weight: int = 0


class ThrottleDevice(Record, frozen=True, kw_only=True):
    """Block IO limit of one device, in bytes or operations per second."""

    path: str = ""
    rate: int = 0


class DeviceMapping(Record, frozen=True, kw_only=True):
    """A host device inside the container."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Record, frozen=True, kw_only=True):
    """Devices asked for by capability (GPUs, CDI)."""

    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = field(name="DeviceIDs", default=None)
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(Record, frozen=True, kw_only=True):
    """A resource limit: `name` without RLIMIT_, lower case; -1: unlimited."""

    name: str = ""
    hard: int = 0
    soft: int = 0


class LogConfig(Record, frozen=True, kw_only=True):
    """Log driver and its options."""

    type: str = ""
    config: dict[str, str] | None = None


class RestartPolicy(Record, frozen=True, kw_only=True):
    """When a container is started again."""

    name: str = ""  # "", no, always, unless-stopped, on-failure
    maximum_retry_count: int = 0


class BindOptions(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Options of a bind mount."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriverConfig(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Volume driver and its options."""

    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Options of a volume mount."""

    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: VolumeDriverConfig | None = None
    subpath: str = ""


class ImageOptions(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Options of an image mount."""

    subpath: str = ""


class TmpfsOptions(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Options of a tmpfs mount; `mode` is the octal file mode as a number."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class Mount(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A mount as asked for with `--mount`."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Record, frozen=True, kw_only=True):
    """How a container sits on its host. Sizes in bytes; 0: no limit or default."""

    binds: list[str] | None = None
    container_id_file: str = field(name="ContainerIDFile", default="")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: PortMap | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: list[int] = field(default_factory=lambda: [0, 0])  # height, width
    annotations: dict[str, str] | None = None
    cap_add: list[str] | None = None
    cap_drop: list[str] | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = field(name="UTSMode", default="")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    umask: int | None = None
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None
    # Resources, flattened as on the wire.
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(
        name="BlkioDeviceReadIOps", default=None
    )
    blkio_device_write_iops: list[ThrottleDevice] | None = field(
        name="BlkioDeviceWriteIOps", default=None
    )
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0  # memory plus swap; -1: unlimited swap
    memory_swappiness: int | None = None  # 0..100; None or -1: inherit
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None  # <= 0: unlimited
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(name="IOMaximumIOps", default=0)
    io_maximum_bandwidth: int = field(name="IOMaximumBandwidth", default=0)


class HealthResult(Record, frozen=True, kw_only=True):
    """One probe; times are RFC 3339."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(Record, frozen=True, kw_only=True):
    """Result of the last probes, oldest first, at most five."""

    status: Literal["none", "starting", "healthy", "unhealthy"] = "starting"
    failing_streak: int = 0
    log: list[HealthResult] | None = None


class MountPoint(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A mount as it was made; fields without meaning for the type are left out."""

    type: str
    name: str = ""
    source: str = field()
    destination: str = field()
    driver: str = ""
    mode: str = field()
    rw: bool = field(name="RW")
    propagation: str = field()


class ContainerState(Record, frozen=True, kw_only=True):
    """State as inspect shows it; times RFC 3339, `0001-01-01T00:00:00Z` for never."""

    status: Status = "created"
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = field(name="OOMKilled", default=False)
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = "0001-01-01T00:00:00Z"
    finished_at: str = "0001-01-01T00:00:00Z"
    health: Health | msgspec.UnsetType = msgspec.UNSET


class NetworkSettings(Record, frozen=True, kw_only=True):
    """A container's place on the network."""

    sandbox_id: str = field(name="SandboxID", default="")
    sandbox_key: str = ""
    ports: PortMap = {}
    networks: dict[str, EndpointSettings] = {}


class DriverData(Record, frozen=True, kw_only=True):
    """Storage driver and its paths on the host."""

    name: str
    data: dict[str, str] | None = None


class ContainerInspect(Record, frozen=True, kw_only=True):
    """`GET /containers/{id}/json`, API 1.56."""

    id: str
    created: str
    path: str
    args: list[str]
    state: ContainerState
    image: str
    resolv_conf_path: str
    hostname_path: str
    hosts_path: str
    log_path: str
    name: str
    restart_count: int
    driver: str
    platform: str
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: list[str] | None = field(name="ExecIDs", default=None)
    host_config: HostConfig
    graph_driver: DriverData
    size_rw: int | msgspec.UnsetType = msgspec.UNSET
    size_root_fs: int | msgspec.UnsetType = msgspec.UNSET
    mounts: list[MountPoint]
    config: ContainerConfig
    network_settings: NetworkSettings


class PortSummary(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One port of a container in the list."""

    ip: str = field(name="IP", default="")
    private_port: int = field()
    public_port: int = 0
    type: str = field()


class SummaryHostConfig(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The part of the host config that the list shows."""

    network_mode: str = field()
    annotations: dict[str, str] | None = None


class SummaryNetworks(Record, frozen=True, kw_only=True):
    """The part of the network settings that the list shows."""

    networks: dict[str, EndpointSettings]


class SummaryHealth(Record, frozen=True, kw_only=True):
    """Health in the list."""

    status: str
    failing_streak: int


class ContainerSummary(Record, frozen=True, kw_only=True):
    """One entry of `GET /containers/json`, API 1.56."""

    id: str
    names: list[str]
    image: str
    image_id: str = field(name="ImageID")
    command: str
    created: int  # Unix seconds
    ports: list[PortSummary]
    size_rw: int | msgspec.UnsetType = msgspec.UNSET
    size_root_fs: int | msgspec.UnsetType = msgspec.UNSET
    labels: dict[str, str]
    state: Status
    status: str  # "Up 3 minutes (healthy)"
    health: SummaryHealth | msgspec.UnsetType = msgspec.UNSET
    host_config: SummaryHostConfig
    network_settings: SummaryNetworks
    mounts: list[MountPoint]


class RunState(Record, frozen=True, kw_only=True):
    """What the engine knows about a container's process. Times: Unix nanoseconds, 0: never.

    Attributes:
        status: The state of `engine.containers.lifecycle`'s table.
        pid: Main process on the host; 0 when none.
        manually_stopped: `stop` or `kill` was asked for; `unless-stopped` honours it.
    """

    status: Status = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_ns: int = 0
    finished_ns: int = 0
    oom_killed: bool = False
    manually_stopped: bool = False
    health: Health | None = None


class MountRecord(Record, frozen=True, kw_only=True):
    """A mount resolved at create.

    Attributes:
        type: bind, volume, tmpfs or image.
        destination: Absolute path in the container, cleaned.
        source: Host path; for volumes the directory holding the data; "" for tmpfs.
        name: Volume name, or the image as it was named.
        propagation: rprivate, rslave, … ; "" for tmpfs.
        mode: The mode words as the user gave them ("z,ro").
        options: Further mount options (tmpfs); of a volume that is a mount, the driver's options.
        recursive: Bind with submounts.
        read_only_recursive: Submounts are read-only too.
        copy_up: Fill an empty volume from the image at first use.
        subpath: Directory below the volume's or image's root.
        anonymous: The volume was made for this container and goes with `rm -v`.
        asked: The mount came from `HostConfig.Mounts`.
        create_source: A bind source that is missing is made, as a directory.
        image_id: Of an image mount.
        layer: Chain id of that image's top layer; "" for an empty image.
    """

    type: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    rw: bool = True
    propagation: str = ""
    mode: str = ""
    options: list[str] = []
    recursive: bool = True
    read_only_recursive: bool = True
    copy_up: bool = False
    subpath: str = ""
    anonymous: bool = False
    asked: bool = False
    create_source: bool = False
    image_id: str = ""
    layer: str = ""


class Container(Record, frozen=True, kw_only=True):
    """The engine's record of a container; stored whole.

    Attributes:
        name: Without the leading slash.
        created_ns: Unix nanoseconds.
        image_id: Config digest; "" never happens.
        layer: Chain id of the image's top layer; "" for an empty image.
        path: Resolved command, first word.
        networks: Endpoint settings by network name, as asked for and, while running, as given.
        ports: Published ports while running.
        sandbox: Path of the network namespace while running; "" without one of its own.
        mounts: Resolved mounts, in mount order.
        restart_count: Restarts by policy since the last manual start.
        stop_requested: Set by `removing`/`stop`; see RunState.manually_stopped.
    """

    id: ContainerId
    name: str
    created_ns: int
    image_id: ImageId
    layer: str
    path: str
    args: list[str]
    config: ContainerConfig
    host_config: HostConfig
    networks: dict[str, EndpointSettings] = {}
    ports: PortMap = {}
    sandbox: str = ""
    mounts: list[MountRecord] = []
    state: RunState = RunState()
    restart_count: int = 0
    platform: str = "linux"
    exec_ids: list[str] = []
