"""What deleting an image does, decided before it is done; pure.

The steps and texts are Docker's (moby, daemon/images/image_delete.go).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pinnace.contracts.image_store import ImageChange
from pinnace.engine.images.catalog import Catalog
from pinnace.errors import Conflict, ImageNotFound
from pinnace.model.image import DeleteItem, ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.reference import Reference, parse_reference

Usage = Sequence[tuple[str, bool]]  # (container id, is running)


class DeleteConflict(Conflict):
    """The image cannot be deleted now."""

    def __init__(self, image: ImageId, reason: str, *, hard: bool) -> None:
        force = "cannot be forced" if hard else "must be forced"
        super().__init__(f"conflict: unable to delete {_short(image)} ({force}) - {reason}")
        self.image = image


class ReferenceConflict(Conflict):
    """The last reference of an image that a container uses."""

    def __init__(self, ref: str, container: str, image: ImageId) -> None:
        super().__init__(
            f'conflict: unable to remove repository reference "{ref}" (must force) - container'
            f" {_short(container)} is using its referenced image {_short(image)}"
        )


@dataclass(slots=True)
class Deletion:
    """A plan.

    Attributes:
        untag: Normalised references to forget, with the image each pointed to.
        delete: Images to forget, in order.
        items: What the answer lists, without the layers.
    """

    untag: list[tuple[Reference, ImageId]] = field(default_factory=list)
    delete: list[ImageRecord] = field(default_factory=list)
    items: list[DeleteItem] = field(default_factory=list)

    def change(self) -> ImageChange:
        """Return what to store."""
        return ImageChange(
            drop_tags=[ref.normalized() for ref, _ in self.untag if not ref.digest],
            drop_digests=[ref.normalized() for ref, _ in self.untag if ref.digest],
            drop=[record.id for record in self.delete],
        )

    def chains(self) -> list[ChainId]:
        """Return the layers that may have lost their last image, topmost first."""
        seen: dict[ChainId, None] = {}
        for record in self.delete:
            seen.update((layer.chain, None) for layer in reversed(record.layers))
        return list(seen)


class DeletionPlanner:
    """Plans one delete call.

    Args:
        catalog: The images; not changed.
        users: Containers by image.
    """

    def __init__(self, catalog: Catalog, users: Callable[[ImageId], Usage]) -> None:
        self._catalog = catalog
        self._users = users
        self._plan = Deletion()

    def plan(self, ref: str, *, force: bool, prune: bool) -> Deletion:
        """Return what `DELETE /images/{ref}` does.

        Raises:
            ImageNotFound: No such image.
            Conflict: Something stands against it.
        """
        image = self._catalog.resolve(ref)
        references = self._references(image.id)
        by_id = _is_id_prefix(image.id, ref)
        if by_id:
            self._by_id(image, references, force=force)
        elif self._by_reference(image, ref, references, force=force):
            return self._plan
        self._remove(image, force=force, prune=prune, quiet=not by_id)
        return self._plan

    def _by_reference(
        self, image: ImageRecord, ref: str, references: list[Reference], *, force: bool
    ) -> bool:
        """Untag; return whether the image keeps other references."""
        using = self._users(image.id)
        if not force and using and _is_single(references):
            raise ReferenceConflict(ref, using[0][0], image.id)
        named = parse_reference(ref).tagged()
        if named.digest:
            named = named.without_tag()
        if named not in references:
            raise ImageNotFound(named.familiar())
        self._untag(image.id, named)
        left = [other for other in references if other != named]
        if not named.digest and not any(
            other.name == named.name and not other.digest for other in left
        ):
            # The repository's last tag takes its digests with it.
            for other in [other for other in left if other.name == named.name]:
                self._untag(image.id, other)
                left.remove(other)
        return bool(left)

    def _by_id(self, image: ImageRecord, references: list[Reference], *, force: bool) -> None:
        if _is_single(references):
            self._check(image, soft=not force, references=False)
            for reference in references:
                self._untag(image.id, reference)

    def _remove(self, image: ImageRecord, *, force: bool, prune: bool, quiet: bool) -> None:
        while True:
            try:
                self._check(image, soft=not force, references=not force)
            except DeleteConflict:
                if quiet and self._is_needed(image.id):
                    return
                raise
            for reference in self._left(image.id):
                self._untag(image.id, reference)
            self._plan.delete.append(image)
            self._plan.items.append(DeleteItem(deleted=image.id))
            parent = self._catalog.images.get(ImageId(image.parent))
            if not prune or parent is None:
                return
            # Parents go quietly, and only when nothing needs them.
            image, force, quiet = parent, False, True
            if self._is_needed(image.id):
                return

    def _check(self, image: ImageRecord, *, soft: bool, references: bool) -> None:
        """Raise what stands against deleting the image."""
        if self._children(image.id):
            raise DeleteConflict(image.id, "image has dependent child images", hard=True)
        using = self._users(image.id)
        running = [container for container, is_running in using if is_running]
        if running:
            reason = f"image is being used by running container {_short(running[0])}"
            raise DeleteConflict(image.id, reason, hard=True)
        if references and self._left(image.id):
            reason = "image is referenced in multiple repositories"
            raise DeleteConflict(image.id, reason, hard=False)
        if soft and using:
            reason = f"image is being used by stopped container {_short(using[0][0])}"
            raise DeleteConflict(image.id, reason, hard=False)

    def _is_needed(self, image: ImageId) -> bool:
        return bool(self._children(image) or self._left(image) or self._users(image))

    def _children(self, image: ImageId) -> list[ImageId]:
        gone = {record.id for record in self._plan.delete}
        return [child for child in self._catalog.children_of(image) if child not in gone]

    def _references(self, image: ImageId) -> list[Reference]:
        found = [*self._catalog.tags.items(), *self._catalog.digests.items()]
        return sorted(
            (parse_reference(text) for text, target in found if target == image),
            key=Reference.normalized,
        )

    def _left(self, image: ImageId) -> list[Reference]:
        gone = {reference for reference, _ in self._plan.untag}
        return [reference for reference in self._references(image) if reference not in gone]

    def _untag(self, image: ImageId, reference: Reference) -> None:
        self._plan.untag.append((reference, image))
        self._plan.items.append(DeleteItem(untagged=reference.familiar()))


def _is_id_prefix(image: ImageId, ref: str) -> bool:
    return image.startswith(ref) or image.removeprefix("sha256:").startswith(ref)


def _is_single(references: list[Reference]) -> bool:
    """Whether there is at most one tag, and all references are of one repository."""
    names = {reference.name for reference in references}
    tags = [reference for reference in references if not reference.digest]
    return len(references) <= 1 or (len(names) == 1 and len(tags) <= 1)


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]
