"""API 1.21."""

from pinnace.api.changes.change import (
    Change,
    JsonObject,
    RequestMessage,
    child,
    drop,
    made_child,
    number,
    objects,
)
from pinnace.api.versions import Version

_COUNTERS = (
    "rx_bytes",
    "rx_packets",
    "rx_errors",
    "rx_dropped",
    "tx_bytes",
    "tx_packets",
    "tx_errors",
    "tx_dropped",
)


def _move_volume_driver(message: RequestMessage) -> None:
    driver = message.body.pop("VolumeDriver", None)
    if driver:
        made_child(message.body, "HostConfig").setdefault("VolumeDriver", driver)


def _flat_network(body: JsonObject) -> None:
    child(body, "NetworkSettings").pop("Networks", None)
    child(body, "Config")["VolumeDriver"] = child(body, "HostConfig").get("VolumeDriver", "")


def _sum_networks(body: JsonObject) -> None:
    interfaces = objects(body.pop("networks", None))
    if interfaces:
        body["network"] = {key: sum(number(one, key) for one in interfaces) for key in _COUNTERS}


CHANGES = (
    Change(
        version=Version(1, 21),
        operation="ContainerCreate",
        upgrade=_move_volume_driver,
        summary="The volume driver is part of the host config.",
    ),
    Change(
        version=Version(1, 21),
        operation="ContainerInspect",
        downgrade=_flat_network,
        summary="Inspect shows every network; older clients get the bridge's addresses.",
    ),
    Change(
        version=Version(1, 21),
        operation="ContainerStats",
        downgrade=_sum_networks,
        summary="Stats count per interface; older clients get the sums.",
    ),
    Change(
        version=Version(1, 21),
        operation="SystemEvents",
        downgrade=drop("timeNano"),
        summary="Events have a time in nanoseconds.",
    ),
    Change(
        version=Version(1, 21),
        operation="ContainerList",
        downgrade=drop("ImageID"),
        summary="The list shows image ids.",
    ),
)
