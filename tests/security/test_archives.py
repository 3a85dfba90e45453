"""Hostile archives: classes 7, 8, 9, 15 and 23 of the security model, replayed."""

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import stat
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard
from tests.support.archives import device, file, folder, hardlink, member, symlink, tar_of

from pinnace.contracts.snapshots import SnapshotKey, UnpackLimits
from pinnace.engine.images.arriving import ArrivingLayers
from pinnace.engine.images.leases import Leases
from pinnace.engine.images.load import ArchiveLoader
from pinnace.errors import Internal, InvalidParameter, NotFound
from pinnace.host.archive import extract_archive, pack_path, stat_path
from pinnace.host.content.blobs import BlobContent
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.host.snapshots.tree import remove_tree
from pinnace.host.snapshots.vfs import VfsSnapshots
from pinnace.oci.platform import Platform

pytestmark = pytest.mark.root

OUT = "@OUT@"  # replaced by the absolute path of a directory outside the root
UP = "../" * 12


def raw(
    name=b"f",
    *,
    kind=b"0",
    size=0,
    mode=b"0000644\0",
    link=b"",
    content=b"",
    fix=True,
    size_field=None,
    magic=b"ustar\x0000",
):
    """Return one header block (and content) that no sane writer makes."""
    head = bytearray(512)
    head[0 : len(name)] = name
    head[100:108] = mode
    head[108:116] = head[116:124] = b"0000000\0"
    head[124:136] = size_field or b"%011o\0" % size
    head[136:148] = b"00000000000\0"
    head[156:157] = kind
    head[157 : 157 + len(link)] = link
    head[257:265] = magic
    head[148:156] = b" " * 8
    if fix:
        head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content + bytes(-len(content) % 512)


def pax(**records):
    """Return a PAX header with raw records."""
    body = b""
    for key, value in records.items():
        key = key.replace("__", ".").encode()
        line = b" " + key + b"=" + value + b"\n"
        length = len(line) + len(str(len(line) + 3))
        length = len(line) + len(str(length))
        body += b"%d" % length + line
    return raw(b"pax", kind=b"x", size=len(body), content=body)


END = bytes(1024)
BIG = b"x" * 600

