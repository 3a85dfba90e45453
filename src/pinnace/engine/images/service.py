"""The images of this host: what the API's image calls do."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing

from msgspec.structs import replace

from pinnace.contracts.content import Content
from pinnace.contracts.downloads import Downloads
from pinnace.contracts.image_store import ImageChange, ImageState, ImageStore
from pinnace.contracts.layer_blobs import LayerBlobs
from pinnace.contracts.registry import ANONYMOUS, Credentials, Registries, TransferLimits
from pinnace.contracts.snapshots import SnapshotKey, Snapshots
from pinnace.engine.filters import Filters
from pinnace.engine.images import listing
from pinnace.engine.images.bridge import Message
from pinnace.engine.images.catalog import Catalog
from pinnace.engine.images.changes import apply_changes
from pinnace.engine.images.importing import import_archive, import_download
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.lineage import Lineage
from pinnace.engine.images.make import EMPTY_DIFF_ID, Step, child_config
from pinnace.engine.images.origin import image_origin
from pinnace.engine.images.parts import ImageParts, ImageUsers, Offload, Publish
from pinnace.engine.images.policy import DiskPolicy
from pinnace.engine.images.prune import PRUNE_FILTERS, prunable
from pinnace.engine.images.pull import Puller, PullRequest, PullSettings
from pinnace.engine.images.pull_plan import pull_reference
from pinnace.engine.images.push import Pusher
from pinnace.engine.images.records import format_time
from pinnace.engine.images.save import SavedImage, check_platform
from pinnace.engine.images.transfer import load_archive, save_archive
from pinnace.errors import Conflict, ImageNotFound, InvalidParameter
from pinnace.model.container import ContainerConfig
from pinnace.model.image import (
    DeleteItem,
    HistoryItem,
    ImageInspect,
    ImageLayer,
    ImageOrigin,
    ImagePruneReport,
    ImageRecord,
    ImagesDiskUsage,
    ImageSummary,
)
from pinnace.model.image_import import ImportParams
from pinnace.model.record import ImageId
from pinnace.oci.chain import ChainId
from pinnace.oci.platform import Platform, parse_platform
from pinnace.oci.reference import Reference, parse_reference, target_reference

_DEFAULT_PULLS = PullSettings()


class ImageService:
    """Owns the images. One instance per daemon.

    Args:
        store: Keeps the records.
        state: What the store holds at boot.
        snapshots: Holds the layers.
        content: Holds blobs and receives archives.
        layer_blobs: Remembers layers in the form registries keep them.
        downloads: Fetches what is imported from elsewhere.
        registries: Where images are pulled from and pushed to.
        limits: How many layers are transferred at a time.
        users: Containers that use an image.
        offload: Runs short blocking work.
        transfer: Runs work that waits for clients; None: `offload` does.
        publish: Takes events.
        host: What this host runs.
        pulls: How images are pulled.
    """

    def __init__(
        self,
        store: ImageStore,
        state: ImageState,
        *,
        snapshots: Snapshots,
        content: Content,
        layer_blobs: LayerBlobs,
        downloads: Downloads,
        registries: Registries,
        limits: TransferLimits,
        users: ImageUsers,
        offload: Offload,
        publish: Publish,
        host: Platform,
        transfer: Offload | None = None,
        pulls: PullSettings = _DEFAULT_PULLS,
    ) -> None:
        self._parts = ImageParts(
            store=store,
            snapshots=snapshots,
            content=content,
            layer_blobs=layer_blobs,
            downloads=downloads,
            registries=registries,
            limits=limits,
            users=users,
            offload=offload,
            transfer=transfer or offload,
            publish=publish,
            host=host,
            keep_blobs=pulls.keep_blobs,
        )
        self._library = ImageLibrary(self._parts, state)
        self._pusher = Pusher(self._parts, self._library)
        self.lineage = Lineage(self._parts, self._library)
        self._puller = Puller(self._parts, self._library, pulls)

    @property
    def catalog(self) -> Catalog:
        """The images known now; to be read only."""
        return self._library.catalog

    @property
    def library(self) -> ImageLibrary:
        """The images with all that changes them, for those who make some."""
        return self._library

    def resolve(self, ref: str) -> ImageRecord:
        """Return the image that `ref` (id, start of an id, or reference) means.

        Raises:
            ImageNotFound: None.
            InvalidParameter: No reference, or the start of several ids.
        """
        return self.catalog.resolve(ref)

    def descendants(self, ref: str) -> frozenset[str]:
        """Return the ids of the image `ref` names and of all made from it; empty for none."""
        try:
            pending = [self.resolve(ref).id]
        except (ImageNotFound, InvalidParameter):
            return frozenset()
        found: set[ImageId] = set()
        while pending:
            image = pending.pop()
            found.add(image)
            pending += [child for child in self.catalog.children_of(image) if child not in found]
        return frozenset(found)

    def lease(self, chains: Sequence[ChainId]) -> AbstractContextManager[None]:
        """Keep layers, existing or to come, from being removed for the time of a `with` block."""
        return self._library.leases.hold(chains)

    async def config_bytes(self, ref: str) -> bytes:
        """Return the exact bytes of an image's config.

        Raises:
            ImageNotFound: No such image.
        """
        return await self._parts.store.config_bytes(self.resolve(ref).id)

    async def list(
        self,
        filters: Filters,
        *,
        all: bool = False,  # noqa: A002 - the API's word
        shared_size: bool = False,
        manifests: bool = False,
    ) -> Sequence[ImageSummary]:
        """Return the images that pass the filters, newest first.

        Raises:
            InvalidParameter: An unknown or malformed filter.
            ImageNotFound: `before` or `since` names no image.
        """
        return listing.list_images(self.catalog, filters, everything=all, shared_size=shared_size)

    async def inspect(self, ref: str, *, origin: bool = False) -> ImageInspect:
        """Return everything about an image.

        Args:
            ref: The image.
            origin: Also what container it came from.

        Raises:
            ImageNotFound: No such image.
        """
        record = self.resolve(ref)
        snapshots = self._parts.snapshots
        top = record.top
        paths = await self._parts.offload(lambda: snapshots.layer_paths(top)) if top else {}
        seen = listing.inspect_image(self.catalog, record, driver=snapshots.driver, paths=paths)
        return replace(seen, origin=await self.origin(record.id)) if origin else seen

    async def origin(self, ref: str) -> ImageOrigin:
        """Return where an image came from, and its defaults for containers as written.

        Raises:
            ImageNotFound: No such image.
        """
        return image_origin(await self.config_bytes(ref))

    async def history(self, ref: str) -> Sequence[HistoryItem]:
        """Return the steps of an image's making, newest first.

        Raises:
            ImageNotFound: No such image.
        """
        return listing.image_history(self.catalog, self.resolve(ref))

    async def usage(self) -> tuple[Sequence[ImageSummary], int]:
        """Return every image with its shared size, and the bytes of layers and blobs."""
        usage = await self.disk_usage()
        return usage.items or (), usage.total_size

    async def disk_usage(self) -> ImagesDiskUsage:
        """Return what images take on disk."""
        users = self._parts.users
        containers = {image: len(users.containers_using(image)) for image in self.catalog.images}
        return listing.disk_usage(self.catalog, containers, await self._library.blob_usage())

    async def tag(self, ref: str, repo: str, tag: str, *, replace: bool = True) -> None:
        """Give an image one more name.

        Args:
            ref: The image.
            repo: Repository, possibly with a tag in it.
            tag: "": that one, or `latest`.
            replace: The name may move from another image.

        Raises:
            ImageNotFound: No such image.
            InvalidParameter: No such name can be given.
            Conflict: Another image has the name.
        """
        record = self.resolve(ref)
        reference = target_reference(repo, tag)
        if reference is None:
            raise InvalidParameter("invalid reference format")
        holder = self.catalog.find(reference)
        if not replace and holder is not None and holder.id != record.id:
            raise Conflict(
                f"Conflict: Tag {reference.familiar()} is already set to {holder.id[7:19]}"
            )
        await self._name(record, reference)

    async def delete(
        self, ref: str, *, force: bool = False, noprune: bool = False
    ) -> Sequence[DeleteItem]:
        """Remove a name, or an image with its names and untagged parents, as Docker does.

        Raises:
            ImageNotFound: No such image.
            Conflict: Other images or containers need it; the text says how it can be forced.
        """
        deleted = await self._library.delete(ref, force=force, prune=not noprune)
        return deleted.items

    async def prune(self, filters: Filters) -> ImagePruneReport:
        """Remove the images that no container uses: untagged ones, or all with `dangling=false`.

        Raises:
            InvalidParameter: An unknown or malformed filter.
        """
        filters.validate(PRUNE_FILTERS)
        items: list[DeleteItem] = []
        reclaimed = 0
        for ref in prunable(self.catalog, filters, self._parts.users):
            try:
                deleted = await self._library.delete(ref, force=False, prune=True)
            except (Conflict, ImageNotFound):
                continue  # used since, or gone with a child
            items += deleted.items
            reclaimed += deleted.reclaimed
        reclaimed += await self._library.sweep(0)
        self._parts.publish("image", "prune", "", {"reclaimed": str(reclaimed)})
        return ImagePruneReport(images_deleted=items or None, space_reclaimed=reclaimed)

    def pull(
        self,
        name: str,
        *,
        tag: str = "",
        platform: str | None = None,
        credentials: Credentials = ANONYMOUS,
    ) -> AsyncIterator[Message]:
        """Pull an image from a registry; yield messages as Docker does.

        Args:
            name: Possibly with a tag or digest in it; with neither, every tag is pulled.
            tag: Tag or digest, instead of the one in `name`.
            platform: Which image of an index; None: the one for this host.
            credentials: For the registry.

        Raises:
            InvalidParameter: No such reference or platform.
            PinnaceError: Raised by the iteration, see `Puller.pull`.
        """
        wanted = parse_platform(platform, self._parts.host) if platform else None
        request = PullRequest(pull_reference(name, tag), wanted, credentials)
        return self._puller.pull(request)

    def push(
        self, name: str, *, tag: str, platform: Platform | None, credentials: Credentials
    ) -> AsyncIterator[Message]:
        """Send images to their registry; see `Pusher.push`."""
        return self._pusher.push(name, tag=tag, platform=platform, credentials=credentials)

    def load(
        self,
        stream: AsyncIterator[bytes],
        *,
        quiet: bool = False,
        platforms: Sequence[Platform] = (),
    ) -> AsyncIterator[Message]:
        """Load the images of an archive, all or those that run on one of `platforms`.

        Yields messages as `docker load` shows them. Nothing of the archive is in the catalog
        before all its layers are on disk.

        Raises:
            InvalidParameter: The archive is broken or hostile; raised by the iteration.
            NotFound: It has none of the platforms.
        """
        return load_archive(self._parts, self._library, stream, quiet=quiet, platforms=platforms)

    async def save(
        self, refs: Sequence[str], *, platforms: Sequence[Platform] = ()
    ) -> AsyncIterator[bytes]:
        """Yield an archive of images.

        A name without a tag stands for all tags of the repository; an id for the image alone.

        Raises:
            ImageNotFound: One of them is not here; raised before the first byte.
            NotFound: One of them runs on none of `platforms`, if there are any; likewise.
            Internal: A layer is damaged.
        """
        chosen: dict[ImageId, list[Reference]] = {}
        for ref in refs:
            for image, tags in self._named(ref):
                check_platform(ref, self.catalog.images[image], platforms)
                known = chosen.setdefault(image, [])
                known += [tag for tag in tags if tag not in known]
        images = [
            SavedImage(
                self.catalog.images[image], await self._parts.store.config_bytes(image), tags
            )
            for image, tags in chosen.items()
        ]
        async with aclosing(save_archive(self._parts, self._library, images)) as chunks:
            async for chunk in chunks:
                yield chunk
        for image in chosen:
            self._library.announce("save", image, image)

    def import_tar(
        self, stream: AsyncIterator[bytes], params: ImportParams
    ) -> AsyncIterator[Message]:
        """Make an image of one layer out of a tar of a root filesystem; yield its id.

        Raises:
            InvalidParameter: The archive, a change, the platform or the name is bad.
        """
        return import_archive(self._parts, self._library, stream, params)

    def import_url(self, url: str, params: ImportParams) -> AsyncIterator[Message]:
        """Make an image out of a tar from elsewhere; yield progress and at last its id.

        Args:
            url: Of http or https; without a scheme it is http.
            params: What to make of it.

        Raises:
            InvalidParameter: As `import_tar`; or no URL.
            NotFound: The server does not have it.
            Unavailable: The server cannot be reached, or breaks off.
        """
        return import_download(self._parts, self._library, url, params)

    async def commit(
        self,
        key: SnapshotKey,
        parent: ImageId,
        config: ContainerConfig,
        *,
        repo: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        container: str = "",
        container_config: Mapping[str, object] | None = None,
        changes: Sequence[str] = (),
        further: Mapping[str, object] | None = None,
    ) -> ImageId:
        """Make an image out of a snapshot's changes.

        Args:
            key: The snapshot.
            parent: The image it stands on.
            config: Defaults for containers.
            repo: Name for the image; "": none.
            tag: "": `latest`.
            author: For image and history.
            comment: For the history.
            container: Id for the image's config; "": none.
            container_config: The container's config, in wire names; its command is what the
                history says. None: that of `config` is.
            changes: Dockerfile instructions applied to `config`.
            further: More members of the image's `config`; see `make.child_config`.

        Raises:
            ImageNotFound: The parent is not here.
            InvalidParameter: A change or the name is bad.
        """
        reference = target_reference(repo, tag)
        changed = apply_changes(config, changes)
        below = self.resolve(parent)
        base = await self._parts.store.config_bytes(below.id)
        step = Step(
            created=format_time(time.time_ns()),
            created_by=_command_line(config, container_config),
            author=author,
            comment=comment,
            container=container,
            container_config=container_config,
        )
        top = below.top
        with self._library.leases.hold_all():
            snapshots = self._parts.snapshots
            chain, stat = await self._parts.offload(lambda: snapshots.commit(key, top))
            image = child_config(
                base,
                changed,
                diff_id=stat.diff_id,
                step=step,
                platform=self._parts.host,
                further=further,
            )
            layers = list(below.layers)
            if stat.diff_id != EMPTY_DIFF_ID:
                layers.append(ImageLayer(chain=chain, diff_id=stat.diff_id, size=stat.size))
            record = await self._library.add(image, layers, parent=below.id, reference=reference)
        await self._library.collect([chain])  # an empty layer is not part of the image
        return record.id

    async def repair(self, keys: Sequence[SnapshotKey]) -> Sequence[str]:
        """Remove what a crash left behind; at boot, before anything else is done.

        Args:
            keys: The snapshots that containers have.

        Returns:
            What was done.
        """
        live = await self._library.live_chains()
        snapshots, content = self._parts.snapshots, self._parts.content
        return await self._parts.offload(
            lambda: [*snapshots.repair(keys, live), *content.repair()]
        )

    def disk_policy(self, *, threshold: int, disk_used: Callable[[], float]) -> DiskPolicy:
        """Return what removes unused images when the disk is fuller than `threshold` percent."""
        return DiskPolicy(self._parts, self._library, threshold=threshold, disk_used=disk_used)

    async def _name(self, record: ImageRecord, reference: Reference) -> None:
        tagged = replace(record, last_tag_ns=time.time_ns())
        tags = {reference.normalized(): record.id}
        await self._library.apply(ImageChange(update=[tagged], set_tags=tags))
        self._library.announce("tag", record.id, reference.familiar())

    def _named(self, ref: str) -> Sequence[tuple[ImageId, Sequence[Reference]]]:
        """Return the images that `ref` asks to save, each with its names in the archive."""
        try:
            reference = parse_reference(ref)
        except InvalidParameter:
            return [(self.resolve(ref).id, ())]
        if reference.tag or reference.digest:
            names = () if reference.digest else (reference,)
            return [(self.resolve(ref).id, names)]
        tags = [(parse_reference(text), image) for text, image in self.catalog.tags.items()]
        found = [(image, (tag,)) for tag, image in tags if tag.name == reference.name]
        return found or [(self.resolve(ref).id, ())]


def _command_line(config: ContainerConfig, container_config: Mapping[str, object] | None) -> str:
    words = config.cmd if container_config is None else container_config.get("Cmd")
    return " ".join(map(str, words)) if isinstance(words, list) else ""
