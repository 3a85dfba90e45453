"""Images as the newest API version describes them, and the record the engine keeps (API 1.56)."""

from msgspec import UNSET, UnsetType, field

from pinnace.model.container import ContainerConfig, HealthConfig
from pinnace.model.record import ImageId, Record
from pinnace.oci.chain import ChainId
from pinnace.oci.descriptor import Descriptor
from pinnace.oci.digest import Digest


class HistoryEntry(Record, frozen=True, kw_only=True):
    """One step of an image's making; `layer` counts from 0, -1: the step made no layer."""

    created_ns: int = 0
    created_by: str = ""
    comment: str = ""
    layer: int = -1


class ImageLayer(Record, frozen=True, kw_only=True):
    """One layer of an image; `size` is the sum of its files' sizes in bytes."""

    chain: ChainId
    diff_id: Digest
    size: int


class ImageRecord(Record, frozen=True, kw_only=True):
    """The engine's record of an image; stored whole, beside the exact bytes of its config.

    Attributes:
        id: Digest of the config.
        parent: Image this one was committed or built from here; "" for pulled and loaded ones.
        created: As the config says, "" when it does not.
        created_ns: The same in Unix nanoseconds; 0 when unknown.
        layers: Lowest first.
        config: Defaults for containers.
        history: Oldest first.
        manifest: Digest of the manifest it was pulled or loaded by; None when there was none.
        last_tag_ns: When it last got a tag here, Unix nanoseconds; 0: never.
        last_used_ns: When it was last seen to have a container, as far as anybody looked.
    """

    id: ImageId
    parent: str = ""
    created: str = ""
    created_ns: int = 0
    layers: list[ImageLayer] = []
    config: ContainerConfig = ContainerConfig()
    history: list[HistoryEntry] = []
    architecture: str = ""
    os: str = "linux"
    os_version: str = ""
    variant: str = ""
    author: str = ""
    comment: str = ""
    docker_version: str = ""
    manifest: Descriptor | None = None
    last_tag_ns: int = 0
    last_used_ns: int = 0

    @property
    def top(self) -> ChainId | None:
        """Chain id of the whole stack; None for an image without layers."""
        return self.layers[-1].chain if self.layers else None

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return sum(layer.size for layer in self.layers)


class ImageConfig(Record, frozen=True, kw_only=True):
    """`Config` of an image: what is empty is left out."""

    user: str | UnsetType = UNSET
    exposed_ports: dict[str, dict[str, str]] | UnsetType = UNSET
    env: list[str] | UnsetType = UNSET
    entrypoint: list[str] | UnsetType = UNSET
    cmd: list[str] | UnsetType = UNSET
    volumes: dict[str, dict[str, str]] | UnsetType = UNSET
    working_dir: str | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET
    stop_signal: str | UnsetType = UNSET
    args_escaped: bool | UnsetType = UNSET
    healthcheck: HealthConfig | UnsetType = UNSET
    on_build: list[str] | UnsetType = UNSET
    shell: list[str] | UnsetType = UNSET


class GraphDriver(Record, frozen=True, kw_only=True):
    """Where the storage driver keeps something."""

    data: dict[str, str] | None = None
    name: str


class ImageRootFs(Record, frozen=True, kw_only=True):
    """The layers of an image, diff ids, lowest first."""

    type: str = "layers"
    layers: list[Digest] | UnsetType = UNSET


class ImageMetadata(Record, frozen=True, kw_only=True):
    """What only this host knows of an image."""

    last_tag_time: str | UnsetType = UNSET


class ImageInspect(Record, frozen=True, kw_only=True):
    """`GET /images/{name}/json`."""

    id: ImageId
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    created: str | UnsetType = UNSET
    docker_version: str | UnsetType = UNSET
    author: str | UnsetType = UNSET
    config: ImageConfig
    architecture: str
    variant: str | UnsetType = UNSET
    os: str
    os_version: str | UnsetType = UNSET
    size: int
    graph_driver: GraphDriver | UnsetType = UNSET
    root_fs: ImageRootFs = field(name="RootFS")
    metadata: ImageMetadata
    descriptor: Descriptor | UnsetType = UNSET
    origin: "ImageOrigin | UnsetType" = UNSET


class ImageOrigin(Record, frozen=True, kw_only=True):
    """Where an image came from, as its own config says; only older versions of the API show it.

    Attributes:
        container: Id of the container it was committed from; "": none.
        container_config: That container's config.
        config: Defaults for containers as written, with members today's API has no word for;
            None: the image has none.
    """

    container: str = ""
    container_config: dict[str, object] | None = None
    config: dict[str, object] | None = None


class ImageSummary(Record, frozen=True, kw_only=True):
    """One line of `GET /images/json`; sizes in bytes, -1: not computed."""

    id: ImageId
    parent_id: str
    repo_tags: list[str]
    repo_digests: list[str]
    created: int  # Unix seconds
    size: int
    shared_size: int = -1
    labels: dict[str, str] | None
    containers: int = -1
    descriptor: Descriptor | UnsetType = UNSET


class HistoryItem(Record, frozen=True, kw_only=True):
    """One step of `GET /images/{name}/history`, newest first."""

    id: str
    created: int  # Unix seconds
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


class DeleteItem(Record, frozen=True, kw_only=True):
    """One thing an image delete did."""

    untagged: str | UnsetType = UNSET
    deleted: str | UnsetType = UNSET


class ImagePruneReport(Record, frozen=True, kw_only=True):
    """What an image prune removed and how many bytes came back."""

    images_deleted: list[DeleteItem] | None
    space_reclaimed: int


class ImagesDiskUsage(Record, frozen=True, kw_only=True):
    """Images in `GET /system/df`; sizes in bytes."""

    active_count: int
    total_count: int
    reclaimable: int
    total_size: int
    items: list[ImageSummary] | UnsetType = UNSET


def image_config(config: ContainerConfig) -> ImageConfig:
    """Return the view of `config` that image inspect shows."""
    return ImageConfig(
        user=config.user or UNSET,
        exposed_ports=config.exposed_ports or UNSET,
        env=config.env or UNSET,
        entrypoint=config.entrypoint or UNSET,
        cmd=config.cmd or UNSET,
        volumes=config.volumes or UNSET,
        working_dir=config.working_dir or UNSET,
        labels=config.labels or UNSET,
        stop_signal=config.stop_signal or UNSET,
        args_escaped=config.args_escaped or UNSET,
        healthcheck=config.healthcheck or UNSET,
        on_build=config.on_build or UNSET,
        shell=config.shell or UNSET,
    )
