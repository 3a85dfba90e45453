"""API 1.42."""

import json

from pinnace.api.changes.change import (
    Change,
    JsonObject,
    QueryMap,
    RequestMessage,
    child,
    ignore_query,
    objects,
)
from pinnace.api.versions import Version

_CONDITIONS = ("not-running", "next-exit", "removed")
_OPTIONS_OF_TYPE = {
    "bind": "BindOptions",
    "volume": "VolumeOptions",
    "tmpfs": "TmpfsOptions",
    "image": "ImageOptions",
    "npipe": "",
    "cluster": "ClusterOptions",
}


def _upgrade_create(message: RequestMessage) -> None:
    host = child(message.body, "HostConfig")
    host.pop("ConsoleSize", None)
    for mount in objects(host.get("Mounts")):
        child(mount, "BindOptions").pop("CreateMountpoint", None)
        fitting = _OPTIONS_OF_TYPE.get(str(mount.get("Type")), "")
        for options in ("BindOptions", "VolumeOptions", "TmpfsOptions"):
            if options != fitting:
                mount.pop(options, None)


def _known_condition(query: QueryMap) -> None:
    if (query.get("condition") or [""])[0] not in _CONDITIONS:
        query.pop("condition", None)


def _kernel_memory(body: JsonObject) -> None:
    host = child(body, "HostConfig")
    host["KernelMemory"] = 0
    host["KernelMemoryTCP"] = 0


def _kernel_memory_flags(body: JsonObject) -> None:
    body["KernelMemory"] = False
    body["KernelMemoryTCP"] = False


def _builder_size(body: JsonObject) -> None:
    body["BuilderSize"] = 0


def _ignore_console_size(message: RequestMessage) -> None:
    message.body.pop("ConsoleSize", None)


def _prune_every_volume(query: QueryMap) -> None:
    """Add the filter `all=true`: older clients mean every unused volume."""
    raw = (query.get("filters") or [""])[0]
    try:
        filters = json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        return  # the filter parser will say what is wrong with it
    if isinstance(filters, dict):
        filters["all"] = ["true"]
        query["filters"] = [json.dumps(filters)]


CHANGES = (
    Change(
        version=Version(1, 42),
        operation="ContainerCreate",
        upgrade=_upgrade_create,
        summary="ConsoleSize and CreateMountpoint; mount options of another type are errors.",
    ),
    Change(
        version=Version(1, 42),
        operation=("ContainerStop", "ContainerRestart"),
        upgrade_query=ignore_query("signal"),
        summary="Stop and restart take a signal; from older clients it is ignored.",
    ),
    Change(
        version=Version(1, 42),
        operation=("ContainerExec", "ExecStart"),
        upgrade=_ignore_console_size,
        summary="Execs take a console size; from older clients it is ignored.",
    ),
    Change(
        version=Version(1, 42),
        operation=("ContainerAttach", "ContainerLogs", "ExecStart"),
        behaviour={"multiplexed_type": False},
        summary="The content type of a stream tells whether it is framed.",
    ),
    Change(
        version=Version(1, 42),
        operation="ContainerAttachWebsocket",
        behaviour={"websocket_streams": False},
        summary="Websockets carry the streams asked for; older clients get all three.",
    ),
    Change(
        version=Version(1, 42),
        operation="ContainerWait",
        upgrade_query=_known_condition,
        summary="An unknown condition is an error; from older clients it means not-running.",
    ),
    Change(
        version=Version(1, 42),
        operation="ContainerInspect",
        downgrade=_kernel_memory,
        summary="Limits of kernel memory are gone; older clients see none set.",
    ),
    Change(
        version=Version(1, 42),
        operation="SystemInfo",
        downgrade=_kernel_memory_flags,
        summary="Limits of kernel memory are gone; older clients see that there are none.",
    ),
    Change(
        version=Version(1, 42),
        operation="VolumePrune",
        upgrade_query=_prune_every_volume,
        summary="Only anonymous volumes are pruned; for older clients all unused ones are.",
    ),
    Change(
        version=Version(1, 42),
        operation="SystemDataUsage",
        upgrade_query=ignore_query("type"),
        downgrade=_builder_size,
        summary="Disk usage can be asked by type; from older clients that is ignored.",
    ),
    Change(
        version=Version(1, 42),
        operation="ImageList",
        upgrade_query=ignore_query("shared-size"),
        summary="Shared sizes of images on request.",
    ),
)
