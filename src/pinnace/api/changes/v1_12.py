"""API 1.12."""

from pinnace.api.changes.change import Change, JsonObject, QueryMap, child
from pinnace.api.versions import Version

_IMAGE_KEYS = {
    "Id": "id",
    "Parent": "parent",
    "Comment": "comment",
    "Created": "created",
    "Container": "container",
    "ContainerConfig": "container_config",
    "DockerVersion": "docker_version",
    "Author": "author",
    "Config": "config",
    "Architecture": "architecture",
    "Os": "os",
}
_STATE_KEYS = ("Running", "Pid", "ExitCode", "StartedAt", "FinishedAt")
_CONTAINER_KEYS = (
    "Created",
    "Path",
    "Args",
    "Config",
    "Image",
    "NetworkSettings",
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    "Name",
    "Driver",
    "Volumes",
    "VolumesRW",
    "HostConfig",
)


def _raw_container(body: JsonObject) -> None:
    """Show the record as the engines of the time kept it."""
    record: JsonObject = {"ID": body.get("Id")}
    record.update({key: body[key] for key in _CONTAINER_KEYS if key in body})
    state = child(body, "State")
    record["State"] = {key: state.get(key) for key in _STATE_KEYS} | {"Ghost": False}
    record["SysInitPath"] = "/usr/bin/docker"
    image = record.get("Image")
    if isinstance(image, str):
        record["Image"] = image.removeprefix("sha256:")
    body.clear()
    body.update(record)


def _lower_keys(body: JsonObject) -> None:
    image: JsonObject = {lower: body[key] for key, lower in _IMAGE_KEYS.items() if body.get(key)}
    for key in ("id", "parent"):
        value = image.get(key)
        if isinstance(value, str):
            image[key] = value.removeprefix("sha256:")
    image["Size"] = body.get("Size", 0)
    body.clear()
    body.update(image)


def _trusted(body: JsonObject) -> None:
    body["is_trusted"] = body.pop("is_automated", False)


def _containers_stay(query: QueryMap) -> None:
    query.setdefault("rm", ["0"])
    query.pop("forcerm", None)


CHANGES = (
    Change(
        version=Version(1, 12),
        operation="ContainerInspect",
        downgrade=_raw_container,
        summary="Container inspect has keys of its own; older clients get the raw record.",
    ),
    Change(
        version=Version(1, 12),
        operation="ImageInspect",
        downgrade=_lower_keys,
        summary="Image inspect keys are CamelCase; older clients get lower case.",
    ),
    Change(
        version=Version(1, 12),
        operation="ImageSearch",
        downgrade=_trusted,
        summary="Search says is_automated; is_trusted before.",
    ),
    Change(
        version=Version(1, 12),
        operation="ImageBuild",
        upgrade_query=_containers_stay,
        summary="Containers of build steps are removed by default, and by force on request.",
    ),
)
