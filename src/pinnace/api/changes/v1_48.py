"""API 1.48."""

import re

from pinnace.api.changes.change import (
    Change,
    JsonObject,
    RequestMessage,
    child,
    drop,
    ignore_query,
    made_child,
    objects,
    text,
)
from pinnace.api.changes.v1_52 import main_network
from pinnace.api.versions import Version
from pinnace.errors import InvalidParameter

_INTERFACE_SYSCTL = re.compile(r"net\.[^.]+\.[^.]+\.eth0\..+")
SYSCTL_OPTION = "com.docker.network.endpoint.sysctls"


def _upgrade_create(message: RequestMessage) -> None:
    for endpoint in objects(child(message.body, "NetworkingConfig").get("EndpointsConfig")):
        endpoint.pop("GwPriority", None)
    for mount in objects(child(message.body, "HostConfig").get("Mounts")):
        if mount.get("Type") == "image":
            raise InvalidParameter("Mount type image needs API v1.48 or newer")
    _move_sysctls(message)


def _move_sysctls(message: RequestMessage) -> None:
    """Move sysctls of the first interface to the main network's endpoint."""
    sysctls = child(child(message.body, "HostConfig"), "Sysctls")
    moved = {key: sysctls.pop(key) for key in list(sysctls) if _INTERFACE_SYSCTL.fullmatch(key)}
    if not moved:
        return
    network = main_network(message.body)
    endpoints = made_child(made_child(message.body, "NetworkingConfig"), "EndpointsConfig")
    options = made_child(made_child(endpoints, network), "DriverOpts")
    # The option names the interface IFNAME, as which interface it becomes is not known yet.
    settings = [
        f"{key.replace('.eth0.', '.IFNAME.', 1)}={value}" for key, value in sorted(moved.items())
    ]
    before = text(options, SYSCTL_OPTION)
    options[SYSCTL_OPTION] = ",".join([before, *settings] if before else settings)
    message.warnings.append(
        f"Migrated sysctl {', '.join(sorted(moved))} to DriverOpts{{{SYSCTL_OPTION}:"
        f"{options[SYSCTL_OPTION]}}}."
    )


def _old_container(body: JsonObject) -> None:
    body.pop("ImageManifestDescriptor", None)
    for endpoint in objects(child(body, "NetworkSettings").get("Networks")):
        endpoint.pop("GwPriority", None)


CHANGES = (
    Change(
        version=Version(1, 48),
        operation="ContainerCreate",
        upgrade=_upgrade_create,
        summary="Image mounts and gateway priorities; sysctls of interfaces go to endpoints.",
    ),
    Change(
        version=Version(1, 48),
        operation=("ContainerInspect", "ContainerList"),
        downgrade=_old_container,
        summary="ImageManifestDescriptor and GwPriority were added.",
    ),
    Change(
        version=Version(1, 48),
        operation=("ImageGet", "ImageGetAll", "ImageLoad"),
        upgrade_query=ignore_query("platform"),
        summary="Platforms can be asked for on load and save.",
    ),
    Change(
        version=Version(1, 48),
        operation=("ImageInspect", "ImageList"),
        downgrade=drop("Descriptor", "Manifests"),
        summary="Images show their descriptor and manifests.",
    ),
)
