"""Images go to and come from other tools unchanged."""

import json
import subprocess

import msgspec
import pytest
from tests.integration.test_image_service import BASE, UPPER, Host, docker_archive, saved
from tests.support import dockerd

pytestmark = pytest.mark.root


@pytest.fixture
async def host(tmp_path):
    host = await Host(tmp_path).start()
    yield host
    host.close()


def skopeo(*words):
    done = subprocess.run(
        ["skopeo", "--insecure-policy", "--tmpdir", "/tmp", *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("form", "options"),
    [("oci-archive", []), ("oci-archive", ["--dest-compress"]), ("docker-archive", [])],
)
async def test_skopeo_reads_what_is_saved_and_its_copy_loads_again(host, tmp_path, form, options):
    await host.load(docker_archive(BASE, UPPER, tags=["example.com/a:1"]))
    before = host.images.resolve("example.com/a:1")
    mine, theirs = tmp_path / "mine.tar", tmp_path / "theirs.tar"
    mine.write_bytes(await saved(host, "example.com/a:1"))
    layers = json.loads(skopeo("inspect", f"docker-archive:{mine}"))["Layers"]
    assert layers == [layer.diff_id for layer in before.layers]
    skopeo("copy", *options, f"{form}:{mine}", f"{form}:{theirs}:example.com/b:2")
    await host.load(theirs.read_bytes())
    after = host.images.resolve("example.com/b:2")
    assert after.layers == before.layers
    assert after.id == before.id


async def test_compressed_layers_of_an_archive_are_kept_with_their_digests(host, tmp_path):
    await host.load(docker_archive(BASE, UPPER, tags=["example.com/a:1"]))
    mine, theirs = tmp_path / "mine.tar", tmp_path / "theirs.tar"
    mine.write_bytes(await saved(host, "example.com/a:1"))
    await host.images.delete("example.com/a:1")
    options = (
        "--dest-compress",
        f"docker-archive:{mine}",
        f"oci-archive:{theirs}:example.com/b:2",
    )
    skopeo("copy", *options)
    await host.load(theirs.read_bytes())
    image = host.images.resolve("example.com/b:2")
    manifest = json.loads(await host.store.manifest_bytes(image.id))
    held = dict(host.content.digests())
    assert held == {layer["digest"]: layer["size"] for layer in manifest["layers"]}
    known = [(await host.blobs.of_layer(layer.diff_id))[0] for layer in image.layers]
    assert [blob.digest for blob in known] == [layer["digest"] for layer in manifest["layers"]]
    assert [blob.size for blob in known] == [layer["size"] for layer in manifest["layers"]]
    await host.images.delete("example.com/b:2")
    assert dict(host.content.digests()) == {}
    assert await host.blobs.everything() == []


async def test_dockerd_loads_what_is_saved_shows_the_same_and_saves_it_back(host, tmp_path):
    await host.load(docker_archive(BASE, UPPER, tags=["pair:1"], author="somebody"))
    ours = host.images.resolve("pair:1")
    archive = await saved(host, "pair:1")
    with dockerd.start(tmp_path / "d", bridge=None) as docker:
        docker.load(archive)
        theirs = docker.request("GET", "/images/pair:1/json").json()
        history = docker.request("GET", "/images/pair:1/history").json()
        docker.cli("save", "-o", str(tmp_path / "back.tar"), "pair:1")
        made = docker.cli("create", "pair:1").stdout.strip()
        docker.cli("cp", "/etc/hostname", f"{made}:/etc/added")
        docker.cli("commit", "-m", "more", made, "grown:1")
        docker.cli("save", "-o", str(tmp_path / "grown.tar"), "grown:1")
        grown_id = docker.request("GET", "/images/grown:1/json").json()["Id"]
    assert theirs["Id"] == ours.id
    assert theirs["RootFS"]["Layers"] == [layer.diff_id for layer in ours.layers]
    mine = await host.images.inspect("pair:1")
    view = json.loads(msgspec.json.encode(mine))
    for key in ("Author", "Architecture", "Os", "Size", "RepoTags", "Created", "RootFS"):
        assert view[key] == theirs[key], key
    steps = json.loads(msgspec.json.encode(await host.images.history("pair:1")))
    assert steps == history
    await host.images.delete("pair:1")
    await host.load((tmp_path / "back.tar").read_bytes())
    assert host.images.resolve("pair:1").id == ours.id
    await host.load((tmp_path / "grown.tar").read_bytes())
    assert host.images.resolve("grown:1").id == grown_id
