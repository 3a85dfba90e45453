"""What the container services share: finding records and telling what happened."""

from collections.abc import Mapping
from typing import Protocol

from pinnace.model.container import Container
from pinnace.model.record import ContainerId


class ContainerLookup(Protocol):
    """Finds containers; never blocks."""

    def get(self, ref: str) -> Container:
        """Return the container with this name, id or unambiguous id prefix.

        Raises:
            ContainerNotFound: There is none.
            InvalidParameter: The prefix fits several.
        """
        ...

    def by_id(self, container_id: ContainerId) -> Container:
        """Return the container with this full id.

        Raises:
            ContainerNotFound: There is none.
        """
        ...


class Publish(Protocol):
    """Puts an event into the log; never blocks."""

    def __call__(
        self, type_: str, action: str, actor_id: str, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Publish one event."""
        ...


def container_attributes(container: Container, **extra: str) -> dict[str, str]:
    """Return the attributes of a container's event: its labels, image and name, then `extra`."""
    return {
        **(container.config.labels or {}),
        "image": container.config.image,
        "name": container.name,
        **extra,
    }
