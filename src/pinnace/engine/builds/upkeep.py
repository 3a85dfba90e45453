"""The build cache as users see it: listing and pruning.

Steps are kept by the images they led to and take no room of their own; directories of cache mounts
do.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pinnace.contracts.build_cache import BuildCache, CacheDirectory, CachedStep
from pinnace.contracts.build_files import BuildFiles
from pinnace.engine.builds.mounting import StepMounts
from pinnace.engine.filters import Filters
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.parts import Offload
from pinnace.engine.images.records import format_time
from pinnace.engine.times import parse_duration
from pinnace.errors import InvalidParameter
from pinnace.model.build import BuildCacheItem

PRUNE_FILTERS = frozenset(
    {"until", "unused-for", "id", "parent", "parents", "type", "description", "inuse", "shared",
     "private"}
)  # fmt: skip
_STEP, _MOUNT = "regular", "exec.cachemount"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed; `reclaimed` in bytes."""

    ids: list[str]
    reclaimed: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """An item with what stands behind it."""

    item: BuildCacheItem
    used_ns: int
    step: CachedStep | None = None
    directory: CacheDirectory | None = None


class CacheUpkeep:
    """Lists and prunes."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        cache: BuildCache,
        files: BuildFiles,
        mounts: StepMounts,
        offload: Offload,
    ) -> None:
        self._catalog = catalog
        self._cache = cache
        self._files = files
        self._mounts = mounts
        self._offload = offload

    async def items(self) -> list[BuildCacheItem]:
        """Return everything that is in the cache."""
        return [entry.item for entry in await self._entries()]

    async def prune(self, filters: Filters, *, everything: bool, keep_bytes: int) -> Pruned:
        """Remove what no build uses now, the least recently used first.

        Args:
            filters: What is to be removed.
            everything: Also steps, although they belong to images.
            keep_bytes: Stop when no more than this is left.

        Raises:
            InvalidParameter: An unknown or malformed filter.
        """
        filters.validate(PRUNE_FILTERS)
        oldest_ns = _limit(filters)
        entries = sorted(await self._entries(), key=lambda entry: entry.used_ns)
        left = sum(entry.item.size for entry in entries if not entry.item.shared)
        ids: list[str] = []
        reclaimed = 0
        for entry in entries:
            item = entry.item
            if item.in_use or (item.shared and not everything) or not _passes(item, filters):
                continue
            if entry.used_ns > oldest_ns or (keep_bytes and left <= keep_bytes):
                continue
            await self._remove(entry)
            ids.append(item.id)
            if not item.shared:
                reclaimed += item.size
                left -= item.size
        return Pruned(ids, reclaimed)

    async def _remove(self, entry: _Entry) -> None:
        if entry.step is not None:
            await self._cache.forget([entry.step.key])
        directory = entry.directory
        if directory is not None:
            await self._offload(lambda: self._files.remove_cache(directory.id, directory.number))
            await self._cache.forget_directory(directory.id, directory.number)

    async def _entries(self) -> list[_Entry]:
        steps = [self._of_step(step) for step in await self._cache.steps()]
        directories = await self._cache.directories()
        sizes = await self._offload(lambda: self._sizes(directories))
        in_use = self._mounts.in_use
        mounts = [
            _Entry(
                BuildCacheItem(
                    id=f"{one.id}#{one.number}" if one.number else one.id,
                    type=_MOUNT,
                    description=f"cached mount {one.id}",
                    in_use=(one.id, one.number) in in_use,
                    size=size,
                    created_at=format_time(one.created_ns),
                    last_used_at=format_time(one.used_ns),
                    usage_count=one.uses,
                ),
                one.used_ns,
                directory=one,
            )
            for one, size in zip(directories, sizes, strict=True)
        ]
        return [*steps, *mounts]

    def _sizes(self, directories: Sequence[CacheDirectory]) -> list[int]:
        return [self._files.cache_size(one.id, one.number) for one in directories]

    def _of_step(self, step: CachedStep) -> _Entry:
        record = self._catalog.images.get(step.image)
        parent = self._catalog.images.get(type(step.image)(record.parent)) if record else None
        size = 0
        if record is not None and len(record.layers) > (len(parent.layers) if parent else 0):
            size = record.layers[-1].size
        item = BuildCacheItem(
            id=step.key,
            parents=[record.parent] if record is not None and record.parent else None,
            type=_STEP,
            description=step.description,
            shared=True,
            size=size,
            created_at=format_time(step.created_ns),
            last_used_at=format_time(step.used_ns) if step.uses else None,
            usage_count=step.uses,
        )
        return _Entry(item, step.used_ns, step=step)


def _limit(filters: Filters) -> int:
    """Return the time after which nothing may have been used, Unix nanoseconds."""
    now = time.time_ns()
    limits = [
        now - parse_duration(text) for key in ("until", "unused-for") for text in filters.get(key)
    ]
    return min(limits, default=now)


def _passes(item: BuildCacheItem, filters: Filters) -> bool:
    values = {
        "id": item.id,
        "type": item.type,
        "description": item.description,
    }
    for key, value in values.items():
        wanted = filters.get(key)
        if wanted and not any(value.startswith(word) for word in wanted):
            return False
    parents = [*filters.get("parent"), *filters.get("parents")]
    if parents and not set(parents) & set(item.parents or ()):
        return False
    flags = {"inuse": item.in_use, "shared": item.shared, "private": not item.shared}
    return all(flags[key] is _truth(word) for key in flags for word in filters.get(key))


def _truth(word: str) -> bool:
    if word.lower() not in ("", "true", "1", "false", "0"):
        raise InvalidParameter(f"invalid filter value: {word}")
    return word.lower() not in ("false", "0")
