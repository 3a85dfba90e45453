"""The views of images that the API shows, out of the catalog; pure."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from msgspec import UNSET
from msgspec.structs import replace

from pinnace.engine.filters import Filters
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.kept_blobs import BlobUsage
from pinnace.engine.images.records import format_time
from pinnace.engine.times import parse_time
from pinnace.errors import InvalidParameter
from pinnace.model.image import (
    GraphDriver,
    HistoryItem,
    ImageInspect,
    ImageMetadata,
    ImageRecord,
    ImageRootFs,
    ImagesDiskUsage,
    ImageSummary,
    image_config,
)
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.reference import parse_reference

LIST_FILTERS = frozenset({"dangling", "label", "before", "since", "reference", "until"})
_SECOND = 1_000_000_000
_MISSING = "<missing>"


def list_images(
    catalog: Catalog, filters: Filters, *, everything: bool = False, shared_size: bool = False
) -> list[ImageSummary]:
    """Return the images that pass the filters, newest first.

    Args:
        catalog: The images.
        filters: Of `LIST_FILTERS`.
        everything: Also untagged images which others were made from.
        shared_size: Count the bytes shared with other images.

    Raises:
        InvalidParameter: An unknown or malformed filter.
        ImageNotFound: `before` or `since` names no image.
    """
    filters.validate(LIST_FILTERS)
    within = _bounds(catalog, filters)
    dangling = filters.get_bool("dangling", default=False)
    shared = _shared_layers(catalog) if shared_size else None
    found = []
    for record in catalog.images.values():
        if not within(record) or not filters.matches_labels(record.config.labels):
            continue
        summary = _summary(catalog, record, shared)
        named = bool(summary.repo_tags or summary.repo_digests)
        if named:
            summary = _matching_names(summary, filters)
            if dangling and summary.repo_tags:
                continue
        if _is_shown(catalog, summary, filters, named=named, everything=everything):
            found.append(summary)
    return sorted(found, key=lambda summary: (-summary.created, summary.id))


def inspect_image(
    catalog: Catalog, record: ImageRecord, *, driver: str, paths: Mapping[str, str]
) -> ImageInspect:
    """Return what image inspect shows."""
    last_tag = format_time(record.last_tag_ns) if record.last_tag_ns else UNSET
    return ImageInspect(
        id=record.id,
        repo_tags=catalog.tags_of(record.id),
        repo_digests=catalog.digests_of(record.id),
        parent=record.parent or UNSET,
        comment=_comment(record) or UNSET,
        created=record.created or UNSET,
        docker_version=record.docker_version or UNSET,
        author=record.author or UNSET,
        config=image_config(record.config),
        architecture=record.architecture,
        variant=record.variant or UNSET,
        os=record.os,
        os_version=record.os_version or UNSET,
        size=record.size,
        graph_driver=GraphDriver(data=dict(paths) or None, name=driver),
        root_fs=ImageRootFs(layers=[layer.diff_id for layer in record.layers] or UNSET),
        metadata=ImageMetadata(last_tag_time=last_tag),
    )


def _comment(record: ImageRecord) -> str:
    """The newest step's where the config has none: commit and import say it only there."""
    newest = record.history[-1].comment if record.history else ""
    return record.comment or newest


def image_history(catalog: Catalog, record: ImageRecord) -> list[HistoryItem]:
    """Return the steps of an image's making, newest first.

    Only the steps whose result is still an image here have an id.
    """
    items = []
    image: ImageRecord | None = record
    for entry in reversed(record.history):
        size = record.layers[entry.layer].size if 0 <= entry.layer < len(record.layers) else 0
        items.append(
            HistoryItem(
                id=image.id if image else _MISSING,
                created=entry.created_ns // _SECOND,
                created_by=entry.created_by,
                tags=(catalog.tags_of(image.id) or None) if image else None,
                size=size,
                comment=entry.comment,
            )
        )
        image = catalog.images.get(ImageId(image.parent)) if image and image.parent else None
    return items


