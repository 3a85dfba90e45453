"""The parts of the engine's answers that the command line shows, leniently decoded.

Engines differ in what they leave out and where they say null; every field has a default, and
unknown ones are passed over.
"""

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Base of all: wire names are the field's in PascalCase unless given."""


class Version(Record, frozen=True):
    """`GET /version`."""

    version: str = ""
    api_version: str = ""
    min_api_version: str = msgspec.field(default="", name="MinAPIVersion")
    git_commit: str = ""
    go_version: str = ""
    os: str = ""
    arch: str = ""
    kernel_version: str = ""


class Created(Record, frozen=True):
    """`POST /containers/create` and `POST /containers/{id}/exec`."""

    id: str = ""
    warnings: list[str] | None = None


class WaitError(Record, frozen=True):
    """Why waiting failed."""

    message: str = ""


class Waited(Record, frozen=True):
    """`POST /containers/{id}/wait`."""

    status_code: int = 0
    error: WaitError | None = None


class Port(Record, frozen=True):
    """A published or exposed port in a listing."""

    ip: str = msgspec.field(default="", name="IP")
    private_port: int = 0
    public_port: int = 0
    type: str = "tcp"


class ContainerSummary(Record, frozen=True):
    """One row of `GET /containers/json`."""

    id: str = ""
    names: list[str] | None = None
    image: str = ""
    command: str = ""
    created: int = 0
    status: str = ""
    state: str = ""
    ports: list[Port] | None = None
    size_rw: int | None = None
    size_root_fs: int | None = None


class ContainerConfig(Record, frozen=True):
    """The part of a container's config that attaching needs."""

    tty: bool = False
    open_stdin: bool = False


class ContainerState(Record, frozen=True):
    """The part of a container's state that attaching needs."""

    running: bool = False
    exit_code: int = 0


class NetworkSettings(Record, frozen=True):
    """The part of a container's network settings that `port` shows."""

    ports: dict[str, list[dict[str, str]] | None] | None = None


class Processes(Record, frozen=True):
    """`GET /containers/{id}/top`."""

    titles: list[str] | None = None
    processes: list[list[str]] | None = None


class Container(Record, frozen=True):
    """`GET /containers/{id}/json`."""

    id: str = ""
    config: ContainerConfig = ContainerConfig()
    network_settings: NetworkSettings = NetworkSettings()
    state: ContainerState = ContainerState()


class Exec(Record, frozen=True):
    """`GET /exec/{id}/json`."""

    running: bool = False
    exit_code: int | None = None


class ImageSummary(Record, frozen=True):
    """One row of `GET /images/json`."""

    id: str = ""
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    created: int = 0
    size: int = 0


class DeletedImage(Record, frozen=True):
    """One row of `DELETE /images/{name}` and of prune reports."""

    untagged: str = ""
    deleted: str = ""


class HistoryItem(Record, frozen=True):
    """One row of `GET /images/{name}/history`."""

    id: str = ""
    created: int = 0
    created_by: str = ""
    size: int = 0
    comment: str = ""


class ProgressDetail(msgspec.Struct, frozen=True):
    """Bytes done and to do."""

    current: int = 0
    total: int = 0


class ErrorDetail(msgspec.Struct, frozen=True):
    """A failure inside a stream whose status said 200."""

    message: str = ""


class Progress(msgspec.Struct, frozen=True, rename={"detail": "progressDetail"}):
    """One line of pull, push, load and build."""

    stream: str = ""
    status: str = ""
    id: str = ""
    detail: ProgressDetail | None = None
    error: str = ""
    errorDetail: ErrorDetail | None = None  # noqa: N815 - the wire's name


class Actor(Record, frozen=True):
    """The object of an event."""

    id: str = msgspec.field(default="", name="ID")
    attributes: dict[str, str] | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /events`."""

    type: str = msgspec.field(default="", name="Type")
    action: str = msgspec.field(default="", name="Action")
    actor: Actor = msgspec.field(default=Actor(), name="Actor")
    time_nano: int = msgspec.field(default=0, name="timeNano")


class UsageItem(Record, frozen=True):
    """One image, container or volume of `GET /system/df`."""

    size: int = 0
    shared_size: int = 0
    size_rw: int | None = None
    containers: int = 0
    state: str = ""
    usage_data: dict[str, int] | None = None


class DiskUsage(Record, frozen=True):
    """`GET /system/df`; fields that API 1.52 renamed are not asked for."""

    layers_size: int = 0
    images: list[UsageItem] | None = None
    containers: list[UsageItem] | None = None
    volumes: list[UsageItem] | None = None
    build_cache: list[UsageItem] | None = None


class Pruned(Record, frozen=True):
    """Answer of every prune."""

    space_reclaimed: int = 0
    containers_deleted: list[str] | None = None
    images_deleted: list[DeletedImage] | None = None
    networks_deleted: list[str] | None = None
    volumes_deleted: list[str] | None = None
    caches_deleted: list[str] | None = None
