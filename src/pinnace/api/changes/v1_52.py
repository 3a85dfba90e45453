"""API 1.52."""

from pinnace.api.changes.change import (
    Change,
    Json,
    JsonObject,
    RequestMessage,
    ResponseMessage,
    child,
    drop,
    made_child,
    text,
)
from pinnace.api.versions import Version
from pinnace.errors import InvalidParameter

_ENDPOINT_FIELDS: tuple[tuple[str, Json], ...] = (
    ("EndpointID", ""),
    ("Gateway", ""),
    ("GlobalIPv6Address", ""),
    ("GlobalIPv6PrefixLen", 0),
    ("IPAddress", ""),
    ("IPPrefixLen", 0),
    ("IPv6Gateway", ""),
    ("MacAddress", ""),
)
_CONSTANT_FIELDS: tuple[tuple[str, Json], ...] = (
    ("Bridge", ""),
    ("HairpinMode", False),
    ("LinkLocalIPv6Address", ""),
    ("LinkLocalIPv6PrefixLen", 0),
    ("SecondaryIPAddresses", None),
    ("SecondaryIPv6Addresses", None),
)


def main_network(body: JsonObject) -> str:
    """Return the name of the network that container-wide addresses belong to."""
    mode = text(child(body, "HostConfig"), "NetworkMode")
    return "bridge" if mode in ("", "default") else mode


def _move_address(message: RequestMessage) -> None:
    """Move the container-wide MAC address to the main network's endpoint."""
    address = message.body.pop("MacAddress", None)
    if not isinstance(address, str) or not address:
        return
    network = main_network(message.body)
    endpoints = made_child(made_child(message.body, "NetworkingConfig"), "EndpointsConfig")
    endpoint = made_child(endpoints, network)
    if text(endpoint, "MacAddress") not in ("", address):
        raise InvalidParameter(
            "the container-wide MAC address must match the endpoint-specific MAC address for"
            f' the main network "{network}", or should be left empty'
        )
    endpoint["MacAddress"] = address
    message.warnings.append(
        "The container-wide MacAddress field is now deprecated. It should be specified in"
        " EndpointsConfig instead."
    )


def add_legacy_addresses(body: JsonObject) -> None:
    """Add the address fields of the default bridge to the network settings."""
    settings = child(body, "NetworkSettings")
    bridge = child(child(settings, "Networks"), "bridge")
    for key, default in _ENDPOINT_FIELDS:
        settings[key] = bridge.get(key, default)
    for key, default in _CONSTANT_FIELDS:
        settings.setdefault(key, default)
    config = child(body, "Config")
    config.setdefault("OnBuild", None)
    address = _asked_address(child(child(settings, "Networks"), main_network(body)))
    if address:
        config["MacAddress"] = address


def _asked_address(endpoint: JsonObject) -> str:
    """Return an endpoint's MAC address unless it was derived from the IP address."""
    address, ip = text(endpoint, "MacAddress"), text(endpoint, "IPAddress")
    octets = [part for part in ip.split(".") if part.isdecimal()]
    derived = ":".join(["02", "42", *(f"{int(part):02x}" for part in octets)])
    return "" if address.lower() == derived else address


def _show_graph_driver(body: JsonObject) -> None:
    storage = body.pop("Storage", None)
    if storage is not None and body.get("GraphDriver") is None:
        body["GraphDriver"] = {"Name": "overlayfs", "Data": None}


def add_legacy_event_fields(body: JsonObject) -> None:
    """Add `status`, `id` and `from`, which events of containers and images had."""
    kind = body.get("Type")
    if kind not in ("container", "image"):
        return
    actor = child(body, "Actor")
    body["status"] = body.get("Action")
    body["id"] = actor.get("ID")
    source = text(child(actor, "Attributes"), "image")
    if kind == "container" and source:
        body["from"] = source


def _fill_image(body: JsonObject) -> None:
    for key in ("Parent", "Comment", "DockerVersion", "Author"):
        body.setdefault(key, "")
    config = body.get("Config")
    if isinstance(config, dict):
        config.setdefault("User", "")
        config.setdefault("WorkingDir", "")
        for key in ("Env", "Cmd", "Entrypoint", "OnBuild", "Labels", "Volumes"):
            config.setdefault(key, None)
    _show_graph_driver(body)


def _no_containers(body: JsonObject) -> None:
    body.setdefault("Containers", {})


def _old_usage(message: ResponseMessage) -> None:
    """Keep the lists only; the usage objects and `verbose` came with 1.52."""
    body = message.body
    if not isinstance(body, dict):
        return
    for key in ("ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"):
        body.pop(key, None)


CHANGES = (
    Change(
        version=Version(1, 52),
        operation="ContainerCreate",
        upgrade=_move_address,
        summary="Config.MacAddress is refused; from older clients it moves to the endpoint.",
    ),
    Change(
        version=Version(1, 52),
        operation="ContainerInspect",
        downgrade=add_legacy_addresses,
        summary="Addresses are shown per endpoint only; older clients get the bridge's too.",
    ),
    Change(
        version=Version(1, 52),
        operation="ContainerInspect",
        downgrade=_show_graph_driver,
        summary="Storage replaces GraphDriver where storage is a snapshot store.",
    ),
    Change(
        version=Version(1, 52),
        operation="ContainerList",
        downgrade=drop("Health"),
        summary="The list shows health.",
    ),
    Change(
        version=Version(1, 52),
        operation="ContainerStats",
        downgrade=drop("os_type"),
        summary="Stats show the operating system.",
    ),
    Change(
        version=Version(1, 52),
        operation="SystemEvents",
        downgrade=add_legacy_event_fields,
        behaviour={"event_lines": False},
        summary="Events are JSON lines without status, id and from.",
    ),
    Change(
        version=Version(1, 52),
        operation="NetworkList",
        downgrade=_no_containers,
        summary="The network list has no containers; older clients get an empty map.",
    ),
    Change(
        version=Version(1, 52),
        operation="NetworkInspect",
        downgrade=drop("Status"),
        summary="Network inspect shows how many addresses are in use.",
    ),
    Change(
        version=Version(1, 52),
        operation="ImageInspect",
        downgrade=_fill_image,
        summary="Empty fields of images are omitted; older clients get all of them.",
    ),
    Change(
        version=Version(1, 52),
        operation="SystemDataUsage",
        reshape=_old_usage,
        behaviour={"usage_lists": True},
        summary="Disk usage has an object per kind; older clients get the lists only.",
    ),
)
