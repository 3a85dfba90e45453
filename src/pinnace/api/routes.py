# ruff: noqa: E501 - one operation, one line
"""THE table: every operation of the API on one line, and the search in it.

Paths are templates of the newest description; `{name}` stands for any characters, slashes
included, since image references have them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pinnace.api.call import Handler
from pinnace.api.handlers import (
    archive,
    attach,
    builds,
    containers,
    early_builds,
    early_containers,
    early_images,
    events,
    execs,
    images,
    logs,
    networks,
    pushes,
    registries,
    system,
    tarballs,
    unserved,
    volumes,
)
from pinnace.api.versions import OLDEST, Version

Kind = Literal["json", "stream", "hijack", "websocket"]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Attributes:
        kind: `json`: one answer of known length; `stream`: sent piece by piece; `hijack` and
            `websocket`: the connection becomes something else.
        first: Version that brought the operation.
        last: Last version that has it; None: the newest has.
        early: Handler for clients up to 1.2 of an operation that was another one then.
        refused_before: Clients older than `first` are told so; otherwise they are served, if they
            are newer than 1.2.
    """

    method: str
    path: str
    operation: str
    handler: Handler
    kind: Kind = "json"
    first: Version = OLDEST
    last: Version | None = None
    refused_before: bool = False
    early: Handler | None = None

    def exists_at(self, version: Version) -> bool:
        """Whether the description of `version` has the operation."""
        return self.first <= version and (self.last is None or version <= self.last)


def _route(
    method: str,
    path: str,
    operation: str,
    handler: Handler,
    kind: Kind = "json",
    *,
    since: int = 0,
    until: int | None = None,
    refused_before: bool = False,
    early: Handler | None = None,
) -> Route:
    last = None if until is None else Version(1, until)
    first = Version(1, since)
    return Route(method, path, operation, handler, kind, first, last, refused_before, early)