# name -> members of a tar, or the tar itself. Whatever happens, it happens inside the root.
ATTACKS = {
    "dotdot name": [file("../owned")],
    "dotdot inside": [folder("a"), file("a/../../owned")],
    "dotdot at end": [folder("a"), file("a/..")],
    "many dotdots": [file(UP + "owned")],
    "absolute name": [file(f"{OUT}/owned")],
    "absolute symlink parent": [symlink("l", OUT), file("l/owned")],
    "relative symlink parent": [symlink("l", UP + "tmp"), file("l/owned-by-archive")],
    "symlink chain": [symlink("a", "b"), symlink("b", OUT), file("a/owned")],
    "symlink loop": [symlink("a", "b"), symlink("b", "a"), file("a/owned")],
    "symlink to self": [symlink("a", "a"), file("a/owned")],
    "symlink then directory": [symlink("a", OUT), folder("a", mode=0o777), file("a/owned")],
    "symlink then file over it": [symlink("a", f"{OUT}/canary"), file("a", b"owned")],
    "directory then symlink": [folder("a"), symlink("a", OUT), file("a/owned")],
    "file then symlink": [file("a"), symlink("a", OUT), file("a/owned")],
    "symlink replaced while cached": [folder("a"), file("a/1"), symlink("a", OUT), file("a/2")],
    "nested symlink": [folder("d"), symlink("d/l", OUT), file("d/l/x/owned")],
    "symlink to proc root": [symlink("p", "/proc/self/root"), file(f"p{OUT}/owned")],
    "symlink to proc cwd": [symlink("p", "/proc/self/cwd"), file("p/owned-by-archive")],
    "symlink to proc fd": [symlink("p", "/proc/self/fd"), file("p/1")],
    "empty symlink target": [symlink("l", "")],
    "hard link to outside": [hardlink("h", f"{OUT}/canary"), file("h", b"owned")],
    "hard link with dotdot": [hardlink("h", f"../../..{OUT}/canary")],
    "hard link through symlink": [symlink("l", OUT), hardlink("h", "l/canary")],
    "hard link to symlink then write": [symlink("l", f"{OUT}/canary"), hardlink("h", "l"),
                                        file("h", b"owned")],
    "hard link to nothing": [hardlink("h", "missing")],
    "hard link to directory": [folder("d"), hardlink("h", "d")],
    "hard link to itself": [file("h"), hardlink("h", "h")],
    "whiteout of parent": [file(".wh...", b"")],
    "whiteout of here": [file("d/.wh..", b"")],
    "whiteout without name": [file(".wh.", b"")],
    "whiteout through symlink": [symlink("l", OUT), file("l/.wh.canary", b"")],
    "opaque through symlink": [symlink("l", OUT), file("l/.wh..wh..opq", b"")],
    "opaque of dotdot": [file("../.wh..wh..opq", b"")],
    "whiteout device": [file("f"), device("f", 0, 0)],
    "device through symlink": [symlink("l", OUT), device("l/null", 1, 3)],
    "device of the disk": [device("sda", 8, 0, kind=tarfile.BLKTYPE)],
    "fifo then write": [member("p", kind=tarfile.FIFOTYPE), file("p", b"owned")],
    "file as parent": [file("f"), file("f/below")],
    "root as file": [file("/", b"owned")],
    "root as symlink": [symlink(".", OUT), file("owned")],
    "overlay xattr": [folder("d", pax={"SCHILY.xattr.trusted.overlay.redirect": OUT})],
    "overlay user xattr": [file("f", pax={"SCHILY.xattr.user.overlay.opaque": "y"})],
    "selinux xattr": [file("f", pax={"SCHILY.xattr.security.selinux": "x"})],
    "sparse": raw(b"s", kind=b"S") + END,
    "pax sparse": pax(GNU__sparse__major=b"1") + raw() + END,
    "unknown type": raw(kind=b"V") + END,
    "NUL in pax path": pax(path=b"a\0/../../owned") + raw() + END,
    "dotdot in pax path": pax(path=UP.encode() + b"owned") + raw() + END,
    "dotdot in pax linkpath": pax(linkpath=UP.encode() + b"etc/passwd") + raw(kind=b"1") + END,
    "pax path too long": pax(path=b"a/" * 3000) + raw() + END,
    "very deep path": pax(path=b"a/" * 2000 + b"f") + raw() + END,
    "name too long": [file("n" * 300)],
    "negative size": raw(size_field=b"\xff" * 12) + END,
    "huge size": raw(size_field=b"\x80" + b"\0" * 3 + b"\x7f" * 8) + END,
    "pax negative size": pax(size=b"-1") + raw() + END,
    "pax size no number": pax(size=b"1e9") + raw() + END,
    "pax record overruns": raw(b"p", kind=b"x", size=20, content=b"99999 path=x\n" + b"p" * 7)
    + raw() + END,
    "pax record of zero length": raw(b"p", kind=b"x", size=9, content=b"0 path=x\n") + raw() + END,
    "endless pax header": raw(b"p", kind=b"x", size=1 << 33) + END,
    "long name without end": raw(b"L", kind=b"L", size=600, content=BIG) + raw() + END,
    "bad checksum": raw(fix=False) + END,
    "mode not octal": raw(mode=b"9999999\0") + END,
    "truncated header": raw()[:300],
    "truncated content": raw(size=5000, content=BIG),
    "huge uid": pax(uid=b"99999999999") + raw() + END,
    "bad utf-8 xattr name": raw(b"p", kind=b"x", size=22,
                                content=b"22 SCHILY.xattr.\xff\xfe=x\n") + raw() + END,
    "setuid through symlink": [symlink("l", f"{OUT}/canary"), folder("l", mode=0o6777)],
    "mtime through symlink": [folder("d", mtime=1), symlink("d", OUT)],
}  # fmt: skip


