"""Which images a prune removes; pure."""

import time

from pinnace.engine.filters import Filters
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.parts import ImageUsers
from pinnace.engine.times import parse_time
from pinnace.model.image import ImageRecord
from pinnace.oci.digest import digest_hex, parse_digest

PRUNE_FILTERS = frozenset({"dangling", "label", "label!", "until"})


def prunable(catalog: Catalog, filters: Filters, users: ImageUsers) -> list[str]:
    """Return what to delete: references of named images, ids of the others.

    Raises:
        InvalidParameter: A malformed filter.
    """
    dangling = filters.get_bool("dangling", default=True)
    limits = [parse_time(text, now_ns=time.time_ns()) for text in filters.get("until")]
    refs: list[str] = []
    for record in catalog.images.values():
        tags = [tag for tag, image in catalog.tags.items() if image == record.id]
        digests = [name for name, image in catalog.digests.items() if image == record.id]
        if not _is_asked_for(record, filters, limits) or users.containers_using(record.id):
            continue
        if not tags and not digests:
            if not catalog.children_of(record.id):
                refs.append(digest_hex(parse_digest(record.id)))
        elif not (dangling and tags):
            refs += [*tags, *(digests if not tags else ())]
    return refs


def _is_asked_for(record: ImageRecord, filters: Filters, limits: list[int]) -> bool:
    labels = record.config.labels
    if not filters.matches_labels(labels) or filters.excludes_labels(labels):
        return False
    return all(record.created_ns <= limit for limit in limits)
