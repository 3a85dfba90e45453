"""API 1.3, the first after the three versions of May and June 2013.

What only those three do is here: they knew neither names nor host configs, showed short ids in
answers, and chose statuses by the beginning of the message (`pinnace.api.remote`).
"""

import re

from pinnace.api.changes.change import (
    EVERY_OPERATION,
    Change,
    Json,
    JsonObject,
    QueryMap,
    RequestMessage,
    ResponseMessage,
    child,
    number,
    objects,
    text,
)
from pinnace.api.versions import Version

_CONFIG_DEFAULTS: tuple[tuple[str, Json], ...] = (
    ("Hostname", ""),
    ("User", ""),
    ("Memory", 0),
    ("MemorySwap", 0),
    ("CpuShares", 0),
    ("AttachStdin", False),
    ("AttachStdout", False),
    ("AttachStderr", False),
    ("PortSpecs", None),
    ("Tty", False),
    ("OpenStdin", False),
    ("StdinOnce", False),
    ("Env", None),
    ("Cmd", None),
    ("Dns", None),
    ("Image", ""),
    ("Volumes", None),
    ("VolumesFrom", ""),
)
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_EXITED = re.compile(r"Exited \((-?[0-9]+)\).*")
_VOLUME = re.compile(r".*/volumes/([^/]+)/_data")
_LONG_ID = re.compile(r"[0-9a-f]{64}")
_MAPPING = re.compile(r"(?:.*:)?([0-9]+)->([0-9]+)/tcp")


def short_id(value: str) -> str:
    """Return the first 12 digits of an id; other words as they are."""
    digits = value.removeprefix("sha256:")
    return digits[:12] if _LONG_ID.fullmatch(digits) else value


def _swap_limit(message: RequestMessage) -> None:
    """The number of `MemorySwap` says nothing but whether there is no limit."""
    memory = number(message.body, "Memory")
    if not memory or number(message.body, "MemorySwap") > 0:
        message.body["MemorySwap"] = 2 * memory


def _listed(body: JsonObject) -> None:
    status = text(body, "Status")
    exited = _EXITED.fullmatch(status)
    if exited:
        status = f"Exit {exited[1]}"
    elif status == "Created":
        status = "Exit 0"
    mappings = [_MAPPING.fullmatch(port) for port in text(body, "Ports").split(", ")]
    ports = sorted({f"{found[1]}->{found[2]}" for found in mappings if found})
    entry: JsonObject = {
        "Id": body.get("Id"),
        "Image": short_id(text(body, "Image")),
        "Command": body.get("Command"),
        "Created": body.get("Created"),
        "Status": status.partition(" (")[0],
        "Ports": ", ".join(ports),
    }
    entry.update({key: body[key] for key in ("SizeRw", "SizeRootFs") if key in body})
    body.clear()
    body.update(entry)


def _grace_query(query: QueryMap) -> None:
    """A grace period that is no number, or negative, means ten seconds."""
    if not re.fullmatch(r"[0-9]{1,9}", (query.get("t") or [""])[0], re.ASCII):
        query["t"] = ["10"]


def _created(message: ResponseMessage) -> None:
    if isinstance(message.body, dict):
        message.body["Id"] = short_id(text(message.body, "Id"))
        if not message.body.get("Warnings"):
            message.body.pop("Warnings", None)


def _inspected(body: JsonObject) -> None:
    body["Id"] = body.get("ID")
    running = bool(child(body, "State").get("Running"))
    settings = child(body, "NetworkSettings")
    ports = child(settings, "Ports")
    address, prefix = settings.get("IPAddress", ""), settings.get("IPPrefixLen", 0)
    body["NetworkSettings"] = {
        "IPAddress": address,
        "IpAddress": address,
        "IPPrefixLen": prefix,
        "IpPrefixLen": prefix,
        "Gateway": settings.get("Gateway", ""),
        "Bridge": settings.get("Bridge", ""),
        "PortMapping": _port_mapping(ports) if running else None,
    }
    config = _early_config(child(body, "Config"))
    if config["MemorySwap"] == 2 * number(config, "Memory"):
        config["MemorySwap"] = 0
    if not config["Dns"]:
        body["ResolvConfPath"] = "/etc/resolv.conf"
    body["Config"] = config
    started = text(child(body, "State"), "StartedAt")
    body["Volumes"] = None if started.startswith("0001-") else _volume_ids(child(body, "Volumes"))


def _volume_ids(sources: JsonObject) -> JsonObject:
    """Paths in the container with the volumes there, which are told by id."""
    found = {path: _VOLUME.fullmatch(str(source)) for path, source in sources.items()}
    return {path: match[1] if match else sources[path] for path, match in found.items()}


