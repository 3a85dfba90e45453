"""Overlay snapshots on the real kernel."""

import gzip
import hashlib
import io
import os
import socket
import struct
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
from pinnace.host.snapshots.compare import OPAQUE_XATTR
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


def make_too_deep(root):
    """Make directories below `root` that no path is long enough for."""
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=descriptor)
        below = os.open("deep", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


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
    make_too_deep(root)
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


def base_layer(snapshots):
    tar = tar_of(
        folder("d"),
        file("d/a", b"aaa", mtime=1000),
        file("d/b", b"bbb", mtime=1000),
        folder("same"),
        folder("o"),
        file("o/1", b"1"),
        symlink("l", "d/a"),
    )
    return snapshots.ingest_layer(None, io.BytesIO(tar))[0]


def tree_of(tmp_path, chain):
    return tmp_path / "store/layers" / chain[7:] / "diff"


def attributes_below(root):
    return {
        (str(path.relative_to(root)), name)
        for path in [root, *root.rglob("*")]
        for name in os.listxattr(path, follow_symlinks=False)
    }


def test_a_sealed_layer_is_the_upper_directory_itself(snapshots, mounted, tmp_path):
    root = mounted(None)
    (root / "f").write_bytes(b"x" * 100)
    with (root / "sparse").open("wb") as target:
        target.truncate(64 << 20)
    inode = (tmp_path / f"store/snapshots/{KEY}/upper/f").stat().st_ino
    snapshots.unmount(root)
    chain, stat = snapshots.seal(KEY, None)
    tree = tree_of(tmp_path, chain)
    assert (tree / "f").stat().st_ino == inode
    assert (tree / "sparse").stat().st_blocks == 0
    assert stat.size == (64 << 20) + 100
    assert sorted(os.listdir(tree.parent)) == ["diff", "layer.json", "recipe"]


def test_what_the_tar_leaves_out_is_not_in_a_sealed_layer_either(snapshots, mounted, tmp_path):
    chain = base_layer(snapshots)
    root = mounted(chain)
    upper = tmp_path / f"store/snapshots/{KEY}/upper"
    (root / "d/a").chmod(0o600)
    os.chown(root / "l", 5, 5, follow_symlinks=False)
    (root / "same/x").touch()
    (root / "same/x").unlink()
    (root / "o/1").unlink()
    (root / "o").rmdir()
    (root / "o").mkdir()
    (root / "p").mkdir()
    entry = struct.pack("<HHI", 1, 7, 0xFFFFFFFF), struct.pack("<HHI", 2, 6, 77)
    rest = [struct.pack("<HHI", tag, bits, 0xFFFFFFFF) for tag, bits in ((4, 5), (16, 7), (32, 5))]
    rules = struct.pack("<I", 2) + b"".join((*entry, *rest))
    os.setxattr(root / "p", "system.posix_acl_default", rules)
    (root / "p/f").write_bytes(b"f")
    os.setxattr(root / "p/f", "user.kept", b"1")
    os.setxattr(root / "p/f", "user.not kept", b"1")
    os.setxattr(root / "p/f", "trusted.other", b"1")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "p/socket"))
    snapshots.unmount(root)
    os.setxattr(upper / "p/f", "user.overlay.opaque", b"y")
    os.mknod(upper / "p/hides-nothing", 0o020000, 0)
    names = {name for _, name in attributes_below(upper)}
    assert {"trusted.overlay.origin", "trusted.overlay.impure"} <= names
    assert "system.posix_acl_access" in names
    mode, modified = (upper / "p/f").stat().st_mode, int((upper / "p").stat().st_mtime)
    layer, _ = snapshots.seal(KEY, chain)
    tree = tree_of(tmp_path, layer)
    shown_there = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    assert shown_there == ["d", "d/a", "l", "o", "p", "p/f"]
    allowed = {("p/f", "user.kept"), ("o", OPAQUE_XATTR), ("p", OPAQUE_XATTR)}
    assert attributes_below(tree) <= allowed
    assert (tree / "p/f").stat().st_mode == mode
    assert (tree / "p").stat().st_mtime_ns == modified * 10**9
    assert "o/1" not in shown(mounted(layer, SnapshotKey("above")))


