"""What every implementation of `contracts.snapshots.Snapshots` promises."""

import errno
import hashlib
import io
import os
import pathlib
import socket
import stat
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.archives import file, folder, hardlink, symlink, tar_of

from pinnace.contracts.snapshots import Change, SnapshotKey, UnpackLimits
from pinnace.errors import AlreadyExists, Conflict, Internal, InvalidParameter, NotFound
from pinnace.host.snapshots.overlay import OverlaySnapshots
from pinnace.host.snapshots.vfs import VfsSnapshots
from pinnace.testing.snapshots import FakeSnapshots

KEY = SnapshotKey("key")
BASE = tar_of(
    folder("d", mode=0o750, uid=3),
    file("d/a", b"aaa", mtime=1000),
    file("d/b", b"bbb", mtime=1000),
    file("top", b"top", mode=0o4755, mtime=1000),
    folder("o"),
    file("o/1", b"1"),
    symlink("l", "d/a"),
    hardlink("h", "top"),
)


REAL = [
    pytest.param(OverlaySnapshots, marks=pytest.mark.root),
    pytest.param(VfsSnapshots, marks=pytest.mark.root),
]


@pytest.fixture(params=REAL)
def snapshots(request, tmp_path):
    return request.param(tmp_path / "store")


@pytest.fixture(params=[*REAL, FakeSnapshots])
def every(request, tmp_path):
    """Return a real driver or the fake, for promises that need no kernel."""
    return FakeSnapshots() if request.param is FakeSnapshots else request.param(tmp_path / "store")


@pytest.fixture
def mounted(snapshots, tmp_path):
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


def ingest(snapshots, parent, tar, **expected):
    return snapshots.ingest_layer(parent, io.BytesIO(tar), **expected)


def test_the_chain_id_follows_from_parent_and_diff_id(every):
    below, stat_below = ingest(every, None, BASE)
    upper = tar_of(file("x"))
    chain, stat = ingest(every, below, upper)
    assert below == stat_below.diff_id == "sha256:" + hashlib.sha256(BASE).hexdigest()
    text = f"{below} {stat.diff_id}".encode()
    assert chain == "sha256:" + hashlib.sha256(text).hexdigest()
    assert every.has_layer(chain)
    assert every.layer_usage(below).size == 3 + 3 + 3 + 1


def test_an_equal_layer_is_kept_as_it_is(every):
    first, _ = ingest(every, None, BASE)
    again, stat = ingest(every, None, BASE)
    assert first == again
    assert stat.size == 10


def test_a_layer_other_than_announced_leaves_nothing(snapshots, tmp_path):
    for expected in ({"diff_id": "sha256:" + "0" * 64}, {"digest": "sha256:" + "0" * 64}):
        with pytest.raises(InvalidParameter, match="sha256:"):
            ingest(snapshots, None, BASE, **expected)
    assert not any((tmp_path / "store/tmp").iterdir())
    assert not any((tmp_path / "store/layers").iterdir())


def test_attributes_of_every_kind_of_file_arrive(snapshots, mounted):
    chain, _ = ingest(snapshots, None, BASE)
    root = mounted(chain)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750
    assert (root / "d").stat().st_uid == 3
    assert (root / "top").stat().st_mode & 0o7777 == 0o4755
    assert (root / "d/a").stat().st_mtime == 1000
    assert (root / "l").readlink().as_posix() == "d/a"
    assert (root / "h").stat().st_ino == (root / "top").stat().st_ino


def test_a_fresh_snapshot_has_no_changes_and_takes_no_space(snapshots, mounted):
    chain, _ = ingest(snapshots, None, BASE)
    mounted(chain)
    assert snapshots.changes(KEY, chain) == []
    assert snapshots.usage(KEY).size == 0