def disk_usage(
    catalog: Catalog, containers: Mapping[ImageId, int], blobs: BlobUsage
) -> ImagesDiskUsage:
    """Return what images take.

    Args:
        catalog: The images.
        containers: How many containers were made from each image.
        blobs: What is held beside the layers.
    """
    shared = _shared_layers(catalog)
    sizes = {
        layer.chain: layer.size for record in catalog.images.values() for layer in record.layers
    }
    active = {
        layer.chain
        for record in catalog.images.values()
        if containers.get(record.id)
        for layer in record.layers
    }
    total = sum(sizes.values())
    items = [
        replace(_summary(catalog, record, shared), containers=containers.get(record.id, 0))
        for record in catalog.images.values()
        if _has_name(catalog, record.id) or not catalog.children_of(record.id)
    ]
    return ImagesDiskUsage(
        active_count=sum(1 for item in items if item.containers),
        total_count=len(items),
        reclaimable=total - sum(sizes[chain] for chain in active) + blobs.unfinished,
        total_size=total + blobs.kept + blobs.unfinished,
        items=sorted(items, key=lambda item: (-item.created, item.id)),
    )


def familiar_match(pattern: str, reference: str) -> bool:
    """Whether a pattern of the `reference` filter matches a familiar reference or its name.

    Raises:
        InvalidParameter: The pattern is malformed.
    """
    matcher = re.compile(_glob(pattern))
    name = parse_reference(reference).familiar_name
    return bool(matcher.fullmatch(reference) or matcher.fullmatch(name))


def _glob(pattern: str) -> str:
    """Translate Go's `path.Match`: `*` and `?` stop at a slash, `[]` is a class."""
    out = []
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        position += 1
        if letter == "*":
            out.append("[^/]*")
        elif letter == "?":
            out.append("[^/]")
        elif letter == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise InvalidParameter("syntax error in pattern")
            out.append("[" + pattern[position:end].replace("\\", "\\\\") + "]")
            position = end + 1
        elif letter == "\\" and position < len(pattern):
            out.append(re.escape(pattern[position]))
            position += 1
        else:
            out.append(re.escape(letter))
    return "".join(out)


def _bounds(catalog: Catalog, filters: Filters) -> Callable[[ImageRecord], bool]:
    """Return whether an image was created within `before`, `since` and `until`."""
    before = [catalog.resolve(ref).created_ns for ref in filters.get("before")]
    since = [catalog.resolve(ref).created_ns for ref in filters.get("since")]
    until = [parse_time(text, now_ns=time.time_ns()) for text in filters.get("until")]

    def within(record: ImageRecord) -> bool:
        created = record.created_ns
        return (
            all(created < limit for limit in before)
            and all(created > limit for limit in since)
            and all(created <= limit for limit in until)
        )

    return within


def _summary(
    catalog: Catalog, record: ImageRecord, shared: frozenset[ChainId] | None
) -> ImageSummary:
    shared_size = -1
    if shared is not None:
        shared_size = sum(layer.size for layer in record.layers if layer.chain in shared)
    return ImageSummary(
        id=record.id,
        parent_id=record.parent,
        repo_tags=catalog.tags_of(record.id),
        repo_digests=catalog.digests_of(record.id),
        created=record.created_ns // _SECOND,
        size=record.size,
        shared_size=shared_size,
        labels=record.config.labels,
    )


def _matching_names(summary: ImageSummary, filters: Filters) -> ImageSummary:
    patterns = filters.get("reference")
    if not patterns:
        return summary

    def matching(names: Iterable[str]) -> list[str]:
        return [name for name in names if any(familiar_match(p, name) for p in patterns)]

    return replace(
        summary,
        repo_tags=matching(summary.repo_tags),
        repo_digests=matching(summary.repo_digests),
    )


def _is_shown(
    catalog: Catalog, summary: ImageSummary, filters: Filters, *, named: bool, everything: bool
) -> bool:
    if named:
        return bool(summary.repo_tags or summary.repo_digests)
    if not everything and catalog.children_of(summary.id):
        return False
    if "dangling" in filters and not filters.get_bool("dangling", default=True):
        return False
    return "reference" not in filters


def _shared_layers(catalog: Catalog) -> frozenset[ChainId]:
    counts = Counter(catalog.chains())
    return frozenset(chain for chain, count in counts.items() if count > 1)


def _has_name(catalog: Catalog, image: ImageId) -> bool:
    return bool(catalog.tags_of(image) or catalog.digests_of(image))
