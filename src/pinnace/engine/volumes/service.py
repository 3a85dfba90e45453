"""Volumes of the `local` driver: directories, or mounts made from driver options."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from pinnace.contracts.volume_files import VolumeFiles
from pinnace.engine.events import EventLog
from pinnace.engine.filters import Filters
from pinnace.errors import Conflict, InvalidParameter, NotFound, VolumeNotFound
from pinnace.model.volume import PruneReport, Volume, VolumeCreate, VolumeList, VolumeUsage

T = TypeVar("T")

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})
_PRUNE_FILTERS = frozenset({"all", "label", "label!"})
ANONYMOUS = "com.docker.volume.anonymous"


class VolumeStore(Protocol):
    """Where volume records are kept."""

    async def put_volume(self, volume: Volume) -> None:
        """Store."""
        ...

    async def delete_volume(self, name: str) -> None:
        """Forget."""
        ...


class Offload(Protocol):
    """Runs a blocking function in a bounded worker pool and awaits its result."""

    async def __call__(self, fn: Callable[[], T], /) -> T:
        """Run `fn`."""
        ...


class VolumeService:
    """Creates, lists and removes volumes.

    Args:
        files: Directories of the data.
        store: Keeps the records.
        volumes: What the store holds at boot.
        users: Ids of the containers that use a volume, by its name.
        offload: Runs a blocking function in a worker.
    """

    def __init__(
        self,
        files: VolumeFiles,
        *,
        store: VolumeStore,
        volumes: list[Volume],
        users: Callable[[str], list[str]],
        events: EventLog,
        offload: Offload,
    ) -> None:
        self._files = files
        self._store = store
        self._volumes = {volume.name: volume for volume in volumes}
        self._users = users
        self._events = events
        self._offload = offload

    async def create(self, request: VolumeCreate) -> Volume:
        """Create a volume, or return the equal one that exists; an empty name makes one up.

        Raises:
            InvalidParameter: Bad name, unknown option.
            Conflict: The name exists with other options.
            NotFound: No such driver.
        """
        if request.cluster_volume_spec:
            raise InvalidParameter("cluster volumes need a swarm, which this engine has not")
        driver = request.driver or "local"
        if driver != "local":
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        anonymous = not request.name
        name = request.name or secrets.token_hex(32)
        _check_name(name)
        options = request.driver_opts or {}
        _check_options(name, options)
        existing = self._volumes.get(name)
        if existing is not None:
            if options and options != (existing.options or {}):
                raise Conflict(f'volume "{name}" already exists with other options')
            return existing
        labels = dict(request.labels or {}) | ({ANONYMOUS: ""} if anonymous else {})
        volume = Volume(
            created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            labels=None if request.labels is None and not anonymous else labels,
            mountpoint=str(self._files.mountpoint(name)),
            name=name,
            options=None if request.driver_opts is None else dict(options),
        )
        await self._offload(lambda: self._files.make(name))
        await self._store.put_volume(volume)
        self._volumes[name] = volume
        self._events.publish("volume", "create", name, {"driver": "local"})
        return volume

    def find(self, name: str) -> Volume | None:
        """Return the volume, if there is one."""
        return self._volumes.get(name)

    async def inspect(self, name: str) -> Volume:
        """Return one volume.

        Raises:
            VolumeNotFound: There is none.
        """
        volume = self._volumes.get(name)
        if volume is None:
            raise VolumeNotFound(name)
        return volume

    async def list(self, filters: Filters) -> VolumeList:
        """Return the volumes that pass the filters, by name."""
        filters.validate(_LIST_FILTERS)
        dangling = filters.get_bool("dangling", default=False) if "dangling" in filters else None
        found = [
            volume
            for name, volume in sorted(self._volumes.items())
            if _passes(volume, filters)
            and (dangling is None or dangling == (not self._users(name)))
        ]
        return VolumeList(volumes=found)

    async def remove(self, name: str, *, force: bool) -> None:
        """Remove a volume and its data.

        Raises:
            VolumeNotFound: There is none, and not `force`.
            Conflict: A container uses it.
        """
        volume = self._volumes.get(name)
        if volume is None:
            if force:
                return
            raise VolumeNotFound(name)
        users = self._users(name)
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        del self._volumes[name]
        await self._store.delete_volume(name)
        await self._offload(lambda: self._files.remove(name))
        self._events.publish("volume", "destroy", name, {"driver": "local"})

    async def prune(self, filters: Filters) -> PruneReport:
        """Remove unused volumes: anonymous ones, or with the filter `all` every one."""
        filters.validate(_PRUNE_FILTERS)
        every = filters.get_bool("all", default=False)
        deleted: list[str] = []
        reclaimed = 0
        for name, volume in sorted(self._volumes.items()):
            if self._users(name) or not (every or ANONYMOUS in (volume.labels or {})):
                continue
            if not filters.matches_labels(volume.labels) or (
                "label!" in filters and filters.excludes_labels(volume.labels)
            ):
                continue
            reclaimed += await self._size(volume)
            await self.remove(name, force=True)
            deleted.append(name)
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return PruneReport(volumes_deleted=deleted, space_reclaimed=reclaimed)

    async def usage(self) -> Sequence[tuple[Volume, VolumeUsage]]:
        """Return every volume with its size and number of users."""
        return [
            (
                volume,
                VolumeUsage(
                    size=await self._size(volume),
                    ref_count=len(self._users(name)),
                ),
            )
            for name, volume in sorted(self._volumes.items())
        ]

    async def _size(self, volume: Volume) -> int:
        return await self._offload(lambda: self._files.size(volume.name))


def _passes(volume: Volume, filters: Filters) -> bool:
    return (
        filters.matches("name", lambda value: value in volume.name)
        and filters.matches("driver", lambda value: value == volume.driver)
        and filters.matches_labels(volume.labels)
    )


def data_directory(volume: Volume) -> Path:
    """Return the host directory that holds the volume's data (its own, or the bound one)."""
    options = volume.options or {}
    return Path(options["device"]) if _is_bound(options) else Path(volume.mountpoint)


def mount_options(volume: Volume) -> list[str]:
    """Return the options of a volume that is mounted while it is used, as `key=value`."""
    options = volume.options or {}
    return [] if _is_bound(options) else [f"{key}={value}" for key, value in options.items()]


def _is_bound(options: Mapping[str, str]) -> bool:
    """Tell whether a volume is a directory of the host, under a name."""
    return bool({"bind", "rbind"} & set(options.get("o", "").split(",")))


def _check_name(name: str) -> None:
    if len(name) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric"
            " characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only'
            ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory,'
            " use absolute path"
        )


def _check_options(name: str, options: Mapping[str, str]) -> None:
    for key in options:
        if key not in {"type", "o", "device"}:
            raise InvalidParameter(f'create {name}: invalid option: "{key}"')
    if not options:
        return
    if not options.get("device"):
        raise InvalidParameter(f'create {name}: missing required option: "device"')
    if _is_bound(options):
        if not Path(options["device"]).is_absolute():
            raise InvalidParameter(f'create {name}: "device" must be an absolute path for o=bind')
    elif not options.get("type"):
        raise InvalidParameter(f'create {name}: missing required option: "type"')
