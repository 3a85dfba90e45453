"""What the image service is built of, and its neighbours."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pinnace.contracts.content import Content
from pinnace.contracts.downloads import Downloads
from pinnace.contracts.image_store import ImageStore
from pinnace.contracts.layer_blobs import LayerBlobs
from pinnace.contracts.registry import Registries, TransferLimits
from pinnace.contracts.snapshots import Snapshots
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.platform import Platform

T = TypeVar("T")


class Offload(Protocol):
    """Runs a blocking function in a bounded worker pool and awaits its result."""

    async def __call__(self, fn: Callable[[], T], /) -> T:
        """Run `fn`."""
        ...


class Publish(Protocol):
    """Puts an event into the log; never blocks."""

    def __call__(
        self, type_: str, action: str, actor_id: str, attributes: Mapping[str, str] | None = None
    ) -> None:
        """Publish one event."""
        ...


class ImageUsers(Protocol):
    """Who uses images: the containers."""

    def containers_using(self, image: ImageId) -> Sequence[tuple[str, bool]]:
        """Return (container id, is running) of every container made from the image."""
        ...

    def layers_in_use(self) -> Iterable[ChainId]:
        """Return the layers that containers stand on, the top ones are enough."""
        ...


@dataclass(frozen=True, slots=True)
class ImageParts:
    """What the service works with.

    Attributes:
        store: Keeps the records.
        snapshots: Holds the layers.
        content: Holds blobs and receives archives.
        layer_blobs: Remembers layers in the form registries keep them.
        downloads: Fetches what is imported from elsewhere.
        registries: Where images are pulled from and pushed to.
        limits: How many layers are transferred at a time.
        users: Containers that use an image.
        offload: Runs short blocking work.
        transfer: Runs work that waits for clients; a pool of its own, or slow clients could keep
            containers from starting.
        publish: Takes events.
        host: What this host runs.
        keep_blobs: Keep the compressed bytes of layers that come.
    """

    store: ImageStore
    snapshots: Snapshots
    content: Content
    layer_blobs: LayerBlobs
    downloads: Downloads
    registries: Registries
    limits: TransferLimits
    users: ImageUsers
    offload: Offload
    transfer: Offload
    publish: Publish
    host: Platform
    keep_blobs: bool = True
