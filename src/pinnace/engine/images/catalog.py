"""The images this engine knows, in memory, and what a reference means among them; pure."""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from pinnace.contracts.image_store import ImageChange, ImageState
from pinnace.engine.images.ancestry import Forest
from pinnace.errors import ImageNotFound, InvalidParameter
from pinnace.model.image import ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.digest import Digest
from pinnace.oci.reference import Reference, parse_reference

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")
_FULL_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class _Index:
    tags: Mapping[ImageId, list[str]]
    digests: Mapping[ImageId, list[str]]
    children: Mapping[str, list[ImageId]]
    layers: Mapping[Digest, ChainId]


class Catalog:
    """A mirror of the store; changed only by `apply`, after the store was."""

    def __init__(self, state: ImageState) -> None:
        self.images: dict[ImageId, ImageRecord] = dict(state.images)
        self.tags: dict[str, ImageId] = dict(state.tags)
        self.digests: dict[str, ImageId] = dict(state.digests)
        self._index: _Index | None = None
        self._forest: Forest | None = None

    def apply(self, change: ImageChange) -> None:
        """Follow what the store did."""
        self._index = self._forest = None
        for image in change.put:
            self.images[image.record.id] = image.record
        for record in change.update:
            self.images[record.id] = record
        self.tags.update(change.set_tags)
        self.digests.update(change.set_digests)
        for reference in change.drop_tags:
            self.tags.pop(reference, None)
        for reference in change.drop_digests:
            self.digests.pop(reference, None)
        for gone in change.drop:
            self.images.pop(gone, None)
            self.tags = {key: value for key, value in self.tags.items() if value != gone}
            self.digests = {key: value for key, value in self.digests.items() if value != gone}

    def resolve(self, ref: str) -> ImageRecord:
        """Return the image that `ref` means: an id, a reference, or the start of an id.

        Raises:
            ImageNotFound: None; the message names the tag that was looked for, as Docker's.
            InvalidParameter: `ref` is no reference, or starts several ids.
        """
        full = _FULL_ID.fullmatch(ref)
        if full:
            return self._get(ImageId(f"sha256:{full[1]}"), ref)
        prefix = _ID.fullmatch(ref)
        if prefix and ref.startswith("sha256:"):
            return self._by_prefix(prefix[1], ref) or self._missing(ref)
        reference = parse_reference(ref)
        found = self.find(reference)
        if found is not None:
            return found
        by_id = self._by_prefix(prefix[1], ref) if prefix else None
        return by_id or self._missing(reference.tagged().familiar())

    def find(self, reference: Reference) -> ImageRecord | None:
        """Return the image a reference points to, if any."""
        reference = reference.tagged()
        if reference.digest:
            image = self.digests.get(reference.without_tag().normalized())
        else:
            image = self.tags.get(reference.normalized())
        return None if image is None else self.images[image]

    def tags_of(self, image: ImageId) -> list[str]:
        """Return the familiar tags of an image, sorted."""
        return self._indexed().tags.get(image, [])

    def digests_of(self, image: ImageId) -> list[str]:
        """Return the familiar digest references of an image, sorted."""
        return self._indexed().digests.get(image, [])

    def children_of(self, image: ImageId) -> list[ImageId]:
        """Return the images committed or built on top of `image`."""
        return self._indexed().children.get(image, [])

    def forest(self) -> Forest:
        """Return the images with their steps, computed at the first use after each change."""
        if self._forest is None:
            self._forest = Forest(self.images)
        return self._forest

    def chains(self) -> Iterator[ChainId]:
        """Yield every layer that an image stands on; some more than once."""
        for record in self.images.values():
            for layer in record.layers:
                yield layer.chain

    def chain_of(self, diff_id: Digest) -> ChainId | None:
        """Return a layer of this diff id that an image stands on, if any."""
        return self._indexed().layers.get(diff_id)

    def layers(self) -> dict[Digest, ChainId]:
        """Return the layers that images stand on by their diff ids; a copy, for any thread."""
        return dict(self._indexed().layers)

    def diff_ids(self) -> Set[Digest]:
        """Return the diff ids of every layer that an image has."""
        return self._indexed().layers.keys()

    def named_digests(self) -> set[Digest]:
        """Return what digest references name: manifests and indexes."""
        return {Digest(reference.rpartition("@")[2]) for reference in self.digests}

    def knows_digests_of(self, name: str) -> bool:
        """Whether any image has a digest in the repository of this normalised name."""
        return any(reference.startswith(f"{name}@") for reference in self.digests)

    def _indexed(self) -> _Index:
        """Return the images' names and children, computed once after each change."""
        if self._index is None:
            children: dict[str, list[ImageId]] = {}
            layers: dict[Digest, ChainId] = {}
            for record in self.images.values():
                children.setdefault(record.parent, []).append(record.id)
                layers.update((layer.diff_id, layer.chain) for layer in record.layers)
            tags, digests = _familiar(self.tags), _familiar(self.digests)
            self._index = _Index(tags, digests, children, layers)
        return self._index

    def _get(self, image: ImageId, ref: str) -> ImageRecord:
        found = self.images.get(image)
        return found if found is not None else self._missing(ref)

    def _by_prefix(self, prefix: str, ref: str) -> ImageRecord | None:
        found = [image for image in self.images if image[7:].startswith(prefix)]
        if len(found) > 1:
            raise InvalidParameter(f"ambiguous image id: {ref} is the start of {len(found)} ids")
        return self.images[found[0]] if found else None

    def _missing(self, ref: str) -> ImageRecord:
        raise ImageNotFound(ref)


def _familiar(references: dict[str, ImageId]) -> dict[ImageId, list[str]]:
    found: dict[ImageId, list[str]] = {}
    for reference, image in references.items():
        found.setdefault(image, []).append(parse_reference(reference).familiar())
    return {image: sorted(names) for image, names in found.items()}
