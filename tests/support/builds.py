"""Everything below a build, in memory: what builds leave can be seen."""

from __future__ import annotations

import asyncio
import io
import signal as signals
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from tests.support.archives import file, tar_of
from tests.support.pulls import HOST, Users

from pinnace.contracts.bundles import snapshot_key
from pinnace.contracts.image_store import ImageChange, ImageState, StoredImage
from pinnace.contracts.monitor import TaskSpec
from pinnace.contracts.registry import TransferLimits
from pinnace.engine.builds.containers import StepContainers
from pinnace.engine.builds.graph import Built
from pinnace.engine.builds.memo import SelectionMemo
from pinnace.engine.builds.mounting import StepMounts
from pinnace.engine.builds.params import BuildParams
from pinnace.engine.builds.perform import StepPerformer
from pinnace.engine.builds.service import BuildService
from pinnace.engine.builds.session import BuildParts
from pinnace.engine.builds.solver import Solver
from pinnace.engine.builds.upkeep import CacheUpkeep
from pinnace.engine.containers.waiters import Waiters, WaitResult, WaitTicket
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.records import image_record
from pinnace.errors import Conflict, ContainerNotFound, ImageNotFound
from pinnace.model.image import ImageLayer
from pinnace.model.record import ImageId
from pinnace.oci.manifest import parse_image_document
from pinnace.oci.reference import parse_reference
from pinnace.testing.build_cache import FakeBuildCache
from pinnace.testing.build_files import FakeBuildFiles
from pinnace.testing.downloads import FakeDownloads
from pinnace.testing.image_store import FakeImageStore
from pinnace.testing.layer_blobs import FakeLayerBlobs
from pinnace.testing.monitor import FakeMonitor, Program
from pinnace.testing.repositories import FakeRepositories
from pinnace.testing.snapshots import FakeSnapshots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from pinnace.contracts.snapshots import SnapshotKey
    from pinnace.errors import PinnaceError
    from pinnace.model.create import CreateParams
    from pinnace.model.image import ImageRecord
    from pinnace.model.record import ContainerId

BASE = tar_of(file("base", b"base"))


class StepHost:
    """The containers of steps: snapshots with a task of the fake monitor in each.

    Attributes:
        present: What was created and not removed, by id.
        runs: Commands that were run.
        program: What a command does; by default it writes what it was into the file `ran`.
    """

    def __init__(self, world: BuildWorld) -> None:
        self._world = world
        self._waiters = Waiters()
        self._failures: dict[str, PinnaceError] = {}
        self.present: dict[str, CreateParams] = {}
        self.runs: list[list[str]] = []
        self.program: Callable[[list[str]], Program] = lambda words: Program(
            [(1, " ".join(words).encode())], 0
        )

    def fail_next(self, verb: str, error: PinnaceError) -> None:
        self._failures[verb] = error

    async def create(self, params: CreateParams):
        await self._enter("create")
        image = self._world.resolve(params.config.image)
        key, snapshots = snapshot_key(params.id), self._world.snapshots
        await self._world.offload(lambda: snapshots.prepare(key, image.top))
        self.present[params.id] = params
        await asyncio.sleep(0)
        return params.id, []

    async def start(self, ref: str) -> None:
        await self._enter("start")
        words = self._get(ref).config.cmd
        monitor = self._world.monitor
        monitor.programs[ref] = self.program(words)
        await self._world.offload(lambda: self._write(snapshot_key(ref), " ".join(words)))
        spec = TaskSpec(ref, (), {}, "/fake/pid", "/fake/nowhere/exit", start_fifo="fifo")
        await monitor.create(spec)
        await asyncio.sleep(0)
        await monitor.start(ref)
        self.runs.append(words)

    async def wait(self, ref: str, condition: str = "not-running") -> WaitTicket:
        await self._enter("wait")
        self._get(ref)
        return self._waiters.add(ref, condition)

    async def kill(self, ref: str, signal: str) -> None:
        await self._enter("kill")
        self._get(ref)
        task = self._world.monitor.tasks.get(ref)
        if task is None or task.exit is not None:
            raise Conflict(f"Container {ref} is not running")
        await self._world.monitor.signal(ref, getattr(signals, signal))
        await asyncio.sleep(0)

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        await self._enter("remove")
        self._get(ref)
        task = self._world.monitor.tasks.get(ref)
        if task is not None and task.exit is None:
            assert force
            await self._world.monitor.signal(ref, 9)
            await asyncio.sleep(0)
        await self._world.monitor.forget(ref, kill=True)
        await self._world.offload(lambda: self._world.snapshots.remove(snapshot_key(ref)))
        self.present.pop(ref, None)
        self._waiters.removed(ref, WaitResult(0))

    @asynccontextmanager
    async def hold(self, container_id: ContainerId) -> AsyncIterator[bool]:
        await self._enter("hold")
        self._get(container_id)
        task = self._world.monitor.tasks.get(container_id)
        yield task is None or task.exit is not None

    async def follow(self) -> None:
        """Tell of exits; to be run beside everything."""
        async for ended in self._world.monitor.exits():
            self._waiters.exited(ended.id, WaitResult(ended.code))

    def _write(self, key: SnapshotKey, text: str) -> None:
        self._world.snapshots.pending[key] = tar_of(file("ran", text.encode()))

    def _get(self, ref: str) -> CreateParams:
        if ref not in self.present:
            raise ContainerNotFound(ref)
        return self.present[ref]

    async def _enter(self, verb: str) -> None:
        await asyncio.sleep(0)
        error = self._failures.pop(verb, None)
        if error is not None:
            raise error


