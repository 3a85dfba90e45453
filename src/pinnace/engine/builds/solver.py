"""The solver: what a vertex leads to, from the cache or by doing it.

Knows nothing of Dockerfiles. Equal vertices that are solved at the same time, by one build or by
several, are done once.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

from pinnace.contracts.build_cache import BuildCache, CachedStep
from pinnace.contracts.snapshots import LayerStat, SnapshotKey, Snapshots
from pinnace.engine.builds.graph import Built, Copying, Execution, Operation, Vertex
from pinnace.engine.builds.keys import cache_key
from pinnace.engine.builds.output import SHORT_ID, StepListener
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.make import EMPTY_DIFF_ID, Step, child_config
from pinnace.engine.images.parts import Offload
from pinnace.engine.images.records import format_time
from pinnace.engine.images.together import to_its_end
from pinnace.engine.locks import Locks
from pinnace.errors import Conflict, ImageNotFound
from pinnace.model.image import ImageLayer, ImageRecord
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.manifest import History, parse_image_document

_DESCRIPTION_CHARS = 300


@dataclass(frozen=True, slots=True)
class Performed:
    """An operation that was carried out.

    Attributes:
        snapshot: Holds the changes; None: there are none.
        container: In which it was done; "": in none.
    """

    snapshot: SnapshotKey | None
    container: str = ""


class Performer(Protocol):
    """Carries out operations."""

    async def perform(
        self, operation: Operation, parent: Built, out: StepListener, policy: "StepPolicy"
    ) -> Performed:
        """Do it.

        Raises:
            PinnaceError: It failed; nothing remains but, if the policy says so, its container.
        """
        ...

    def release(
        self, performed: Performed, policy: "StepPolicy"
    ) -> AbstractAsyncContextManager[bool]:
        """Tell, for the time of a `with` block, whether the snapshot may be used up."""
        ...

    async def clear(self, performed: Performed, out: StepListener, policy: "StepPolicy") -> None:
        """Take away what was needed for it, once its changes are a layer (or will never be)."""
        ...


class Recall(Protocol):
    """Remembers steps by other signs than the solver's keys."""

    async def __call__(self, vertex: Vertex) -> ImageId | None:
        """Return an image that a step has led to; None: it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """What holds for all steps of a build.

    Attributes:
        no_cache: Do everything anew.
        remove: Remove containers of steps that succeeded.
        force_remove: And of those that failed.
        keep: Leave all containers to the user, with what their commands print; that of a step
            that is cancelled is killed.
        cache_from: Images whose steps may be taken.
        recall: Another memory than the cache; None: there is none.
    """

    no_cache: bool = False
    remove: bool = True
    force_remove: bool = False
    keep: bool = False
    cache_from: Sequence[ImageRecord] = ()
    recall: Recall | None = None


class Solver:
    """Solves vertices.

    Args:
        library: Takes in the images.
        configs: Returns the exact config of an image.
        snapshots: Makes layers.
        cache: Remembers steps.
        performer: Carries out operations.
        offload: Runs blocking work.
    """

    def __init__(
        self,
        library: ImageLibrary,
        configs: "Configs",
        *,
        snapshots: Snapshots,
        cache: BuildCache,
        performer: Performer,
        offload: Offload,
    ) -> None:
        self._library = library
        self._configs = configs
        self._snapshots = snapshots
        self._cache = cache
        self._performer = performer
        self._offload = offload
        self._solving = Locks()
        self._unused: set[ChainId] = set()

    async def solve(self, vertex: Vertex, out: StepListener, policy: StepPolicy) -> Built:
        """Return what a vertex leads to.

        Raises:
            PinnaceError: Its operation failed.

        Cancelled: nothing of the step remains but, if the policy says so, its container; and, if
            it had been done already, its image.
        """
        if not vertex.cached:
            return await self._do(None, vertex, out, policy)
        key = cache_key(vertex)
        async with self._solving.hold(key):
            if not policy.no_cache:
                known = (
                    await self._known(key, vertex)
                    or await self._recalled(vertex, policy)
                    or await self._imported(vertex, policy)
                )
                if known is not None:
                    await out.cached()
                    return known
            return await self._do(key, vertex, out, policy)

    def hold(self, built: Built) -> AbstractContextManager[None]:
        """Keep the layers of an image, for the time of a `with` block, whatever becomes of it."""
        return self._library.leases.hold([layer.chain for layer in built.layers])

    async def _known(self, key: str, vertex: Vertex) -> Built | None:
        image = await self._cache.find(key, time.time_ns())
        return None if image is None else await self._built(image, vertex)

    async def _recalled(self, vertex: Vertex, policy: StepPolicy) -> Built | None:
        image = None if policy.recall is None else await policy.recall(vertex)
        return None if image is None else await self._built(image, vertex)

    async def _built(self, image: ImageId, vertex: Vertex) -> Built | None:
        record = self._library.catalog.images.get(image)
        if record is None:
            return None
        try:
            config = await self._configs.config_bytes(record.id)
        except ImageNotFound:
            return None  # removed at this moment
        return Built(record, config, vertex.parent.platform)

    async def _imported(self, vertex: Vertex, policy: StepPolicy) -> Built | None:
        """Take the layer of an image that the request trusts, if its history has this step."""
        if not _is_told(vertex.operation):
            return None
        for image in policy.cache_from:
            try:
                config = await self._configs.config_bytes(image.id)
            except ImageNotFound:
                continue  # removed since the build began
            step = _matching(image, vertex, config)
            if step is None:
                continue
            with self._library.leases.hold([step.layer.chain] if step.layer else []):
                if image.id in self._library.catalog.images:  # or its layers may be gone, too
                    return await self._commit(vertex, step.layer, created=step.created)
        return None

    async def _do(
        self, key: str | None, vertex: Vertex, out: StepListener, policy: StepPolicy
    ) -> Built:
        operation, parent = vertex.operation, vertex.parent
        if operation is None:
            return await to_its_end(self._keep(key, vertex, Performed(None), policy))
        with self.hold(parent):
            performed = await self._performer.perform(operation, parent, out, policy)
            try:
                return await to_its_end(self._keep(key, vertex, performed, policy))
            finally:
                await self._performer.clear(performed, out, policy)

    async def _keep(
        self, key: str | None, vertex: Vertex, performed: Performed, policy: StepPolicy
    ) -> Built:
        """Make an image of what was done and remember it; not to be left half-way."""
        built = await self._commit_changes(vertex, performed, policy)
        if key is not None:
            await self._remember(key, vertex, built)
        return built

    async def _commit_changes(
        self, vertex: Vertex, performed: Performed, policy: StepPolicy
    ) -> Built:
        if performed.snapshot is None:
            return await self._commit(vertex, None, container=performed.container)
        key, top, latest_ns = performed.snapshot, vertex.parent.top, vertex.created_ns
        try:
            with self._library.leases.hold_all():
                async with self._performer.release(performed, policy) as is_free:
                    chain, stat = await self._offload(
                        lambda: self._make_layer(key, top, latest_ns, is_free=is_free)
                    )
                self._unused.add(chain)
                layer = _layer(chain, stat)
                built = await self._commit(vertex, layer, container=performed.container)
                if layer is not None:
                    self._unused.discard(chain)
        finally:
            await self._collect_unused()
        return built

    async def _collect_unused(self) -> None:
        """Remove layers that no image has; those that cannot go now are left to the next step.

        While another step is at this point nothing is removed: it might need them.
        """
        unused = list(self._unused)
        if not unused:
            return
        await self._library.collect(unused)
        left = await self._offload(lambda: set(filter(self._snapshots.has_layer, unused)))
        self._unused.difference_update(set(unused) - left, self._library.catalog.chains())

    def _make_layer(
        self, key: SnapshotKey, top: ChainId | None, latest_ns: int | None, *, is_free: bool
    ) -> tuple[ChainId, LayerStat]:
        if is_free:
            with suppress(Conflict):  # unmounting has failed
                return self._snapshots.seal(key, top, latest_ns=latest_ns)
        return self._snapshots.commit(key, top, latest_ns=latest_ns)

    async def _commit(
        self,
        vertex: Vertex,
        layer: ImageLayer | None,
        *,
        container: str = "",
        created: str = "",
    ) -> Built:
        parent = vertex.parent
        created_ns = time.time_ns() if vertex.created_ns is None else vertex.created_ns
        config = child_config(
            parent.config or None,
            vertex.config,
            diff_id=layer.diff_id if layer else EMPTY_DIFF_ID,
            step=Step(
                created=created or format_time(created_ns),
                created_by=vertex.created_by,
                author=vertex.author,
                comment=vertex.comment,
                container=container,
                container_config=_container_config(vertex, container),
            ),
            platform=parent.platform,
            further=vertex.further,
        )
        layers = [*parent.layers, layer] if layer else list(parent.layers)
        record = await self._library.add(config, layers, parent=parent.id)
        return Built(record, config, parent.platform)

    async def _remember(self, key: str, vertex: Vertex, built: Built) -> None:
        if built.record is None:
            return
        now = time.time_ns()
        description = vertex.created_by[:_DESCRIPTION_CHARS]
        await self._cache.put(CachedStep(key, ImageId(built.record.id), description, now, now))


class Configs(Protocol):
    """Returns exact configs of images."""

    async def config_bytes(self, ref: str) -> bytes:
        """Return the config.

        Raises:
            ImageNotFound: No such image.
        """
        ...


def _container_config(vertex: Vertex, container: str) -> Mapping[str, object] | None:
    if vertex.container_config is None or not container:
        return vertex.container_config
    # What a container without a host name is called.
    return {"Hostname": container[:SHORT_ID], **vertex.container_config}


def _layer(chain: ChainId, stat: LayerStat) -> ImageLayer | None:
    if stat.diff_id == EMPTY_DIFF_ID:
        return None
    return ImageLayer(chain=chain, diff_id=stat.diff_id, size=stat.size)


@dataclass(frozen=True, slots=True)
class _TrustedStep:
    """A step of a trusted image.

    Attributes:
        layer: What it made; None: nothing.
        created: When it was done, RFC 3339; "": the image does not say.
    """

    layer: ImageLayer | None
    created: str


def _is_told(operation: Operation | None) -> bool:
    """Whether the history's text tells everything that the result of an operation depends on.

    It has no word of mounts and of a network of its own, of modes, of `--link` and of directories
    that are kept (`--parents`): two steps of one text may differ in these.
    """
    match operation:
        case Execution(mounts=mounts, network=network):
            return not mounts and not network
        case Copying(jobs=jobs):
            return not any(
                job.mode
                or job.link
                or any("/" in one.name for one in job.selections)
                or any(one.is_directory and one.name for one in job.selections)
                for job in jobs
            )
    return True


def _matching(image: ImageRecord, vertex: Vertex, config: bytes) -> _TrustedStep | None:
    """Return the step of a trusted image that is the vertex; None: it has none.

    The history up to the parent must be the parent's own, entry for entry and layer for layer, and
    the next entry must say what the vertex would say. Only the layer and its time are taken: the
    config is ours.
    """
    parent = vertex.parent
    document = parse_image_document(config)
    steps, below = list(document.history or []), _history(parent)
    layers = [layer.diff_id for layer in parent.layers]
    if document.platform() != parent.platform or len(steps) <= len(below):
        return None
    if list(document.diff_ids())[: len(layers)] != layers:
        return None
    for one, other in zip(below, steps, strict=False):
        if (one.created_by, bool(one.empty_layer)) != (other.created_by, bool(other.empty_layer)):
            return None
    wanted = steps[len(below)]
    created = wanted.created or ""
    is_then = vertex.created_ns is None or created == format_time(vertex.created_ns)
    if wanted.created_by != vertex.created_by or not is_then:
        return None
    if wanted.empty_layer:
        return _TrustedStep(None, created)
    return (
        _TrustedStep(image.layers[len(layers)], created) if image.layers[len(layers) :] else None
    )


def _history(parent: Built) -> list[History]:
    return list(parse_image_document(parent.config).history or []) if parent.config else []