@pytest.fixture
def outside(tmp_path):
    """Return a directory that must not change, and a check that it did not."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (victim / "canary").write_bytes(b"canary")
    os.utime(victim, (9, 9))

    def look():
        return [
            (path.name, path.lstat()[:6], path.lstat().st_mtime, path.lstat().st_nlink)
            for path in (victim, *sorted(victim.rglob("*")))
        ] + [(victim / "canary").read_bytes()]

    before = look()
    litter = [Path("/tmp/owned-by-archive"), Path("owned-by-archive")]
    yield victim
    assert look() == before
    assert not any(path.exists() for path in litter)


def hostile(attack, victim):
    """Return the attack as tar bytes, aimed at `victim`."""
    if isinstance(attack, bytes):
        return attack
    aimed = []
    for info, content in attack:
        copy = tarfile.TarInfo(info.name.replace(OUT, str(victim)))
        for field in ("type", "mode", "uid", "gid", "mtime", "size", "devmajor", "devminor"):
            setattr(copy, field, getattr(info, field))
        copy.linkname = info.linkname.replace(OUT, str(victim))
        copy.pax_headers = {k: v.replace(OUT, str(victim)) for k, v in info.pax_headers.items()}
        aimed.append((copy, content))
    return tar_of(*aimed)


@pytest.mark.parametrize("driver", [OverlaySnapshots, VfsSnapshots])
@pytest.mark.parametrize("name", ATTACKS)
def test_class_9_a_hostile_layer_stays_inside_or_leaves_nothing(tmp_path, outside, driver, name):
    snapshots = driver(tmp_path / "store")
    below, _ = snapshots.ingest_layer(None, io.BytesIO(tar_of(file("d/below"), file("f"))))
    try:
        snapshots.ingest_layer(below, io.BytesIO(hostile(ATTACKS[name], outside)))
    except InvalidParameter:
        assert len(list((tmp_path / "store/layers").iterdir())) == 1
        assert len(list((tmp_path / "store/l").iterdir())) == 1
    assert not any((tmp_path / "store/tmp").iterdir())
    for path, names in every_xattr(tmp_path / "store/layers"):
        bad = {"trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"}
        assert not bad & set(names), path


def every_xattr(top):
    pending = [str(top)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if len(entry.path) > 3000:
                    continue
                yield entry.path, os.listxattr(entry.path, follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)


@pytest.fixture(autouse=True)
def shallow(tmp_path):
    """Remove what is too deep for pytest's own removal."""
    yield
    for path in tmp_path.iterdir():
        if path.is_dir() and path.name in ("store", "root"):
            remove_tree(path)


@pytest.mark.parametrize("name", ATTACKS)
def test_class_9_a_hostile_archive_for_a_container_stays_in_its_root(tmp_path, outside, name):
    root = tmp_path / "root"
    (root / "dest").mkdir(parents=True)
    (root / "etc").mkdir()
    with (
        opened(root) as root_fd,
        contextlib.suppress(InvalidParameter),
    ):
        extract_archive(io.BytesIO(hostile(ATTACKS[name], outside)), root_fd, "/dest")


@pytest.mark.parametrize("name", ATTACKS)
def test_class_9_a_hostile_image_archive_writes_no_file_of_its_names(tmp_path, outside, name):
    content = BlobContent(tmp_path / "content")
    with (
        contextlib.suppress(InvalidParameter),
        content.receive_archive(io.BytesIO(hostile(ATTACKS[name], outside))) as archive,
    ):
        for found in archive.names():
            with contextlib.suppress(NotFound):
                archive.open(found).close()
    assert not any((tmp_path / "content/incoming").iterdir())


