"""API 1.45."""

from pinnace.api.changes.change import (
    Change,
    JsonObject,
    RequestMessage,
    child,
    objects,
    text,
    words,
)
from pinnace.api.versions import Version
from pinnace.errors import InvalidParameter

EMPTY_CONFIG: JsonObject = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}
# In the configs of images as engines up to 23.0 wrote them, but not in today's description of
# them; the last six were written up to 1.6 only.
_WRITTEN_ONLY = (
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
    "Memory",
    "MemorySwap",
    "CpuShares",
    "PortSpecs",
    "Dns",
    "VolumesFrom",
)
_PREDEFINED = ("bridge", "host", "none")


def _refuse_subpath(message: RequestMessage) -> None:
    for mount in objects(child(message.body, "HostConfig").get("Mounts")):
        if child(mount, "VolumeOptions").get("Subpath"):
            raise InvalidParameter("VolumeOptions.Subpath needs API v1.45 or newer")


def _add_aliases(body: JsonObject) -> None:
    """Show the short id and the host name among the aliases on user-defined networks."""
    names = [text(body, "Id")[:12], text(child(body, "Config"), "Hostname")]
    for network, endpoint in child(child(body, "NetworkSettings"), "Networks").items():
        if network in _PREDEFINED or not isinstance(endpoint, dict):
            continue
        aliases = words(endpoint.get("Aliases"))
        for name in names:
            if name and name not in aliases:
                aliases.append(name)
        endpoint["Aliases"] = list(aliases)


def _add_container(body: JsonObject) -> None:
    origin = child(body, "Origin")
    body.pop("Origin", None)
    body["Container"] = text(origin, "Container")
    body["ContainerConfig"] = EMPTY_CONFIG | child(origin, "ContainerConfig")
    written = child(origin, "Config")
    kept = {key: written[key] for key in _WRITTEN_ONLY if key in written}
    body["Config"] = child(body, "Config") | kept


CHANGES = (
    Change(
        version=Version(1, 45),
        operation="ContainerCreate",
        upgrade=_refuse_subpath,
        summary="Part of a volume can be mounted; older clients cannot ask for it.",
    ),
    Change(
        version=Version(1, 45),
        operation="ContainerInspect",
        downgrade=_add_aliases,
        summary="Aliases hold only what was asked for; older clients see the short id too.",
    ),
    Change(
        version=Version(1, 45),
        operation="ImageInspect",
        downgrade=_add_container,
        behaviour={"image_origin": True},
        summary="Image inspect no longer shows the container it came from.",
    ),
    Change(
        version=Version(1, 45),
        operation="ImageSearch",
        behaviour={"automated_builds": True},
        summary="Search no longer tells which repositories are built automatically.",
    ),
)
