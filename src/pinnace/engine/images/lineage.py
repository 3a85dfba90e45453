"""Images by what they were made from, step by step: what clients of 2013 walk through.

Every step has an id here, also where today's images only remember that there was one
(`ancestry.Forest`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from msgspec import UNSET
from msgspec.structs import replace

from pinnace.engine.filters import Filters
from pinnace.engine.images import listing
from pinnace.engine.images.ancestry import Forest, Node
from pinnace.engine.images.branches import BranchDeletion, find_node
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.origin import image_origin, same_command
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.records import format_time
from pinnace.errors import ImageNotFound
from pinnace.model.image import (
    DeleteItem,
    HistoryItem,
    ImageConfig,
    ImageInspect,
    ImageMetadata,
    ImageOrigin,
    ImageRootFs,
    ImageSummary,
)
from pinnace.model.record import ImageId

_SECOND = 1_000_000_000
_FULL_ID = re.compile(r"[0-9a-f]{64}")
_SHELL = "/bin/sh -c "


@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node of the graph of images; `names` are its familiar tags, sorted."""

    id: ImageId
    parent: ImageId | None
    names: Sequence[str]


class Lineage:
    """Reads and deletes images as nodes of their forest."""

    def __init__(self, parts: ImageParts, library: ImageLibrary) -> None:
        self._parts = parts
        self._library = library

    async def list(self, *, everything: bool) -> Sequence[ImageSummary]:
        """Return named images and untagged heads, newest first; `everything`: and all steps."""
        catalog, forest = self._library.catalog, self._forest()
        found = listing.list_images(catalog, Filters(), everything=True)
        if not everything:
            return [one for one in found if one.repo_tags or not forest.children.get(one.id)]
        steps = [_summary(node) for node in forest.nodes.values() if node.record is None]
        return sorted([*found, *steps], key=lambda one: (-one.created, one.id))

    async def inspect(self, ref: str) -> ImageInspect:
        """Return everything about an image, with its origin, or what is known of a step.

        Raises:
            ImageNotFound: No such image.
        """
        forest = self._forest()
        node = find_node(self._library.catalog, forest, ref)
        if node.record is None:
            return self._step(node, forest)
        seen = listing.inspect_image(
            self._library.catalog, node.record, driver=self._parts.snapshots.driver, paths={}
        )
        config = await self._parts.store.config_bytes(node.record.id)
        return replace(seen, parent=node.parent or UNSET, origin=image_origin(config))

    async def history(self, ref: str) -> Sequence[HistoryItem]:
        """Return an image and all it was made from, newest first, each with its id.

        Raises:
            ImageNotFound: No such image.
        """
        catalog, forest = self._library.catalog, self._forest()
        node = find_node(catalog, forest, ref)
        return [
            HistoryItem(
                id=one.id,
                created=one.step.created_ns // _SECOND,
                created_by=one.step.created_by,
                tags=catalog.tags_of(one.id) or None,
                size=one.size,
                comment=one.step.comment,
            )
            for one in forest.lineage(node.id)
        ]

    async def graph(self) -> Sequence[GraphNode]:
        """Return all images and steps, each after what it was made from."""
        forest, catalog = self._forest(), self._library.catalog
        order = sorted(
            forest.nodes.values(), key=lambda node: (len(forest.lineage(node.id)), node.id)
        )
        return [GraphNode(node.id, node.parent, catalog.tags_of(node.id)) for node in order]

    async def find_child(self, parent: str, config: Mapping[str, object]) -> ImageId | None:
        """Return an image made from `parent` by a container of an equal config, if there is one.

        Args:
            parent: Full id, 64 digits; anything shorter finds nothing.
            config: In wire names of 2013; see `origin.same_command`.
        """
        if not _FULL_ID.fullmatch(parent):
            return None
        forest = self._forest()
        children = forest.children.get(ImageId(f"sha256:{parent}"), ())
        return await self._alike([one for one in children if forest.nodes[one].record], config)

    async def find_made(self, parent: str, config: Mapping[str, object]) -> ImageId | None:
        """Like `find_child`, of images made here only: what others say of theirs is not believed.

        Args:
            parent: An image's id.
            config: See `find_child`.
        """
        return await self._alike(self._library.catalog.children_of(ImageId(parent)), config)

    async def delete(self, ref: str) -> Sequence[DeleteItem]:
        """Take a name away, and what then bears no name with its unnamed parents.

        Images are told by id; containers are not looked at. See `branches`.

        Raises:
            ImageNotFound: No such image or tag.
            Conflict: Nothing would be deleted.
        """
        catalog = self._library.catalog
        deleted = await self._library.carry_out(
            lambda: BranchDeletion(catalog, self._forest()).plan(ref)
        )
        return deleted.images

    async def discard(self, ref: str) -> None:
        """Forget one image with all its names, whatever stands on it.

        Raises:
            ImageNotFound: No such image.
            Conflict: It is only a step of other images.
        """
        catalog = self._library.catalog
        await self._library.carry_out(lambda: BranchDeletion(catalog, self._forest()).discard(ref))

    async def _alike(
        self, images: Iterable[ImageId], config: Mapping[str, object]
    ) -> ImageId | None:
        """Return the first image whose container did the same as one of `config` would."""
        for image in sorted(images):
            with suppress(ImageNotFound):  # removed at this moment
                found = image_origin(await self._parts.store.config_bytes(image)).container_config
                if found is not None and same_command(found, config):
                    return image
        return None

    def _forest(self) -> Forest:
        return self._library.catalog.forest()

    def _step(self, node: Node, forest: Forest) -> ImageInspect:
        words = _words(node.step.created_by)
        return ImageInspect(
            id=node.id,
            repo_tags=[],
            repo_digests=[],
            parent=node.parent or UNSET,
            comment=node.step.comment or UNSET,
            created=format_time(node.step.created_ns),
            docker_version=node.owner.docker_version or UNSET,
            config=ImageConfig(),
            architecture=node.owner.architecture,
            os=node.owner.os,
            size=sum(one.size for one in forest.lineage(node.id)),
            root_fs=ImageRootFs(),
            metadata=ImageMetadata(),
            origin=ImageOrigin(container_config={"Cmd": words} if words else None),
        )


def _summary(node: Node) -> ImageSummary:
    return ImageSummary(
        id=node.id,
        parent_id=node.parent or "",
        repo_tags=[],
        repo_digests=[],
        created=node.step.created_ns // _SECOND,
        size=node.size,
        labels=None,
    )


def _words(command: str) -> list[str]:
    """Return the words of a command that a history shows as one line."""
    if command.startswith(_SHELL):
        return [*_SHELL.split(), command.removeprefix(_SHELL)]
    return [command] if command else []