# fmt: off
ROUTES: tuple[Route, ...] = (
    # system
    _route("GET", "/_ping", "SystemPing", system.ping, since=11),
    _route("HEAD", "/_ping", "SystemPingHead", system.ping, since=40),
    _route("GET", "/info", "SystemInfo", system.info),
    _route("GET", "/version", "SystemVersion", system.version),
    _route("GET", "/events", "SystemEvents", events.events, "stream", since=3),
    _route("GET", "/system/df", "SystemDataUsage", system.data_usage, since=25),
    _route("POST", "/auth", "SystemAuth", registries.login),
    _route("GET", "/auth", "SystemAuthInfo", registries.kept_login, until=2),
    # containers
    _route("GET", "/containers/json", "ContainerList", containers.list_all, early=early_containers.list_all),
    _route("GET", "/containers/ps", "ContainerList", containers.list_all, until=19, early=early_containers.list_all),
    _route("POST", "/containers/create", "ContainerCreate", containers.create, early=early_containers.create),
    _route("POST", "/containers/prune", "ContainerPrune", containers.prune, since=25, refused_before=True),
    _route("GET", "/containers/{name}/json", "ContainerInspect", containers.inspect, early=early_containers.inspect),
    _route("GET", "/containers/{name}/top", "ContainerTop", containers.top, since=3),
    _route("GET", "/containers/{name}/logs", "ContainerLogs", logs.logs, "stream", since=11),
    _route("GET", "/containers/{name}/changes", "ContainerChanges", containers.changes),
    _route("GET", "/containers/{name}/export", "ContainerExport", archive.export, "stream"),
    _route("GET", "/containers/{name}/stats", "ContainerStats", containers.stats, "stream", since=17),
    _route("GET", "/containers/{name}/attach/ws", "ContainerAttachWebsocket", attach.attach_websocket, "websocket", since=3),
    _route("HEAD", "/containers/{name}/archive", "ContainerArchiveInfo", archive.stat, since=20),
    _route("GET", "/containers/{name}/archive", "ContainerArchive", archive.get, "stream", since=20),
    _route("PUT", "/containers/{name}/archive", "PutContainerArchive", archive.put, since=20),
    _route("POST", "/containers/{name}/copy", "ContainerCopy", archive.copy, "stream", since=4, until=23),
    _route("POST", "/containers/{name}/resize", "ContainerResize", containers.resize, early=early_containers.resize),
    _route("POST", "/containers/{name}/start", "ContainerStart", containers.start, early=early_containers.start),
    _route("POST", "/containers/{name}/stop", "ContainerStop", containers.stop),
    _route("POST", "/containers/{name}/restart", "ContainerRestart", containers.restart, early=early_containers.restart),
    _route("POST", "/containers/{name}/kill", "ContainerKill", containers.kill),
    _route("POST", "/containers/{name}/update", "ContainerUpdate", containers.update, since=22),
    _route("POST", "/containers/{name}/rename", "ContainerRename", containers.rename, since=17),
    _route("POST", "/containers/{name}/pause", "ContainerPause", containers.pause, since=12),
    _route("POST", "/containers/{name}/unpause", "ContainerUnpause", containers.unpause, since=12),
    _route("POST", "/containers/{name}/attach", "ContainerAttach", attach.attach, "hijack", early=early_containers.attach),
    _route("POST", "/containers/{name}/wait", "ContainerWait", containers.wait, "stream"),
    _route("POST", "/containers/{name}/exec", "ContainerExec", execs.create, since=15),
    _route("DELETE", "/containers/{name}", "ContainerDelete", containers.remove, early=early_containers.remove),
    # execs
    _route("POST", "/exec/{name}/start", "ExecStart", execs.start, "hijack", since=15),
    _route("POST", "/exec/{name}/resize", "ExecResize", execs.resize, since=15),
    _route("GET", "/exec/{name}/json", "ExecInspect", execs.inspect, since=16),
    # images
    _route("GET", "/images/json", "ImageList", images.list_all, early=early_images.list_all),
    _route("GET", "/images/search", "ImageSearch", registries.search),
    _route("GET", "/images/viz", "ImageGraph", early_images.graph, until=6),
    _route("GET", "/images/get", "ImageGetAll", tarballs.save_several, "stream", since=15),
    _route("POST", "/images/create", "ImageCreate", tarballs.create, "stream", early=early_images.create),
    _route("POST", "/images/load", "ImageLoad", tarballs.load, "stream", since=7),
    _route("POST", "/images/prune", "ImagePrune", images.prune, since=25, refused_before=True),
    _route("POST", "/images/getCache", "ImageGetCache", early_images.cached, until=4),
    _route("GET", "/images/{name}/json", "ImageInspect", images.inspect, early=early_images.inspect),
    _route("GET", "/images/{name}/history", "ImageHistory", images.history, early=early_images.history),
    _route("GET", "/images/{name}/attestations", "ImageAttestations", unserved.attestations, since=55, refused_before=True),
    _route("GET", "/images/{name}/get", "ImageGet", tarballs.save, "stream", since=7),
    _route("POST", "/images/{name}/push", "ImagePush", pushes.push, "stream", early=early_images.push),
    _route("POST", "/images/{name}/tag", "ImageTag", images.tag, early=early_images.tag),
    _route("POST", "/images/{name}/insert", "ImageInsert", early_images.insert, "stream", until=11),
    _route("POST", "/images/{name}/delete", "ImageDelete", early_images.delete, since=2, until=2),
    _route("DELETE", "/images/{name}", "ImageDelete", images.delete, early=early_images.delete),
    _route("POST", "/commit", "ImageCommit", images.commit, early=early_images.commit),
    _route("GET", "/distribution/{name}/json", "DistributionInspect", registries.distribution, since=30, refused_before=True),
    # builds
    _route("POST", "/build", "ImageBuild", builds.build, "stream", early=early_builds.build),
    _route("POST", "/build/prune", "BuildPrune", builds.prune, since=31, refused_before=True),
    _route("POST", "/build/cancel", "BuildCancel", unserved.builds, since=39),
    _route("POST", "/session", "Session", unserved.builds, since=31),
    _route("POST", "/grpc", "Grpc", unserved.builds, since=39),
    # volumes
    _route("GET", "/volumes", "VolumeList", volumes.list_all, since=21),
    _route("POST", "/volumes/create", "VolumeCreate", volumes.create, since=21),
    _route("POST", "/volumes/prune", "VolumePrune", volumes.prune, since=25, refused_before=True),
    _route("GET", "/volumes/{name}", "VolumeInspect", volumes.inspect, since=21),
    _route("PUT", "/volumes/{name}", "VolumeUpdate", unserved.swarm, since=42, refused_before=True),
    _route("DELETE", "/volumes/{name}", "VolumeDelete", volumes.remove, since=21),
    # networks
    _route("GET", "/networks", "NetworkList", networks.list_all, since=21),
    _route("GET", "/networks/", "NetworkList", networks.list_all, since=21),
    _route("POST", "/networks/create", "NetworkCreate", networks.create, since=21),
    _route("POST", "/networks/prune", "NetworkPrune", networks.prune, since=25, refused_before=True),
    _route("POST", "/networks/{name}/connect", "NetworkConnect", networks.connect, since=21),
    _route("POST", "/networks/{name}/disconnect", "NetworkDisconnect", networks.disconnect, since=21),
    _route("GET", "/networks/{name}", "NetworkInspect", networks.inspect, since=21),
    _route("DELETE", "/networks/{name}", "NetworkDelete", networks.remove, since=21),
    # plugins
    _route("GET", "/plugins", "PluginList", unserved.no_plugins, since=24),
    _route("GET", "/plugins/privileges", "GetPluginPrivileges", unserved.plugins, since=24),
    _route("POST", "/plugins/pull", "PluginPull", unserved.plugins, since=24),
    _route("POST", "/plugins/create", "PluginCreate", unserved.plugins, since=24),
    _route("GET", "/plugins/{name}/json", "PluginInspect", unserved.plugin, since=24),
    _route("POST", "/plugins/{name}/enable", "PluginEnable", unserved.plugin, since=24),
    _route("POST", "/plugins/{name}/disable", "PluginDisable", unserved.plugin, since=24),
    _route("POST", "/plugins/{name}/upgrade", "PluginUpgrade", unserved.plugin, since=26, refused_before=True),
    _route("POST", "/plugins/{name}/push", "PluginPush", unserved.plugin, since=24),
    _route("POST", "/plugins/{name}/set", "PluginSet", unserved.plugin, since=24),
    _route("DELETE", "/plugins/{name}", "PluginDelete", unserved.plugin, since=24),
    # swarm
    _route("GET", "/swarm", "SwarmInspect", unserved.swarm, since=24),
    _route("GET", "/swarm/unlockkey", "SwarmUnlockkey", unserved.swarm, since=24),
    _route("POST", "/swarm/init", "SwarmInit", unserved.clusters, since=24),
    _route("POST", "/swarm/join", "SwarmJoin", unserved.clusters, since=24),
    _route("POST", "/swarm/leave", "SwarmLeave", unserved.no_swarm, since=24),
    _route("POST", "/swarm/update", "SwarmUpdate", unserved.swarm, since=24),
    _route("POST", "/swarm/unlock", "SwarmUnlock", unserved.no_swarm, since=24),
    _route("GET", "/nodes", "NodeList", unserved.swarm, since=24),
    _route("GET", "/nodes/{name}", "NodeInspect", unserved.swarm, since=24),
    _route("DELETE", "/nodes/{name}", "NodeDelete", unserved.swarm, since=24),
    _route("POST", "/nodes/{name}/update", "NodeUpdate", unserved.swarm, since=24),
    _route("GET", "/services", "ServiceList", unserved.swarm, since=24),
    _route("POST", "/services/create", "ServiceCreate", unserved.swarm, since=24),
    _route("GET", "/services/{name}/logs", "ServiceLogs", unserved.swarm, since=29),
    _route("POST", "/services/{name}/update", "ServiceUpdate", unserved.swarm, since=24),
    _route("GET", "/services/{name}", "ServiceInspect", unserved.swarm, since=24),
    _route("DELETE", "/services/{name}", "ServiceDelete", unserved.swarm, since=24),
    _route("GET", "/tasks", "TaskList", unserved.swarm, since=24),
    _route("GET", "/tasks/{name}/logs", "TaskLogs", unserved.swarm, since=29),
    _route("GET", "/tasks/{name}", "TaskInspect", unserved.swarm, since=24),
    _route("GET", "/secrets", "SecretList", unserved.swarm, since=25, refused_before=True),
    _route("POST", "/secrets/create", "SecretCreate", unserved.swarm, since=25, refused_before=True),
    _route("POST", "/secrets/{name}/update", "SecretUpdate", unserved.swarm, since=25, refused_before=True),
    _route("GET", "/secrets/{name}", "SecretInspect", unserved.swarm, since=25, refused_before=True),
    _route("DELETE", "/secrets/{name}", "SecretDelete", unserved.swarm, since=25, refused_before=True),
    _route("GET", "/configs", "ConfigList", unserved.swarm, since=30, refused_before=True),
    _route("POST", "/configs/create", "ConfigCreate", unserved.swarm, since=30, refused_before=True),
    _route("POST", "/configs/{name}/update", "ConfigUpdate", unserved.swarm, since=30, refused_before=True),
    _route("GET", "/configs/{name}", "ConfigInspect", unserved.swarm, since=30, refused_before=True),
    _route("DELETE", "/configs/{name}", "ConfigDelete", unserved.swarm, since=30, refused_before=True),
)
# fmt: on


class Router:
    """Finds the route of a method and a path without version prefix."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._static: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            if "{" not in route.path:
                self._static[route.method, route.path] = route
                continue
            pattern = re.compile(route.path.replace("{name}", "(?P<name>.+)"), re.DOTALL)
            self._patterns.setdefault((route.method, _head(route.path)), []).append(
                (pattern, route)
            )

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """Return the route and the parts of the path, or None."""
        route = self._static.get((method, path))
        if route is not None:
            return route, _NO_PARTS
        for pattern, candidate in self._patterns.get((method, _head(path)), ()):
            match = pattern.fullmatch(path)
            if match:
                return candidate, match.groupdict()
        return None


_NO_PARTS: Mapping[str, str] = {}


def _head(path: str) -> str:
    """Return the first segment of a path."""
    return path[1:].partition("/")[0]
