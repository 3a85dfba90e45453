"""Volumes (API 1.56)."""

from msgspec import UNSET, UnsetType, field

from pinnace.model.record import Record


class VolumeUsage(Record, frozen=True, kw_only=True):
    """Bytes on disk and number of containers using it; -1: not computed."""

    size: int = -1
    ref_count: int = -1


class Volume(Record, frozen=True, kw_only=True):
    """A named place for data, outside any container."""

    created_at: str
    driver: str = "local"
    labels: dict[str, str] | None = None
    mountpoint: str
    name: str
    options: dict[str, str] | None = None
    scope: str = "local"
    usage_data: VolumeUsage | UnsetType = UNSET


class VolumeCreate(Record, frozen=True, kw_only=True):
    """Body of `POST /volumes/create`."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, object] | None = None


class VolumeList(Record, frozen=True, kw_only=True):
    """`GET /volumes`."""

    volumes: list[Volume]
    warnings: list[str] | None = None


class PruneReport(Record, frozen=True, kw_only=True):
    """What a prune call removed and how many bytes came back."""

    volumes_deleted: list[str] | UnsetType | None = field(default=UNSET)
    containers_deleted: list[str] | UnsetType | None = field(default=UNSET)
    space_reclaimed: int = 0
