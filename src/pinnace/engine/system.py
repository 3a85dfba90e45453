"""What the engine says of itself and its host: info, version, disk usage."""

import os
import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from pinnace.contracts.control import HostFacts
from pinnace.engine.containers.listing import ListParams
from pinnace.engine.containers.registry import ContainerRegistry
from pinnace.engine.containers.service import ContainerService
from pinnace.engine.filters import Filters
from pinnace.engine.images.service import ImageService
from pinnace.engine.volumes.service import VolumeService
from pinnace.model.build import BuildCacheItem
from pinnace.model.image import ImageSummary
from pinnace.model.volume import Volume, VolumeUsage

JsonObject = dict[str, object]

_RUNNING = ("running", "restarting")
_GO_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What does not change while the daemon runs.

    Attributes:
        id: Of this engine, stable over restarts.
        version: Of Pinnace.
        api_version: Newest version served.
        min_api_version: Oldest version served.
        data_root: Persistent state.
        host_name: Of the host.
        operating_system: As os-release calls it.
        os_version: As os-release calls it.
        storage_driver: `overlay2` or `vfs`.
        backing_filesystem: Of the data root.
        log_driver: Default of containers.
        runtimes: Path and version by name.
        default_runtime: Name.
        labels: Of the daemon.
        registries: `RegistryConfig` of the info.
        debug: Debug logging is on.
        init_binary: For `--init`; "" none.
        warnings: Said at every `info`.
        started_ns: Unix nanoseconds.
    """

    id: str
    version: str
    api_version: str
    min_api_version: str
    data_root: str
    host_name: str
    operating_system: str
    os_version: str
    storage_driver: str
    backing_filesystem: str
    log_driver: str
    runtimes: dict[str, tuple[str, str]]
    default_runtime: str
    labels: Sequence[str]
    registries: Mapping[str, object]
    debug: bool
    init_binary: str
    warnings: Sequence[str]
    started_ns: int


class ImageUsage(Protocol):
    """Sizes of images."""

    async def __call__(self) -> tuple[Sequence[ImageSummary], int]:
        """Return every image with its shared size, and the bytes of all layers."""
        ...


class SystemService:
    """Answers `/info`, `/version` and `/system/df`."""

    def __init__(
        self,
        facts: EngineFacts,
        host: HostFacts,
        *,
        registry: ContainerRegistry,
        containers: ContainerService,
        images: ImageService,
        image_usage: ImageUsage,
        volumes: VolumeService,
        live_warnings: Callable[[], Awaitable[Sequence[str]]],
        build_cache: Callable[[], Awaitable[Sequence[BuildCacheItem]]],
    ) -> None:
        self._facts = facts
        self._host = host
        self._registry = registry
        self._containers = containers
        self._images = images
        self._image_usage = image_usage
        self._volumes = volumes
        self._live_warnings = live_warnings
        self._build_cache = build_cache

    async def version(self) -> JsonObject:
        """Return `GET /version`."""
        facts, host = self._facts, self._host
        engine: JsonObject = {
            "ApiVersion": facts.api_version,
            "Arch": host.architecture,
            "BuildTime": "",
            "Experimental": "false",
            "GitCommit": "",
            "GoVersion": "",
            "KernelVersion": host.kernel_release,
            "MinAPIVersion": facts.min_api_version,
            "Os": "linux",
        }
        runtimes = [
            {"Name": name, "Version": version, "Details": {"Path": path}}
            for name, (path, version) in facts.runtimes.items()
        ]
        return {
            "Platform": {"Name": "Pinnace"},
            "Components": [
                {"Name": "Engine", "Version": facts.version, "Details": engine},
                *runtimes,
            ],
            "Version": facts.version,
            "ApiVersion": facts.api_version,
            "MinAPIVersion": facts.min_api_version,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": host.architecture,
            "KernelVersion": host.kernel_release,
            "BuildTime": "",
        }

    async def info(self) -> JsonObject:
        """Return `GET /info`."""
        return {
            **self._identity(),
            **self._counts(),
            **self._limits(),
            **self._storage(),
            **self._programs(),
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": ["json-file", "local", "none"],
            },
            "RegistryConfig": self._facts.registries,
            "Swarm": {
                "NodeID": "",
                "NodeAddr": "",
                "LocalNodeState": "inactive",
                "ControlAvailable": False,
                "Error": "",
                "RemoteManagers": None,
            },
            "SecurityOptions": self._security_options(),
            "Warnings": [*self._facts.warnings, *await self._live_warnings()] or None,
        }  # fmt: skip

    def _identity(self) -> JsonObject:
        facts, host = self._facts, self._host
        return {
            "ID": facts.id,
            "Name": facts.host_name,
            "ServerVersion": facts.version,
            "SystemTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "KernelVersion": host.kernel_release,
            "OperatingSystem": facts.operating_system,
            "OSVersion": facts.os_version,
            "OSType": "linux",
            "Architecture": _GO_MACHINES.get(host.architecture, platform.machine()),
            "NCPU": host.cpus,
            "MemTotal": host.memory_bytes,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "HttpProxy": os.environ.get("HTTP_PROXY", ""),
            "HttpsProxy": os.environ.get("HTTPS_PROXY", ""),
            "NoProxy": os.environ.get("NO_PROXY", ""),
            "Labels": list(facts.labels),
            "ExperimentalBuild": False,
            "LiveRestoreEnabled": True,
            "Debug": facts.debug,
            "NFd": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (counted, not walked)
            "NGoroutines": 0,
            "NEventsListener": 0,
            "Isolation": "",
            "ProductLicense": "",
            "GenericResources": None,
        }

    def _counts(self) -> JsonObject:
        statuses = [container.state.status for container in self._registry]
        paused = statuses.count("paused")
        running = sum(status in _RUNNING for status in statuses)
        return {
            "Containers": len(statuses),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": len(statuses) - running - paused,
            "Images": len(self._images.catalog.images),
        }

    def _limits(self) -> JsonObject:
        cgroup = self._host.cgroup

        def has(*files: str) -> bool:
            return not cgroup.features.isdisjoint(files)

        return {
            "MemoryLimit": has("memory.limit_in_bytes", "memory.max"),
            "SwapLimit": has("memory.memsw.limit_in_bytes", "memory.swap.max"),
            "CpuCfsPeriod": has("cpu.cfs_quota_us", "cpu.max"),
            "CpuCfsQuota": has("cpu.cfs_quota_us", "cpu.max"),
            "CPUShares": has("cpu.shares", "cpu.weight"),
            "CPUSet": "cpuset" in cgroup.controllers,
            "PidsLimit": "pids" in cgroup.controllers,
            "OomKillDisable": has("memory.oom_control"),
            "IPv4Forwarding": True,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": str(cgroup.version),
        }

    def _storage(self) -> JsonObject:
        facts = self._facts
        return {
            "Driver": facts.storage_driver,
            "DriverStatus": [["Backing Filesystem", facts.backing_filesystem]],
            "DockerRootDir": facts.data_root,
            "LoggingDriver": facts.log_driver,
            "FirewallBackend": {"Driver": "nftables"},
        }

    def _programs(self) -> JsonObject:
        facts = self._facts
        version = facts.runtimes.get(facts.default_runtime, ("", ""))[1]
        return {
            "Runtimes": {
                name: {"path": path, "status": {}} for name, (path, _) in facts.runtimes.items()
            },
            "DefaultRuntime": facts.default_runtime,
            "InitBinary": facts.init_binary,
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": f"{facts.default_runtime} {version}".strip()},
            "InitCommit": {"ID": ""},
            "DefaultAddressPools": None,
            "CDISpecDirs": [],
            "DiscoveredDevices": None,
            "NRI": None,
            "Containerd": None,
        }

    def _security_options(self) -> list[str]:
        options = ["name=seccomp,profile=builtin"] if self._host.seccomp else []
        if self._host.cgroup_namespaces:
            options.append("name=cgroupns")
        return options

    async def df(self, types: set[str] | None, *, verbose: bool) -> JsonObject:
        """Return `GET /system/df`.

        Args:
            types: Of container, image, volume and build-cache; None: all.
            verbose: With every object.
        """
        wanted = types or {"container", "image", "volume", "build-cache"}
        answer: JsonObject = {}
        if "image" in wanted:
            answer["ImageUsage"] = await self._image_part(verbose=verbose)
        if "container" in wanted:
            answer["ContainerUsage"] = await self._container_part(verbose=verbose)
        if "volume" in wanted:
            answer["VolumeUsage"] = await self._volume_part(verbose=verbose)
        if "build-cache" in wanted:
            answer["BuildCacheUsage"] = await self._build_part(verbose=verbose)
        return answer

    async def _build_part(self, *, verbose: bool) -> JsonObject:
        items = await self._build_cache()
        own = [item for item in items if not item.shared]
        return _part(
            items,
            total=sum(item.size for item in own),
            active=sum(item.in_use for item in items),
            reclaimable=sum(item.size for item in own if not item.in_use),
            verbose=verbose,
        )

    async def _image_part(self, *, verbose: bool) -> JsonObject:
        images, total = await self._image_usage()
        used = {container.image_id for container in self._registry}
        unused = [image for image in images if image.id not in used]
        reclaimable = sum(max(0, image.size - max(0, image.shared_size)) for image in unused)
        return _part(
            images,
            total=total,
            active=len(images) - len(unused),
            reclaimable=reclaimable if len(unused) < len(images) else total,
            verbose=verbose,
        )

    async def _container_part(self, *, verbose: bool) -> JsonObject:
        found = await self._containers.list(ListParams(Filters(), all=True, size=True))
        sizes = [
            (item.state, item.size_rw if isinstance(item.size_rw, int) else 0) for item in found
        ]
        live = {"running", "paused", "restarting"}
        return _part(
            found,
            total=sum(size for _, size in sizes),
            active=sum(state in live for state, _ in sizes),
            reclaimable=sum(size for state, size in sizes if state not in live),
            verbose=verbose,
        )

    async def _volume_part(self, *, verbose: bool) -> JsonObject:
        found = await self._volumes.usage()
        return _part(
            [msgspec.structs.replace(volume, usage_data=usage) for volume, usage in found],
            total=sum(usage.size for _, usage in found),
            active=sum(usage.ref_count > 0 for _, usage in found),
            reclaimable=_unused_bytes(found),
            verbose=verbose,
        )


def _unused_bytes(volumes: Sequence[tuple[Volume, VolumeUsage]]) -> int:
    return sum(usage.size for _, usage in volumes if not usage.ref_count)


def _part(
    items: Sequence[object], *, total: int, active: int, reclaimable: int, verbose: bool
) -> JsonObject:
    part: JsonObject = {
        "ActiveCount": active,
        "TotalCount": len(items),
        "Reclaimable": reclaimable,
        "TotalSize": total,
    }
    if verbose:
        part["Items"] = list(items)
    return part