@contextlib.contextmanager
def opened(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def bombs():
    zeros = raw(size=80 << 20)
    yield "gzip", gzip.compress(zeros + bytes(80 << 20), 9), UnpackLimits(max_ratio=500)
    yield "zstd", zstandard.compress(zeros + bytes(80 << 20)), UnpackLimits()
    yield "xz", lzma.compress(zeros + bytes(80 << 20), preset=0), UnpackLimits()
    yield "bzip2", bz2.compress(zeros + bytes(80 << 20)), UnpackLimits()
    yield "size", tar_of(file("f", bytes(1 << 20))), UnpackLimits(max_bytes=1 << 19)
    yield "entries", tar_of(*(file(f"f{n}", b"") for n in range(50))), UnpackLimits(max_entries=9)
    yield "trailing zeros", gzip.compress(END + bytes(80 << 20), 9), UnpackLimits(max_ratio=500)
    yield "path", tar_of(file("a/" * 40 + "f")), UnpackLimits(max_path=50)


@pytest.mark.parametrize(("name", "bomb", "limits"), list(bombs()), ids=lambda v: v
                         if isinstance(v, str) else "")  # fmt: skip
def test_class_9_bombs_are_stopped_and_swept_away(tmp_path, name, bomb, limits):
    snapshots = OverlaySnapshots(tmp_path / "store", limits=limits)
    with pytest.raises(InvalidParameter):
        snapshots.ingest_layer(None, io.BytesIO(bomb))
    for folder_ in ("tmp", "layers", "l"):
        assert not any((tmp_path / "store" / folder_).iterdir())


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("damage", ["cut", "flip", "garbage"])
def test_class_9_a_damaged_stream_is_refused(tmp_path, pack, damage):
    packed = pack(tar_of(file("f", os.urandom(100_000))))
    half = len(packed) // 2
    broken = {
        "cut": packed[:half],
        "flip": packed[:half] + bytes([packed[half] ^ 0x55]) * 64 + packed[half + 64 :],
        "garbage": packed + b"garbage behind the end",
    }[damage]
    snapshots = OverlaySnapshots(tmp_path / "store")
    expected = hashlib.sha256(packed).hexdigest()
    with pytest.raises(InvalidParameter):
        snapshots.ingest_layer(None, io.BytesIO(broken), digest="sha256:" + expected)
    assert not any((tmp_path / "store/layers").iterdir())


def test_class_8_a_decompressor_in_the_image_is_never_run(tmp_path, monkeypatch):
    evil = tmp_path / "bin"
    evil.mkdir()
    for name in ("xz", "unxz", "gzip", "gunzip", "pigz", "unpigz", "zstd", "bzip2", "tar"):
        (evil / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (evil / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{evil}:{os.environ['PATH']}")

    def refuse(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "posix_spawn", refuse)
    snapshots = OverlaySnapshots(tmp_path / "store")
    lower = tar_of(
        *(file(f"usr/bin/{p.name}", p.read_bytes(), mode=0o755) for p in evil.iterdir())
    )
    parent = None
    for number, pack in enumerate(
        (bytes, gzip.compress, lzma.compress, bz2.compress, zstandard.compress)
    ):
        tar = lower if number == 0 else tar_of(file(f"f{number}"))
        parent, _ = snapshots.ingest_layer(parent, io.BytesIO(pack(tar)))
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def renamer(tmp_path):
    """Yield a root where somebody swaps a directory for a link to the outside, all the time."""
    root = tmp_path / "root"
    for name in ("a", "a/sub", "spare"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "a/sub/file").write_bytes(b"inside")
    (tmp_path / "victim/sub").mkdir()
    (tmp_path / "victim/sub/file").write_bytes(b"secret")
    os.utime(tmp_path / "victim", (9, 9))
    (root / "link").symlink_to(tmp_path / "victim")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.rename(root / "a", root / "b")
                os.rename(root / "link", root / "a")
                os.rename(root / "a", root / "link")
                os.rename(root / "b", root / "a")

    thread = threading.Thread(target=swap)
    thread.start()
    yield root
    stop.set()
    thread.join()


def victim_files(tmp_path):
    return sorted(str(path) for path in (tmp_path / "victim").rglob("*"))


def test_class_7_extracting_beside_a_renaming_attacker_stays_inside(
    tmp_path, outside_plain, renamer
):
    before = victim_files(tmp_path)
    with opened(renamer) as root_fd:
        for number in range(300):
            tar = tar_of(
                folder(f"d{number % 7}", mode=0o777),
                file("sub/owned", b"x"),
                symlink(f"d{number % 7}/l", "/"),
                file(f"d{number % 7}/new"),
            )
            with contextlib.suppress(InvalidParameter, NotFound, Internal):
                extract_archive(io.BytesIO(tar), root_fd, "/a")
    assert victim_files(tmp_path) == before
    assert (tmp_path / "victim/sub/file").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "victim").stat().st_mode) == 0o700


def test_class_7_reading_beside_a_renaming_attacker_never_shows_the_outside(
    tmp_path, outside_plain, renamer
):
    with opened(renamer) as root_fd:
        for _ in range(300):
            with contextlib.suppress(NotFound, Internal, FileNotFoundError):
                tar = b"".join(pack_path(root_fd, "/a"))
                assert b"secret" not in tar
            with contextlib.suppress(NotFound, FileNotFoundError):
                assert "victim" not in stat_path(root_fd, "/a/sub").link_target


@pytest.fixture
def outside_plain(tmp_path):
    (tmp_path / "victim").mkdir(mode=0o700)


def test_class_7_links_inside_the_root_still_work(tmp_path):
    root = tmp_path / "root"
    (root / "run").mkdir(parents=True)
    (root / "var").mkdir()
    (root / "var/run").symlink_to("/run")
    with opened(root) as root_fd:
        extract_archive(io.BytesIO(tar_of(file("pid", b"1"))), root_fd, "/var/run")
        assert (root / "run/pid").read_bytes() == b"1"
        assert stat_path(root_fd, "/var/run").link_target == "/run"
        assert stat_path(root_fd, "/var/run/pid").size == 1
        names = tarfile.open(
            fileobj=io.BytesIO(b"".join(pack_path(root_fd, "/var/run/")))
        ).getnames()
        assert names == ["run", "run/pid"]
        only = tarfile.open(fileobj=io.BytesIO(b"".join(pack_path(root_fd, "/var/run"))))
        assert only.getmembers()[0].issym()
        with pytest.raises(NotFound):
            stat_path(root_fd, "/missing/x")
        with pytest.raises(InvalidParameter):
            extract_archive(io.BytesIO(tar_of(file("x"))), root_fd, "/run/pid")


def test_class_7_directories_and_files_are_not_swapped_when_forbidden(tmp_path):
    root = tmp_path / "root"
    (root / "d/name").mkdir(parents=True)
    (root / "d/plain").write_bytes(b"old")
    with opened(root) as root_fd:
        for hostile_member in (file("name", b"x"), folder("plain")):
            with pytest.raises(InvalidParameter, match="cannot overwrite"):
                extract_archive(
                    io.BytesIO(tar_of(hostile_member)),
                    root_fd,
                    "/d",
                    no_overwrite_dir_non_dir=True,
                )
        extract_archive(
            io.BytesIO(tar_of(file("plain", b"new", uid=5))),
            root_fd,
            "/d",
            no_overwrite_dir_non_dir=True,
            owner=(7, 8),
        )
    assert (root / "d/plain").read_bytes() == b"new"
    assert ((root / "d/plain").stat().st_uid, (root / "d/plain").stat().st_gid) == (7, 8)


LAYER = tar_of(file("f"))
OCI = "application/vnd.oci.image."


def layout(
    *,
    twice=False,
    manifest=None,
    index=None,
    media=OCI + "manifest.v1+json",
    size=0,
    config=None,
    layer=LAYER,
):
    """Return an OCI layout; arguments replace or extend its documents."""
    config = (
        config
        or json.dumps(
            {
                "os": "linux",
                "architecture": "amd64",
                "rootfs": {
                    "type": "layers",
                    "diff_ids": ["sha256:" + hashlib.sha256(LAYER).hexdigest()],
                },
            }
        ).encode()
    )

    def descriptor(blob, kind):
        return {
            "mediaType": kind,
            "size": len(blob),
            "digest": "sha256:" + hashlib.sha256(blob).hexdigest(),
        }

    document = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": descriptor(config, OCI + "config.v1+json"),
        "layers": [descriptor(layer, OCI + "layer.v1.tar")],
        **(manifest or {}),
    }
    encoded = document.pop("raw", None) or json.dumps(document).encode()
    if twice:  # the same field again, with the same value
        encoded = encoded[:-1] + b', "layers": ' + json.dumps(document["layers"]).encode() + b"}"
    entry = {**descriptor(encoded, media)}
    entry["size"] += size
    top = {"schemaVersion": 2, "manifests": [entry], **(index or {})}
    blobs = {hashlib.sha256(blob).hexdigest(): blob for blob in (config, encoded, layer)}
    return tar_of(
        file("index.json", json.dumps(top).encode()),
        *(file(f"blobs/sha256/{name}", blob) for name, blob in blobs.items()),
    )


