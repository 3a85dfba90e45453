"""Builders of container records, and fakes of what the container services share."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from pinnace.errors import ContainerNotFound
from pinnace.model.container import Container, ContainerConfig, HostConfig, RunState, Status
from pinnace.model.record import ContainerId, ImageId


def a_container(
    number: int = 1,
    *,
    name: str = "web",
    status: Status = "running",
    config: ContainerConfig | None = None,
    host_config: HostConfig | None = None,
) -> Container:
    """Return a record; equal numbers give equal ids."""
    running = status in ("running", "paused")
    return Container(
        id=ContainerId(f"{number:064x}"),
        name=name,
        created_ns=1,
        image_id=ImageId(f"sha256:{number:064x}"),
        layer="",
        path="sh",
        args=[],
        config=config or ContainerConfig(image="busybox"),
        host_config=host_config or HostConfig(),
        state=RunState(status=status, pid=1000 + number if running else 0),
    )


class FakeContainers:
    """Fulfils ContainerLookup over a dict."""

    def __init__(self, *containers: Container) -> None:
        self._by_id = {container.id: container for container in containers}

    def put(self, container: Container) -> None:
        """Add or replace a record."""
        self._by_id[container.id] = container

    def set_status(self, container_id: ContainerId, status: Status) -> None:
        """Change a record's status."""
        record = self._by_id[container_id]
        state = msgspec.structs.replace(record.state, status=status)
        self._by_id[container_id] = msgspec.structs.replace(record, state=state)

    def get(self, ref: str) -> Container:
        """Find by name, id or prefix."""
        for container in self._by_id.values():
            if ref == container.name or container.id.startswith(ref):
                return container
        raise ContainerNotFound(ref)

    def by_id(self, container_id: ContainerId) -> Container:
        """Find by id."""
        if container_id not in self._by_id:
            raise ContainerNotFound(container_id)
        return self._by_id[container_id]


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """An event as it was published."""

    type: str
    action: str
    actor_id: str
    attributes: Mapping[str, str]


class SeenEvents:
    """Fulfils Publish and remembers what was published."""

    def __init__(self) -> None:
        self.events: list[SeenEvent] = []

    def __call__(
        self, type_: str, action: str, actor_id: str, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Remember one event."""
        self.events.append(SeenEvent(type_, action, actor_id, dict(attributes or {})))

    @property
    def actions(self) -> list[str]:
        """What happened, in order."""
        return [event.action for event in self.events]