def test_changes_lists_what_was_added_modified_and_deleted_with_the_directories_above(
    snapshots, mounted
):
    chain, _ = ingest(snapshots, None, BASE)
    root = mounted(chain)
    (root / "d/a").write_bytes(b"changed")
    (root / "d/new").write_bytes(b"12345")
    (root / "h").unlink()
    (root / "n").mkdir()
    (root / "n/f").write_bytes(b"x")
    (root / "o/1").unlink()
    (root / "o").rmdir()
    (root / "o").mkdir()
    (root / "o/2").write_bytes(b"2")
    assert snapshots.changes(KEY, chain) == [
        Change("/d", 0), Change("/d/a", 0), Change("/d/new", 1), Change("/h", 2),
        Change("/n", 1), Change("/n/f", 1), Change("/o", 0), Change("/o/1", 2),
        Change("/o/2", 1),
    ]  # fmt: skip
    assert snapshots.usage(KEY).size >= 7 + 5 + 1 + 1


def test_a_committed_snapshot_looks_the_same_on_top_of_its_parent(snapshots, mounted):
    chain, _ = ingest(snapshots, None, BASE)
    root = mounted(chain)
    (root / "d/a").write_bytes(b"changed")
    os.utime(root / "d/a", (5, 5))
    (root / "d/b").unlink()
    (root / "o/1").unlink()
    (root / "o").rmdir()
    (root / "o").mkdir()
    (root / "o/2").write_bytes(b"2")
    os.link(root / "o/2", root / "o/3")
    (root / "top").unlink()
    (root / "top").mkdir()
    os.mkfifo(root / "fifo")
    os.setxattr(root / "o/2", "user.note", b"kept")
    committed, _ = snapshots.commit(KEY, chain)
    other = mounted(committed, SnapshotKey("other"))
    assert sorted(p.relative_to(other).as_posix() for p in other.rglob("*")) == sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*")
    )
    assert (other / "d/a").read_bytes() == b"changed"
    assert (other / "o/2").stat().st_ino == (other / "o/3").stat().st_ino
    assert os.getxattr(other / "o/2", "user.note") == b"kept"
    assert stat.S_ISFIFO((other / "fifo").stat().st_mode)


def test_committing_twice_gives_the_same_layer_and_export_gives_its_tar(snapshots, mounted):
    chain, _ = ingest(snapshots, None, BASE)
    root = mounted(chain)
    (root / "new").write_bytes(b"x" * 1000)
    (root / "d/a").unlink()
    first, stat = snapshots.commit(KEY, chain)
    assert snapshots.commit(KEY, chain)[0] == first
    out = io.BytesIO()
    snapshots.export_layer(first, chain, out)
    assert "sha256:" + hashlib.sha256(out.getvalue()).hexdigest() == stat.diff_id
    out.seek(0)
    assert tarfile.open(fileobj=out).getnames() == ["d", "d/.wh.a", "new"]


def test_a_taken_key_and_a_missing_parent_are_refused(every):
    every.prepare(KEY, None)
    with pytest.raises(AlreadyExists):
        every.prepare(KEY, None)
    with pytest.raises(NotFound):
        every.prepare(SnapshotKey("b"), "sha256:" + "0" * 64)
    with pytest.raises(NotFound):
        ingest(every, "sha256:" + "0" * 64, BASE)


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../x", "a\0", "-x", "x" * 129])
def test_a_key_that_could_leave_the_store_is_refused(every, key):
    with pytest.raises(InvalidParameter):
        every.prepare(SnapshotKey(key), None)


def test_removing_is_idempotent(every):
    chain, _ = ingest(every, None, BASE)
    every.prepare(KEY, chain)
    for _ in range(2):
        every.remove(KEY)
        every.remove_layer(chain)
    assert not every.has_layer(chain)
    every.prepare(KEY, None)


def test_repair_keeps_what_is_named_and_removes_the_rest(snapshots, tmp_path):
    kept, _ = ingest(snapshots, None, BASE)
    lost, _ = ingest(snapshots, kept, tar_of(file("x")))
    snapshots.prepare(KEY, kept)
    snapshots.prepare(SnapshotKey("lost"), kept)
    (tmp_path / "store/tmp/layer-half").mkdir()
    done = snapshots.repair([KEY], [kept])
    assert len(done) == 3
    assert snapshots.has_layer(kept)
    assert not snapshots.has_layer(lost)
    assert snapshots.repair([KEY], [kept]) == []


def test_unmounting_what_is_not_mounted_is_no_error(every, tmp_path):
    every.unmount(tmp_path)


