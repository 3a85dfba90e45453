"""Deleting images by branches of their forest, as the engines of 2013 did; pure.

A name is taken away; then what has no name and bears nothing that has one goes, children before
parents, up to the first node that stays. Containers are not looked at: they keep their layers.
"""

from pinnace.engine.images.ancestry import Forest, Node
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.deletion import Deletion
from pinnace.errors import Conflict, ImageNotFound, InvalidParameter
from pinnace.model.image import DeleteItem
from pinnace.model.record import ImageId
from pinnace.oci.reference import Reference, parse_reference


def find_node(catalog: Catalog, forest: Forest, ref: str) -> Node:
    """Return the node that `ref` means: an image, or by the start of its id any step.

    Raises:
        ImageNotFound: None, or several.
    """
    try:
        return forest.nodes[catalog.resolve(ref).id]
    except (ImageNotFound, InvalidParameter):
        digits = ref.removeprefix("sha256:")
        found = [node for node in forest.nodes.values() if node.id[7:].startswith(digits)]
        if len(found) != 1 or not digits:
            raise ImageNotFound(ref) from None
        return found[0]


def is_id(node: Node, ref: str) -> bool:
    """Whether `ref` means the node by its id."""
    return bool(ref) and node.id.removeprefix("sha256:").startswith(ref.removeprefix("sha256:"))


class BranchDeletion:
    """Plans one delete.

    Args:
        catalog: The images; not changed.
        forest: The same, with their steps.
    """

    def __init__(self, catalog: Catalog, forest: Forest) -> None:
        self._catalog = catalog
        self._forest = forest
        self._plan = Deletion()
        self._gone: set[ImageId] = set()

    def plan(self, ref: str) -> Deletion:
        """Return what deleting `ref` does.

        Raises:
            ImageNotFound: No such image, or tag.
            Conflict: Nothing would be deleted.
        """
        node = find_node(self._catalog, self._forest, ref)
        if not is_id(node, ref):
            self._untag(node, ref)
        if not self._names(node.id):
            self._climb(node)
        if not self._plan.items:
            raise Conflict(f"Conflict, {ref} wasn't deleted")
        return self._plan

    def discard(self, ref: str) -> Deletion:
        """Return a plan that forgets the one image, whatever names it or stands on it.

        Raises:
            ImageNotFound: No such image.
            Conflict: It is only a step of images that are here.
        """
        node = find_node(self._catalog, self._forest, ref)
        if node.record is None:
            raise Conflict(f"{ref} is a step of other images")
        self._plan.untag += [(name, node.id) for name in self._names(node.id)]
        self._remove(node)
        return self._plan

    def _untag(self, node: Node, ref: str) -> None:
        wanted = parse_reference(ref).tagged()
        if wanted.digest:
            wanted = wanted.without_tag()
        names = self._names(node.id)
        if wanted not in names:
            raise ImageNotFound(ref)
        self._plan.untag.append((wanted, node.id))
        left = [name for name in names if name.name == wanted.name and name != wanted]
        if all(name.digest for name in left):
            # The repository's last tag takes its digests with it.
            self._plan.untag += [(name, node.id) for name in left]
        self._plan.items.append(DeleteItem(untagged=node.id))

    def _climb(self, start: Node) -> None:
        """Remove a branch, then what it grew from as far as that bears nothing else."""
        node: Node | None = start
        while node is not None and node.id not in self._gone:
            for one in self._removable(node):
                self._remove(one)
            if node.id not in self._gone:
                return
            node = self._forest.nodes.get(node.parent) if node.parent else None

    def _removable(self, top: Node) -> list[Node]:
        """Return what goes of a branch, children before parents."""
        branch = [top.id]
        seen = {top.id}
        for image in branch:  # grows on the way; nothing below a name is touched
            if self._names(image):
                continue
            fresh = [child for child in self._forest.children.get(image, ()) if child not in seen]
            seen.update(fresh)
            branch += fresh
        kept: set[ImageId] = set()
        found = []
        for image in reversed(branch):
            children = self._forest.children.get(image, ())
            if self._names(image) or any(child in kept for child in children):
                kept.add(image)
            elif image not in self._gone:
                found.append(self._forest.nodes[image])
        return found

    def _remove(self, node: Node) -> None:
        self._gone.add(node.id)
        if node.record is not None:
            self._plan.delete.append(node.record)
        self._plan.items.append(DeleteItem(deleted=node.id))

    def _names(self, image: ImageId) -> list[Reference]:
        gone = {name for name, _ in self._plan.untag}
        names = [*self._catalog.tags_of(image), *self._catalog.digests_of(image)]
        return [name for name in map(parse_reference, names) if name not in gone]
