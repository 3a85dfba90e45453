"""Images to pull from `FakeRegistries`, and an image side to pull them with."""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pinnace.contracts.registry import ANONYMOUS, FetchedManifest, TransferLimits
from pinnace.engine.images.library import ImageLibrary
from pinnace.engine.images.parts import ImageParts
from pinnace.engine.images.pull import Puller, PullRequest, PullSettings
from pinnace.engine.images.pull_plan import pull_reference
from pinnace.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    Descriptor,
)
from pinnace.oci.platform import Platform, parse_platform
from pinnace.testing.layer_blobs import FakeLayerBlobs
from pinnace.testing.registry import FakeRegistries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOST = Platform("linux", "amd64")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Users:
    """No containers, unless told."""

    def __init__(self):
        self.by_image = {}
        self.layers = []

    def containers_using(self, image):
        return self.by_image.get(image, [])

    def layers_in_use(self):
        return self.layers


class PullHost:
    """Everything below a puller; close it.

    Args:
        snapshots: Real or fake.
        content: Real.
        store: Of images, real or fake.
        registries: Where images come from; a fake one by default.
    """

    def __init__(self, snapshots, content, store, *, registries=None, blobs=None, **settings):
        self.pool = ThreadPoolExecutor(16)
        self.snapshots = snapshots
        self.content = content
        self.registries = registries or FakeRegistries()
        self.blobs = blobs or FakeLayerBlobs()
        self.events = []
        self.users = Users()
        self.store = store
        self.settings = PullSettings(**settings)

    async def start(self):
        loop = asyncio.get_running_loop()
        offload = functools.partial(loop.run_in_executor, self.pool)
        self.parts = ImageParts(
            store=self.store,
            snapshots=self.snapshots,
            content=self.content,
            layer_blobs=self.blobs,
            downloads=None,
            registries=self.registries,
            limits=TransferLimits(),
            users=self.users,
            offload=offload,
            transfer=offload,
            publish=lambda *event: self.events.append(event),
            host=HOST,
        )
        self.library = ImageLibrary(self.parts, await self.store.load())
        self.puller = Puller(self.parts, self.library, self.settings)
        return self

    async def pull(self, name, tag="", *, platform=None, messages=None, credentials=ANONYMOUS):
        """Pull and return the messages, also in `messages` when it fails."""
        found = messages if messages is not None else []
        wanted = parse_platform(platform, HOST) if platform else None
        request = PullRequest(pull_reference(name, tag), wanted, credentials)
        async for message in self.puller.pull(request):
            found.append(message)
        return found

    @property
    def catalog(self):
        return self.library.catalog

    def close(self):
        self.pool.shutdown()


def gzip_layer(tar: bytes) -> bytes:
    return gzip.compress(tar, 1, mtime=0)


def image_config(diff_ids: Sequence[str], *, architecture: str = "amd64", **more: object) -> bytes:
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        **more,
    }
    return json.dumps(document).encode()


def put_image(
    shelf,
    reference: str,
    tars: Sequence[bytes],
    *,
    diff_ids: Sequence[str] | None = None,
    architecture: str = "amd64",
    manifest_more: Mapping[str, object] | None = None,
    **config_more: object,
) -> FetchedManifest:
    """Store an image of gzip layers; return its manifest."""
    layers = [gzip_layer(tar) for tar in tars]
    config = image_config(
        diff_ids if diff_ids is not None else [digest_of(tar) for tar in tars],
        architecture=architecture,
        **config_more,
    )
    described = [(DOCKER_CONFIG, config), *((DOCKER_LAYER, layer) for layer in layers)]
    descriptors = [
        {"mediaType": kind, "digest": shelf.put_blob(content), "size": len(content)}
        for kind, content in described
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptors[0],
        "layers": descriptors[1:],
        **(manifest_more or {}),
    }
    return put_manifest(shelf, reference, manifest, DOCKER_MANIFEST)


def put_manifest(shelf, reference: str, document: object, kind: str) -> FetchedManifest:
    content = json.dumps(document).encode()
    digest = shelf.put_manifest(content, kind, reference)
    return FetchedManifest(content, Descriptor(media_type=kind, digest=digest, size=len(content)))


def put_index(shelf, reference: str, entries: Mapping[str, FetchedManifest]) -> FetchedManifest:
    """Store a manifest list; `entries` by platform (`linux/arm/v7`), "" for none stated."""
    manifests = []
    for platform, manifest in entries.items():
        entry = {
            "mediaType": manifest.descriptor.media_type,
            "digest": manifest.descriptor.digest,
            "size": manifest.descriptor.size,
        }
        if platform:
            system, architecture, *variant = platform.split("/")
            entry["platform"] = {"os": system, "architecture": architecture}
            if variant:
                entry["platform"]["variant"] = variant[0]
        manifests.append(entry)
    document = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": manifests}
    return put_manifest(shelf, reference, document, DOCKER_LIST)
