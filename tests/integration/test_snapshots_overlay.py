"""Overlay snapshots on the real kernel."""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from tests.support.archives import file, folder, hardlink, symlink, tar_of

from pinnace.contracts.snapshots import SnapshotKey
from pinnace.errors import Internal
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.host.snapshots.skeleton import _DIRECTORIES, _FILES

pytestmark = pytest.mark.root
KEY = SnapshotKey("active")


@pytest.fixture
def snapshots(tmp_path):
    return OverlaySnapshots(tmp_path / "store")


@pytest.fixture
def mounted(snapshots, tmp_path):
    """Return a function that mounts a chain and gives the directory."""
    targets = []

    def at(chain, key=KEY):
        target = tmp_path / f"mnt-{key}"
        target.mkdir()
        snapshots.prepare(key, chain)
        snapshots.mount(key, target)
        targets.append(target)
        return target

    yield at
    for target in targets:
        snapshots.unmount(target)


def shown(root):
    """Every path below `root` but the mount points that all root filesystems have."""
    places = {*_DIRECTORIES, *_FILES, "etc/mtab"}
    return sorted({str(path.relative_to(root)) for path in root.rglob("*")} - places)


def test_every_root_filesystem_has_the_places_that_mounts_need(snapshots, mounted):
    chain, _ = snapshots.ingest_layer(
        None, io.BytesIO(tar_of(folder("etc", mode=0o700), file("etc/hosts", b"own")))
    )
    root = mounted(chain)
    assert (root / "proc").is_dir()
    assert (root / "etc/resolv.conf").read_bytes() == b""
    assert (root / "etc/hosts").read_bytes() == b"own"
    assert (root / "etc").stat().st_mode & 0o777 == 0o700
    key = SnapshotKey("active")
    assert snapshots.changes(key, chain) == []


def test_a_bare_mount_shows_only_what_the_layers_hold(snapshots, tmp_path):
    chain, _ = snapshots.ingest_layer(None, io.BytesIO(tar_of(file("name", b"x"))))
    for key, parent, names in (("layered", chain, ["name"]), ("empty", None, [])):
        snapshots.prepare(SnapshotKey(key), parent)
        target = tmp_path / key
        target.mkdir()
        snapshots.mount(SnapshotKey(key), target, bare=True)
        try:
            assert [path.name for path in target.iterdir()] == names
        finally:
            snapshots.unmount(target)
        snapshots.remove(SnapshotKey(key))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_layer_becomes_visible_whatever_its_compression(snapshots, mounted, pack):
    tar = tar_of(folder("etc"), file("etc/name", b"pinnace"), symlink("link", "etc/name"))
    chain, stat = snapshots.ingest_layer(None, io.BytesIO(pack(tar)))
    assert stat.diff_id == chain == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert stat.digest == "sha256:" + hashlib.sha256(pack(tar)).hexdigest()
    assert (mounted(chain) / "link").read_bytes() == b"pinnace"


def test_whiteouts_and_opaque_directories_hide_what_is_below(snapshots, mounted):
    lower = tar_of(folder("d"), file("d/a"), file("d/b"), folder("o"), file("o/old"), file("gone"))
    upper = tar_of(
        file("d/.wh.a", b""), file("o/.wh..wh..opq", b""), file("o/new"), file(".wh.gone", b"")
    )
    below, _ = snapshots.ingest_layer(None, io.BytesIO(lower))
    chain, _ = snapshots.ingest_layer(below, io.BytesIO(upper))
    assert shown(mounted(chain)) == ["d", "d/b", "o", "o/new"]


def test_an_opaque_root_hides_every_layer_below(snapshots, mounted):
    below, _ = snapshots.ingest_layer(None, io.BytesIO(tar_of(file("old"))))
    chain, _ = snapshots.ingest_layer(
        below, io.BytesIO(tar_of(file(".wh..wh..opq", b""), file("new")))
    )
    assert shown(mounted(chain)) == ["new"]


def test_a_directory_that_the_tar_leaves_out_keeps_its_attributes(snapshots, mounted):
    below, _ = snapshots.ingest_layer(
        None, io.BytesIO(tar_of(folder(".", mode=0o711), folder("tmp", mode=0o1777, uid=7)))
    )
    chain, _ = snapshots.ingest_layer(below, io.BytesIO(tar_of(file("tmp/x"))))
    root = mounted(chain)
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (root / "tmp").stat().st_uid == 7
    assert root.stat().st_mode & 0o7777 == 0o711