def test_export_of_an_unpacked_layer_gives_the_bytes_it_came_from(every):
    chain, _ = ingest(every, None, BASE)
    out = io.BytesIO()
    every.export_layer(chain, None, out)
    assert out.getvalue() == BASE


@pytest.mark.parametrize("step", ["rename", "symlink_to", "fsync", "mkdtemp", "fchmod"])
def test_a_failure_at_any_step_leaves_no_trace(snapshots, tmp_path, monkeypatch, step):
    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if step in ("rename", "symlink_to"):
            patch.setattr(f"pathlib.Path.{step}", fail)
        elif step == "mkdtemp":
            patch.setattr("tempfile.mkdtemp", fail)
        else:
            patch.setattr(f"os.{step}", fail)
        with pytest.raises(Exception, match=r"Input/output|unpacking failed"):
            ingest(snapshots, None, BASE)
    assert not any((tmp_path / "store/tmp").iterdir())
    assert not any((tmp_path / "store/layers").iterdir())
    assert not any((tmp_path / "store/l").iterdir())
    assert ingest(snapshots, None, BASE)[1].size == 10


def test_ancestry_and_statistics_of_a_layer_are_remembered(every):
    below, _ = ingest(every, None, BASE)
    upper = tar_of(file("x", b"12345"))
    chain, stat = ingest(every, below, upper)
    assert list(every.ancestry(chain)) == [chain, below]
    assert every.layer_stat(chain) == stat
    assert stat.tar_size == len(upper)
    for missing in (every.ancestry, every.layer_stat, every.layer_usage):
        with pytest.raises(NotFound):
            missing("sha256:" + "0" * 64)


def test_another_layer_than_announced_is_refused(every):
    for expected in ({"diff_id": "sha256:" + "0" * 64}, {"digest": "sha256:" + "0" * 64}):
        with pytest.raises(InvalidParameter):
            ingest(every, None, BASE, **expected)
    assert not every.has_layer("sha256:" + hashlib.sha256(BASE).hexdigest())


def test_using_a_snapshot_that_does_not_exist_is_an_error(every, tmp_path):
    for use in (
        lambda: every.mount(KEY, tmp_path),
        lambda: every.commit(KEY, None),
        lambda: every.seal(KEY, None),
        lambda: every.changes(KEY, None),
        lambda: every.usage(KEY),
    ):
        with pytest.raises(NotFound):
            use()


def test_a_disk_without_any_room_is_named(snapshots, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    stat = stage(snapshots, BASE)
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "mkdtemp", full)
        patched.setattr(os, "fsync", full)
        for act in (
            lambda: ingest(snapshots, None, tar_of(file("x"))),
            lambda: stage(snapshots, tar_of(file("x"))),
            lambda: snapshots.adopt_layer(None, stat.diff_id),
        ):
            with pytest.raises(Internal, match="No space left on device"):
                act()
    assert not any((tmp_path / "store/tmp").iterdir())
    assert not any((tmp_path / "store/layers").iterdir())
    snapshots.adopt_layer(None, stat.diff_id)


def stage(snapshots, tar, **expected):
    diff_id = "sha256:" + hashlib.sha256(tar).hexdigest()
    return snapshots.stage_layer(io.BytesIO(tar), diff_id=diff_id, **expected)


def test_layers_staged_in_any_order_become_the_same_as_when_ingested_in_order(every):
    below, upper = BASE, tar_of(file("x"), file("d/c", b"c"))
    upper_stat, below_stat = stage(every, upper), stage(every, below)
    assert [every.has_staged(stat.diff_id) for stat in (upper_stat, below_stat)] == [True, True]
    first, _ = every.adopt_layer(None, below_stat.diff_id)
    second, adopted = every.adopt_layer(first, upper_stat.diff_id)
    assert (first, below_stat) == ingest(every, None, below)
    assert (second, upper_stat) == ingest(every, first, upper)
    assert adopted == upper_stat == every.layer_stat(second)
    assert every.staged_layers() == []
    out = io.BytesIO()
    every.export_layer(second, first, out)
    assert out.getvalue() == upper