def _inspected_image(body: JsonObject) -> None:
    config = child(body, "config")
    if any(config.values()) or "Memory" in config:
        if not config.get("PortSpecs"):
            config["PortSpecs"] = _exposed(config)
        body["config"] = _early_config(config)
    else:  # only engines of the time wrote all fields of a config that says nothing
        body.pop("config", None)
    body["container_config"] = _early_config(child(body, "container_config"))
    machine = text(body, "architecture")
    body["architecture"] = _MACHINES.get(machine, machine)


def _early_config(config: JsonObject) -> JsonObject:
    return {key: config.get(key, default) for key, default in _CONFIG_DEFAULTS}


def _exposed(config: JsonObject) -> Json:
    ports = [port.partition("/") for port in child(config, "ExposedPorts")]
    numbers = sorted(int(number) for number, _, kind in ports if kind in ("", "tcp"))
    return [str(number) for number in numbers] or None


def _port_mapping(ports: JsonObject) -> JsonObject:
    mapping: JsonObject = {}
    for port, bindings in ports.items():
        number, _, kind = port.partition("/")
        for binding in objects(bindings)[:1] if kind in ("", "tcp") else ():
            mapping[number] = binding.get("HostPort")
    return mapping


def _history(body: JsonObject) -> None:
    entry: JsonObject = {
        "Id": short_id(text(body, "Id")),
        "Created": body.get("Created", 0),
    }
    if body.get("CreatedBy"):
        entry["CreatedBy"] = body["CreatedBy"]
    entry["Tags"] = body.get("Tags")
    body.clear()
    body.update(entry)


def _deleted(body: JsonObject) -> None:
    for key, value in body.items():
        if isinstance(value, str):
            body[key] = short_id(value)


def _engine_version(body: JsonObject) -> None:
    kept: JsonObject = {
        key: body[key] for key in ("Version", "GitCommit", "GoVersion") if body.get(key)
    }
    body.clear()
    body.update(kept)


def _image_query(query: QueryMap) -> None:
    """Name the parameter so that it is not taken for a pattern of later versions."""
    if "filter" in query:
        query["repository"] = query.pop("filter")


def _status_line(body: JsonObject) -> None:
    body["Status"] = f"{text(body, 'Status')}\n"


CHANGES = (
    Change(
        version=Version(1, 3),
        operation=EVERY_OPERATION,
        behaviour={"remote": True, "strict_booleans": True},
        summary="Statuses follow the beginning of the message; booleans are 0, 1, true or false.",
    ),
    Change(
        version=Version(1, 3),
        operation="ContainerList",
        downgrade=_listed,
        summary="Six fields per container; the exit status as `Exit 0`; any limit lists all.",
    ),
    Change(
        version=Version(1, 3),
        operation="ContainerCreate",
        upgrade=_swap_limit,
        reshape=_created,
        summary="Eighteen fields at create; the answer has a short id.",
    ),
    Change(
        version=Version(1, 3),
        operation=("ContainerStop", "ContainerRestart"),
        upgrade_query=_grace_query,
        summary="Bad grace periods are errors; for older clients they mean ten seconds.",
    ),
    Change(
        version=Version(1, 3),
        operation="ContainerInspect",
        downgrade=_inspected,
        summary="Both spellings of ids and addresses; a map of published ports.",
    ),
    Change(
        version=Version(1, 3),
        operation="ImageList",
        upgrade_query=_image_query,
        summary="The filter is the name of a repository; every step of an image has an id.",
    ),
    Change(
        version=Version(1, 3),
        operation="ImageInspect",
        downgrade=_inspected_image,
        summary="Image configs have the eighteen fields of containers.",
    ),
    Change(
        version=Version(1, 3),
        operation="ImageCommit",
        reshape=_created,
        summary="The config is the body alone; the answer has a short id.",
    ),
    Change(
        version=Version(1, 3),
        operation="ImageHistory",
        downgrade=_history,
        summary="History has short ids.",
    ),
    Change(
        version=Version(1, 3),
        operation="ImageDelete",
        downgrade=_deleted,
        summary="Deleted images are told by short ids.",
    ),
    Change(
        version=Version(1, 3),
        operation="SystemVersion",
        downgrade=_engine_version,
        summary="The version holds the engine's only.",
    ),
    Change(
        version=Version(1, 3),
        operation="SystemAuth",
        downgrade=_status_line,
        summary="The status of a login ends without a line break.",
    ),
)
