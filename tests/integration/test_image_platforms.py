"""Archives of several platforms: what is loaded and saved of them."""

import gzip
import hashlib
import json

import pytest
from tests.integration.test_image_service import BASE, Host, docker_archive
from tests.support.archives import file, tar_of

from pinnace.errors import NotFound
from pinnace.oci.platform import Platform

pytestmark = pytest.mark.root

AMD, ARM = Platform(), Platform("linux", "arm64")
KIND = "application/vnd.oci.image."


@pytest.fixture
async def host(tmp_path):
    started = await Host(tmp_path).start()
    yield started
    started.close()


async def load(host, archive, *platforms):
    async def stream():
        yield archive

    return [message async for message in host.images.load(stream(), platforms=platforms)]


async def save(host, *platforms):
    chunks = host.images.save(["test:1"], platforms=platforms)
    return b"".join([chunk async for chunk in chunks])


def layout(*architectures):
    """Return an OCI layout of one image for several architectures, called `test:1`."""
    blobs: dict[str, bytes] = {}

    def keep(content, kind, **more):
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content), **more}

    def encoded(document):
        return json.dumps({"schemaVersion": 2, **document}).encode()

    manifests = []
    for architecture in architectures:
        diff_id = f"sha256:{hashlib.sha256(BASE).hexdigest()}"
        rootfs = {"type": "layers", "diff_ids": [diff_id]}
        platform = {"os": "linux", "architecture": architecture}
        config = keep(json.dumps({**platform, "rootfs": rootfs}).encode(), KIND + "config.v1+json")
        layer = keep(gzip.compress(BASE, mtime=0), KIND + "layer.v1.tar+gzip")
        manifest = encoded({"config": config, "layers": [layer]})
        manifests.append(keep(manifest, KIND + "manifest.v1+json", platform=platform))
    name = {"io.containerd.image.name": "docker.io/library/test:1"}
    top = keep(encoded({"manifests": manifests}), KIND + "index.v1+json", annotations=name)
    return tar_of(
        file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        file("index.json", encoded({"manifests": [top]})),
        *(file(f"blobs/sha256/{digest}", content) for digest, content in blobs.items()),
    )


async def test_of_several_platforms_the_hosts_is_loaded(host):
    await load(host, layout("arm64", "amd64"))
    assert host.images.resolve("test:1").architecture == "amd64"
    assert len(host.images.catalog.images) == 1


async def test_the_platform_asked_for_is_loaded(host):
    await load(host, layout("arm64", "amd64"), ARM)
    assert host.images.resolve("test:1").architecture == "arm64"
    assert len(host.images.catalog.images) == 1


async def test_all_platforms_asked_for_are_loaded(host):
    await load(host, layout("arm64", "amd64", "s390x"), ARM, AMD)
    loaded = {image.architecture for image in host.images.catalog.images.values()}
    assert loaded == {"amd64", "arm64"}


@pytest.mark.parametrize("archive", [layout("amd64", "s390x"), docker_archive(BASE)])
async def test_an_archive_without_the_platform_is_refused_and_leaves_nothing(host, archive):
    with pytest.raises(NotFound, match=r"requested platform \(linux/arm64\) not found"):
        await load(host, archive, ARM)
    assert not host.images.catalog.images
    assert not list(host.content.digests())
    await load(host, archive, AMD)
    assert host.images.resolve("test:1").architecture == "amd64"


async def test_only_what_runs_on_the_platform_is_saved(host):
    await load(host, docker_archive(BASE))
    whole = await save(host)
    assert await save(host, AMD, ARM) == whole
    with pytest.raises(NotFound) as refused:
        await save(host, ARM)
    assert refused.value.message == (
        "image with reference test:1 was found but its platform (linux/amd64) does not match"
        " the specified platform (linux/arm64)"
    )


async def test_progress_of_a_load_has_a_bar(host):
    told = await load(host, docker_archive(BASE))
    bars = [message for message in told if message.get("status") == "Loading layer"]
    assert bars[-1]["progressDetail"]["current"] == bars[-1]["progressDetail"]["total"]
    assert "[====" in bars[-1]["progress"]
