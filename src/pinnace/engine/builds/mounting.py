"""The mounts of RUN: sources made ready for one execution, and taken away after it.

What a bind mount shows is a snapshot of its own on top of what it shows, so that writing to it
changes nothing else and is gone afterwards. Cache mounts are directories that outlive the build.
"""

import posixpath
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from pinnace.contracts.build_cache import BuildCache, CacheDirectory
from pinnace.contracts.build_files import BuildFiles
from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.snapshots import ChainId, Change, SnapshotKey, Snapshots
from pinnace.engine.builds.graph import StepMount
from pinnace.engine.images.parts import Offload
from pinnace.engine.images.together import to_its_end
from pinnace.engine.locks import Locks
from pinnace.model.container import BindOptions, Mount, TmpfsOptions
from pinnace.model.record import ContainerId

_ADDED = 1


@dataclass(slots=True)
class _Uses:
    """How many executions use each cache directory now."""

    counts: dict[tuple[str, int], int] = field(default_factory=dict)


class StepMounts:
    """Makes mounts ready."""

    def __init__(
        self, *, files: BuildFiles, snapshots: Snapshots, cache: BuildCache, offload: Offload
    ) -> None:
        self._files = files
        self._snapshots = snapshots
        self._cache = cache
        self._offload = offload
        self._locked = Locks()
        self._uses = _Uses()

    @property
    def in_use(self) -> frozenset[tuple[str, int]]:
        """Id and number of the cache directories that executions use now."""
        return frozenset(self._uses.counts)

    @asynccontextmanager
    async def ready(self, mounts: Sequence[StepMount]) -> AsyncIterator[list[Mount]]:
        """Give the mounts as containers want them, for the time of a `with` block."""
        async with AsyncExitStack() as stack:
            made = []
            for mount in mounts:
                if mount.type == "tmpfs":
                    made.append(_tmpfs(mount))
                elif mount.type == "cache":
                    made.append(_bind(mount, await stack.enter_async_context(self._kept(mount))))
                else:
                    source = await stack.enter_async_context(self._source(mount))
                    made.append(_bind(mount, source))
            yield made

    async def remove_stubs(
        self, container: ContainerId, parent: ChainId | None, mounts: Sequence[StepMount]
    ) -> None:
        """Remove the empty mount points that mounts left in the container's own files."""
        if not mounts:
            return
        key = snapshot_key(container)

        def remove() -> None:
            stubs = find_stubs(
                self._snapshots.changes(key, parent), [mount.target for mount in mounts]
            )
            if stubs:
                self._files.remove_stubs(key, stubs)

        await self._offload(remove)

    @asynccontextmanager
    async def _source(self, mount: StepMount) -> AsyncIterator[str]:
        key = SnapshotKey(f"mount-{secrets.token_hex(16)}")
        jobs = [mount.job] if mount.job is not None else []
        try:
            yield await to_its_end(
                self._offload(
                    lambda: self._files.open_source(key, mount.chain, jobs, mount.source)
                )
            )
        finally:
            await to_its_end(self._offload(lambda: self._files.close_source(key)))

    @asynccontextmanager
    async def _kept(self, mount: StepMount) -> AsyncIterator[str]:
        async with AsyncExitStack() as stack:
            if mount.sharing == "locked":
                await stack.enter_async_context(self._locked.hold(mount.id))
            number = self._free(mount.id) if mount.sharing == "private" else 0
            used = (mount.id, number)
            self._uses.counts[used] = self._uses.counts.get(used, 0) + 1
            try:
                await self._note(mount.id, number)
                yield await self._offload(
                    lambda: self._files.cache_directory(
                        mount.id, number, mode=mount.mode, owner=(mount.uid, mount.gid)
                    )
                )
            finally:
                self._uses.counts[used] -= 1
                if not self._uses.counts[used]:
                    del self._uses.counts[used]

    def _free(self, id_: str) -> int:
        """Return the lowest number of which nobody uses the directory."""
        number = 0
        while (id_, number) in self._uses.counts:
            number += 1
        return number

    async def _note(self, id_: str, number: int) -> None:
        now = time.time_ns()
        known = [
            one for one in await self._cache.directories() if (one.id, one.number) == (id_, number)
        ]
        created, uses = (known[0].created_ns, known[0].uses) if known else (now, 0)
        await self._cache.put_directory(CacheDirectory(id_, number, created, now, uses + 1))


def find_stubs(changes: Iterable[Change], targets: Iterable[str]) -> list[str]:
    """Return the paths that came into being only as mount points, deepest first; pure.

    A path is one if it, and everything between it and what was there before, was added and holds
    nothing else.
    """
    added = {change.path for change in changes if change.kind == _ADDED}
    holding: dict[str, set[str]] = {}
    for path in added:
        holding.setdefault(posixpath.dirname(path), set()).add(path)
    stubs: list[str] = []
    for target in sorted(targets, key=lambda path: -path.count("/")):
        at = posixpath.normpath(target)
        while at in added and not holding.get(at, set()) - set(stubs):
            if at not in stubs:
                stubs.append(at)
            at = posixpath.dirname(at)
    return stubs


def _tmpfs(mount: StepMount) -> Mount:
    return Mount(
        type="tmpfs",
        target=mount.target,
        read_only=mount.read_only,
        tmpfs_options=TmpfsOptions(size_bytes=mount.size_bytes),
    )


def _bind(mount: StepMount, source: str) -> Mount:
    return Mount(
        type="bind",
        source=source,
        target=mount.target,
        read_only=mount.read_only,
        bind_options=BindOptions(propagation="rprivate"),
    )
