"""The engine as the API edge sees it: its services, one field each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinnace.engine.builds.service import BuildService
    from pinnace.engine.containers.archive import ArchiveService
    from pinnace.engine.containers.attach import AttachService
    from pinnace.engine.containers.execs import ExecService
    from pinnace.engine.containers.logs import LogService
    from pinnace.engine.containers.service import ContainerService
    from pinnace.engine.containers.stats import StatsService
    from pinnace.engine.containers.top import TopService
    from pinnace.engine.events import EventLog
    from pinnace.engine.images.service import ImageService
    from pinnace.engine.networks.service import NetworkService
    from pinnace.engine.registries.service import RegistryService
    from pinnace.engine.system import SystemService
    from pinnace.engine.volumes.service import VolumeService


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything an API call can ask for; built once by the composition root."""

    containers: "ContainerService"
    attach: "AttachService"
    logs: "LogService"
    execs: "ExecService"
    archive: "ArchiveService"
    stats: "StatsService"
    top: "TopService"
    images: "ImageService"
    builds: "BuildService"
    volumes: "VolumeService"
    networks: "NetworkService"
    registries: "RegistryService"
    events: "EventLog"
    system: "SystemService"