class BuildWorld:
    """Solver and service over fakes; `async with` it. It is its `Images` and `Lineage`."""

    def __init__(self) -> None:
        self.snapshots = FakeSnapshots()
        self.files = FakeBuildFiles(self.snapshots)
        self.store = FakeImageStore()
        self.cache = FakeBuildCache(self.store)
        self.monitor = FakeMonitor()
        self.host = StepHost(self)
        self.pulls: dict[str, ImageRecord] = {}

    async def __aenter__(self) -> BuildWorld:
        self._pool = ThreadPoolExecutor(4)
        self._working: set[Future] = set()
        parts = ImageParts(
            store=self.store,
            snapshots=self.snapshots,
            content=None,
            layer_blobs=FakeLayerBlobs(),
            downloads=FakeDownloads(),
            registries=None,
            limits=TransferLimits(),
            users=Users(),
            offload=self.offload,
            transfer=self.offload,
            publish=lambda *_: None,
            host=HOST,
        )
        self.library = ImageLibrary(parts, ImageState())
        self.steps = StepContainers(self.host, self.host, self.monitor, self.cache)
        self.mounts = StepMounts(
            files=self.files, snapshots=self.snapshots, cache=self.cache, offload=self.offload
        )
        performer = StepPerformer(
            files=self.files,
            snapshots=self.snapshots,
            containers=self.steps,
            mounts=self.mounts,
            offload=self.offload,
        )
        self.solver = Solver(
            self.library,
            self,
            snapshots=self.snapshots,
            cache=self.cache,
            performer=performer,
            offload=self.offload,
        )
        self.service = self._service(parts.downloads)
        self.base = await self.add_image("base")
        self._following = asyncio.create_task(self.host.follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.monitor.close()
        await self._following
        self._pool.shutdown()

    def _service(self, downloads: FakeDownloads) -> BuildService:
        parts = BuildParts(
            images=self,
            lineage=self,
            solver=self.solver,
            files=self.files,
            cache=self.cache,
            containers=self.steps,
            mounts=self.mounts,
            memo=SelectionMemo(),
            offload=self.offload,
            transfer=self.offload,
            downloads=downloads,
            repositories=FakeRepositories(),
            pull=self._pull,
            host=HOST,
        )
        upkeep = CacheUpkeep(
            self.library.catalog,
            cache=self.cache,
            files=self.files,
            mounts=self.mounts,
            offload=self.offload,
        )
        return BuildService(parts, upkeep)

    async def _pull(self, ref, _platform, _credentials):
        raise ImageNotFound(ref)
        yield  # a generator

    async def offload(self, fn):
        """Run in a thread, which goes on when its caller is cancelled."""
        working = self._pool.submit(fn)
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        return await asyncio.wrap_future(working)

    # Images

    def resolve(self, ref: str) -> ImageRecord:
        return self.library.catalog.resolve(ref)

    async def config_bytes(self, ref: str) -> bytes:
        return await self.store.config_bytes(self.resolve(ref).id)

    async def find_made(self, parent: str, config: Mapping[str, object]) -> ImageId | None:
        """Return an image that was made by an equal container, as the real lineage does."""
        for image in self.library.catalog.images.values():
            document = parse_image_document(await self.store.config_bytes(image.id))
            if image.parent == parent and document.container_config == config:
                return image.id
        return None

    async def tag(self, ref: str, repo: str, tag: str) -> None:
        name = parse_reference(f"{repo}:{tag}").normalized()
        change = ImageChange(set_tags={name: self.resolve(ref).id})
        await self.library.apply(change)

    async def add_image(self, name: str, config: bytes | None = None, *tars: bytes) -> Built:
        """Store an image as a load would; without a config one of one layer and no history."""
        below, layers = None, []
        for tar in tars or (BASE,):
            below, stat = self.snapshots.ingest_layer(below, io.BytesIO(tar))
            layers.append(ImageLayer(chain=below, diff_id=stat.diff_id, size=stat.size))
        if config is None:
            config = msgspec.json.encode(
                {
                    "os": HOST.os,
                    "architecture": HOST.architecture,
                    "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
                }
            )
        record = image_record(config, layers)
        tag = parse_reference(name).tagged().normalized()
        change = ImageChange(put=[StoredImage(record, config)], set_tags={tag: record.id})
        await self.library.apply(change)
        return Built(record, config, HOST)

    async def forget_images(self) -> None:
        """Remove all images but the base, their layers, and all steps."""
        images = [one for one in self.library.catalog.images if one != self.base.id]
        layers = self.snapshots.layers - {layer.chain for layer in self.base.layers}
        await self.library.apply(ImageChange(drop=[ImageId(one) for one in images]))
        await self.library.collect(layers)

    # What is left

    async def left(self) -> dict[str, object]:
        """Return what a build that is over must not leave, by what it is."""
        await asyncio.to_thread(wait, list(self._working))
        kept = {
            layer.chain for one in self.library.catalog.images.values() for layer in one.layers
        }
        found = {
            "snapshots": self.snapshots.active,
            "mounts": self.snapshots.mounts,
            "layers": self.snapshots.layers - kept,
            "contexts": list(self.files.contexts),
            "sources": self.files.sources,
            "containers": list(self.host.present),
            "tasks": list(self.monitor.tasks),
            "caches in use": self.mounts.in_use,
            "leases": [one for one in (*kept, "any") if self.library.leases.is_held(one)],
        }
        return {name: value for name, value in found.items() if value}

    async def noted(self) -> list[str]:
        """Return the containers that are noted for the next boot."""
        return list(await self.cache.containers())

    async def built(
        self,
        archive: bytes,
        params: BuildParams | None = None,
        *,
        seen: list[object] | None = None,
    ) -> str:
        """Build, and return the text; messages go to `seen`, too."""
        found = [] if seen is None else seen
        messages = self.service.build(params or BuildParams(), _pieces(archive))
        try:
            async for message in messages:
                found.append(message)
        finally:
            await messages.aclose()
        return "".join(str(message.get("stream", "")) for message in found)


async def _pieces(archive: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(archive), 4096):
        yield archive[at : at + 4096]
        await asyncio.sleep(0)