def test_export_gives_back_the_exact_bytes_even_of_files_the_tar_replaces(snapshots):
    tar = (
        tar_of(
            file("a", b"first"),
            file("a", b"second"),
            folder("d"),
            file("d/f", b"in dir"),
            symlink("l", "d"),
            file("l/g", b"through link"),
            file("d2/x", b"1"),
            symlink("d2", "d"),
            hardlink("h", "a"),
            file("a", b"third"),
            file("long/" + "n" * 200, b"pax"),
        )
        + b"\0" * 1024
        + b"rubbish behind the end"
    )
    chain, _ = snapshots.ingest_layer(None, io.BytesIO(tar))
    out = io.BytesIO()
    snapshots.export_layer(chain, None, out)
    assert out.getvalue() == tar


def test_a_hundred_layers_mount(snapshots, mounted):
    chain = None
    for number in range(120):
        chain, _ = snapshots.ingest_layer(chain, io.BytesIO(tar_of(file(f"f{number}"))))
    assert len(shown(mounted(chain))) == 120


def test_mounting_moves_nobody_to_another_working_directory(snapshots, mounted):
    before = os.getcwd()
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(os.getcwd).result()
        root = pool.submit(mounted, None).result()
        assert pool.submit(os.getcwd).result() == elsewhere
    assert os.getcwd() == before
    (line,) = (line for line in Path("/proc/mounts").read_text().splitlines() if f"{root}" in line)
    assert f"upperdir=snapshots/{KEY}/upper," in line


@pytest.mark.parametrize("layers", [1, 120])
def test_a_storage_path_with_separators_in_it_works(tmp_path, layers):
    snapshots = OverlaySnapshots(tmp_path / "st,o:re\\x")
    chain = None
    for number in range(layers):
        chain, _ = snapshots.ingest_layer(chain, io.BytesIO(tar_of(file(f"f{number}"))))
    snapshots.prepare(KEY, chain)
    target = tmp_path / "mnt"
    target.mkdir()
    snapshots.mount(KEY, target)
    try:
        assert (target / "f0").exists()
        (target / "new").write_bytes(b"x")
    finally:
        snapshots.unmount(target)
    assert [change.path for change in snapshots.changes(KEY, chain)] == ["/new"]


def test_a_tree_deeper_than_any_path_can_be_removed(snapshots, mounted):
    root = mounted(None)
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=descriptor)
        below = os.open("deep", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    snapshots.usage(KEY)
    with pytest.raises(Internal, match="File name too long"):
        snapshots.commit(KEY, None)
    snapshots.unmount(root)
    snapshots.remove(KEY)
    snapshots.prepare(KEY, None)


def test_a_damaged_layer_is_never_exported_silently(snapshots, tmp_path):
    chain, _ = snapshots.ingest_layer(None, io.BytesIO(tar_of(file("a", b"12345"))))
    (tmp_path / "store/layers" / chain[7:] / "diff/a").write_bytes(b"54321")
    with pytest.raises(Internal, match="damaged"):
        snapshots.export_layer(chain, None, io.BytesIO())
    (tmp_path / "store/layers" / chain[7:] / "diff/a").unlink()
    with pytest.raises(Internal, match="damaged"):
        snapshots.export_layer(chain, None, io.BytesIO())


UNPACK = """
import sys
from pathlib import Path
from pinnace.host.snapshots.overlay import OverlaySnapshots
OverlaySnapshots(Path(sys.argv[1])).ingest_layer(None, sys.stdin.buffer.raw)
"""


def test_a_killed_process_leaves_only_what_repair_sweeps(tmp_path):
    store = tmp_path / "store"
    tar = tar_of(file("first", b"x" * 1_000_000), file("second", b"y" * 4_000_000))
    with subprocess.Popen(
        [sys.executable, "-c", UNPACK, str(store)], stdin=subprocess.PIPE
    ) as child:
        child.stdin.write(tar[:3_000_000])
        child.stdin.flush()
        deadline = time.monotonic() + 20
        while not list(store.glob("tmp/*/diff/first")) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
    snapshots = OverlaySnapshots(store)
    assert list(store.glob("tmp/*/diff/first"))
    assert not any((store / "layers").iterdir())
    assert len(snapshots.repair([], [])) == 1
    assert not any((store / "tmp").iterdir())
    chain, _ = snapshots.ingest_layer(None, io.BytesIO(tar))
    assert snapshots.has_layer(chain)
