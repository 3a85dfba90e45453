"""`GET /containers/json`: which containers, in which order."""

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pinnace.engine.filters import Filters
from pinnace.errors import InvalidParameter
from pinnace.model.container import Container
from pinnace.model.endpoint import PortMap

KEYS = frozenset(
    {
        "ancestor", "annotation", "before", "expose", "exited", "health", "id", "is-task",
        "isolation", "label", "name", "network", "publish", "since", "status", "volume",
    }
)  # fmt: skip
_STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
_HEALTH = ("none", "starting", "healthy", "unhealthy")


@dataclass(frozen=True, slots=True)
class ListParams:
    """What the list call asks for.

    Attributes:
        all: Stopped containers too.
        limit: The newest so many, stopped ones too; 0 or less: no limit.
        size: With sizes.
        filters: See `KEYS`.
        before: Only those created before this container (API 1.0 to 1.2 parameter).
        since: Only those created after it.
    """

    filters: Filters
    all: bool = False
    limit: int = 0
    size: bool = False
    before: str = ""
    since: str = ""


Lookup = Callable[[str], Container]
Ancestors = Callable[[str], frozenset[str]]


def select(
    containers: Iterable[Container], params: ListParams, *, lookup: Lookup, ancestors: Ancestors
) -> list[Container]:
    """Return the containers asked for, newest first.

    Args:
        containers: All of them.
        params: What is asked for.
        lookup: Finds the container that `before` or `since` names.
        ancestors: Ids of the image a reference names and of all images made from it.

    Raises:
        InvalidParameter: A bad filter.
        ContainerNotFound: `before` or `since` names none.
    """
    filters = params.filters
    filters.validate(KEYS)
    _check_values(filters)
    before = [lookup(ref).created_ns for ref in _refs(filters.get("before"), params.before)]
    since = [lookup(ref).created_ns for ref in _refs(filters.get("since"), params.since)]
    images = [ancestors(ref) for ref in filters.get("ancestor")]
    stopped_too = params.all or params.limit > 0 or bool(before or since) or "status" in filters
    stopped_too = stopped_too or "exited" in filters
    found = [
        container
        for container in containers
        if (stopped_too or container.state.status in {"running", "paused", "restarting"})
        and all(container.created_ns < time_ns for time_ns in before)
        and all(container.created_ns > time_ns for time_ns in since)
        and (not images or any(container.image_id in ids for ids in images))
        and _matches(container, filters)
    ]
    found.sort(key=lambda container: container.created_ns, reverse=True)
    return found[: params.limit] if params.limit > 0 else found


def _refs(values: list[str], extra: str) -> list[str]:
    return [*values, extra] if extra else values


def _check_values(filters: Filters) -> None:
    for key, known in (("status", _STATUSES), ("health", _HEALTH)):
        for value in filters.get(key):
            if value not in known:
                raise InvalidParameter(f"invalid filter '{key}={value}'")
    for value in filters.get("exited"):
        if not value.lstrip("-").isdigit():
            raise InvalidParameter(f"invalid filter 'exited={value}'")
    for key in ("publish", "expose"):
        for value in filters.get(key):
            _port_range(value)
    filters.get_bool("is-task", default=False)


def _matches(container: Container, filters: Filters) -> bool:
    state = container.state
    health = state.health.status if state.health else "none"
    networks = container.networks.items()
    return (
        filters.matches("id", container.id.startswith)
        and filters.matches("name", lambda value: _name_matches(value, container.name))
        and filters.matches("status", lambda value: value == state.status)
        and filters.matches("health", lambda value: value == health)
        and filters.matches(
            "exited",
            lambda value: int(value) == state.exit_code and state.status in {"exited", "dead"},
        )
        and filters.matches_labels(container.config.labels)
        and filters.matches_labels(container.host_config.annotations, "annotation")
        and filters.matches("isolation", lambda value: value in {"", "default"})
        and not filters.get_bool("is-task", default=False)
        and filters.matches(
            "network",
            lambda value: any(
                value == name or endpoint.network_id.startswith(value)
                for name, endpoint in networks
            ),
        )
        and filters.matches("volume", lambda value: _has_volume(container, value))
        and filters.matches("publish", lambda value: _publishes(container.ports, value))
        and filters.matches("expose", lambda value: _exposes(container, value))
    )


def _name_matches(wanted: str, name: str) -> bool:
    """A substring, or a regular expression as dockerd takes it, with or without the slash."""
    try:
        return re.search(wanted, f"/{name}") is not None or re.search(wanted, name) is not None
    except re.error:
        return wanted.removeprefix("/") in name


def _has_volume(container: Container, wanted: str) -> bool:
    cleaned = posixpath.normpath(wanted)
    return any(
        wanted == mount.name or cleaned in {mount.destination, mount.source}
        for mount in container.mounts
    )


def _port_range(text: str) -> tuple[range, str]:
    ports, _, proto = text.partition("/")
    low, _, high = ports.partition("-")
    if not low.isdigit() or (high and not high.isdigit()):
        raise InvalidParameter(f"invalid filter: invalid port '{text}'")
    return range(int(low), int(high or low) + 1), proto or "tcp"


def _publishes(ports: PortMap, wanted: str) -> bool:
    numbers, proto = _port_range(wanted)
    return any(
        key.partition("/")[2] == proto and int(binding.host_port or 0) in numbers
        for key, bindings in ports.items()
        for binding in bindings or []
    )


def _exposes(container: Container, wanted: str) -> bool:
    numbers, proto = _port_range(wanted)
    keys = {*(container.config.exposed_ports or {}), *container.ports}
    return any(
        int(key.partition("/")[0].partition("-")[0]) in numbers
        and (key.partition("/")[2] or "tcp") == proto
        for key in keys
    )
