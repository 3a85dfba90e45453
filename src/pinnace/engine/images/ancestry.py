"""Images as a forest: every step of an image's making is a node, as in early engines; pure.

Today an image is a config and a list of layers; only images made here know their parent. Steps
below an image that no image here stands for get an id out of what the step was, so images which
share their lower steps share these nodes, and an id stays the same as long as it is shown.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pinnace.model.image import HistoryEntry, ImageRecord
from pinnace.model.record import ImageId


@dataclass(frozen=True, slots=True)
class Node:
    """One step of an image's making.

    Attributes:
        id: Of the image that stands for it, or made up.
        parent: The step before; None for the first.
        step: What was done.
        owner: The image that stands for it; else one it is a step of.
    """

    id: ImageId
    parent: ImageId | None
    step: HistoryEntry
    owner: ImageRecord

    @property
    def record(self) -> ImageRecord | None:
        """The image that stands for it; None: there is only the step."""
        return self.owner if self.owner.id == self.id else None

    @property
    def size(self) -> int:
        """Bytes of its layer."""
        layer, layers = self.step.layer, self.owner.layers
        return layers[layer].size if 0 <= layer < len(layers) else 0


class Forest:
    """All images with all their steps."""

    def __init__(self, images: Mapping[ImageId, ImageRecord]) -> None:
        self._images = images
        self._by_key: dict[ImageId, ImageId] = {}
        self.nodes: dict[ImageId, Node] = {}
        self.children: dict[ImageId, list[ImageId]] = {}
        paths = {image: _keys(record) for image, record in images.items()}
        for image in sorted(images):
            self._by_key.setdefault(paths[image][-1], image)
        for image, record in images.items():
            self._add(record, paths[image])
        for node in self.nodes.values():
            if node.parent is not None:
                self.children.setdefault(node.parent, []).append(node.id)

    def lineage(self, image: ImageId) -> list[Node]:
        """Return a node and all it was made from, itself first."""
        found: dict[ImageId, Node] = {}
        node = self.nodes.get(image)
        while node is not None and node.id not in found:  # what images claim may be a circle
            found[node.id] = node
            node = self.nodes.get(node.parent) if node.parent else None
        return list(found.values())

    def _add(self, record: ImageRecord, keys: list[ImageId]) -> None:
        steps = _steps(record)
        base = self._images.get(ImageId(record.parent))
        depth = min(len(_steps(base)), len(keys) - 1) if base is not None else 0
        parent = base.id if base is not None else None
        for number in range(depth, len(keys) - 1):
            known = self._by_key.get(keys[number])
            if known is None or known == record.id:
                known = keys[number]
                self.nodes.setdefault(known, Node(known, parent, steps[number], record))
            parent = known
        last = steps[-1] if steps else HistoryEntry(created_ns=record.created_ns)
        self.nodes[record.id] = Node(record.id, parent, last, record)


def _steps(record: ImageRecord) -> list[HistoryEntry]:
    """Return the history; without one that fits, a step for each layer."""
    filled = sum(1 for entry in record.history if entry.layer >= 0)
    if filled == len(record.layers):
        return record.history
    return [
        HistoryEntry(created_ns=record.created_ns, layer=layer)
        for layer in range(len(record.layers))
    ]


def _keys(record: ImageRecord) -> list[ImageId]:
    """Return what stands for each step: a digest of all that was done up to it."""
    keys = []
    state = hashlib.sha256()
    for entry in _steps(record):
        diff_id = record.layers[entry.layer].diff_id if entry.layer >= 0 else ""
        parts: Iterable[object] = (diff_id, entry.created_ns, entry.created_by, entry.comment)
        state.update("\0".join(map(str, parts)).encode() + b"\0\0")
        keys.append(ImageId(f"sha256:{state.hexdigest()}"))
    return keys or [record.id]