def test_files_named_like_whiteouts_go_the_long_way_to_the_same_layer(snapshots, mounted):
    root = mounted(None)
    (root / ".wh.f").write_bytes(b"f")
    (root / ".wh.d").mkdir(mode=0o700)
    (root / ".wh.d/below").write_bytes(b"b")
    (root / "g").write_bytes(b"g")
    snapshots.unmount(root)
    layer, _ = snapshots.commit(KEY, None)
    committed = shown(mounted(layer, SnapshotKey("committed")))
    snapshots.unmount(root.parent / "mnt-committed")
    snapshots.remove(SnapshotKey("committed"))
    snapshots.remove_layer(layer)
    assert snapshots.seal(KEY, None)[0] == layer
    assert shown(mounted(layer, SnapshotKey("sealed"))) == committed


def test_links_in_a_sealed_tree_lead_nowhere(snapshots, mounted, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"secret")
    os.setxattr(outside, "user.overlay.opaque", b"y")
    os.utime(outside, (5, 5))
    os.utime(outside / "f", (5, 5))
    root = mounted(None)
    (root / "a").symlink_to(outside)
    (root / "b").symlink_to(outside / "f")
    (root / "c").symlink_to("nowhere")
    os.utime(root / "b", (7, 7.5), follow_symlinks=False)
    snapshots.unmount(root)
    chain, stat = snapshots.seal(KEY, None)
    assert stat.size == 0
    assert (tree_of(tmp_path, chain) / "b").lstat().st_mtime == 7
    assert [outside.stat().st_mtime, (outside / "f").stat().st_mtime] == [5, 5]
    assert os.listxattr(outside) == ["user.overlay.opaque"]


def test_a_tree_deeper_than_any_path_cannot_be_sealed(snapshots, mounted, tmp_path):
    root = mounted(None)
    make_too_deep(root)
    snapshots.unmount(root)
    with pytest.raises(Internal, match="File name too long"):
        snapshots.seal(KEY, None)
    for part in ("snapshots", "layers", "tmp"):
        assert not any((tmp_path / "store" / part).iterdir())


SEAL = """
import os, signal, sys
from pathlib import Path
from pinnace.host.snapshots.overlay import OverlaySnapshots
store, place, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
snapshots = OverlaySnapshots(store)
owner = Path if place == "rename" else os
real = getattr(owner, place)
def act(*args, **kwargs):
    global count
    count -= 1
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(owner, place, act)
snapshots.seal("active", None)
"""


@pytest.mark.parametrize(
    ("place", "count", "left"),
    [
        ("utime", 3, "snapshot"),
        ("fsync", 1, "snapshot"),  # layer.json is written
        ("rename", 1, "snapshot"),
        ("rename", 2, ""),  # the snapshot is in tmp/
        ("rename", 3, ""),
        ("fsync", 2, "layer"),
        ("rename", 9, "layer"),
    ],
)
def test_a_process_killed_while_sealing_leaves_a_whole_snapshot_or_a_whole_layer(
    snapshots, mounted, tmp_path, place, count, left
):
    root = mounted(None)
    (root / "d").mkdir()
    for number in range(5):
        (root / f"d/{number}").write_bytes(b"%d" % number * 100)
    snapshots.unmount(root)
    chain, stat = snapshots.commit(KEY, None)
    snapshots.remove_layer(chain)
    command = [sys.executable, "-c", SEAL, str(tmp_path / "store"), place, str(count)]
    subprocess.run(command, check=False)
    after = OverlaySnapshots(tmp_path / "store")
    after.repair([KEY], [chain])
    assert not any((tmp_path / "store/tmp").iterdir())
    assert after.has_layer(chain) == (left == "layer")
    assert (tmp_path / "store/snapshots" / KEY).exists() == (left == "snapshot")
    if left == "snapshot":
        assert after.seal(KEY, None) == (chain, stat)
    if left:
        out = io.BytesIO()
        after.export_layer(chain, None, out)
        assert "sha256:" + hashlib.sha256(out.getvalue()).hexdigest() == stat.diff_id