def test_what_is_staged_is_listed_and_removed(every):
    stat = stage(every, BASE)
    (found,) = every.staged_layers()
    assert (found.diff_id, found.size) == (stat.diff_id, 10)
    every.repair([], [])
    assert every.has_staged(stat.diff_id)
    every.remove_staged(stat.diff_id)
    every.remove_staged(stat.diff_id)
    assert not every.has_staged(stat.diff_id)
    with pytest.raises(NotFound):
        every.adopt_layer(None, stat.diff_id)


def test_adopting_on_a_parent_that_is_not_there_keeps_the_stage(every):
    stat = stage(every, BASE)
    with pytest.raises(NotFound):
        every.adopt_layer("sha256:" + "0" * 64, stat.diff_id)
    assert every.has_staged(stat.diff_id)
    assert every.adopt_layer(None, stat.diff_id)[0] == stat.diff_id


def test_a_staged_layer_other_than_announced_leaves_nothing(snapshots, tmp_path):
    wrong = "sha256:" + "0" * 64
    with pytest.raises(InvalidParameter, match="invalid diffID"):
        snapshots.stage_layer(io.BytesIO(BASE), diff_id=wrong)
    with pytest.raises(InvalidParameter, match="digest"):
        stage(snapshots, BASE, digest=wrong)
    assert not any((tmp_path / "store/tmp").iterdir())
    assert not any((tmp_path / "store/staged").iterdir())


def test_directories_a_staged_layer_only_implies_get_the_attributes_they_have_below(
    snapshots, mounted
):
    stat = stage(snapshots, tar_of(file("d/new/deep/f")))
    below, _ = ingest(snapshots, None, BASE)
    chain, _ = snapshots.adopt_layer(below, stat.diff_id)
    root = mounted(chain)
    assert stat_of(root / "d") == (3, 0o750)
    if snapshots.driver == "overlay2":  # with full copies it is the time of unpacking
        assert (root / "d").stat().st_mtime == 0
    assert stat_of(root / "d/new") == stat_of(root / "d/new/deep") == (0, 0o755)
    assert sorted(path.name for path in (root / "d").iterdir()) == ["a", "b", "new"]


def test_a_directory_that_hands_on_its_group_and_the_umask_change_no_attributes(
    snapshots, mounted
):
    tar = tar_of(
        folder("s", mode=0o2775, gid=50),
        file("s/plain", mode=0o666),
        file("s/same", mode=0o2755, gid=50),
        file("s/other", mode=0o6711, uid=7, gid=8),
        file("s/implied/deep/f", mode=0o400),
    )
    below, _ = snapshots.adopt_layer(None, stage(snapshots, tar).diff_id)
    root = mounted(below)
    found = {
        path.relative_to(root).as_posix(): (status.st_uid, status.st_gid, status.st_mode & 0o7777)
        for path in root.glob("s/**/*")
        for status in [path.stat()]
    }
    assert found == {
        "s/plain": (0, 0, 0o666),
        "s/same": (0, 50, 0o2755),
        "s/other": (7, 8, 0o6711),
        "s/implied": (0, 0, 0o755),
        "s/implied/deep": (0, 0, 0o755),
        "s/implied/deep/f": (0, 0, 0o400),
    }


def stat_of(path):
    status = path.stat()
    return status.st_uid, stat.S_IMODE(status.st_mode)


def test_a_stage_cut_short_is_swept_and_a_complete_one_is_not(snapshots, tmp_path):
    stat = stage(snapshots, BASE)
    (tmp_path / "store/staged" / ("0" * 64)).mkdir()
    (tmp_path / "store/staged" / ("1" * 64)).mkdir()
    (tmp_path / "store/staged" / ("1" * 64) / "stage.json").touch()
    snapshots.repair([], [])
    assert [path.name for path in (tmp_path / "store/staged").iterdir()] == [stat.diff_id[7:]]
    again = type(snapshots)(tmp_path / "store")
    assert again.adopt_layer(None, stat.diff_id) == ingest(again, None, BASE)


def test_what_was_staged_before_the_host_started_last_is_not_trusted(snapshots, tmp_path):
    stat = stage(snapshots, BASE)
    (record,) = (tmp_path / "store/staged").glob("*/stage.json")
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    assert boot in record.read_text()
    record.write_text(record.read_text().replace(boot, "another"))
    assert not snapshots.has_staged(stat.diff_id)
    with pytest.raises(NotFound):
        snapshots.adopt_layer(None, stat.diff_id)
    assert stage(snapshots, BASE) == stat
    assert snapshots.has_staged(stat.diff_id)
    record.write_text("")
    snapshots.repair([], [])
    assert not any((tmp_path / "store/staged").iterdir())


