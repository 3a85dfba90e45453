"""What every implementation of `contracts.snapshots.Snapshots` promises."""

import errno
import hashlib
import io
import os
import stat
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.archives import file, folder, hardlink, symlink, tar_of

from pinnace.contracts.snapshots import Change, SnapshotKey
from pinnace.errors import AlreadyExists, Internal, InvalidParameter, NotFound
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
