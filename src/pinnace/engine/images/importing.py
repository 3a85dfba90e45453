"""Images out of the tar of a root filesystem, uploaded or fetched from elsewhere."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from pinnace.contracts.snapshots import LayerStat
from pinnace.engine.images.bridge import ByteInlet, Message, Progress
from pinnace.engine.images.changes import apply_changes
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.make import Step, child_config
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.progress import Meter
from pinnace.engine.images.records import format_time
from pinnace.engine.images.transfer import with_progress, with_upload
from pinnace.model.container import ContainerConfig
from pinnace.model.image import ImageLayer
from pinnace.model.image_import import ImportParams
from pinnace.oci.chain import ChainId
from pinnace.oci.platform import parse_platform
from pinnace.oci.reference import target_reference


async def import_archive(
    parts: ImageParts,
    library: ImageLibrary,
    stream: AsyncIterator[bytes],
    params: ImportParams,
    *,
    source: str = "-",
) -> AsyncIterator[Message]:
    """Make an image of one layer out of a tar; yield its id.

    Args:
        parts: The host's side.
        library: Where it goes.
        stream: The tar, plain or compressed.
        params: What to make of it.
        source: Where it comes from, for the history.

    Raises:
        InvalidParameter: The archive, a change, the platform or the name is bad.
    """
    reference = target_reference(params.repo, params.tag)
    config = apply_changes(ContainerConfig(), params.changes)
    wanted = parse_platform(params.platform, parts.host) if params.platform else parts.host
    comment = params.message or f"Imported from {source}"
    step = Step(created=format_time(time.time_ns()), comment=comment)

    def unpack(inlet: ByteInlet) -> tuple[ChainId, LayerStat]:
        return parts.snapshots.ingest_layer(None, inlet)

    with library.leases.hold_all():
        chain, stat = await with_upload(parts.transfer, stream, unpack)
        image = child_config(None, config, diff_id=stat.diff_id, step=step, platform=wanted)
        layer = ImageLayer(chain=chain, diff_id=stat.diff_id, size=stat.size)
        record = await library.add(image, [layer], reference=reference)
    library.announce("import", record.id, record.id)
    yield {"status": record.id}


async def import_download(
    parts: ImageParts, library: ImageLibrary, url: str, params: ImportParams
) -> AsyncIterator[Message]:
    """Make an image out of a tar from elsewhere; see `ImageService.import_url`."""
    address = url if "://" in url else f"http://{url}"
    async with parts.downloads.open(address) as found:
        yield {"status": f"Downloading from {address}"}

        async def work(progress: Progress) -> None:
            meter = Meter(progress.show, "Importing", "", found.size or 0)

            async def counted() -> AsyncIterator[bytes]:
                async for chunk in found.content:
                    meter.add(len(chunk))
                    yield chunk

            async for message in import_archive(parts, library, counted(), params, source=url):
                progress.say(message)

        async with aclosing(with_progress(work, name="image import")) as messages:
            async for message in messages:
                yield message
