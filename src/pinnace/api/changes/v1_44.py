"""API 1.44."""

from pinnace.api.changes.change import (
    Change,
    JsonObject,
    RequestMessage,
    ResponseMessage,
    child,
    made_child,
    objects,
)
from pinnace.api.changes.v1_52 import main_network
from pinnace.api.versions import Version
from pinnace.errors import InvalidParameter

_ZERO_TIME = "0001-01-01T00:00:00Z"


def _upgrade_create(message: RequestMessage) -> None:
    body = message.body
    child(body, "Healthcheck").pop("StartInterval", None)
    for mount in objects(child(body, "HostConfig").get("Mounts")):
        if child(mount, "BindOptions").get("ReadOnlyForceRecursive"):
            raise InvalidParameter("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
    endpoints = child(child(body, "NetworkingConfig"), "EndpointsConfig")
    if len(endpoints) > 1:
        raise InvalidParameter(
            "Container cannot be created with multiple network endpoints: API v1.44 is needed"
        )
    _settle_address(body, endpoints)


def _settle_address(body: JsonObject, endpoints: JsonObject) -> None:
    """The container-wide MAC address counts; what endpoints say does not."""
    for endpoint in objects(endpoints):
        endpoint.pop("MacAddress", None)
    address = body.pop("MacAddress", None)
    if address:
        made = made_child(made_child(body, "NetworkingConfig"), "EndpointsConfig")
        made_child(made, main_network(body))["MacAddress"] = address


def _drop_dns_names(body: JsonObject) -> None:
    for endpoint in objects(child(body, "NetworkSettings").get("Networks")):
        endpoint.pop("DNSNames", None)


def add_virtual_size(body: JsonObject) -> None:
    """Repeat an image's size under its old name."""
    body["VirtualSize"] = body.get("Size", 0)


def _old_image(body: JsonObject) -> None:
    add_virtual_size(body)
    if not body.get("Created"):
        body["Created"] = _ZERO_TIME


def _usage_sizes(message: ResponseMessage) -> None:
    if isinstance(message.body, dict):
        for image in objects(message.body.get("Images")):
            add_virtual_size(image)


def _drop_runtime_status(body: JsonObject) -> None:
    for runtime in objects(body.get("Runtimes")):
        runtime.pop("status", None)


CHANGES = (
    Change(
        version=Version(1, 44),
        operation="ContainerCreate",
        upgrade=_upgrade_create,
        behaviour={"recursive_read_only": False},
        summary="Read-only binds are recursive; several networks; start intervals.",
    ),
    Change(
        version=Version(1, 44),
        operation=("ContainerInspect", "ContainerList"),
        downgrade=_drop_dns_names,
        summary="Endpoints show their DNS names.",
    ),
    Change(
        version=Version(1, 44),
        operation="ImageList",
        downgrade=add_virtual_size,
        summary="VirtualSize is gone; older clients get the size under that name.",
    ),
    Change(
        version=Version(1, 44),
        operation="ImageInspect",
        downgrade=_old_image,
        summary="VirtualSize is gone; an unknown creation time is omitted.",
    ),
    Change(
        version=Version(1, 44),
        operation="SystemDataUsage",
        reshape=_usage_sizes,
        summary="VirtualSize is gone from the disk usage.",
    ),
    Change(
        version=Version(1, 44),
        operation="SystemInfo",
        downgrade=_drop_runtime_status,
        summary="Runtimes show their status.",
    ),
)