def test_staging_and_adopting_the_same_layer_in_many_threads_gives_one_whole_layer(snapshots):
    parents = [ingest(snapshots, None, tar_of(file(f"p{n}")))[0] for n in range(4)]
    adopted = []

    def work(parent):
        while True:
            diff_id = stage(snapshots, BASE).diff_id
            try:
                adopted.append((parent, snapshots.adopt_layer(parent, diff_id)[0]))
            except NotFound:
                continue  # another thread took it
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, parents))
    for parent, chain in adopted:
        assert snapshots.ancestry(chain) == [chain, parent]
    assert len(adopted) == 4


def work_in(root, socket_path):
    """Change a root filesystem in all the ways that `seal` has to tell apart."""
    (root / "d/a").write_bytes(b"changed")
    (root / "d/new").write_bytes(b"12345" * 100_000)
    os.setxattr(root / "d/new", "user.linked", b"twice")
    os.link(root / "d/new", root / "z")
    (root / "d/b").unlink()
    (root / "h").unlink()
    (root / "top").chmod(0o6711)
    os.chown(root / "l", 7, 8, follow_symlinks=False)
    (root / "o/1").unlink()
    (root / "o").rmdir()
    (root / "o").mkdir(mode=0o711)
    (root / "o/2").touch()
    (root / "n/n/n").mkdir(parents=True)
    (root / "n/n/link").symlink_to("/etc/passwd")
    (root / "n/n/out").symlink_to("../../../..")
    os.mknod(root / "n/fifo", stat.S_IFIFO | 0o620)
    os.mknod(root / "n/dev", stat.S_IFBLK | 0o600, os.makedev(7, 3))
    os.setxattr(root / "n/n", "user.note", b"\0kept")
    (root / "n/old").write_bytes(b"old")
    os.utime(root / "n/old", ns=(-1_500_000_000, -1_500_000_000))
    (root / "d/s").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / socket_path))
    listener.close()
    (root / "gone").touch()
    (root / "gone").unlink()
    root.chmod(0o700)


def picture(root):
    """Everything that can be seen of a tree, by path, but when its root was made."""
    found = {".": (root.stat().st_mode, root.stat().st_uid)}
    for path in root.rglob("*"):
        status = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.fsencode(path.readlink())
        elif stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).digest()
        links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        found[str(path.relative_to(root))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns,
            links, content, attributes,
        )  # fmt: skip
    return found


def exported(snapshots, chain, parent):
    out = io.BytesIO()
    snapshots.export_layer(chain, parent, out)
    return out.getvalue()


@pytest.mark.parametrize("make", ["commit", "seal"])
def test_attributes_whose_names_a_tar_cannot_hold_are_left_out(snapshots, mounted, make):
    root = mounted(None)
    (root / "f").touch()
    for name in (b"user.\xff", b"user.a=b", b"user.a b", b"user.fine"):
        os.setxattr(root / "f", name, b"value")
    snapshots.unmount(root)
    layer, _ = getattr(snapshots, make)(KEY, None)
    assert os.listxattr(mounted(layer, SnapshotKey("above")) / "f") == ["user.fine"]


LATEST_NS = 2_000_000_000_500_000_000


@pytest.mark.parametrize("latest_ns", [None, 1_000_000_000_700_000_000, LATEST_NS])
@pytest.mark.parametrize("has_parent", [True, False])
def test_a_sealed_snapshot_is_the_layer_that_commit_makes(
    snapshots, mounted, latest_ns, has_parent
):
    chain = None
    if has_parent:
        chain, _ = ingest(snapshots, None, BASE)
        root = mounted(chain)
        work_in(root, "d/s/socket")
    else:
        root = mounted(None)
        (root / "d").mkdir(mode=0o700)
        (root / "d/f").write_bytes(b"f" * 5000)
    snapshots.unmount(root)
    layer, stat_ = snapshots.commit(KEY, chain, latest_ns=latest_ns)
    usage, tar = snapshots.layer_usage(layer), exported(snapshots, layer, chain)
    snapshots.remove_layer(layer)
    assert snapshots.seal(KEY, chain, latest_ns=latest_ns) == (layer, stat_)
    assert snapshots.layer_stat(layer) == stat_
    assert snapshots.layer_usage(layer) == usage
    assert exported(snapshots, layer, chain) == tar


