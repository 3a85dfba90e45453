"""From a container to an image: what of its record goes into the image's config."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.snapshots import SnapshotKey
from pinnace.engine.containers.create import merge_config
from pinnace.engine.images.origin import container_fields
from pinnace.model.commit import CommitParams
from pinnace.model.container import Container, ContainerConfig
from pinnace.model.record import ImageId


class Commits(Protocol):
    """Makes images of snapshots."""

    async def commit(
        self,
        key: SnapshotKey,
        parent: ImageId,
        config: ContainerConfig,
        *,
        repo: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        container: str = "",
        container_config: Mapping[str, object] | None = None,
        changes: Sequence[str] = (),
        further: Mapping[str, object] | None = None,
    ) -> ImageId:
        """Make an image out of a snapshot's changes; see `ImageService.commit`."""
        ...


async def commit_container(images: Commits, container: Container, params: CommitParams) -> ImageId:
    """Make an image of a container that stands still.

    Raises:
        ImageNotFound: The container's image is gone.
        InvalidParameter: A change, the name or the config is bad.
    """
    if params.inherit:
        config = merge_config(params.config or container.config, container.config)
    else:
        config = params.config or ContainerConfig()
    return await images.commit(
        snapshot_key(container.id),
        container.image_id,
        config,
        repo=params.repo,
        tag=params.tag,
        author=params.author,
        comment=params.comment,
        container=container.id,
        container_config=container_fields(container),
        changes=params.changes,
        further=params.further,
    )