def load(tmp_path, archive):
    content = BlobContent(tmp_path / "content")
    snapshots = OverlaySnapshots(tmp_path / "store")
    arriving = ArrivingLayers(snapshots, content, known={}, leases=Leases(), show=lambda _: None)
    with content.receive_archive(io.BytesIO(archive), take=arriving.take) as received:
        loader = ArchiveLoader(received, arriving, snapshots, host=Platform(), show=lambda _: None)
        return [loader.load(source) for source in loader.sources()]


@pytest.mark.parametrize(
    "archive",
    [
        layout(manifest={"manifests": []}),
        layout(manifest={"fsLayers": []}),
        layout(manifest={"Layers": []}),
        layout(manifest={"mediaType": OCI + "index.v1+json"}),
        layout(manifest={"schemaVersion": 1}),
        layout(manifest={"layers": []}),
        layout(manifest={"layers": [{"mediaType": "text/html", "size": 1,
                                     "digest": "sha256:" + "0" * 64}]}),
        layout(manifest={"layers": [{"mediaType": OCI + "layer.v1.tar", "size": 1,
                                     "digest": "sha256:../../../../etc/passwd"}]}),
        layout(manifest={"layers": [{"mediaType": OCI + "layer.v1.tar", "size": -1,
                                     "digest": "sha256:" + "0" * 64}]}),
        layout(manifest={"raw": b'{"schemaVersion":2,"layers":[],"layers":[]}'}),
        layout(twice=True),
        layout(manifest={"raw": b"[" * 100_000}),
        layout(index={"layers": []}),
        layout(index={"mediaType": OCI + "manifest.v1+json"}),
        layout(size=1),
        layout(layer=tar_of(file("other"))),
        layout(config=b'{"rootfs":{"diff_ids":["sha256:xyz"]}}'),
        layout(config=b'{"rootfs":{"diff_ids":["sha256:%s"]}}' % (b"0" * 64)),
        tar_of(file("manifest.json", b'[{"Config":"../../etc/passwd","Layers":[]}]')),
        tar_of(file("manifest.json", b'[{"Config":"/etc/passwd","Layers":[]}]')),
        tar_of(symlink("c", "/etc/passwd"), file("manifest.json", b'[{"Config":"c"}]')),
        tar_of(file("manifest.json", b"null")),
        tar_of(file("manifest.json", b'[{"Config":1}]')),
    ],
)  # fmt: skip
def test_class_15_a_manifest_that_can_be_read_two_ways_or_lies_is_refused(tmp_path, archive):
    with pytest.raises(InvalidParameter):
        load(tmp_path, archive)
    assert not any((tmp_path / "store/layers").iterdir())


def test_class_15_the_honest_layout_loads(tmp_path):
    assert len(load(tmp_path, layout())) == 1


def test_class_15_an_unknown_kind_of_manifest_is_no_image(tmp_path):
    assert load(tmp_path, layout(media="text/html")) == []


def test_class_23_the_unprivileged_see_nothing_of_the_storage(tmp_path):
    store = tmp_path / "store"
    snapshots = OverlaySnapshots(store)
    BlobContent(tmp_path / "content").ingest(io.BytesIO(b"x"))
    chain, _ = snapshots.ingest_layer(None, io.BytesIO(tar_of(file("s", mode=0o4755))))
    snapshots.prepare(SnapshotKey("k"), chain)
    tmp_path.chmod(0o755)
    code = (
        "import os,sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for top in sys.argv[1:]:\n"
        "    try: os.listdir(top); sys.exit('listed ' + top)\n"
        "    except PermissionError: pass\n"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code, str(store), str(tmp_path / "content")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for path in (store / "layers", store / "snapshots", store / "tmp", store / "l"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