def test_a_sealed_snapshot_looks_exactly_like_its_tar_unpacked(snapshots, mounted):
    chain, _ = ingest(snapshots, None, BASE)
    root = mounted(chain)
    work_in(root, "d/s/socket")
    snapshots.unmount(root)
    layer, _ = snapshots.seal(KEY, chain, latest_ns=LATEST_NS)
    root = mounted(layer, SnapshotKey("sealed"))
    sealed, tar = picture(root), exported(snapshots, layer, chain)
    assert len(sealed) > 15
    assert "d/s/socket" not in sealed
    assert sealed["n/old"][4] == -2_000_000_000
    snapshots.unmount(root)
    snapshots.remove(SnapshotKey("sealed"))
    snapshots.remove_layer(layer)
    assert ingest(snapshots, chain, tar)[0] == layer
    assert picture(mounted(layer, SnapshotKey("unpacked"))) == sealed


def test_sealing_uses_the_snapshot_up_also_when_there_is_an_equal_layer(every):
    every.prepare(KEY, None)
    first = every.seal(KEY, None)
    every.prepare(KEY, None)
    assert every.seal(KEY, None) == first
    with pytest.raises(NotFound):
        every.usage(KEY)
    with pytest.raises(NotFound):
        every.seal(KEY, None)
    every.prepare(KEY, None)


def test_a_mounted_snapshot_is_not_sealed_and_stays(every, tmp_path):
    target = tmp_path / "mnt"
    target.mkdir()
    every.prepare(KEY, None)
    every.mount(KEY, target)
    try:
        with pytest.raises(Conflict, match="mounted"):
            every.seal(KEY, None)
    finally:
        every.unmount(target)
    with pytest.raises(NotFound):
        every.seal(KEY, "sha256:" + "0" * 64)
    every.seal(KEY, None)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (pathlib.Path, "rename"),
        (pathlib.Path, "symlink_to"),
        (tempfile, "mkdtemp"),
        (os, "fsync"),
        (os, "utime"),
    ],
)
def test_a_failure_while_sealing_leaves_neither_snapshot_nor_layer(
    snapshots, tmp_path, monkeypatch, owner, name
):
    failing = [True]

    def once(real):
        def act(*args, **kwargs):
            if failing:
                failing.clear()
                raise OSError(errno.EIO, "Input/output error")
            return real(*args, **kwargs)

        return act

    snapshots.prepare(KEY, None)
    target = tmp_path / "mnt"
    target.mkdir()
    snapshots.mount(KEY, target)
    (target / "f").write_bytes(b"x")
    snapshots.unmount(target)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, once(getattr(owner, name)))
        with pytest.raises((OSError, Internal), match=r"Input/output|cannot"):
            snapshots.seal(KEY, None)
    assert not failing
    for part in ("tmp", "layers", "l", "snapshots"):
        assert not any((tmp_path / "store" / part).iterdir())


@pytest.mark.root
@pytest.mark.parametrize("driver", [OverlaySnapshots, VfsSnapshots])
@pytest.mark.parametrize(
    ("limit", "value"), [("max_entries", 2), ("max_bytes", 4000), ("max_path", 2)]
)
def test_the_limits_of_layers_hold_for_what_is_sealed(tmp_path, driver, limit, value):
    snapshots = driver(tmp_path / "store", limits=UnpackLimits(**{limit: value}))
    target = tmp_path / "mnt"
    target.mkdir()
    snapshots.prepare(KEY, None)
    snapshots.mount(KEY, target)
    (target / "abc").write_bytes(b"x" * 3000)
    (target / "d").mkdir()
    (target / "e").mkdir()
    snapshots.unmount(target)
    with pytest.raises(InvalidParameter):
        snapshots.seal(KEY, None)
    assert not any((tmp_path / "store/layers").iterdir())
    assert not any((tmp_path / "store/snapshots").iterdir())
